"""The experience file: deep searches of a game as PGN that the memory's reader understands."""

from __future__ import annotations

from pathlib import Path

import chess
import pytest
from disk import posix, room
from fake_evaluator import Client, FakeEvaluator, best_move, material, scattered_preference

from dejavu.model.chess.encoding import move_to_index, pack, stack
from dejavu.model.data.columns import MATE, NO_EVALUATION
from dejavu.model.data.games import GamePositions, read_game, split_games


def games(path: Path) -> list[GamePositions]:
    with path.open() as file:
        return [read_game(text) for text in split_games(file)]


def test_a_game_leaves_its_deep_searches_behind(tmp_path: Path) -> None:
    path = tmp_path / "new" / "experience.pgn"
    client = Client(FakeEvaluator(material, scattered_preference))
    client.go(f"setoption name ExperienceFile value {path}", "position startpos", "go nodes 10")  # not deep
    first = best_move(client.go("position startpos moves e2e4 e7e5", "go nodes 300"))
    other = "a2a3" if first != "a2a3" else "h2h3"  # the user plays another move than the engine found
    last = best_move(client.go(f"position startpos moves e2e4 e7e5 {other} d8h4", "go nodes 300"))
    assert not path.exists()
    client.go("ucinewgame", "position startpos moves d2d4", "go nodes 10")  # a game without a deep search
    client.close()
    [game] = games(path)
    board = chess.Board()
    expected = []
    for move, best in (("e2e4", "e2e4"), ("e7e5", "e7e5"), (other, first), ("d8h4", "d8h4"), (last, last)):
        expected.append(move_to_index(chess.Move.from_uci(best), board))
        board.push_uci(move)
    assert game.best.tolist() == expected
    assert [value != NO_EVALUATION for value in game.centipawns] == [False, False, True, False, True]


def test_a_mate_is_kept_however_short_the_search_and_games_add_up(tmp_path: Path) -> None:
    path = tmp_path / "experience.pgn"
    start = chess.Board("6k1/5ppp/8/8/8/8/8/K2R4 w - - 0 1")
    for _ in range(2):
        client = Client(FakeEvaluator(material))
        client.go(f"setoption name ExperienceFile value {path}", f"position fen {start.fen()}", "go nodes 190")
        client.close()
    for game in games(path):
        assert game.planes.tolist() == stack([pack(start)]).tolist()
        assert game.best.tolist() == [move_to_index(chess.Move.from_uci("d1d8"), start)]
        assert game.centipawns.tolist() == [MATE - 1]
    assert len(games(path)) == 2


def test_searches_that_were_not_to_find_the_best_move_are_no_lesson(tmp_path: Path) -> None:
    path = tmp_path / "experience.pgn"
    client = Client(FakeEvaluator(material))
    client.send(f"setoption name ExperienceFile value {path}")
    client.go("position startpos", "go nodes 300 searchmoves h2h3")
    client.go("setoption name Temperature value 1", "position startpos", "go nodes 300")
    client.go("setoption name Temperature value 0", "setoption name UCI_LimitStrength value true", "go nodes 300")
    client.close()
    assert not path.exists()


def test_a_game_that_was_gone_back_in_is_kept_whole(tmp_path: Path) -> None:
    path = tmp_path / "experience.pgn"
    client = Client(FakeEvaluator(material, scattered_preference))
    client.go(f"setoption name ExperienceFile value {path}", "position startpos moves d2d4", "go nodes 300")
    client.go("position startpos moves e2e4 e7e5", "go nodes 300")
    client.send("position startpos moves e2e4", "ucinewgame")
    client.close()
    [game] = games(path)
    board = chess.Board()
    for best, move in zip(game.best.tolist(), ("e2e4", "e7e5"), strict=False):
        assert best == move_to_index(chess.Move.from_uci(move), board)
        board.push_uci(move)
    assert len(game.best) == 3


FIRST, SECOND = ("position startpos moves e2e4", "go nodes 300"), ("position startpos moves d2d4", "go nodes 300")


def played_first(client: Client, path: Path) -> bytes:
    """What a file holds after its first game."""
    client.go(f"setoption name ExperienceFile value {path}", *FIRST)
    client.send("ucinewgame")
    client.ready()
    return path.read_bytes()


@posix
def test_a_game_that_could_not_be_written_is_written_with_the_next_one(tmp_path: Path) -> None:
    path = tmp_path / "experience.pgn"
    client = Client(FakeEvaluator(material, scattered_preference))
    client.go(f"setoption name ExperienceFile value {path}", *FIRST)
    with room(100):
        client.send("ucinewgame")
        [sentence] = client.ready()
    assert sentence.startswith(f"info string the experience file {path} cannot be written: File too large")
    assert not path.exists()
    client.go("ucinewgame", *SECOND)
    client.close()
    assert [game.planes.shape[0] for game in games(path)] == [2, 2]


@posix
def test_a_disk_that_fills_in_the_middle_of_a_game_leaves_whole_games(tmp_path: Path) -> None:
    path = tmp_path / "experience.pgn"
    client = Client(FakeEvaluator(material, scattered_preference))
    first = played_first(client, path)
    client.go(*SECOND)
    with room(len(first) + len(first) // 2):
        client.send("ucinewgame")
        client.ready()
    assert path.read_bytes() == first
    client.close()
    assert len(games(path)) == 2


def test_a_game_that_a_kill_has_cut_short_makes_room_for_the_next(tmp_path: Path) -> None:
    path = tmp_path / "experience.pgn"
    client = Client(FakeEvaluator(material, scattered_preference))
    first = played_first(client, path)
    client.go(*SECOND)
    client.send("ucinewgame")
    client.ready()
    both = path.read_bytes()
    for cut in (3, 40, len(both) - len(first) - 2, len(both) - len(first) - 30):
        path.write_bytes(both[: len(first) + cut])
        client.go(*SECOND)
        client.send("ucinewgame")
        client.ready()
        assert path.read_bytes() == both
    client.close()


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\n\n[Event "])
def test_games_of_others_and_whole_games_are_never_cut(tmp_path: Path, end: str) -> None:
    path = tmp_path / "experience.pgn"
    mine = '[Event "Mine"]\n\n1. e4 e5 *' + end
    client = Client(FakeEvaluator(material, scattered_preference))
    first = played_first(client, path)
    for before in (mine.encode(), first + mine.encode(), first[:-1]):
        path.write_bytes(before)
        assert played_first(client, path).startswith(before.removesuffix(b"[Event "))
    client.close()


def test_a_file_that_cannot_be_written_costs_one_sentence(tmp_path: Path) -> None:
    client = Client(FakeEvaluator(material, scattered_preference))
    client.go(f"setoption name ExperienceFile value {tmp_path}", "position startpos", "go nodes 300")
    lines = client.go("ucinewgame", "position startpos", "go nodes 5")
    assert sum("cannot be written" in line for line in lines) == 1
    client.close()
