"""UCI_Elo: a monotone table of ways to play, and that the search keeps to it."""

import itertools
import sys
from pathlib import Path

import chess
import pytest
from fake_evaluator import Client, FakeEvaluator, best_move, even, field, last_info, scattered_preference

from dejavu.engine.match.anchors import AnchorsRun, opponent_elo, row
from dejavu.engine.match.elo import Results
from dejavu.engine.match.openings import read_openings
from dejavu.engine.search.strength import ANCHORS, STRONGEST, WEAKEST, strength

OPENINGS = Path(__file__).parent / "positions" / "openings.epd"


def test_more_elo_is_never_a_weaker_way_to_play() -> None:
    ways = [strength(elo) for elo in range(WEAKEST, STRONGEST + 1)]
    for weaker, stronger in itertools.pairwise(ways):
        assert weaker.nodes <= stronger.nodes
        assert weaker.temperature >= stronger.temperature
    assert ways[0].nodes == 1
    assert ways[0].temperature > 0
    assert ways[-1].temperature == 0


def test_anchors_are_met_and_nodes_grow_by_factors_between_them() -> None:
    assert [strength(anchor.elo) for anchor in ANCHORS] == list(ANCHORS)
    lower, upper = ANCHORS[-2:]
    middle = strength((lower.elo + upper.elo) // 2)
    assert middle.nodes == pytest.approx((lower.nodes * upper.nodes) ** 0.5, rel=0.05)


def test_a_limited_engine_searches_no_more_than_its_strength_allows() -> None:
    client = Client(FakeEvaluator(even, scattered_preference))
    client.send("setoption name UCI_LimitStrength value true", f"setoption name UCI_Elo value {ANCHORS[-2].elo}")
    lines = client.go("position startpos", "go wtime 600000 btime 600000")
    assert int(field(last_info(lines), "nodes")) == ANCHORS[-2].nodes
    # What a stronger search found is not used.
    client.send(f"setoption name UCI_Elo value {ANCHORS[-3].elo}")
    assert int(field(last_info(client.go("go infinite", "stop")), "nodes")) <= ANCHORS[-3].nodes
    # A GUI that asks for less gets less.
    client.send("setoption name Clear Hash")
    assert int(field(last_info(client.go("go nodes 5")), "nodes")) == 5
    # Switched off, it limits nothing.
    client.send("setoption name UCI_LimitStrength value false", "setoption name NodeLimit value 300")
    assert int(field(last_info(client.go("go wtime 600000 btime 600000")), "nodes")) > ANCHORS[-3].nodes
    client.close()


def test_the_weakest_play_varies_and_is_legal() -> None:
    client = Client(FakeEvaluator(even, scattered_preference))
    client.send("setoption name UCI_LimitStrength value true", f"setoption name UCI_Elo value {WEAKEST}")
    moves = {best_move(client.go("position startpos", "go movetime 1000")) for _ in range(15)}
    assert len(moves) > 1
    assert moves <= {move.uci() for move in chess.Board().legal_moves}
    client.close()


def test_the_calibration_asks_for_each_anchor_and_sums_it_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stockfish = tmp_path / ("stockfish.bat" if sys.platform == "win32" else "stockfish")
    stockfish.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    run = AnchorsRun(OPENINGS, tmp_path, games=4, options={"Hash": "64"})
    openings = read_openings(OPENINGS)
    assert len({run.pgn(anchor) for anchor in ANCHORS}) == len(ANCHORS)
    for anchor in ANCHORS:
        tournament = run.tournament(anchor, openings)
        own, opponent = tournament.players.values()
        assert own.pace.nodes == anchor.nodes
        assert own.options == {"Threads": "1", "Temperature": f"{anchor.temperature:g}", "Hash": "64"}
        assert opponent.command == (str(stockfish),)
        assert opponent.pace.nodes == 30000
        assert opponent.options == {"UCI_LimitStrength": "true", "UCI_Elo": str(max(anchor.elo, 1350))}
        assert len(tournament.games) == 4
        cells = row(anchor, Results(1, 2, 1)).split("|")
        assert cells[4:6] == [" 1-2-1 ", " 50 % "]
        assert cells[6].startswith(f" {opponent_elo(anchor)} (")
