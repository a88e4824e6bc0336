"""Measure how fast parts of Dejavu are on this machine.

    python scripts/bench.py engine --json runs/bench-engine.json
    python scripts/bench.py knn --json runs/bench-knn.json
    python scripts/bench.py training --json runs/bench-training.json

engine  The shipped net and memory: start-up, positions a second of every backend and how far it agrees with torch in
     float32, the search for neighbours, nodes a second with memory and without, what the tree costs beside the
     network, and how soon `stop` is obeyed.

knn  The comparison of the article "Retrieval Transformer Enhanced Reinforcement Learning": one query for the
     nearest of n embeddings of 20 x 20 numbers, row by row against one matrix product. The article measured
     33 s row by row (`apply`) and 14.5 s for its matrix version at 500,000 embeddings. Beside it, the
     clustered index on keys like those of a memory.

training  Samples a second of whole training steps, the arithmetic in them, and its share of the rate at which the
     same cores multiply large matrices at the same time of day; and how fast batches are prepared.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import chess
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from dejavu.engine.bench import POSITIONS, cost, grow
from dejavu.engine.evaluator import UniformEvaluator
from dejavu.engine.loader import wanted
from dejavu.engine.options import Config
from dejavu.model.attacks import legal_mask
from dejavu.model.backbone import as_inputs
from dejavu.model.backends import PREFERENCE, BackendError
from dejavu.model.backends.torch_backend import TorchBackend
from dejavu.model.config import PRESETS
from dejavu.model.encoding import Packed, clock_byte, pack, stack
from dejavu.model.evaluations import Evaluations, join
from dejavu.model.features import features
from dejavu.model.inference import NetworkEvaluator
from dejavu.model.network import Network
from dejavu.model.training.batches import Batch
from dejavu.model.training.checkpoint import Masters
from dejavu.model.training.loop import Schedule
from dejavu.model.training.losses import losses
from dejavu.model.training.ranks import Ranks
from dejavu.model.training.replicas import Replicas
from dejavu.model.weights import load_weights
from dejavu.retrieval.knn import ClusteredIndex, ExactIndex, Neighbours, recall, train_clusters
from dejavu.retrieval.memory import KEY_LIMIT

ARTICLE_ENTRIES = (20, 20_000, 500_000)
ARTICLE_NUMBERS = 20 * 20
ARTICLE_MATRIX_MS = 14_500.0
ARTICLE_ROWS_MS = 33_000.0
NEIGHBOURS = 4
REPEATS = 5

TREE_NODES = 2000
LARGE_TREE_NODES = 60_000
EFFICIENCY_NODES = 1000
STOPS = 300

EVALUATOR_BATCHES = (1, 16, 32, 64)
EVALUATOR_SECONDS = 0.5
EVALUATOR_ROUNDS = 4
"""Backends take turns, so that an hour's mood of the machine falls on all of them; the best round of each counts."""
EVALUATED_POSITIONS = 4096
COMPARED_POSITIONS = 1024
SEARCHED_BATCH = 32
SEARCH_NODES = 400

TRAINED_PRESETS = ("small", "base")
TRAINING_BATCH = 256
TRAINING_PART = 64
TRAINING_SECONDS = 15.0
MATRIX_SHAPE = (4096, 512, 512)
MATRIX_SECONDS = 3.0

CLUSTERED_ENTRIES = 150_000
CLUSTERED_NUMBERS = 96
ENTRIES_A_GROUP = 50
"""Positions of one opening or game lie close together: the made-up keys come in groups of so many."""
CLUSTERED_QUERIES = 512


def loop_search(keys: NDArray[np.float32], query: NDArray[np.float32], k: int) -> list[int]:
    """The k rows of `keys` [n, D] nearest to `query` [D], measuring one row after the other."""
    distances = ((float(np.sum((row - query) ** 2)), number) for number, row in enumerate(keys))
    return [number for _, number in heapq.nsmallest(k, distances)]


