"""scripts/evaluate.py: calibration with numbers from paper and pencil, duplicates, the whole on a small data set."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import chess
import numpy as np
import pytest
from memories import small_memory
from numpy.typing import NDArray

from dejavu.engine.loader import load_network, wanted
from dejavu.engine.options import Config
from dejavu.model import neighbours
from dejavu.model.chess.encoding import move_to_index, pack, stack
from dejavu.model.config import NetworkConfig
from dejavu.model.data.columns import NO_EVALUATION, NO_RESULT
from dejavu.model.data.dataset import HELD_OUT, MEMORY, TRAIN, Dataset
from dejavu.model.data.duplicates import occurs_in
from dejavu.model.data.games import read_game
from dejavu.model.data.records import join
from dejavu.model.inference import NetworkEvaluator
from dejavu.model.measurement.ablation import RandomRetriever, ShuffledRetriever
from dejavu.model.measurement.calibration import Calibration, expected_calibration_error, plot_calibration, reliability
from dejavu.model.measurement.evaluate import LIES, ON, measure_modes
from dejavu.model.measurement.measures import PHASES, phases
from dejavu.model.neighbours import Retriever
from dejavu.retrieval import knn
from dejavu.retrieval.memory import Memory, encode_names

SCRIPT = Path(__file__).parent.parent / "scripts" / "evaluate.py"
PNG = b"\x89PNG"


def run_script(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_reliability_puts_predictions_into_equal_bins() -> None:
    predicted = np.array([0.0, 0.2, 0.25, 0.45, 1.0])
    observed = np.array([0.0, 1.0, 0.5, 1.0, 0.5])
    binned = reliability(predicted, observed, bins=4)
    assert binned.counts.tolist() == [2, 2, 0, 1]
    assert binned.predicted == pytest.approx([0.1, 0.35, np.nan, 1.0], nan_ok=True)
    assert binned.observed == pytest.approx([0.5, 0.75, np.nan, 0.5], nan_ok=True)
    # 2 of 5 are 0.4 off, 2 of 5 are 0.4 off, 1 of 5 is 0.5 off
    assert expected_calibration_error(binned) == pytest.approx(0.42)


def test_honest_chances_have_no_calibration_error() -> None:
    predicted = np.repeat([0.25, 0.75], 4)
    observed = np.array([1, 0, 0, 0, 1, 1, 1, 0])
    assert expected_calibration_error(reliability(predicted, observed)) == 0
    assert expected_calibration_error(reliability(predicted, 1 - observed)) == 0.5
    assert np.isnan(expected_calibration_error(reliability(predicted[:0], observed[:0])))


def test_calibration_of_all_outcomes_goes_into_json_and_a_picture(tmp_path: Path) -> None:
    predicted = np.array([[0.75, 0.25, 0.0], [0.75, 0.25, 0.0]], np.float32)
    calibration = Calibration.measure(predicted, np.array([[1, 0, 0], [1, 0, 0]]))
    assert calibration.errors == pytest.approx({"win": 0.25, "draw": 0.25, "loss": 0.0, "overall": 0.5 / 3})
    nothing = Calibration.measure(predicted[:0], predicted[:0])
    figures = json.loads(json.dumps([calibration.as_json(), nothing.as_json()], allow_nan=False))
    assert figures[0]["bins"]["win"][7] == {"predicted": 0.75, "observed": 1.0, "count": 2}
    assert figures[0]["bins"]["win"][6] is None
    assert figures[1]["expected_calibration_error"]["overall"] is None
    plot_calibration({"evaluation": {"net": calibration}, "result": {"net": nothing}}, tmp_path / "picture")
    assert (tmp_path / "picture").read_bytes().startswith(PNG)


def test_only_exact_duplicates_are_found() -> None:
    others = np.random.default_rng(1).integers(0, 2**64, (1000, 4), dtype=np.uint64)
    planes = others[[5, 900, 5, 17, 18]]
    planes[3, 2] ^= 1  # another position
    # Two top bits: the sums that sort out most positions are equal here, the positions are not.
    planes[4, :2] ^= np.uint64(1 << 63)
    assert occurs_in(planes, others).tolist() == [True, True, True, False, False]
    assert occurs_in(planes, others[:0]).tolist() == [False] * 5


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three games of 12 plies, one a split; the held-out one begins with 4 positions of others, and has 10 evaluations.

    The clocks of its positions differ from those of the others: that does not make them new.
    """
    rng = random.Random(3)
    boards: list[chess.Board] = []
    for opening in ("", "e2e4", "e2e4 e7e5 g1f3"):
        board = chess.Board()
        for ply in range(12):
            boards.append(board.copy())
            known = opening.split()[ply : ply + 1]
            board.push(chess.Move.from_uci(known[0]) if known else rng.choice(list(board.legal_moves)))
    # All begin alike, the second and third share 1. e4, and here the second gets two later positions of the third.
    boards[12 + 2 : 12 + 4] = boards[24 + 2 : 24 + 4]
    best = np.array([move_to_index(next(iter(board.legal_moves)), board) for board in boards], np.uint16)
    names, offsets = encode_names(["one", "two", "three"])
    dataset = Dataset(
        planes=stack([pack(board) for board in boards]),
        clocks=np.repeat(np.array([0, 0, 50], np.uint8), 12),
        best=best,
        played=best,
        centipawns=np.array([20, -30] * 17 + [NO_EVALUATION] * 2, np.int16),
        result=np.repeat(np.array([1, 0, NO_RESULT], np.int8), 12),
        game=np.repeat(np.arange(3, dtype=np.int32), 12),
        split=np.array([TRAIN, MEMORY, HELD_OUT], np.uint8),
        source=np.zeros(3, np.uint8),
        names=names,
        name_offsets=offsets,
        source_names=np.frombuffer(b"games.pgn\n", np.uint8),
    )
    path = tmp_path / "data.safetensors"
    dataset.save(path)
    return path


