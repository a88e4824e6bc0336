"""Similar positions: the order, the filters, what is said of them by the script and by the engine."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import chess
import numpy as np
import pytest
from fake_evaluator import Client, FakeEvaluator
from numpy.typing import NDArray
from remembered_games import bits, board_of, line, memory_of

from dejavu.engine.loader import wanted
from dejavu.engine.options import Config
from dejavu.engine.pages.similar import similar_page
from dejavu.engine.seeing.played import QuestionError, parse_game, position_of
from dejavu.engine.seeing.words import AS_PLAYED, evaluation, remembered_from, similar_line
from dejavu.model.chess.encoding import move_to_index, pack, stack
from dejavu.model.chess.structure import OTHER_STRUCTURE, difference, pawn_files, pawn_moves, piece_counts, signatures
from dejavu.model.data.games import read_game
from dejavu.model.explanation import NeighbourDescription
from dejavu.model.inference import load_backbone
from dejavu.model.measurement.similarity import ORDERS, Asked, measure_similarity
from dejavu.model.similar import FilterError, Filters, Similar, SimilarPositions
from dejavu.retrieval.knn import ExactIndex, FlatIndex
from dejavu.retrieval.memory import Memory
from dejavu.retrieval.names import GameName

SCRIPT = Path(__file__).parent.parent / "scripts" / "similar.py"
ISOLATED = "r4rk1/pp2qppp/2n1bn2/3p4/3N4/2N1P1P1/PP3PBP/R2Q1RK1 w - - 3 13"
ODD = '<img src=x onerror=alert(1)>"\x1b[2J\u202e' + "very long " * 1000


SICILIAN = ("Ann - Bob, Open, 2019, Sicilian (B50), 1-0", line("e4", "c5", "Nf3", "d6", "d4", "cxd4"))
SPANISH = ("Cid - Ann, Open, 2020, Ruy Lopez (C60), 0-1", line("e4", "e5", "Nf3", "Nc6", "Bb5", "a6"))
FRENCH = ("Dan - Eve, Cup, 2021, French (C00)", line("e4", "e6", "d4", "d5", "Nc3", "Nf6"))


@pytest.fixture(scope="module")
def memory() -> Memory:
    return memory_of([SICILIAN, SPANISH, FRENCH])


@pytest.mark.parametrize("entries", [5, 3000])
def test_the_flat_index_finds_what_the_exact_one_finds(entries: int) -> None:
    generator = np.random.default_rng(0)
    keys = generator.integers(-127, 128, (entries, 24), dtype=np.int8)
    queries = keys[:3].astype(np.float32) + generator.integers(-3, 4, (3, 24)).astype(np.float32)
    queries = np.clip(queries, -127, 127)
    allowed = generator.random(entries) < 0.5
    found, _ = FlatIndex(keys).search(queries, 4)
    assert found.tolist() == ExactIndex(keys).search(queries, 4)[0].tolist()
    found, entries_found = FlatIndex(keys).search(queries, 2, allowed)
    assert found.tolist() == ExactIndex(keys[allowed]).search(queries, 2)[0].tolist()
    assert allowed[entries_found[np.isfinite(found)]].all()


@pytest.mark.parametrize(
    ("first", "second", "moves"),
    [
        ([], ["e4"], 1),
        ([], ["e3"], 1),
        ([], ["e4", "e5"], 2),
        (["e3"], ["e3", "Nf6", "e4"], 1),
        (["e4", "d5"], ["e4", "d5", "exd5"], OTHER_STRUCTURE),
        ([], ["Nf3", "Nf6"], 0),
        (["a4", "a5"], ["h4", "h5"], 4),
    ],
)
def test_pawn_structures_lie_as_many_moves_apart_as_pawns_have_to_make(
    first: list[str], second: list[str], moves: int
) -> None:
    one, other = (board_of(*played) for played in (first, second))
    one.turn = other.turn = chess.WHITE
    files = pawn_files(stack([pack(one), pack(other)]))
    assert pawn_moves(files, files[0]).tolist() == [0, moves]
    assert pawn_moves(files, files[1]).tolist() == [moves, 0]


def test_the_same_board_in_other_colours_is_the_same_to_the_eye() -> None:
    board = board_of("e4", "c5", "Nf3")
    planes = stack([pack(board), pack(board.mirror()), pack(board_of("e4", "c5", "Nc3"))])
    same, mirrored, other = difference(planes, planes[0]).tolist()
    assert same == mirrored == 0
    assert other > 0
    assert piece_counts(planes)[0].tolist() == [8, 8, 2, 2, 2, 2, 2, 2, 1, 1]


def test_a_signature_tells_pawns_and_pieces_and_nothing_else() -> None:
    knights, bishops = board_of("Nf3", "Nf6"), board_of("g3", "g6", "Bg2", "Bg7")
    alike = [knights, board_of("Nc3", "Nc6", "Rb1", "Rb8"), board_of()]  # not the same rights to castle, either
    others = [bishops, board_of("e4", "e5"), board_of("Nf3", "Nc6", "Ne5", "Nxe5")]
    codes = signatures(stack([pack(board) for board in (*alike, *others)])).tolist()
    assert len(set(codes[: len(alike)])) == 1
    assert len(set(codes)) == 1 + len(others)


def test_the_most_alike_come_first_and_no_two_of_one_game(memory: Memory) -> None:
    positions = SimilarPositions([memory], bits)
    asked = board_of("e4", "c5", "Nf3", "d6")
    found = positions.find(asked, 0, 10)
    assert [item.difference for item in found] == sorted(item.difference for item in found)
    assert (found[0].game, found[0].difference, found[0].distance) == (SICILIAN[0], 0, 0)
    assert found[0].line(asked) == "3.d4"
    assert len({item.game for item in found}) == len(found) == 3
    assert len(positions.find(asked, 0, 2)) == 2
    assert len(positions.find(asked, 0, 100, same_game=True)) == len(memory)


def test_several_memories_are_one(memory: Memory) -> None:
    mine = memory_of([("Me - You, Club, 2024", line("e4", "c5", "Nf3", "Nc6"))])
    asked = board_of("e4", "c5", "Nf3", "Nc6")
    found = SimilarPositions([memory, mine], bits).find(asked, 0, 4)
    assert (found[0].game, found[0].memory) == ("Me - You, Club, 2024", 1)
    assert {item.memory for item in found} == {0, 1}
    assert len(found) == 4


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (Filters(player="ann"), {SICILIAN[0], SPANISH[0]}),
        (Filters(player="ann", result="0-1"), {SPANISH[0]}),
        (Filters(player="open"), set()),
        (Filters(result="1-0"), {SICILIAN[0]}),
        (Filters(phase="opening"), {SICILIAN[0], SPANISH[0], FRENCH[0]}),
        (Filters(phase="endgame"), set()),
        (Filters(material="KQRRBBNNPPPPPPPPvKQRRBBNNPPPPPPP"), {SICILIAN[0]}),
        (Filters(material="KvK"), set()),
    ],
)
def test_filters(memory: Memory, filters: Filters, names: set[str]) -> None:
    found = SimilarPositions([memory], bits).find(board_of("e4"), 0, 9, filters)
    assert {item.game for item in found} == names


def test_material_is_that_of_the_colours_asked_about(memory: Memory) -> None:
    positions = SimilarPositions([memory], bits)
    # After 3...cxd4 it is White to move and White who has a pawn less; with colours changed, Black.
    asked = board_of("e4", "c5", "Nf3", "d6", "d4", "cxd4")
    less = "KQRRBBNNPPPPPPP"
    for board, material in ((asked, f"{less}v{less}P"), (asked.mirror(), f"{less}Pv{less}")):
        (found,) = positions.find(board, 0, 9, Filters(material=material))
        assert found.difference == 0
        assert found.board(board).board_fen() == board.board_fen()
        assert positions.find(board, 0, 9, Filters(material="same")) == [found]


@pytest.mark.parametrize("filters", [Filters(result="2-0"), Filters(phase="late"), Filters(material="RPvR")])
def test_filters_that_make_no_sense_are_refused(memory: Memory, filters: Filters) -> None:
    with pytest.raises(FilterError):
        SimilarPositions([memory], bits).find(chess.Board(), 0, 1, filters)


@pytest.mark.parametrize(
    ("text", "name", "shown"),
    [
        (
            "rofChade - Pedone, TCEC, 2020, Sicilian (B50), 1-0",
            GameName("rofChade - Pedone", "TCEC", "2020", "Sicilian", "B50", "1-0"),
            "rofChade - Pedone, TCEC 2020 (Sicilian B50), 1-0",
        ),
        (
            "Carlsen, Magnus - Anand, V, Sochi, 2014, Spanish: 4.O-O, Be7 (C65)",
            GameName("Carlsen, Magnus - Anand, V", "Sochi", "2014", "Spanish: 4.O-O, Be7", "C65", ""),
            "Carlsen, Magnus - Anand, V, Sochi 2014 (Spanish: 4.O-O, Be7 C65)",
        ),
        (
            "Stockfish 15.1, 1200 nodes - Stockfish 15.1, 1200 nodes, Teacher games, 2026, 0-1",
            GameName("Stockfish 15.1, 1200 nodes - Stockfish 15.1, 1200 nodes", "Teacher games", "2026", "", "", "0-1"),
            "Stockfish 15.1, 1200 nodes, Teacher games 2026, 0-1",
        ),
        ("A - B, C, (A00)", GameName("A - B", "C", "", "", "A00", ""), "A - B, C (A00)"),
        ("A - B, 1/2-1/2", GameName("A - B", "", "", "", "", "1/2-1/2"), "A - B, 1/2-1/2"),
        ("A - B", GameName("A - B", "", "", "", "", ""), "A - B"),
        ("", GameName("", "", "", "", "", ""), "a game without a name"),
    ],
)
def test_names_of_games_are_taken_apart_and_written_as_people_do(text: str, name: GameName, shown: str) -> None:
    assert GameName.parse(text) == name
    assert str(name) == shown


def test_a_game_file_tells_its_result() -> None:
    text = '[White "A"]\n[Black "B"]\n[Date "2020.01.01"]\n[Result "{}"]\n\n1. e4 e5 {}\n'
    assert GameName.parse(read_game(text.format("0-1", "0-1")).name).result == "0-1"
    assert read_game(text.format("*", "*")).name == "A - B, 2020"


def neighbour(asked: chess.Board, move: str, wdl: tuple[float, float, float], game: str) -> NeighbourDescription:
    index = move_to_index(asked.parse_san(move), asked)
    return NeighbourDescription(0.0, pack(asked), 0, (index,), wdl, game, None, 0.1, 0.0)


def test_a_neighbour_is_told_as_a_person_would() -> None:
    asked = board_of("e4", "c5", "Nf3")
    item = neighbour(asked, "d6", (0.1, 0.6, 0.3), "rofChade - Pedone, TCEC, 2020, Sicilian (B50)")
    text = remembered_from(item, asked)
    assert text.startswith("remembered from rofChade - Pedone, TCEC 2020 (Sicilian B50): 2...d6, +")
    assert text.endswith(", distance 0")
    assert evaluation(replace(item, wdl=(0.3, 0.6, 0.1)), asked).startswith("-")  # Black is to move
    assert evaluation(replace(item, wdl=(1 / 3, 1 / 3, 1 / 3)), asked) == "not evaluated"
    assert "distance 0" in remembered_from(replace(item, game=ODD), asked)[:300]


def test_the_engine_says_it_so_and_lists_what_is_similar(memory: Memory) -> None:
    class Recalling(FakeEvaluator):
        def neighbours(self, planes: NDArray[np.uint64], clocks: NDArray[np.uint8]) -> list[NeighbourDescription]:
            asked = board_of("e4", "c5", "Nf3")
            return [neighbour(asked, move, (0.2, 0.5, 0.3), f"{move} - Bob") for move in ("d6", "Nc6", "e6", "g6")]

        def similar(self, board: chess.Board, clock: int, count: int) -> list[Similar]:
            return SimilarPositions([memory], bits).find(board, clock, count)

    def favourite(board: chess.Board, move: chess.Move) -> float:
        return 9.0 * (move == chess.Move.from_uci("d2d3"))  # the board is flipped

    client = Client(Recalling(logit=favourite))
    lines = client.go(
        "setoption name ShowNeighbours value true", "position startpos moves e2e4 c7c5 g1f3", "go nodes 1"
    )
    told = [line for line in lines if "remembered from" in line]
    assert told == ["info string remembered from d6 - Bob: 2...d6, +0.1, distance 0"]
    client.send("similar 2")
    told = client.ready()
    assert len(told) == 2
    assert told[0].startswith("info string similar 1: 2...d6, -")
    assert "in Ann - Bob, Open 2019 (Sicilian B50), 1-0; difference 0 distance 0 fen " in told[0]
    client.send("similar")
    assert len(client.ready()) == 3  # games
    client.send("position fen nonsense", "similar")
    assert client.ready()[-1] == "info string there is no position: the last one was refused"
    client.close()


def test_an_engine_without_a_memory_says_that_nothing_is_similar() -> None:
    client = Client()
    client.send("similar 99999999999", "similar x")
    assert client.ready() == ["info string no memory is loaded, so nothing similar is remembered"] * 2
    client.send("go infinite", "similar")
    assert "info string similar has to wait until the search is stopped" in client.ready()
    client.send("stop")
    client.read_until("bestmove")
    client.close()


def test_odd_names_are_text_wherever_similar_positions_are_told(memory: Memory) -> None:
    odd = memory_of([(f"{ODD} - B, {ODD}, 2020, {ODD} (A00)", line("e4", "e5"))])
    asked = board_of("e4")
    found = SimilarPositions([odd], bits).find(asked, 0, 3)
    assert all(similar_line(item, asked).isprintable() and len(similar_line(item, asked)) < 500 for item in found)
    page = similar_page(asked, found, ['<b>"memory"'])
    assert "<img" not in page
    assert "&lt;img src=x" in page
    assert "<b>&quot;" not in page
    assert page.replace("\n", "").isprintable()
    assert len(page) < 100_000


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The script, with a memory of three games that the shipped network has made."""
    folder = tmp_path_factory.mktemp("similar")
    backbone = load_backbone(wanted(Config()).weights)
    memory = memory_of([SICILIAN, SPANISH, FRENCH])
    embeddings = backbone.embed_chunks(memory.boards, memory.clocks)
    generator = np.random.default_rng(0)
    projection = generator.normal(size=(*embeddings.shape[1:], 4)).astype(np.float32)
    memory = replace(memory, key_mean=embeddings.mean(axis=0), key_projection=projection)
    keys = memory.project(embeddings).astype(np.int8)
    centroids = keys.reshape(len(keys), -1)[:1].astype(np.float32)
    cluster = np.zeros(len(keys), np.uint16)
    memory = replace(memory, keys=keys, centroids=centroids, cluster=cluster, fingerprint=backbone.fingerprint)
    memory.write(folder / "memory.safetensors")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(SCRIPT), *words, "--memory", str(folder / "memory.safetensors")]
        return subprocess.run(command, capture_output=True, text=True)

    return run


