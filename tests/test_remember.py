"""Learning without training: games added to a memory and forgotten again, found by both indexes, while it is open."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import chess
import numpy as np
import pytest
import remember
from memories import small_memory
from numpy.typing import NDArray

from dejavu.engine.loader import load_network, wanted
from dejavu.engine.options import Config
from dejavu.model.chess.encoding import index_to_move, move_to_index, pack, stack, unpack
from dejavu.model.data.dataset import MEMORY
from dejavu.model.data.games import read_game
from dejavu.model.data.records import join, positions
from dejavu.model.data.remember_run import keep_lines
from dejavu.model.inference import NetworkEvaluator
from dejavu.model.stored_evaluations import file_beside
from dejavu.retrieval import memory as memory_module
from dejavu.retrieval.knn import ClusteredIndex, ExactIndex
from dejavu.retrieval.lock import hold_lock
from dejavu.retrieval.memory import Memory, MemoryFileError
from dejavu.retrieval.moves import NO_MOVE
from dejavu.retrieval.positions import Positions
from dejavu.retrieval.remember import Added, UnknownSourceError, add, forget

SCRIPT = Path(__file__).parent.parent / "scripts" / "remember.py"


def embed(planes: NDArray[np.uint64], clocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Embeddings [B, 2, 6] that depend on the position alone."""
    rows = [np.random.default_rng(row.tolist()).normal(size=(2, 6)) for row in planes]
    return np.array(rows, np.float32).reshape(-1, 2, 6)


def lessons(planes: NDArray[np.uint64], moves: list[int], game: list[int]) -> Positions:
    continuations = np.full((len(planes), 8), NO_MOVE, np.uint16)
    continuations[:, 0] = moves
    return Positions(
        planes=planes,
        clocks=np.zeros(len(planes), np.uint8),
        continuations=continuations,
        wdl=np.tile(np.array([1.0, 0.0, 0.0], np.float32), (len(planes), 1)),
        game=np.array(game, np.int32),
    )


def test_the_line_beside_a_move_is_how_play_goes_on() -> None:
    games = [
        read_game("1. a3 ( 1. e4 e5 2. Nf3 ( 2. f4 d5 ) 2... Nc6 ) ( 1. d4 d5 ) 1... a6 2. b3 *"),
        read_game("1. c4 { best } ( 1. c4 g6 2. g3 Bg7 3. Bg2 d6 4. Nc3 e5 5. d3 f5 ) *"),
    ]
    dataset = join(games, [MEMORY] * 2, [0, 0], ["lines"])
    rows = np.array([0, 1, 3])
    new = positions(dataset, rows)
    keep_lines(new, rows, dataset, games)
    lines: list[list[str]] = []
    for row, continuation in zip(rows, new.continuations, strict=True):
        board, moves = unpack(dataset.planes[row]), []
        for index in continuation[continuation != NO_MOVE].tolist():
            moves.append(board.san(move := index_to_move(index, board)))
            board.push(move)
        lines.append(moves)
    white, black, other = lines
    assert white == ["e4", "e5", "Nf3", "Nc6"]
    assert black == ["a3", "b6"]  # 1...a6 2. b3, as Black sees it
    assert other == ["c4", "g6", "g3", "Bg7", "Bg2", "d6", "Nc3", "e5"]


def some_planes(count: int, seed: int = 1) -> NDArray[np.uint64]:
    return np.random.default_rng(seed).integers(0, 2**63, (count, 4), dtype=np.uint64)


def added(memory: Memory, positions: Positions, source: str = "mine.pgn") -> Memory:
    names = [f"{source} {number}" for number in range(int(positions.game.max()) + 1)]
    return add(memory, positions, names, source, "2026-02-01", embed, lambda done, total: None)[0]


