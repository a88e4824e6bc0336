"""Batched games: the same games as between two processes, with far fewer calls of the evaluator."""

from __future__ import annotations

import asyncio
import math
import sys
from pathlib import Path

import chess.pgn
import pytest
from fake_evaluator import FakeEvaluator, material

from dejavu.engine.loader import Wanted
from dejavu.engine.match.adjudication import Rules
from dejavu.engine.match.batch import run_batched
from dejavu.engine.match.elo import Sprt
from dejavu.engine.match.openings import Opening, read_openings
from dejavu.engine.match.pace import Pace, TimeControl
from dejavu.engine.match.players import PlayerError, PlayerSettings
from dejavu.engine.match.record import Record
from dejavu.engine.match.schedule import schedule
from dejavu.engine.match.tournament import Tournament, run
from dejavu.model.weights import WeightsError

TESTS = Path(__file__).resolve().parent
PROCESS = (sys.executable, str(TESTS / "fake_evaluator.py"))
WIDE = {"CPuct": "4"}


def match(games: int = 6, at_once: int = 6, command: tuple[str, ...] = (), sprt: Sprt | None = None) -> Tournament:
    """Two option sets at 12 and 20 nodes, games of 8 moves a side."""
    settings = [
        PlayerSettings("narrow", command, Pace(nodes=12)),
        PlayerSettings("wide", command, Pace(nodes=20), WIDE),
    ]
    planned = schedule(
        ["narrow", "wide"], read_openings(TESTS / "positions" / "openings.epd"), games, gauntlet=False, seed=1
    )
    players = {player.name: player for player in settings}
    return Tournament("match", players, planned, Rules(maxmoves=8), sprt, at_once)


def batched(tournament: Tournament, path: Path) -> list[FakeEvaluator]:
    """Play it; the evaluators that were loaded."""
    evaluators: list[FakeEvaluator] = []

    def load(files: Wanted) -> FakeEvaluator:
        evaluators.append(FakeEvaluator(material))
        return evaluators[-1]

    run_batched(tournament, Record(path, tournament.event), lambda _: None, lambda _: None, load)
    return evaluators


def moves(path: Path) -> dict[str, str]:
    """Result and moves of each round."""
    found = {}
    with path.open(encoding="utf-8") as file:
        while (game := chess.pgn.read_game(file)) is not None:
            assert not game.errors
            found[game.headers["Round"]] = " ".join(
                [game.headers["Result"], *(move.uci() for move in game.mainline_moves())]
            )
    return found


def test_batched_games_are_those_of_two_processes(tmp_path: Path) -> None:
    apart = match(command=PROCESS)
    asyncio.run(run(apart, Record(tmp_path / "a.pgn", apart.event), lambda _: None, lambda _: None))
    evaluators = batched(match(), tmp_path / "b.pgn")
    assert len(moves(tmp_path / "a.pgn")) == 6
    assert moves(tmp_path / "b.pgn") == moves(tmp_path / "a.pgn")
    one_by_one = batched(match(at_once=1), tmp_path / "c.pgn")
    assert moves(tmp_path / "c.pgn") == moves(tmp_path / "a.pgn")
    assert len(evaluators) == 2
    calls, single_calls = (sum(len(found.batches) for found in group) for group in (evaluators, one_by_one))
    assert calls < single_calls / 2


def test_a_batched_match_goes_on_and_ends_with_the_sequential_test(tmp_path: Path) -> None:
    path = tmp_path / "match.pgn"
    batched(match(games=2), path)
    first = path.read_bytes()
    batched(match(games=6), path)
    assert path.read_bytes().startswith(first)
    assert len(moves(path)) == 6
    # All draws at the limit of moves: no hypothesis of more than some Elo survives long.
    short = tmp_path / "short.pgn"
    batched(match(games=600, sprt=Sprt(0, 200, 0.4, 0.4)), short)
    assert 2 <= len(moves(short)) < 60


def test_players_that_cannot_be_batched_are_refused(tmp_path: Path) -> None:
    def damaged(files: Wanted) -> FakeEvaluator:
        raise WeightsError(f"{files.weights} is damaged")

    def fake(files: Wanted) -> FakeEvaluator:
        return FakeEvaluator(material)

    def not_a_number(files: Wanted) -> FakeEvaluator:
        return FakeEvaluator(lambda board: math.nan)

    good = PlayerSettings("good", (), Pace(nodes=5))
    for bad, load, complaint in (
        (PlayerSettings("bad", PROCESS, Pace(nodes=5)), fake, "bad has a command"),
        (PlayerSettings("bad", (), Pace(TimeControl(10))), fake, "bad plays at 10; batched games need nodes"),
        (PlayerSettings("bad", (), Pace(nodes=5), {"Colour": "red"}), fake, "bad: there is no option 'Colour'"),
        (PlayerSettings("bad", (), Pace(nodes=5), {"WeightsFile": "x"}), damaged, "good: .* is damaged"),
        (PlayerSettings("bad", (), Pace(nodes=5)), not_a_number, "the network's answer is not a number"),
    ):
        games = schedule(["good", "bad"], [Opening()], 2, gauntlet=False, seed=None)
        tournament = Tournament("match", {"good": good, "bad": bad}, games)
        with pytest.raises(PlayerError, match=complaint):
            run_batched(tournament, Record(tmp_path / "m.pgn", "match"), lambda _: None, lambda _: None, load)