def test_the_script_tells_text_json_and_a_page(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    pgn, page = tmp_path / "games.pgn", tmp_path / "page.html"
    pgn.write_text('[White "A"]\n\n1. d4 d5 *\n\n[White "B"]\n\n1. e4 c5 2. Nf3 d6 3. d4 cxd4 *\n', encoding="utf-8")
    done = run(str(pgn), "--game", "2", "--move", "2b", "--html", str(page))
    assert done.returncode == 0, done.stderr
    assert "2...d6, " in done.stdout.splitlines()[0]
    assert "Ann - Bob, Open 2019 (Sicilian B50), 1-0; difference 0" in done.stdout.splitlines()[0]
    assert page.read_text(encoding="utf-8").count("<article>") == 3
    assert page.read_text(encoding="utf-8").count(AS_PLAYED) == 1
    assert "its White is Black here" in " ".join(run("--help").stdout.split())
    done = run(str(pgn), "--json", "--player", "cid", "-k", "1")
    (found,) = json.loads(done.stdout)["similar"]
    assert (found["players"], found["result"], found["memory"]) == ("Cid - Ann", "0-1", "memory.safetensors")
    assert chess.Board(found["fen"]).is_valid()


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["8/8/8/8/8/8/8/8 w - - 0 1"],
        ["PGN", "--move", "9"],
        ["PGN", "--move", "x"],
        ["PGN", "--game", "2"],
        [ISOLATED, "--material", "x"],
        [ISOLATED, "--memory", "PGN"],
    ],
)
def test_the_script_refuses_in_one_sentence(
    words: list[str], run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    pgn = tmp_path / "games.pgn"
    pgn.write_text("1. d4 d5 *\n", encoding="utf-8")
    done = run(*(str(pgn) if word == "PGN" else word for word in words))
    assert done.returncode == 1
    assert done.stderr.startswith("similar: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("text", ["", "1. e5 *", "not a game", '[Variant "Atomic"]\n\n1. e4 *', "1. -- e5 *", "*"])
def test_what_is_no_game_is_refused(text: str) -> None:
    with pytest.raises(QuestionError):
        parse_game(text, "it")


def test_positions_of_a_game_are_named_by_their_moves() -> None:
    game = parse_game("1. e4 e5 2. Nf3 *", "it")
    assert position_of(game)[0].fen() == board_of("e4", "e5", "Nf3").fen()
    assert position_of(game, "2")[0].fen() == position_of(game, "2w")[0].fen() == board_of("e4", "e5").fen()
    assert position_of(game, "1b")[0].fen() == board_of("e4").fen()
    assert position_of(game, "2b")[0].fen() == board_of("e4", "e5", "Nf3").fen()


def test_what_a_person_would_call_similar_is_measured() -> None:
    openings = [("e4", "c5", "Nf3"), ("e4", "c6", "d4"), ("e4", "e6", "d4")]
    plays = [["a6"], ["h6"], ["Nf6"], ["g6"], ["b6"], ["Na6"], ["Nh6"], ["d6"], ["d5"], ["h5"]]
    games = [
        (f"A - B, C, 2020, Opening ({'BCD'[number]}00)", line(*opening, *play)[3:])
        for number, opening in enumerate(openings)
        for play in plays
    ]
    memory = memory_of(games)
    asked = stack([pack(board_of(*opening)) for opening in openings])
    clocks = np.zeros(3, np.uint8)
    question = Asked(asked, clocks, np.array(["B0", "C0", "D0"]), np.arange(3, dtype=np.int32))
    done: list[None] = []
    found = measure_similarity(memory, bits, question, lambda: done.append(None))
    assert len(done) == 3
    assert found.relevant[:, 0].tolist() == [10, 10, 10]
    similar, hamming, chance = (ORDERS.index(name) for name in (ORDERS[0], "Hamming distance of boards", "random"))
    assert found.mean(similar, 0)[0] == found.mean(hamming, 0)[0] == 1
    assert found.mean(similar, 0, hamming) == (0, 0, 0)
    mean, low, high = found.mean(chance, 0)
    assert low <= mean <= high < 1
    assert len(found.where_enough(0).games) == 3