def test_added_positions_are_found_at_distance_zero_by_both_indexes() -> None:
    memory, planes = small_memory(600), some_planes(50)
    larger = added(memory, lessons(planes, list(range(50)), [0] * 25 + [1] * 25))
    assert len(larger) == 650
    queries = memory.project(embed(planes, np.zeros(50, np.uint8))).reshape(50, -1)
    keys = larger.position_keys
    for index in (ExactIndex(keys), ClusteredIndex(keys, larger.centroids, larger.cluster, probes=1)):
        distances, entries = index.search(queries, 1)
        assert (distances == 0).all()
        assert larger.continuations[entries[:, 0], 0].tolist() == list(range(50))
        assert larger.game_name(larger.game[entries[0, 0]]) == "mine.pgn 0"
        assert larger.game_name(larger.game[entries[49, 0]]) == "mine.pgn 1"
    assert [larger.game_name(game) for game in range(30)] == [f"Game {number}" for number in range(30)]


def test_a_new_move_replaces_an_old_one_and_the_majority_of_the_new_games_decides() -> None:
    planes = some_planes(2)
    twice = planes[[0, 1, 0, 0, 1]]
    first = added(small_memory(), lessons(twice, [7, 8, 9, 7, 3], [0, 0, 1, 2, 2]))
    new = first.continuations[60:, 0].tolist()
    assert new == [7, 3]  # two games to one, and of equal numbers the last
    again, report = add(first, lessons(planes, [7, 5], [0, 0]), ["x"], "two", "2026-02-02", embed, lambda *_: None)
    assert (report.entries, report.known, report.replaced) == (1, 1, 1)
    assert again.continuations[60:, 0].tolist() == [7, 5]


def test_what_is_known_can_be_kept() -> None:
    first = added(small_memory(), lessons(some_planes(2), [7, 8], [0, 0]))
    positions = lessons(some_planes(3), [9, 8, 5], [0, 0, 0])
    kept, report = add(first, positions, ["x"], "two", "2026-02-02", embed, lambda done, total: None, keep_known=True)
    assert (report.entries, report.known, report.replaced) == (1, 2, 0)
    assert kept.continuations[60:, 0].tolist() == [7, 8, 5]


@pytest.mark.parametrize("keep_known", [False, True])
def test_what_is_known_takes_the_evaluation_of_new_games_that_have_one(keep_known: bool) -> None:
    planes, third = some_planes(4), np.full((4, 3), 1 / 3, np.float32)
    old = lessons(planes, [7, 8, 9, 7], [0, 0, 0, 0])
    old.wdl[:3] = third[:3]
    first = added(small_memory(), old)
    assert first.wdl[60:].tolist() == [[85, 85, 85]] * 3 + [[255, 0, 0]]
    new = lessons(planes, [7, 8, 9, 7], [0, 0, 0, 0])
    new.wdl[1:] = [[0.2, 0.6, 0.2], [1 / 3, 1 / 3, 1 / 3], [0.4, 0.6, 0]]
    after, report = add(first, new, ["x"], "two", "2026-02-02", embed, lambda *_: None, keep_known=keep_known)
    assert report == Added(entries=0, known=4, replaced=0, evaluated=3)
    assert after.wdl[60:].tolist() == [[255, 0, 0], [51, 153, 51], [85, 85, 85], [102, 153, 0]]
    assert first.wdl[60:].tolist() == [[85, 85, 85]] * 3 + [[255, 0, 0]]
    again, report = add(after, replace(new, wdl=third), ["x"], "three", "2026-02-02", embed, lambda *_: None)
    assert (report.evaluated, again.wdl[60:].tolist()) == (0, after.wdl[60:].tolist())


def test_forgetting_a_source_leaves_the_others_and_their_names() -> None:
    memory = small_memory()
    first = added(memory, lessons(some_planes(3), [1, 2, 3], [0, 0, 1]), "one")
    both = added(first, lessons(some_planes(4, seed=2), [4, 5, 6, 7], [0, 1, 1, 2]), "two")
    left, count = forget(both, "one")
    assert count == 3
    expected = added(memory, lessons(some_planes(4, seed=2), [4, 5, 6, 7], [0, 1, 1, 2]), "two")
    for name in (*Memory.ENTRY_ARRAYS, "game_names", "game_offsets"):
        np.testing.assert_array_equal(getattr(left, name), getattr(expected, name))
    assert left.added == expected.added
    with pytest.raises(UnknownSourceError, match=r"'three'.*: two"):
        forget(left, "three")


