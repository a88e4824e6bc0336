"""What VerboseMoveStats and LogLiveStats tell of the root moves."""

import math
import re

import chess
import pytest
from fake_evaluator import Client, FakeEvaluator, best_move, last_info, material, scattered_preference

STATS = re.compile(
    r"info string (\S+) +N: +(\d+) \(\+ *(\d+)\) (?:\(P: +([\d.]+)%\) )?\(Q: +(-?[\d.]+)\) "
    r"(?:\(U: ([\d.]+)\) \(S: +(-?[\d.]+)\) )?\(V: +(-?[\d.]+|-\.----)\)"
    r"(?: \(WDL: +(\d+) +(\d+) +(\d+)\) \(D: [\d.]+\))?"
    r"(?: \(T: (.+)\))?"
)


def stats(lines: list[str]) -> list[re.Match[str]]:
    """The lines about moves; fails for an `info string` that is none."""
    found = [STATS.fullmatch(line) for line in lines if line.startswith("info string")]
    assert all(found), lines
    return [match for match in found if match]


def told(fen: str, nodes: int, *options: str) -> list[str]:
    """What an engine says until its best move."""
    client = Client(FakeEvaluator(material, scattered_preference))
    client.ready()
    client.send(*(f"setoption name {option}" for option in options))
    lines = client.go(f"position fen {fen}", f"go nodes {nodes}")
    client.close()
    return lines


def test_every_legal_move_has_a_line_and_the_numbers_add_up() -> None:
    lines = told(chess.STARTING_FEN, 60, "VerboseMoveStats value true")
    *moves, node = stats(lines)
    assert node[1] == "node"
    assert {match[1] for match in moves} == {move.uci() for move in chess.Board().legal_moves}
    counts = [int(match[2]) for match in moves]
    assert counts == sorted(counts)
    assert counts[0] == 0
    # The root's own evaluation is a visit, too.
    assert sum(counts) + 1 == int(node[2]) == 60
    assert sum(float(match[4]) for match in moves) == pytest.approx(100, abs=0.2)
    for match in moves:
        assert float(match[7]) == pytest.approx(float(match[5]) + float(match[6]), abs=2e-5)
        # An unvisited move has no chances yet, and no opinion of the network.
        assert (match[2] == "0") == (match[9] is None) == (match[8] == "-.----")
    assert moves[-1][1] == best_move(lines)
    assert lines.index(last_info(lines)) < lines.index(moves[0][0])


def test_values_are_seen_by_the_side_to_move_at_the_root() -> None:
    # Black is a queen down for a rook; taking the queen turns that round.
    lines = told("3rk3/8/8/8/8/8/5PPP/3QK3 b - - 0 1", 80, "VerboseMoveStats value true")
    by_move = {match[1]: match for match in stats(lines)}
    assert float(by_move["node"][8]) == pytest.approx(math.tanh((5 - 9 - 3) / 10), abs=1e-3)
    assert float(by_move["d8d1"][8]) == pytest.approx(math.tanh((5 - 3) / 10), abs=1e-3)
    assert float(by_move["d8d7"][8]) == pytest.approx(math.tanh((5 - 9 - 3) / 10), abs=1e-3)


def test_a_draw_score_shows_in_q_and_not_in_the_chances() -> None:
    plain, changed = (
        stats(told(chess.STARTING_FEN, 1, "VerboseMoveStats value true", f"DrawScore value {score}"))[-1]
        for score in (0, 0.5)
    )
    assert float(changed[5]) == pytest.approx(float(plain[5]) + 0.25, abs=1e-4)
    assert plain.group(9, 10, 11) == changed.group(9, 10, 11)


def test_proven_results_are_told() -> None:
    lines = told("6k1/5ppp/8/8/8/8/8/R5K1 w - - 0 1", 300, "VerboseMoveStats value true")
    by_move = {match[1]: match for match in stats(lines)}
    assert by_move["a1a8"][12] == "won, mate 0 plies on"
    assert by_move["node"][12] == "won, mate 1 plies on"
    stalemate = told("7k/8/6K1/8/8/8/8/5Q2 w - - 0 1", 60, "VerboseMoveStats value true", "CPuct value 50")
    assert {match[1]: match[12] for match in stats(stalemate)}["f1f7"] == "drawn"


def test_live_stats_come_with_every_info_line_and_only_then() -> None:
    client = Client(FakeEvaluator(material, scattered_preference, seconds=0.02))
    client.send("setoption name LogLiveStats value true", "setoption name MinibatchSize value 4")
    lines = client.go("position startpos", "go nodes 120")
    reports = sum(" multipv 1 " in line for line in lines)
    assert reports > 1
    assert sum(match[1] == "node" for match in stats(lines)) == reports
    lines = client.go(
        "setoption name LogLiveStats value false", "setoption name VerboseMoveStats value true", "go nodes 240"
    )
    assert sum(" multipv 1 " in line for line in lines) > 1
    assert sum(match[1] == "node" for match in stats(lines)) == 1
    lines = client.go("setoption name VerboseMoveStats value false", "go nodes 300")
    assert stats(lines) == []
    client.close()
