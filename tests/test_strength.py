"""UCI_Elo: a monotone table of ways to play, and that the search keeps to it."""

import itertools
import logging
import signal
import sys
from pathlib import Path

import chess
import pytest
from fake_evaluator import Client, FakeEvaluator, best_move, even, field, last_info, scattered_preference

from dejavu.engine.match.statistics import Results
from dejavu.engine.match.tournament import Tournament
from dejavu.engine.search.strength import ANCHORS, STRONGEST, WEAKEST, strength

SCRIPTS = Path(__file__).parent.parent / "scripts"


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


def test_the_calibration_asks_for_each_anchor_and_sums_it_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import calibrate

    stockfish = tmp_path / ("stockfish.bat" if sys.platform == "win32" else "stockfish")
    stockfish.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    asked: list[Tournament] = []
    files: list[Path] = []

    def play(tournament: Tournament, pgn: Path) -> Results:
        asked.append(tournament)
        files.append(pgn)
        return Results(1, 2, 1)

    monkeypatch.setattr(calibrate, "play", play)
    monkeypatch.setattr(logging, "disable", lambda: None)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["calibrate.py", "--games", "4", "--out", str(tmp_path), "--option", "Hash=64"])
    calibrate.main()
    rows = capsys.readouterr().out.splitlines()[-len(ANCHORS) - 1 : -1]
    assert len(set(files)) == len(asked) == len(ANCHORS)
    for anchor, tournament, line in zip(ANCHORS, asked, rows, strict=True):
        own, opponent = tournament.players.values()
        assert own.pace.nodes == anchor.nodes
        assert own.options == {"Threads": "1", "Temperature": f"{anchor.temperature:g}", "Hash": "64"}
        assert opponent.command == (str(stockfish),)
        assert opponent.pace.nodes == 30000
        assert opponent.options == {"UCI_LimitStrength": "true", "UCI_Elo": str(max(anchor.elo, 1350))}
        assert len(tournament.games) == 4
        cells = line.split("|")
        assert cells[4:6] == [" 1-2-1 ", " 50 % "]
        assert cells[6].startswith(f" {calibrate.opponent_elo(anchor)} (")