def test_an_open_memory_stays_as_it_was_while_the_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "memory"
    small_memory().write(path)
    opened = Memory.open(path)
    keys = opened.keys.copy()
    added(opened, lessons(some_planes(3), [1, 2, 3], [0, 0, 1])).write(path)
    np.testing.assert_array_equal(opened.keys, keys)
    reopened = Memory.open(path)
    assert len(reopened) == 63
    assert [(source.name, source.games) for source in reopened.added] == [("mine.pgn", 2)]


def test_a_malformed_list_of_added_games_is_refused(tmp_path: Path) -> None:
    memory = added(small_memory(), lessons(some_planes(1), [1], [0]))
    broken = replace(memory, added=(replace(memory.added[0], games=2),))
    broken.write(tmp_path / "memory")
    with pytest.raises(MemoryFileError, match="list of added games"):
        Memory.open(tmp_path / "memory")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def run_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """The script in this process, with a quick network; where it fails, SystemExit has its sentence."""
    memory = tmp_path / "shipped.safetensors"
    small_memory().write(memory)
    network = SimpleNamespace(fingerprint=small_memory().fingerprint, embed_chunks=embed)
    monkeypatch.setattr(remember, "wanted", lambda config: SimpleNamespace(weights=None, memory=memory))
    monkeypatch.setattr(remember, "load_backbone", lambda weights, threads: network)

    def run(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments)])
        remember.main()

    return run


GAMES = """[White "Ann"]
[Black "Bob"]
[Result "*"]

1. a3 ( 1. h4 ) 1... h6 2. a4 *

[White "Broken"]

1. e5 *
"""


def test_the_script_remembers_the_better_move_lists_and_forgets(tmp_path: Path) -> None:
    games, out = tmp_path / "lesson.pgn", tmp_path / "new" / "mine.safetensors"
    games.write_text(GAMES)
    done = run(games, "--out", out)
    assert done.returncode == 0, done.stderr
    assert "lesson.pgn, game 2" in done.stderr
    memory = Memory.open(out)
    game = memory.added[-1].first_game
    assert memory.game_name(game).startswith("Ann - Bob")
    entry = int(np.flatnonzero((memory.boards == stack([pack(chess.Board())])).all(axis=1))[0])
    assert memory.game[entry] == game
    assert memory.continuations[entry].tolist() == [
        move_to_index(chess.Move.from_uci("h2h4"), chess.Board()),
        *[NO_MOVE] * 7,
    ]
    assert memory.wdl[entry].tolist() == [85, 85, 85]
    assert memory.games == len(memory.added) == 1
    assert set(memory.game.tolist()) == {0}
    listed = run("--list", "--memory", out).stdout
    assert listed.startswith("3 entries of 1 games")
    assert "lesson.pgn" in listed
    other = tmp_path / "other.pgn"
    other.write_text("1. c4 c5 *\n")
    assert run(other, "--memory", out).returncode == 0
    assert run("--forget", "other.pgn", "--memory", out).returncode == 0
    assert [source.name for source in Memory.open(out).added] == ["lesson.pgn"]
    for arguments in (
        ["--forget", "lesson.pgn", "--memory", out],  # nothing would be left
        ["--forget", "nothing.pgn", "--memory", out],
        ["--forget", "lesson.pgn"],
        [games],
        [games, "--out", out],
        [tmp_path / "none.pgn", "--memory", out],
    ):
        failed = run(*arguments)
        assert failed.returncode != 0
        assert "Traceback" not in failed.stderr
        assert failed.stderr.splitlines()[-1].startswith("remember")
    assert [source.name for source in Memory.open(out).added] == ["lesson.pgn"]