@dataclass(frozen=True)
class Comparison:
    """One query by both methods; times in milliseconds."""

    entries: int
    loop_ms: float
    matrix_ms: float
    """Median; the index has been made before (it sums the squares of every row once)."""
    matrix_prepare_ms: float
    same_neighbours: bool

    @property
    def ratio(self) -> float:
        """How many times as fast the matrix product is."""
        return self.loop_ms / self.matrix_ms


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Milliseconds that `action` takes, and its result."""
    start = time.perf_counter()
    result = action()
    return (time.perf_counter() - start) * 1e3, result


def compare(entries: int, generator: np.random.Generator) -> Comparison:
    """The article's comparison at one size."""
    keys = generator.standard_normal((entries, ARTICLE_NUMBERS), dtype=np.float32)
    query = generator.standard_normal((1, ARTICLE_NUMBERS), dtype=np.float32)
    prepare_ms, index = timed(lambda: ExactIndex(keys))
    runs = [timed(lambda: index.search(query, NEIGHBOURS)) for _ in range(REPEATS)]
    loop_ms, expected = timed(lambda: loop_search(keys, query[0], NEIGHBOURS))
    return Comparison(
        entries=entries,
        loop_ms=loop_ms,
        matrix_ms=statistics.median(milliseconds for milliseconds, _ in runs),
        matrix_prepare_ms=prepare_ms,
        same_neighbours=all(found[1][0].tolist() == expected for _, found in runs),
    )


