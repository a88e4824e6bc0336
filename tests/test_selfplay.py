"""Self-play: what games teach, where noise is, resignation, and that a killed run loses only the games under way."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import chess
import numpy as np
import pytest
import torch
from fake_evaluator import FakeEvaluator, material, scattered, scattered_preference
from training import run_script

from dejavu.engine.loader import Wanted
from dejavu.engine.match.batch import SharedPlayer, play_together
from dejavu.engine.match.openings import Opening, OpeningError
from dejavu.engine.match.pace import Pace
from dejavu.engine.match.players import PlayerSettings
from dejavu.engine.options import Config
from dejavu.engine.search.limits import Limits
from dejavu.engine.search.search import Search
from dejavu.engine.selfplay import speed
from dejavu.engine.selfplay.game import Conditions, SelfPlayGame
from dejavu.engine.selfplay.resignation import Resignation, SearchedGame, check, gives_up, searched_games
from dejavu.engine.selfplay.run import SelfPlayRun, play_games, split_of
from dejavu.engine.selfplay.run_folder import RunFolderError
from dejavu.engine.uci.session import Session
from dejavu.model.chess.encoding import MIRRORED_MOVES, index_to_move, pack, stack, unpack
from dejavu.model.data.dataset import HELD_OUT, MEMORY, TRAIN, Dataset, DatasetError
from dejavu.model.data.games import read_game
from dejavu.model.data.records import join
from dejavu.model.data.shards import BLOCK, Shards, open_data
from dejavu.model.network import Outputs
from dejavu.model.training.batches import make_batch
from dejavu.model.training.losses import losses

SHORT: dict[str, Any] = {"nodes": 8, "max_plies": 12, "random_plies": 4, "at_once": 4, "resign": 0}
MATE = read_game('[Result "1-0"]\n\n1. e4 e5 2. Qh5 Ke7 3. Qxe5# 1-0\n')
NOISY = {"DirichletNoiseEpsilon": "0.5", "Temperature": "1", "MinibatchSize": "1"}


def fake(files: Wanted) -> FakeEvaluator:
    return FakeEvaluator(scattered, scattered_preference)


def player(evaluator: FakeEvaluator, nodes: int = 12) -> SharedPlayer:
    return SharedPlayer(PlayerSettings("p", (), Pace(nodes=nodes), NOISY), pytest.fail, lambda _: evaluator)


def played(count: int, conditions: Conditions, at_once: int = 4, seed: int = 1) -> list[SelfPlayGame]:
    """Finished games, in the order of their numbers."""
    one = player(FakeEvaluator(scattered, scattered_preference))
    games = play_together((SelfPlayGame(number, one, conditions, seed) for number in range(count)), at_once)
    return sorted(games, key=lambda game: game.number)


@pytest.fixture(scope="module")
def games() -> list[SelfPlayGame]:
    return played(6, Conditions(random_plies=5, max_plies=40))


@pytest.fixture(scope="module")
def dataset(games: list[SelfPlayGame]) -> Dataset:
    found = [game.positions(f"game {game.number}") for game in games]
    return join(found, [TRAIN] * len(found), [0] * len(found), ["self-play"])


def searched(noise: float, nodes: int, moves: tuple[str, ...] = (), reused: bool = False) -> Search:
    """A finished search; `reused` lets an earlier one, two plies before, leave its tree."""
    session = Session(lambda _: FakeEvaluator(scattered, scattered_preference), pytest.fail, random.Random(3))
    session.configure(Config(noise_epsilon=noise, minibatch_size=1))
    for line in (moves[:-2], moves) if reused else (moves,):
        session.set_position(None, line)
        search = session.search(Limits(nodes=nodes), lambda _: None)
        while search.reason_to_stop() is None:
            batch = search.gather()
            search.settle(batch, search.evaluate(batch.leaves))
    return search


def priors(search: Search, node: int) -> dict[int, float]:
    """P of each move at a node."""
    tree, first = search.tree, search.tree.first_edge[node]
    edges = range(first, first + tree.edge_count[node])
    return {tree.edge_move[edge]: tree.edge_prior[edge] for edge in edges}


def test_noise_is_at_the_root_and_nowhere_else() -> None:
    noisy, plain = searched(0.5, 60), searched(0.0, 60)
    assert noisy.tree.first_edge[noisy.root] >= 0
    at_root, without = priors(noisy, noisy.root), priors(plain, plain.root)
    assert at_root.keys() == without.keys()
    assert sum(at_root.values()) == pytest.approx(1, abs=1e-5)
    assert max(abs(at_root[move] - without[move]) for move in without) > 0.05
    assert all(at_root[move] >= 0.5 * without[move] - 1e-6 for move in without)
    tree = noisy.tree
    expanded = [node for node in range(1, len(tree)) if tree.first_edge[node] >= 0]
    assert len(expanded) > 20
    for node in expanded:
        answer = noisy.cache.get((tree.key[node], tree.clock[node]))
        assert answer is not None
        moves, own = np.frombuffer(answer.moves, np.uint16), np.frombuffer(answer.priors, np.float32)
        assert priors(noisy, node) == dict(zip(moves.tolist(), own.tolist(), strict=True))


def test_a_root_that_is_reused_gets_noise_and_stays_in_order() -> None:
    tree = searched(0.0, 400).tree
    board, node = chess.Board(), 0
    line: tuple[str, ...] = ()
    for _ in range(2):
        node = tree.ranked_children(node)[0]
        line = (*line, index_to_move(tree.move_into(node), board).uci())
        board.push_uci(line[-1])
    noisy, plain = searched(0.5, 400, line, reused=True), searched(0.0, 400, line, reused=True)
    tree, root = noisy.tree, noisy.root
    assert noisy.progress.playouts < 400  # some visits are from the search before
    at_root, without = priors(noisy, root), priors(plain, plain.root)
    assert sum(at_root.values()) == pytest.approx(1, abs=1e-5)
    assert max(abs(at_root[move] - without[move]) for move in without) > 0.02
    for index, child in enumerate(tree.children[root]):
        assert tree.edge[child] == tree.first_edge[root] + index
        assert tree.prior[child] == pytest.approx(at_root[tree.move_into(child)])
    visited = len(tree.children[root])
    rest = list(at_root.values())[visited:]
    assert rest == sorted(rest, reverse=True)
    expected = sum(tree.prior[child] for child in tree.children[root] if tree.visits[child])
    assert tree.visited_policy[root] == pytest.approx(expected, abs=1e-5)


def test_targets_are_visits_result_and_root_value(games: list[SelfPlayGame], dataset: Dataset) -> None:
    searches = dataset.searches
    assert searches.rows.tolist() == list(range(len(dataset)))
    assert np.allclose(searches.wdl.sum(axis=1), 1, atol=1e-5)
    assert (searches.wdl >= 0).all()
    indices, moves, shares = searches.visit_shares(np.arange(len(dataset)))
    assert np.allclose(np.bincount(indices, shares), 1, atol=1e-5)
    counts = np.diff(searches.offsets)
    assert counts.max() > 3
    for row in range(len(dataset)):
        board = unpack(dataset.planes[row], int(dataset.clocks[row]))
        own = moves[indices == row].tolist()
        assert all(index_to_move(move, board) in board.legal_moves for move in own)
        assert dataset.best[row] == own[int(shares[indices == row].argmax())]
        assert index_to_move(int(dataset.played[row]), board) in board.legal_moves
    row = 0
    for game in games:
        assert game.result is not None
        white = {"1-0": 1, "0-1": -1, "1/2-1/2": 0}[game.result]
        opening = len(game._board.move_stack) - len(game.targets)
        assert 0 <= opening <= 5
        board = chess.Board()
        for ply, move in enumerate(game._board.move_stack):
            if ply >= opening:
                assert dataset.planes[row].tolist() == stack([pack(board)])[0].tolist()
                assert dataset.result[row] == (white if board.turn == chess.WHITE else -white)
                row += 1
            board.push(move)
    assert row == len(dataset)


def test_the_results_are_seen_by_the_mover() -> None:
    conditions = Conditions(random_plies=0, max_plies=60, resignation=Resignation(0.3, 1, played_on=0.0))
    lost = [game for game in played(8, conditions) if game.result != "1/2-1/2"]
    assert lost
    for game in lost:
        found = game.positions("game")
        assert found.result[-1] == -1  # whoever gives up has lost
        assert found.searches.wdl[-1, 2] > found.searches.wdl[-1, 0]
        assert found.result[-2:].tolist() in ([1, -1], [-1])


def test_games_depend_on_their_numbers_alone() -> None:
    conditions = Conditions(random_plies=5, max_plies=16)
    together, one_by_one = played(5, conditions), played(5, conditions, at_once=1)
    lines = [game._board.move_stack for game in together]
    assert lines == [game._board.move_stack for game in one_by_one]
    assert len({str(line) for line in lines}) == 5
    assert lines != [game._board.move_stack for game in played(5, conditions, seed=2)]


@pytest.mark.parametrize("random_plies", [0, 3])
def test_games_begin_with_openings_and_teach_nothing_of_them(random_plies: int) -> None:
    sicilian = Opening(moves=(chess.Move.from_uci("e2e4"), chess.Move.from_uci("c7c5")))
    ending = Opening("4k3/8/8/8/8/8/4P3/4K3 b - - 7 30")
    begun = set()
    for game in played(12, Conditions(random_plies, max_plies=12, openings=(sicilian, ending))):
        root = game._board.root().fen()
        opening = next(one for one in (sicilian, ending) if one.fen == root)
        begun.add(root)
        given = len(opening.moves)
        assert tuple(game._board.move_stack[:given]) == opening.moves
        board = opening.board()
        first = len(game._board.move_stack) - len(game.targets)
        assert given <= first <= given + random_plies
        for move in game._board.move_stack[given:first]:
            board.push(move)
        found = game.positions("game")
        assert len(found.planes) == len(game.targets)
        assert found.planes[0].tolist() == stack([pack(board)])[0].tolist()
        assert unpack(found.planes[0], int(found.clocks[0])).halfmove_clock == board.halfmove_clock
        assert index_to_move(int(found.played[0]), board) == game._board.move_stack[first]
    assert len(begun) == 2


def test_games_at_once_share_batches() -> None:
    evaluator = FakeEvaluator(scattered, scattered_preference)
    one = player(evaluator)
    assert len(list(play_together((SelfPlayGame(n, one, Conditions(4, 12), 1) for n in range(16)), 16))) == 16
    assert np.mean(evaluator.batches[16:]) > 8  # the first are the openings' own


def test_a_batch_teaches_the_visits_mirrored_or_not(dataset: Dataset) -> None:
    rows = np.arange(len(dataset))
    castling = np.array([bool(unpack(planes).castling_rights) for planes in dataset.planes])
    mirrored = ~castling
    plain, turned = make_batch(dataset, rows), make_batch(dataset, rows, mirrored=mirrored)
    assert plain.policy is not None
    assert turned.policy is not None
    assert torch.allclose(plain.policy.sum(dim=1), torch.ones(len(rows)), atol=1e-5)
    assert not plain.policy[~plain.legal].any()
    assert torch.equal(plain.policy[torch.from_numpy(rows), plain.best], plain.policy.amax(dim=1))
    reflected = turned.policy[:, torch.from_numpy(MIRRORED_MOVES.astype(np.int64))]
    flags = torch.from_numpy(mirrored)
    assert torch.equal(reflected[flags], plain.policy[flags])
    assert torch.equal(turned.policy[~flags], plain.policy[~flags])
    # The loss is least for a network that answers the visits themselves, and is their entropy then.
    perfect = Outputs((plain.policy + 1e-12).log(), plain.wdl.clamp_min(1e-9).log())
    entropy = -(plain.policy * plain.policy.clamp_min(1e-12).log()).sum(dim=1).mean()
    assert losses(perfect, plain).policy.item() == pytest.approx(entropy.item(), abs=1e-4)
    one_hot = plain._replace(policy=torch.nn.functional.one_hot(plain.best, plain.legal.shape[1]).float())
    logits = Outputs(torch.randn(plain.legal.shape), torch.zeros(len(rows), 3))
    assert losses(logits, one_hot).policy.item() == pytest.approx(
        losses(logits, plain._replace(policy=None)).policy.item(), abs=1e-5
    )


def test_the_root_value_is_the_value_target_with_the_result_in_its_share(dataset: Dataset) -> None:
    rows = np.arange(len(dataset))
    assert np.allclose(dataset.wdl_target(rows), dataset.searches.wdl, atol=1e-6)
    results = np.eye(3)[1 - dataset.result]
    mixed = dataset.wdl_target(rows, 0.25)
    assert np.allclose(mixed, 0.75 * dataset.searches.wdl + 0.25 * results, atol=1e-6)


def test_data_sets_are_joined_with_what_searches_found(dataset: Dataset, tmp_path: Path) -> None:
    dataset.save(tmp_path / "a.safetensors")
    opened = Dataset.open(tmp_path / "a.safetensors")
    joined = Dataset.join([opened, opened])
    size, games = len(dataset), len(dataset.split)
    assert joined.sources == ["self-play"]
    assert joined.game.tolist() == [*dataset.game.tolist(), *(dataset.game + games).tolist()]
    assert joined.game_name(games + 2) == dataset.game_name(2)
    rows = np.arange(0, size, 3)
    firsts, seconds = joined.searches.visit_shares(rows), joined.searches.visit_shares(rows + size)
    assert [first.tolist() for first in firsts] == [second.tolist() for second in seconds]
    assert np.array_equal(joined.wdl_target(rows + size), dataset.wdl_target(rows))
    plain = join([MATE], [TRAIN], [0], ["b"])
    mixed = Dataset.join([plain, dataset])
    assert mixed.sources == ["b", "self-play"]
    batch = make_batch(mixed, np.array([0, len(plain)]))
    assert batch.policy is not None
    assert batch.policy[0, batch.best[0]] == 1  # without a search, the best move is all
    assert make_batch(mixed, np.array([0])).policy is None


def test_who_says_it_is_lost_often_enough_gives_up() -> None:
    rule = Resignation(value=0.9, moves=2)
    values = [0.0, -0.95, 0.95, -0.95, 0.95]
    assert [gives_up(values, ply, rule) for ply in range(5)] == [False, False, False, True, False]
    assert not gives_up([-0.95, 0.0], 0, rule)
    assert gives_up([-0.95], 0, Resignation(0.9, 1))


def test_wrong_resignations_are_counted_in_the_games_played_on() -> None:
    rule = Resignation(value=0.9, moves=1)
    ended = SearchedGame([0.0, 0.1, -0.95], [-1, 1, -1])
    lost = SearchedGame([0.0, 0.1, -0.95, 0.9], [-1, 1, -1, 1])
    won = SearchedGame([-0.95, 0.2, 0.3], [1, -1, 1])
    drawn = SearchedGame([0.0, -0.99], [0, 0])
    never = SearchedGame([0.0, -0.5], [1, -1])
    found = check([ended, lost, won, drawn, never], rule)
    assert found == (5, 1, 3, 1, 1)
    assert found.false_positives == pytest.approx(2 / 3)


def test_games_end_by_resignation_unless_they_are_played_on() -> None:
    for share, expected in ((0.0, "ended"), (1.0, "played_on")):
        found = [game.positions("game") for game in played(8, Conditions(2, 40, Resignation(0.1, 1, share)))]
        data = join(found, [TRAIN] * 8, [0] * 8, ["self-play"])
        counted = check(searched_games(data), Resignation(value=0.1, moves=1))
        assert getattr(counted, expected) >= 6
        assert counted.ended + counted.played_on <= counted.games == 8
        if share == 0.0:
            assert counted.played_on == 0


def test_even_few_games_fall_on_every_side() -> None:
    splits = [split_of(number, 0.2, 0.05) for number in range(40)]
    assert [splits.count(split) for split in (TRAIN, MEMORY, HELD_OUT)] == pytest.approx([30, 8, 2], abs=2)


def run(folder: Path, games: int, **options: Any) -> None:
    play_games(SelfPlayRun(folder, games, **{**SHORT, **options}), pytest.fail, fake)


def test_a_killed_run_goes_on_and_every_game_counts_once(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(whole, 12)
    code = (
        "import sys, pathlib, fake_evaluator as f\n"
        "from dejavu.engine.selfplay.run import SelfPlayRun, play_games\n"
        "slow = lambda _: f.FakeEvaluator(f.scattered, f.scattered_preference, 0.005)\n"
        f"play_games(SelfPlayRun(pathlib.Path(sys.argv[1]), 12, **{SHORT}), print, slow)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(killed)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while len(list(killed.glob("games-*.safetensors"))) < 2 and time.monotonic() < deadline:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    process.wait()
    there = {path.name: path.stat().st_mtime_ns for path in killed.glob("games-*.safetensors")}
    assert 2 <= len(there) < 12
    run(killed, 12)
    assert all((killed / name).stat().st_mtime_ns == when for name, when in there.items())
    first, second = open_data([whole]), open_data([killed])
    assert len(first.split) == len(second.split) == 12
    assert np.array_equal(first.planes, second.planes)
    assert np.array_equal(first.searches.visits, second.searches.visits)
    assert np.array_equal(first.split, second.split)


def test_a_full_block_becomes_one_file_however_the_writer_ends(tmp_path: Path) -> None:
    one = join([MATE], [TRAIN], [0], ["self-play"])
    shards = Shards(tmp_path)
    for number in [*range(BLOCK - 1), BLOCK]:
        shards.add(number, one)
    singles = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    shards.add(BLOCK - 1, one)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"games-000000-{BLOCK - 1:06d}.safetensors",
        f"games-{BLOCK:06d}.safetensors",
    ]
    assert len(open_data([tmp_path]).split) == BLOCK + 1
    # As a kill between the two steps would leave it.
    for name, content in list(singles.items())[:5]:
        (tmp_path / name).write_bytes(content)
    (tmp_path / "games-000070.safetensors.0123abcd.partial").write_bytes(b"half")
    again = Shards(tmp_path)
    assert again.done == set(range(BLOCK + 1))
    assert len(open_data([tmp_path]).split) == BLOCK + 1
    again.tidy()
    assert len(list(tmp_path.iterdir())) == 2


def test_more_games_are_added_and_other_settings_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, 2)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("games-*.safetensors")}
    run(tmp_path, 4)
    assert "2 games to play, 2 in" in capsys.readouterr().out
    assert len(open_data([tmp_path]).split) == 4
    assert all((tmp_path / name).read_bytes() == content for name, content in before.items())
    assert (tmp_path / "games.png").stat().st_size > 1000
    with pytest.raises(RunFolderError, match=r"was begun with player 8 nodes.*another folder"):
        run(tmp_path, 4, nodes=9)


def test_games_from_other_openings_are_refused(tmp_path: Path) -> None:
    book, games = tmp_path / "book.epd", tmp_path / "games"
    book.write_text("4k3/8/8/8/8/8/4P3/4K3 w - - 0 1\n")
    run(games, 2, openings=book)
    assert all(chess.popcount(board.occupied) <= 3 for board in map(unpack, open_data([games]).planes, [0] * 99))
    run(games, 2, openings=book)
    with pytest.raises(RunFolderError, match=r"was begun with conditions .* from openings .*another folder"):
        run(games, 2)
    book.write_text("4k3/8/8/8/8/8/3P4/4K3 w - - 0 1\n")
    with pytest.raises(RunFolderError, match=r"was begun with conditions .* from openings .*another folder"):
        run(games, 2, openings=book)
    book.write_text("4k3/8/8/8/8/8/3P4/4R3 w - - 0 1\n")
    with pytest.raises(OpeningError, match=r"book\.epd, line 1 is not a legal position"):
        run(games, 2, openings=book)


def test_games_that_would_be_all_opening_are_refused(tmp_path: Path) -> None:
    book = tmp_path / "book.pgn"
    book.write_text('[Result "*"]\n\n1. e4 e5 2. Nf3 Nc6 *\n')
    begun = {"openings": book, "random_plies": 1}
    with pytest.raises(OpeningError, match="games of 5 plies may be over before the 5 they begin with are"):
        run(tmp_path / "games", 2, **begun, max_plies=5)
    run(tmp_path / "games", 2, **begun, max_plies=6)
    assert len(open_data([tmp_path / "games"])) >= 2


def test_bad_input_is_one_sentence(tmp_path: Path) -> None:
    done = run_script("selfplay.py", "--out", tmp_path, "--games", 2, "--options", "Colour=red")
    assert (done.returncode, done.stderr) == (1, "selfplay: self-play: there is no option 'Colour'\n")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no games"):
        open_data([tmp_path / "empty"])


def test_many_games_at_once_and_one_by_one_are_compared(capsys: pytest.CaptureFixture[str]) -> None:
    games = SelfPlayRun(Path(), nodes=2, at_once=2, random_plies=4)
    speed.measure_speed(games, print, pytest.fail, lambda _: FakeEvaluator(material))
    assert capsys.readouterr().out.count("times as fast") == speed.ROUNDS + 1