def test_lessons_are_played_and_games_are_reminders(tmp_path: Path) -> None:
    """The engine's own first choice, with a memory of one game beside the shipped one."""
    games = tmp_path / "game.pgn"
    games.write_text("1. e4 c5 2. Bc4 e6 3. Qh5 ( 3. Nh3 Nf6 4. O-O d5 ) 3... g6 *\n")
    boards = [chess.Board()]
    for move in ("e4", "c5", "Bc4", "e6"):
        boards.append(boards[-1].copy())
        boards[-1].push_san(move)
    played: dict[str, list[str]] = {}
    for name, options in (("lessons", ["--lessons"]), ("reminders", [])):
        out = tmp_path / f"{name}.safetensors"
        assert run(games, *options, "--out", out).returncode == 0
        network = load_network(wanted(Config()))
        assert isinstance(network, NetworkEvaluator)
        network.put_beside([Memory.open(out)])
        asked = stack([pack(board) for board in boards])
        answers = network.evaluate(asked, np.zeros(len(boards), np.uint8))
        played[name] = []
        for row, board in enumerate(boards):
            own = slice(*answers.offsets[row : row + 2])
            played[name].append(board.san(index_to_move(int(answers.moves[own][answers.logits[own].argmax()]), board)))
    assert played["lessons"] == ["e4", "c5", "Bc4", "e6", "Nh3"]
    assert played["reminders"] != played["lessons"]


REPERTOIRE = "1. e4 c5 ( 1... e5 2. Bc4 Nf6 ( 2... -- 3. Qh5 ) ) ( 1... e6 2. d4 d5 ) 2. c3 d5 ( 2... e5 ) 3. exd5 *\n"


def moves_of(path: Path) -> dict[str, str]:
    """What a memory has as the best move of each position, by its EPD (White to move: as the mover sees it)."""
    memory = Memory.open(path)
    boards = [unpack(planes) for planes in memory.boards]
    moves = [
        board.san(index_to_move(int(line[0]), board)) for board, line in zip(boards, memory.continuations, strict=True)
    ]
    return dict(zip([board.epd() for board in boards], moves, strict=True))


def test_every_line_of_a_repertoire_is_learned_the_main_line_first(tmp_path: Path) -> None:
    games, out = tmp_path / "repertoire.pgn", tmp_path / "mine.safetensors"
    games.write_text(REPERTOIRE)
    assert run(games, "--repertoire", "--out", out).returncode == 0
    memory = Memory.open(out)
    assert (memory.continuations[:, 1] == NO_MOVE).all()
    moves = moves_of(out)

    def best_after(line: str) -> str:
        board = chess.Board()
        for move in line.split():
            board.push_san(move)
        seen = board if board.turn else board.mirror()
        return moves[seen.epd()]

    # Black's moves as he sees them: c5 is c4.
    assert best_after("") == "e4"
    assert best_after("e4") == "c4"
    assert best_after("e4 c5") == "c3"
    assert best_after("e4 e5") == "Bc4"
    assert best_after("e4 e5 Bc4") == "Nf3"
    assert best_after("e4 e6") == "d4"
    assert best_after("e4 c5 c3") == "d4"
    assert len(moves) == 9


def test_lessons_take_the_place_of_reminders_with_the_same_moves(tmp_path: Path) -> None:
    games, out = tmp_path / "games.pgn", tmp_path / "mine.safetensors"
    games.write_text("1. a4 h5 2. Ra3 Rh6 3. Rb3 *\n")
    assert run(games, "--out", out).returncode == 0
    reminders = moves_of(out)
    done = run(games, "--lessons", "--memory", out)
    assert done.returncode == 0
    assert "4 older entries replaced" in done.stdout  # the last move has nothing behind it anyway
    assert moves_of(out) == reminders
    assert (Memory.open(out).continuations[:, 1] == NO_MOVE).all()


def test_what_the_shipped_memory_knows_can_be_left_out(tmp_path: Path) -> None:
    games, out = tmp_path / "games.pgn", tmp_path / "mine.safetensors"
    games.write_text("1. e4 e5 2. Ke2 h5 3. Ke1 h4 4. Ke2 Rh5 5. Ke1 *\n")
    assert run(games, "--keep-known", "--out", out).returncode == 0
    shipped = wanted(Config()).memory
    assert shipped is not None
    known = {board.tobytes() for board in Memory.open(shipped).boards}
    new = [board.tobytes() for board in Memory.open(out).boards]
    assert new
    assert not known.intersection(new)