def test_duplicates_are_left_out_and_calibration_is_reported(data: Path, tmp_path: Path) -> None:
    picture, changes, out = tmp_path / "new" / "calibration.png", tmp_path / "changes.png", tmp_path / "figures.json"
    options = ["--reach", 1e12, "--dedupe", "--calibration", picture, "--plot", changes, "--json", out]
    done = run_script("--data", data, "--threads", 1, *options)
    assert done.returncode == 0, done.stderr
    assert "4 of 10 held-out positions left out" in done.stdout
    assert "0 of 1 held-out games left out" in done.stdout
    figures = json.loads(out.read_text(encoding="utf-8"))
    assert figures["memory on"]["positions"] == 6  # the last two nobody has evaluated
    minus_off = figures["minus off"]
    for kinds in (PHASES, [name.removeprefix("on, ") for name in minus_off if "distance" in name]):
        groups = [minus_off[f"on, {kind}"] for kind in kinds if f"on, {kind}" in minus_off]
        assert sum(group["positions"] for group in groups) == 6
        means = [group["value_loss"]["mean"] * group["positions"] for group in groups]
        assert sum(means) / 6 == pytest.approx(minus_off["on"]["value_loss"]["mean"], abs=1e-9)
    assert minus_off["shuffled"] != minus_off["on"] != minus_off["random"]
    calibration = figures["calibration"]
    assert calibration["evaluation"]["memory on"]["positions"] == 6
    assert calibration["evaluation"]["memory off"] != calibration["evaluation"]["memory on"]
    assert calibration["result"]["memory on"]["positions"] == 0  # the held-out game has no result
    error = calibration["evaluation"]["memory on"]["expected_calibration_error"]["overall"]
    assert 0 < error < 1
    assert f"{error:.4f}" in done.stdout
    assert picture.read_bytes().startswith(PNG)
    assert changes.read_bytes().startswith(PNG)


def test_a_copy_of_a_training_game_is_not_held_out(data: Path, tmp_path: Path) -> None:
    dataset = Dataset.open(data)
    dataset.planes[24 + 5 : 36] = dataset.planes[5:12]
    copied = tmp_path / "copied.safetensors"
    dataset.save(copied)
    done = run_script("--data", copied)
    assert "1 of 1 held-out games left out" in done.stdout
    assert "no held-out positions" in done.stderr


