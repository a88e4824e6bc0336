"""The loop of reinforcement learning: a better network is promoted, a worse one rejected, and a kill costs nothing."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import chess
import numpy as np
import pytest
from fake_evaluator import FakeEvaluator, even, scattered, scattered_preference
from training import run_script

from dejavu.engine.loader import Wanted
from dejavu.engine.match.adjudication import Rules
from dejavu.engine.match.elo import Sprt
from dejavu.engine.match.record import read_games
from dejavu.engine.selfplay import gate, improve, summary
from dejavu.engine.selfplay.generations import Generation, GenerationError, best_of, draw, read_generations
from dejavu.engine.selfplay.improve import ImproveRun
from dejavu.engine.selfplay.run_folder import RunFolderError
from dejavu.model.chess.encoding import unpack
from dejavu.model.config import PRESETS
from dejavu.model.data.shards import Shards, open_data
from dejavu.model.network import Network
from dejavu.model.training import run as training_run
from dejavu.model.training.backbone_run import BackboneRun
from dejavu.model.training.retrieval_run import RetrievalRun
from dejavu.model.weights import fingerprint, load_weights, save_weights
from dejavu.retrieval.memory import Memory

MATES = [f"6k1/5ppp/8/8/8/8/5PPP/{rook}5K1 w - - 0 1" for rook in ("R", "Q")] + ["7k/8/6K1/8/8/8/8/R7 w - - 0 1"]
SHORT: dict[str, Any] = {"games": 4, "nodes": 4, "max_plies": 10, "at_once": 4, "steps": 2, "batch": 8}
GATE: dict[str, Any] = {"gate_games": 40, "sprt": Sprt(0, 200), "gate_nodes": 1, "threads": 1}
RETRIEVAL = {"retrieval_steps": 2, "entries": 50}
ALONE = {"has_memory": False}
STAGES = ("play", "train", "remember", "retrieve", "gate")


class Networks:
    """Evaluators instead of networks: some mate in one, the others never do."""

    def __init__(self, strong: Callable[[str], bool]) -> None:
        """`strong` says it of the weights' path."""
        self._strong = strong

    def load(self, files: Wanted) -> FakeEvaluator:
        sign = 1 if self._strong(str(files.weights)) else -1

        def logit(board: chess.Board, move: chess.Move) -> float:
            return 8.0 * sign if board.gives_check(move) and board.san(move).endswith("#") else 0.0

        return FakeEvaluator(even, logit)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The network of the start; gates begin with a mate in one and are soon over."""
    (tmp_path / "mates.epd").write_text("".join(f"{fen}\n" for fen in MATES))
    monkeypatch.setattr(gate, "RULES", Rules(maxmoves=2))
    for module in (improve, summary):  # pictures take longer than all the rest
        monkeypatch.setattr(module, "draw", lambda *_: None)
    monkeypatch.setattr(training_run, "plot_run", lambda folder: folder)
    network = Network(PRESETS["tiny"], retrieval=False)
    save_weights(tmp_path / "start.safetensors", network, network.config, {"held_out": "nothing"})
    return tmp_path / "start.safetensors"


@pytest.fixture
def calls(start: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """From which generations backbones were trained, by a training that only copies the start."""
    made: list[str] = []

    def fake(run: BackboneRun) -> None:
        run.folder.mkdir(parents=True)
        shutil.copy(start, run.folder / "weights.safetensors")
        assert run.start_from is not None
        made.append(run.start_from.parent.parent.name)

    monkeypatch.setattr(improve, "train_backbone", fake)
    return made


def configured(start: Path, generations: int, **options: Any) -> ImproveRun:
    files: dict[str, Any] = {"folder": start.parent / "run", "start": start, "openings": start.parent / "mates.epd"}
    return ImproveRun(**files, generations=generations, command="improve.py", **{**SHORT, **GATE, **options})


def run(start: Path, generations: int, networks: Networks, **options: Any) -> list[Generation]:
    config = configured(start, generations, **options)
    improve.improve(config, pytest.fail, networks.load)
    return read_generations(config.folder / "generations.jsonl")


def test_better_networks_are_promoted_and_worse_ones_rejected(start: Path, calls: list[str]) -> None:
    networks = Networks(lambda path: "generation-001" in path)
    first, second = run(start, 2, networks, **ALONE)
    assert (first.opponent, first.promoted) == (0, True)
    assert first.wins > 0 == first.losses
    assert (second.opponent, second.promoted) == (1, False)
    assert second.losses > 0 == second.wins
    assert second.llr < 0
    assert best_of([first, second]) == 1
    # The second was trained from the first, and so would be the third.
    run(start, 3, networks, **ALONE)
    assert calls[1:] == ["generation-001"] * 2
    games = read_games(start.parent / "run" / "generation-001" / "gate.pgn")
    assert 2 <= len(games) < 40  # the sequential test has ended it


def test_the_last_best_meets_the_start(start: Path, calls: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    networks = Networks(lambda path: "generation" in path)
    run(start, 1, networks, **ALONE)
    improve.meet_the_start(configured(start, 1, **ALONE, final_games=6), pytest.fail, networks.load)
    assert "Results of generation-001 vs generation-000" in capsys.readouterr().out
    assert len(read_games(start.parent / "run" / "generation-001-against-start.pgn")) == 6


def test_a_run_goes_on_from_every_stage(start: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    networks = Networks(lambda path: "generation-002" in path)
    run(start, 1, networks, **ALONE)
    for name, after in itertools.product(STAGES, (False, True)):
        with monkeypatch.context() as patch:
            stage = getattr(improve.Loop, name)

            def killed(run: improve.Loop, number: int, stage: Callable[..., None] = stage, after: bool = after) -> None:
                if after:
                    stage(run, number)
                raise KeyboardInterrupt

            patch.setattr(improve.Loop, name, killed)
            with pytest.raises(KeyboardInterrupt):
                run(start, 2, networks, **ALONE)
    found = run(start, 2, networks, **ALONE, threads=2, backend="torch")
    assert [item.number for item in found] == [1, 2]
    assert [item.promoted for item in found] == [False, True]
    assert len(calls) == 2
    for item in found:
        folder = start.parent / "run" / f"generation-{item.number:03d}"
        assert Shards(folder / "games").done == set(range(4))
        rounds = [game.round for game in read_games(folder / "gate.pgn")]
        assert len(rounds) == len(set(rounds)) == item.wins + item.draws + item.losses


def test_a_generation_with_memory_from_games_to_gate(start: Path) -> None:
    def load(files: Wanted) -> FakeEvaluator:
        return FakeEvaluator(scattered, scattered_preference)

    folder = start.parent / "run"
    improve.improve(configured(start, 1, **RETRIEVAL, games=24, gate_games=2), pytest.fail, load)
    (found,) = read_generations(folder / "generations.jsonl")
    network, metadata = load_weights(folder / "generation-001" / "retrieval" / "weights.safetensors")
    assert network.retrieval is not None
    assert metadata["training.command"] == "improve.py, generation 1"
    memory = Memory.open(folder / "generation-001" / "memory.safetensors", fingerprint(network))
    assert len(memory) == found.memory_entries > 0
    assert "self-play game" in memory.game_name(int(memory.game[0]))
    assert found.self_play_games == 24
    assert found.held_out.startswith("policy loss")


@pytest.mark.parametrize(
    ("retrieval", "interpolation", "expected"),
    [(False, False, True), (True, True, True), (True, False, False)],
)
def test_the_retrieval_part_goes_on_from_that_of_the_best(
    start: Path, monkeypatch: pytest.MonkeyPatch, retrieval: bool, interpolation: bool, expected: bool
) -> None:
    network = Network(replace(PRESETS["tiny"], interpolation=interpolation), retrieval)
    save_weights(start, network, network.config, {})
    runs: list[RetrievalRun] = []
    monkeypatch.setattr(improve, "train_retrieval", runs.append)
    config = configured(start, 1)
    improve.Loop(config, pytest.fail, Networks(lambda path: False).load).retrieve(1)
    # The retrieval part learns the same values as the backbone, or it would take back what that has learnt.
    assert runs[0].result_weight == config.result_weight
    assert runs[0].start_from == (start if retrieval else None)
    assert runs[0].interpolation == expected


def test_how_games_of_self_play_begin_is_a_setting_of_the_run(start: Path, calls: list[str]) -> None:
    networks, openings = Networks(lambda path: False), start.parent / "mates.epd"
    run(start, 1, networks, **ALONE, random_plies=0, self_play_openings=openings)
    games = open_data([start.parent / "run" / "generation-001" / "games"])
    begun = {chess.Board(fen).board_fen() for fen in MATES}
    first = np.flatnonzero(np.diff(games.game, prepend=-1))
    assert len(first) == 4
    assert all(unpack(games.planes[row], 0).board_fen() in begun for row in first)
    with pytest.raises(RunFolderError, match="was begun with random_plies 0, not 8"):
        run(start, 1, networks, **ALONE, self_play_openings=openings)
    with pytest.raises(RunFolderError, match=r"was begun with self_play_openings .*mates\.epd, not None"):
        run(start, 1, networks, **ALONE, random_plies=0)


def test_other_settings_and_bad_files_are_refused_in_a_sentence(start: Path, calls: list[str]) -> None:
    networks = Networks(lambda path: False)
    run(start, 1, networks, **ALONE)
    with pytest.raises(RunFolderError, match="was begun with window 5, not 6"):
        run(start, 1, networks, **ALONE, window=6)
    nowhere = start.with_name("nowhere.safetensors")
    done = run_script("improve.py", "--run", start.parent / "run", "--start", nowhere)
    assert (done.returncode, done.stderr) == (1, f"improve: weights file {nowhere} does not exist\n")
    record = start.parent / "run" / "generations.jsonl"
    record.write_text(json.dumps({"number": 1}) + "\n")
    with pytest.raises(GenerationError, match="line 1 is no generation"):
        read_generations(record)


def test_a_picture_needs_no_finite_elo(tmp_path: Path) -> None:
    swept = Generation(1, 0, 4, 40, None, "", 0, 4, 0, 0, None, None, 3.0, True, {"gate": 1})
    draw([swept], tmp_path / "elo.png")
    assert (tmp_path / "elo.png").stat().st_size > 1000
    assert "promoted" in swept.row()


@pytest.mark.parametrize(
    ("wins", "draws", "losses", "elo", "error", "height", "low", "high"),
    [
        (20, 16, 4, 147.2, 80.0, 147.2, 67.2, 227.2),
        # From pairs of games there is no error here: Wilson's interval is from 81.4 to 98.0 %.
        (34, 5, 0, 465.7, None, 465.7, 256.1, 675.5),
        (40, 0, 0, None, None, 407.0, 407.0, math.inf),
        (0, 0, 40, None, None, -407.0, -math.inf, -407.0),
        (0, 0, 0, None, None, 0.0, -math.inf, math.inf),
    ],
)
def test_a_sweep_counts_as_what_it_shows_at_least(
    tmp_path: Path,
    wins: int,
    draws: int,
    losses: int,
    elo: float | None,
    error: float | None,
    height: float,
    low: float,
    high: float,
) -> None:
    found = Generation(1, 0, 4, 40, None, "", 0, wins, draws, losses, elo, error, 3.0, True, {"gate": 1})
    assert found.height == pytest.approx(height, abs=1)
    assert found.interval == pytest.approx((low, high), abs=1)
    draw([found], tmp_path / "elo.png")
    assert "nan" not in found.row()