def test_a_memory_that_grows_keeps_what_was_evaluated_beforehand(tmp_path: Path) -> None:
    games, memory = tmp_path / "games.pgn", tmp_path / "memory.safetensors"
    games.write_text("1. h4 *\n")
    shipped = wanted(Config()).memory
    assert shipped is not None
    for path in (shipped, file_beside(shipped)):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    out = tmp_path / "grown.safetensors"
    assert run(games, "--memory", memory, "--out", out).returncode == 0
    network = load_network(wanted(Config(memory_file=str(out))))
    assert isinstance(network, NetworkEvaluator)
    assert network.stored is not None
    grown = Memory.open(out)
    rows = network.stored.find(grown.boards, grown.clocks)
    start = (grown.boards == stack([pack(chess.Board())])).all(axis=1)
    assert (rows[start] < 0).all()
    assert (rows >= 0).mean() > 0.9


def test_a_memory_that_another_program_is_changing_stays_as_it_is(
    tmp_path: Path, run_here: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    games, out = tmp_path / "games.pgn", tmp_path / "mine.safetensors"
    games.write_text("1. a4 h5 *\n")
    run_here(games, "--out", out)
    before = out.read_bytes()
    monkeypatch.setattr(remember, "hold_lock", partial(hold_lock, seconds=0.1))
    sentence = "remember: another program has held mine.safetensors.lock for 0.1 seconds"
    with hold_lock(tmp_path / "mine.safetensors.lock"):
        for arguments in ([games, "--memory", out], ["--forget", "games.pgn", "--memory", out]):
            with pytest.raises(SystemExit, match=sentence):
                run_here(*arguments)
    assert out.read_bytes() == before


def test_of_two_runs_at_once_neither_loses_what_the_other_adds(
    tmp_path: Path, run_here: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    games, out = [tmp_path / name for name in ("one.pgn", "two.pgn", "three.pgn")], tmp_path / "mine.safetensors"
    for path, move in zip(games, ("a4", "b4", "c4"), strict=True):
        path.write_text(f"1. {move} {move[0]}5 *\n")
    run_here(games[0], "--out", out)

    def just_after(*arguments: object) -> Callable[[Path], Iterator[None]]:
        """A lock that is free only when another run has ended."""

        def wait(path: Path) -> Iterator[None]:
            monkeypatch.setattr(remember, "hold_lock", hold_lock)
            run_here(*arguments)
            with hold_lock(path):
                yield

        return wait

    monkeypatch.setattr(remember, "hold_lock", contextmanager(just_after(games[1], "--memory", out)))
    run_here(games[2], "--memory", out)
    assert [source.name for source in Memory.open(out).added] == ["one.pgn", "two.pgn", "three.pgn"]

    new = tmp_path / "new.safetensors"
    monkeypatch.setattr(remember, "hold_lock", contextmanager(just_after(games[1], "--out", new)))
    with pytest.raises(SystemExit, match="is there already"):
        run_here(games[2], "--out", new)
    assert [source.name for source in Memory.open(new).added] == ["two.pgn"]


@pytest.mark.parametrize("forgets", [False, True])
def test_a_damaged_memory_does_not_become_a_sound_one(
    forgets: bool, tmp_path: Path, run_here: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    games, old, new = (tmp_path / name for name in ("games.pgn", "old.safetensors", "new.safetensors"))
    games.write_text("1. a4 h5 *\n")
    memory = added(small_memory(), lessons(some_planes(1), [1], [0]))
    memory.write(old)
    data = bytearray(old.read_bytes())
    data[data.index(memory.boards[:4].tobytes())] ^= 1
    old.write_bytes(data)
    monkeypatch.setattr(memory_module, "VERIFY_AT_OPEN_BYTES", 0)  # as a large one is opened
    Memory.open(old)
    wish = ["--forget", "mine.pgn"] if forgets else [games]
    with pytest.raises(SystemExit, match="tensor 'boards' does not match its checksum"):
        run_here(*wish, "--memory", old, "--out", new)
    assert not new.exists()