def test_phases_go_by_the_pieces_left() -> None:
    fens = [chess.STARTING_FEN, "r2qk2r/8/8/8/8/8/8/RN1QK2R w KQkq - 0 1", "4k3/pppppppp/8/8/8/8/4K3/R2R4 b - - 0 1"]
    assert phases(stack([pack(chess.Board(fen)) for fen in fens])).tolist() == [0, 1, 2]


def memory_and_queries() -> tuple[NetworkConfig, Memory, NDArray[np.float32]]:
    """A memory whose keys spread, the config it fits, and the chunk embeddings [16, l, m * d] of 16 positions."""
    config = NetworkConfig(width=1, heads=1, attack_width=0, chunks=2)
    generator = np.random.default_rng(0)
    projection = generator.normal(scale=10, size=(2, 32, 4)).astype(np.float32)
    memory = replace(small_memory(), key_mean=np.zeros((2, 32), np.float32), key_projection=projection)
    embeddings = generator.normal(size=(16, 2, 32)).astype(np.float32)
    return config, memory, embeddings


def test_lying_memories_keep_what_is_needed_to_compare() -> None:
    config, memory, embeddings = memory_and_queries()
    true = Retriever(config, memory, threads=1).search(embeddings)
    shuffled = ShuffledRetriever(config, memory, threads=1).search(embeddings)
    drawn = RandomRetriever(config, memory, threads=1).search(embeddings)
    assert sorted(shuffled.entries.ravel()) == sorted(true.entries.ravel())
    assert (shuffled.entries != true.entries).any()
    np.testing.assert_array_equal(drawn.distances, true.distances)
    assert (drawn.entries != true.entries).mean() > 0.5
    np.testing.assert_array_equal(drawn.moves[:, 0], memory.continuations[drawn.entries[:, 0], 0])


def test_what_lies_within_reach_is_found_in_a_few_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "EXACT_LIMIT", 10)
    monkeypatch.setattr(knn, "NEAR_PROBES", 60)
    monkeypatch.setattr(neighbours, "MEMORY_REACH", np.inf)
    config, memory, embeddings = memory_and_queries()
    retriever = Retriever(config, memory, threads=1)
    whole = retriever.search(embeddings)
    nearest = whole.distances[:, 0, 0]
    for reach, count in ((-1.0, 0), (float(np.median(nearest)), 8), (float(nearest.max()), 16)):
        rows, found = retriever.search_within(embeddings, reach)
        assert len(rows) == count
        assert (nearest[rows] <= reach).all()
        np.testing.assert_array_equal(found.entries, whole.entries[rows])


@pytest.mark.parametrize("lying", [ShuffledRetriever, RandomRetriever])
def test_lies_are_told_of_a_clustered_memory_too(lying: type[Retriever], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "EXACT_LIMIT", 10)
    config, memory, embeddings = memory_and_queries()
    true = Retriever(config, memory, threads=1).search(embeddings)
    monkeypatch.setattr(neighbours, "MEMORY_REACH", np.inf)
    rows, found = lying(config, memory, threads=1).search_within(embeddings, float(true.distances.max()))
    assert len(rows) == 16
    assert (found.entries != true.entries).mean() > 0.5


def test_a_lying_memory_is_not_outdone_by_what_was_evaluated_beforehand() -> None:
    evaluator = load_network(wanted(Config(threads=1)))
    assert isinstance(evaluator, NetworkEvaluator)
    assert evaluator.stored is not None
    game = read_game("1. e4 e5 2. Nf3 Nc6 3. Bb5 a6 4. Ba4 Nf6 5. O-O Be7 *")
    dataset = join([game], [HELD_OUT], [0], ["ruy lopez"])
    stored = evaluator.stored
    measured, _ = measure_modes(evaluator, dataset, np.arange(len(dataset)))
    assert evaluator.stored is stored
    for lie in LIES:
        assert not np.allclose(measured[lie][:, 0], measured[ON][:, 0], atol=0.01)