def grouped_keys(entries: int, numbers: int, generator: np.random.Generator) -> NDArray[np.int8]:
    """Keys [n, D] in groups around random centres, as positions of games and openings are."""
    groups = -(-entries // ENTRIES_A_GROUP)
    centres = generator.normal(scale=25, size=(groups, numbers)).repeat(ENTRIES_A_GROUP, axis=0)[:entries]
    keys = np.rint(centres + generator.normal(scale=10, size=centres.shape))
    return np.clip(keys, -KEY_LIMIT, KEY_LIMIT).astype(np.int8)


def measure_clustered(generator: np.random.Generator) -> dict[str, float]:
    """The clustered index against the exact one: recall, times, and what opening it costs."""
    keys = grouped_keys(CLUSTERED_ENTRIES, CLUSTERED_NUMBERS, generator)
    noise = generator.normal(scale=10, size=(CLUSTERED_QUERIES, CLUSTERED_NUMBERS))
    queries = np.rint(keys[generator.permutation(len(keys))[:CLUSTERED_QUERIES]] + noise).astype(np.float32)
    train_ms, (centroids, cluster) = timed(lambda: train_clusters(keys, threads=os.cpu_count() or 1))
    open_ms, index = timed(lambda: ClusteredIndex(keys, centroids, cluster))
    exact = ExactIndex(keys)

    def one_by_one(index: ClusteredIndex) -> Neighbours:
        distances, entries = zip(*(index.search(query[None], NEIGHBOURS) for query in queries), strict=True)
        return np.concatenate(distances), np.concatenate(entries)

    batch_ms, found = timed(lambda: index.search(queries, NEIGHBOURS))
    single_ms, _ = timed(lambda: one_by_one(index))
    exact_ms, expected = timed(lambda: exact.search(queries, NEIGHBOURS))
    return {
        "train_s": train_ms / 1e3,
        "open_ms": open_ms,
        f"recall@{NEIGHBOURS}": recall(found, expected),
        "us_a_query_batched": batch_ms / len(queries) * 1e3,
        "us_a_query_one_by_one": single_ms / len(queries) * 1e3,
        "us_a_query_exact_batched": exact_ms / len(queries) * 1e3,
    }


def bench_knn() -> dict[str, Any]:
    """Run the comparison, print it as a table, and return the numbers."""
    generator = np.random.default_rng(0)
    print(f"one query, {ARTICLE_NUMBERS} float32 numbers an entry, {NEIGHBOURS} neighbours; milliseconds")
    print(f"{'entries':>10} {'row by row':>12} {'matrix':>10} {'times as fast':>14}  same neighbours")
    comparisons = []
    for entries in ARTICLE_ENTRIES:
        row = compare(entries, generator)
        comparisons.append(row)
        same = "yes" if row.same_neighbours else "NO"
        times = f"{row.loop_ms:>12,.2f} {row.matrix_ms:>10,.3f} {row.ratio:>14,.0f}"
        print(f"{entries:>10,} {times}  {same}", flush=True)
    largest = comparisons[-1]
    against = ARTICLE_MATRIX_MS / largest.matrix_ms
    print(f"{'article':>10} {ARTICLE_ROWS_MS:>12,.0f} {ARTICLE_MATRIX_MS:>10,.0f}")
    print(f"matrix product here against the article's: {against:,.0f} times as fast")
    clustered = measure_clustered(generator)
    print(f"clustered index, {CLUSTERED_ENTRIES:,} entries of {CLUSTERED_NUMBERS} int8 numbers:")
    for name, value in clustered.items():
        print(f"    {name.replace('_', ' ')} {value:,.2f}")
    rows = [{**asdict(row), "ratio": row.ratio} for row in comparisons]
    return {"article": rows, "times_as_fast_as_article": against, "clustered": clustered}


class EngineProcess:
    """The engine as a GUI runs it: lines in, lines out."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dejavu.engine"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, commands: str, until: str) -> tuple[str, float]:
        """Send `commands`; -> the first line that starts with `until`, and milliseconds since the start."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(commands + "\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith(until):
                return line.strip(), (time.perf_counter() - self.began) * 1e3
        raise SystemExit(f"bench: the engine ended before it said {until!r}")

    def peak_megabytes(self) -> float | None:
        """Largest resident set so far, where the system tells (Linux)."""
        status = Path(f"/proc/{self.process.pid}/status")
        if not status.exists():
            return None
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(peak.split()[1]) / 1024

    def quit(self) -> None:
        self.process.communicate("quit\n")


def random_positions(count: int) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """Packed positions and clock bytes of random games: every one new, so that no cache helps."""
    rng = random.Random(0)
    packed: list[Packed] = []
    clocks: list[int] = []
    board = chess.Board()
    while len(packed) < count:
        board.push(rng.choice(list(board.legal_moves)))
        if board.is_game_over():
            board.reset()
        packed.append(pack(board))
        clocks.append(clock_byte(board.halfmove_clock, repeated=False))
    return stack(packed), np.array(clocks, dtype=np.uint8)


def evaluator_speed(evaluator: NetworkEvaluator, batch: int) -> float:
    """Positions a second in batches of `batch`."""
    planes, clocks = random_positions(EVALUATED_POSITIONS)
    evaluator.evaluate(planes[:batch], clocks[:batch])
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < EVALUATOR_SECONDS:
        first = done % (EVALUATED_POSITIONS - batch)
        evaluator.evaluate(planes[first : first + batch], clocks[first : first + batch])
        done += batch
    return done / (time.perf_counter() - start)


def load_evaluators() -> dict[str, NetworkEvaluator]:
    """The shipped net and memory on every backend that works here."""
    files = wanted(Config())
    evaluators = {}
    for backend in PREFERENCE:
        try:
            evaluators[backend] = NetworkEvaluator.load(files.weights, files.memory, files.threads, backend)
        except BackendError as error:
            print(f"backend {backend}: {error}")
    return evaluators


def evaluator_speeds(evaluators: dict[str, NetworkEvaluator], use_memory: bool) -> dict[str, dict[str, float]]:
    """Backend -> batch -> positions a second."""
    speeds: dict[str, dict[str, float]] = {backend: {} for backend in evaluators}
    for batch in map(str, EVALUATOR_BATCHES):
        for _ in range(EVALUATOR_ROUNDS):
            for backend, evaluator in evaluators.items():
                evaluator.use_memory = use_memory
                speed = evaluator_speed(evaluator, int(batch))
                speeds[backend][batch] = max(speed, speeds[backend].get(batch, 0.0))
    return speeds


def evaluate_in_batches(evaluator: NetworkEvaluator) -> Evaluations:
    """The first COMPARED_POSITIONS, in batches as the search sends them."""
    planes, clocks = random_positions(COMPARED_POSITIONS)
    batches = (slice(start, start + SEARCHED_BATCH) for start in range(0, COMPARED_POSITIONS, SEARCHED_BATCH))
    return join([evaluator.evaluate(planes[batch], clocks[batch]) for batch in batches])


def agreement(evaluator: NetworkEvaluator, reference: NetworkEvaluator, use_memory: bool) -> dict[str, float]:
    """How often the likeliest moves are the same, and how far win minus loss differs."""
    evaluator.use_memory = reference.use_memory = use_memory
    found, expected = evaluate_in_batches(evaluator), evaluate_in_batches(reference)
    pairs = [slice(start, end) for start, end in itertools.pairwise(expected.offsets) if end > start]
    same = [found.logits[moves].argmax() == expected.logits[moves].argmax() for moves in pairs]
    difference = np.abs((found.wdl - expected.wdl) @ np.array([1, 0, -1]))
    return {
        "top1": float(np.mean(same)),
        "value_difference_mean": float(difference.mean()),
        "value_difference_99_percent": float(np.quantile(difference, 0.99)),
        "value_difference_max": float(difference.max()),
    }


def float32_evaluator() -> NetworkEvaluator:
    """What the backends are compared with."""
    files = wanted(Config())
    evaluator = NetworkEvaluator.load(files.weights, files.memory, 1, "torch")
    network, _ = load_weights(files.weights)
    evaluator.use_backend(TorchBackend(network, torch.device("cpu"), parts=1, dtype=torch.float32))
    return evaluator


def knn_speed(evaluator: NetworkEvaluator) -> dict[str, float]:
    """The shipped memory's index: time a query in batches, and the share of the exact neighbours it finds."""
    assert evaluator.retriever is not None
    retriever = evaluator.retriever
    planes, clocks = random_positions(COMPARED_POSITIONS)
    queries = evaluator.embeddings(planes, clocks)
    batches = np.split(queries, COMPARED_POSITIONS // SEARCHED_BATCH)
    runs = [timed(lambda: [retriever.search(batch) for batch in batches])[0] for _ in range(REPEATS)]
    keys = retriever.memory.project(queries).reshape(len(queries), -1)
    expected = ExactIndex(retriever.memory.position_keys).search(keys, retriever.k)
    found = retriever.search(queries)
    return {
        "knn_us_per_query": min(runs) / COMPARED_POSITIONS * 1e3,
        "knn_recall_at_k": recall((found.distances[:, 0], found.entries[:, 0]), expected),
    }


def search_speed(engine: EngineProcess, use_memory: bool) -> float:
    """Nodes a second of the engine's own `bench`."""
    switch = f"setoption name UseMemory value {str(use_memory).lower()}\nsetoption name Clear Hash\nisready"
    engine.ask(switch, "readyok")
    line, _ = engine.ask(f"bench {SEARCH_NODES}", "info string bench")
    return float(line.split(",")[-1].split()[0])


def stop_delays(engine: EngineProcess) -> list[float]:
    """Milliseconds from `stop` to `bestmove`, sorted; the search is stopped at random moments."""
    rng = random.Random(0)
    delays = []
    for _ in range(STOPS):
        engine.ask(f"position fen {rng.choice(POSITIONS)}\ngo infinite", "info depth")
        time.sleep(rng.uniform(0.02, 0.1))
        _, before = engine.ask("isready", "readyok")
        _, after = engine.ask("stop", "bestmove")
        delays.append(after - before)
    return sorted(delays)


def resident_bytes() -> int | None:
    """This process's memory, where the system tells (Linux)."""
    path = Path("/proc/self/statm")
    return int(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if path.exists() else None


def tree_cost() -> dict[str, float | None]:
    """Tree and chess without a network: microseconds and bytes a node."""
    config = Config()
    runs = [cost(UniformEvaluator(), POSITIONS, TREE_NODES, config) for _ in range(REPEATS)]
    before = resident_bytes()
    tree = grow(UniformEvaluator(), POSITIONS[1], LARGE_TREE_NODES, config)
    after = resident_bytes()
    measured = (after - before) / len(tree) if before is not None and after is not None else None
    return {
        "tree_us_per_node": min(run.seconds / run.nodes for run in runs) * 1e6,
        "bytes_per_node": measured,
        "bytes_per_node_estimated": tree.bytes / len(tree),
    }


def search_efficiency(evaluator: NetworkEvaluator, use_memory: bool) -> float:
    """Nodes a second over the evaluator's own positions a second on the same batches, without a cache."""
    evaluator.use_memory = use_memory
    runs = (cost(evaluator, POSITIONS[:6], EFFICIENCY_NODES, Config()) for _ in range(REPEATS))
    return statistics.median(run.efficiency for run in runs)


def bench_engine() -> dict[str, Any]:
    """Measure start-up, evaluator and search of the shipped net and memory."""
    engine = EngineProcess()
    _, uciok_ms = engine.ask("uci", "uciok")
    _, readyok_ms = engine.ask("isready", "readyok")
    files = wanted(Config())
    evaluators = load_evaluators()
    chosen = next(iter(evaluators))
    reference = float32_evaluator()
    backends: dict[str, Any] = {
        name: {
            "speeds": evaluator_speeds(evaluators, use_memory),
            "agreement": {
                backend: agreement(evaluator, reference, use_memory) for backend, evaluator in evaluators.items()
            },
        }
        for name, use_memory in (("with memory", True), ("without", False))
    }
    delays = stop_delays(engine)
    numbers: dict[str, Any] = {
        "uciok_ms": uciok_ms,
        "readyok_ms": readyok_ms,
        "backend": chosen,
        "evaluator_per_second": backends["with memory"]["speeds"][chosen],
        "evaluator_per_second_no_memory": backends["without"]["speeds"][chosen],
        "backends": backends,
        **knn_speed(reference),
        **tree_cost(),
        "search_efficiency": search_efficiency(evaluators[chosen], use_memory=True),
        "search_efficiency_no_memory": search_efficiency(evaluators[chosen], use_memory=False),
        "stop_ms_99_percent": delays[int(0.99 * len(delays))],
        "stop_ms_max": delays[-1],
        "nps": search_speed(engine, use_memory=True),
        "nps_no_memory": search_speed(engine, use_memory=False),
        "rss_mb": engine.peak_megabytes(),
        "memory_bytes": files.memory.stat().st_size if files.memory else None,
        "weights_bytes": files.weights.stat().st_size,
    }
    engine.quit()
    print(f"{evaluators[chosen].describe()}, {files.threads} thread(s)")
    print(f"start to uciok {uciok_ms:.0f} ms, to readyok {readyok_ms:.0f} ms, peak memory {numbers['rss_mb']:.0f} MB")
    print(
        f"{'positions a second, batch':28}" + "".join(f"{batch:>8}" for batch in EVALUATOR_BATCHES) + "    as float32"
    )
    for name, measured in backends.items():
        for backend, speeds in measured["speeds"].items():
            agreed = measured["agreement"][backend]
            print(
                f"{backend + ', ' + name:28}"
                + "".join(f"{speed:>8.0f}" for speed in speeds.values())
                + f"    best move {agreed['top1']:.1%}, value within {agreed['value_difference_99_percent']:.4f} "
                + f"(99 %), {agreed['value_difference_max']:.4f} (all)"
            )
    print(f"neighbours: {numbers['knn_us_per_query']:.0f} us a query, recall {numbers['knn_recall_at_k']:.4f}")
    ratio = numbers["nps"] / numbers["nps_no_memory"]
    print(
        f"search: {numbers['nps']:.0f} nodes a second with memory, {numbers['nps_no_memory']:.0f} without "
        f"(ratio {ratio:.2f})"
    )
    print(
        f"search efficiency {numbers['search_efficiency']:.2f} with memory, "
        f"{numbers['search_efficiency_no_memory']:.2f} without; tree and chess {numbers['tree_us_per_node']:.0f} us "
        f"and {numbers['bytes_per_node_estimated']:.0f} bytes a node"
    )
    print(f"stop to bestmove: 99 % within {numbers['stop_ms_99_percent']:.0f} ms, all {numbers['stop_ms_max']:.0f} ms")
    return numbers


def random_parts(count: int) -> list[Batch]:
    """Parts of training batches: positions of random games, a random legal move as the best one."""
    generator = np.random.default_rng(0)
    planes, clocks = random_positions(count * TRAINING_PART)
    parts = []
    for start in range(0, len(planes), TRAINING_PART):
        some = slice(start, start + TRAINING_PART)
        legal = legal_mask(planes[some])
        part = Batch(
            rows=np.arange(TRAINING_PART),
            inputs=as_inputs(features(planes[some], clocks[some]), torch.device("cpu")),
            legal=torch.from_numpy(legal),
            best=torch.from_numpy((generator.random(legal.shape) * legal).argmax(axis=1)),
            wdl=torch.from_numpy(generator.dirichlet((1, 1, 1), TRAINING_PART).astype(np.float32)),
        )
        parts.append(part)
    return parts


def matrix_rate(threads: int) -> float:
    """Floating-point operations a second of large bfloat16 matrix products, one on each of `threads` cores."""
    rows, inner, columns = MATRIX_SHAPE
    a, b = torch.randn(rows, inner, dtype=torch.bfloat16), torch.randn(inner, columns, dtype=torch.bfloat16)
    end = time.perf_counter() + MATRIX_SECONDS

    def work(_: int) -> int:
        products = 0
        while time.perf_counter() < end:
            torch.mm(a, b)
            products += 1
        return products

    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        products = sum(pool.map(work, range(threads)))
    return products * 2 * rows * inner * columns / (time.perf_counter() - start)


def step_arithmetic(network: Network, part: Batch) -> float:
    """Floating-point operations a sample in the matrix products of a forward and a backward pass."""
    with FlopCounterMode(display=False) as counter:
        losses(network(part.inputs), part).total.backward()  # type: ignore[no-untyped-call]
    network.zero_grad()
    return float(counter.get_total_flops()) / len(part.rows)


def training_speed(preset: str, parts: list[Batch], threads: int) -> dict[str, float]:
    """Whole steps of a fresh network, with the matrix rate measured before and after."""
    network = Network(PRESETS[preset], retrieval=False).to(torch.bfloat16)
    arithmetic = step_arithmetic(network, parts[0])
    replicas = Replicas(network, threads, lambda replica, batch: replica(batch.inputs))
    schedule = Schedule(steps=1, batch=TRAINING_BATCH, learning_rate=1e-3)
    masters = Masters(
        dict(network.named_parameters()), schedule.learning_rate, schedule.weight_decay, schedule.averaging
    )
    steps = itertools.count()

    def step() -> None:
        first = next(steps) * TRAINING_BATCH // TRAINING_PART % len(parts)
        replicas.learn(parts[first : first + TRAINING_BATCH // TRAINING_PART], TRAINING_BATCH)
        masters.step(schedule.learning_rate, schedule.clip, Ranks())

    step()
    before = matrix_rate(threads)
    done, start = 0, time.perf_counter()
    while (seconds := time.perf_counter() - start) < TRAINING_SECONDS:
        step()
        done += TRAINING_BATCH
    rate = (before + matrix_rate(threads)) / 2
    return {
        "parameters": sum(value.numel() for value in network.parameters()),
        "samples_per_second": done / seconds,
        "mflop_a_sample": arithmetic / 1e6,
        "gflops": arithmetic * done / seconds / 1e9,
        "matrix_gflops": rate / 1e9,
        "share_of_matrix_rate": arithmetic * done / seconds / rate,
    }


def bench_training() -> dict[str, Any]:
    """Measure the training of the presets and the preparation of batches."""
    threads = os.cpu_count() or 1
    torch.set_num_threads(1)
    parts = random_parts(4 * TRAINING_BATCH // TRAINING_PART)
    planes, clocks = random_positions(TRAINING_BATCH)
    prepare_ms = min(timed(lambda: (features(planes, clocks), legal_mask(planes)))[0] for _ in range(REPEATS))
    prepared = TRAINING_BATCH / prepare_ms * 1e3
    print(f"{threads} threads, batches of {TRAINING_BATCH} in parts of {TRAINING_PART}, bfloat16")
    print(f"batches prepared by one core: {prepared:,.0f} samples a second")
    print(
        f"{'':8}{'parameters':>12}{'samples/s':>12}{'MFLOP/sample':>14}{'GFLOP/s':>10}{'matrix rate':>13}{'share':>8}"
    )
    speeds = {}
    for preset in TRAINED_PRESETS:
        row = speeds[preset] = training_speed(preset, parts, threads)
        print(
            f"{preset:8}{row['parameters']:>12,.0f}{row['samples_per_second']:>12,.0f}{row['mflop_a_sample']:>14,.0f}"
            f"{row['gflops']:>10,.0f}{row['matrix_gflops']:>13,.0f}{row['share_of_matrix_rate']:>8.0%}",
            flush=True,
        )
    return {"prepared_per_second": prepared, **speeds}


BENCHES: dict[str, Callable[[], dict[str, Any]]] = {
    "engine": bench_engine,
    "knn": bench_knn,
    "training": bench_training,
}


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("bench", choices=BENCHES, help="what to measure")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the numbers there")
    arguments = parser.parse_args()
    numbers = BENCHES[arguments.bench]()
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
