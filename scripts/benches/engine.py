"""The shipped net and memory: start-up, positions a second of every backend and how far it agrees with torch in
float32, the search for neighbours, nodes a second with memory and without, what the tree costs beside the network, and
how soon `stop` is obeyed."""

from __future__ import annotations

import itertools
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benches.common import REPEATS, random_positions, timed
from dejavu.engine.loader import wanted
from dejavu.engine.options import Config
from dejavu.engine.search.bench import POSITIONS, cost, grow
from dejavu.engine.search.evaluator import UniformEvaluator
from dejavu.model.backends import PREFERENCE
from dejavu.model.backends.protocol import BackendError
from dejavu.model.backends.torch_backend import TorchBackend
from dejavu.model.evaluations import Evaluations, join
from dejavu.model.inference import NetworkEvaluator
from dejavu.model.weights import load_weights
from dejavu.retrieval.knn import ExactIndex, recall

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


class EngineProcess:
    """The engine as a GUI runs it: lines in, lines out."""

    def __init__(self, caches: str) -> None:
        """`caches` is the folder that takes the place of the user's caches."""
        environment = {**os.environ, "XDG_CACHE_HOME": caches, "LOCALAPPDATA": caches}
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dejavu.engine"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def start(self) -> tuple[float, float]:
        """Milliseconds from the start of the process to `uciok` and to `readyok`."""
        _, uciok_ms = self.ask("uci", "uciok")
        _, readyok_ms = self.ask("isready", "readyok")
        return uciok_ms, readyok_ms

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


def evaluator_speed(evaluator: NetworkEvaluator, batch: int, memory: bool) -> float:
    """Positions a second in batches of `batch`."""
    planes, clocks = random_positions(EVALUATED_POSITIONS)
    evaluator.evaluate(planes[:batch], clocks[:batch], memory)
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < EVALUATOR_SECONDS:
        first = done % (EVALUATED_POSITIONS - batch)
        evaluator.evaluate(planes[first : first + batch], clocks[first : first + batch], memory)
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
                speed = evaluator_speed(evaluator, int(batch), use_memory)
                speeds[backend][batch] = max(speed, speeds[backend].get(batch, 0.0))
    return speeds


def evaluate_in_batches(evaluator: NetworkEvaluator, memory: bool) -> Evaluations:
    """The first COMPARED_POSITIONS, in batches as the search sends them."""
    planes, clocks = random_positions(COMPARED_POSITIONS)
    batches = (slice(start, start + SEARCHED_BATCH) for start in range(0, COMPARED_POSITIONS, SEARCHED_BATCH))
    return join([evaluator.evaluate(planes[batch], clocks[batch], memory) for batch in batches])


def agreement(evaluator: NetworkEvaluator, reference: NetworkEvaluator, use_memory: bool) -> dict[str, float]:
    """How often the likeliest moves are the same, and how far win minus loss differs."""
    found, expected = (evaluate_in_batches(each, use_memory) for each in (evaluator, reference))
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
    config = Config(use_memory=use_memory)
    runs = (cost(evaluator, POSITIONS[:6], EFFICIENCY_NODES, config) for _ in range(REPEATS))
    return statistics.median(run.efficiency for run in runs)


def bench() -> dict[str, Any]:
    """Measure start-up, evaluator and search of the shipped net and memory."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None  # of what else the machine does
    with tempfile.TemporaryDirectory() as caches:
        first = EngineProcess(caches)
        _, first_readyok_ms = first.start()
        first.quit()
        engine = EngineProcess(caches)
        uciok_ms, readyok_ms = engine.start()
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
        "load": load,
        "uciok_ms": uciok_ms,
        "readyok_ms": readyok_ms,
        "first_readyok_ms": first_readyok_ms,
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
    print(
        f"start to uciok {uciok_ms:.0f} ms, to readyok {readyok_ms:.0f} ms (the very first {first_readyok_ms:.0f} ms), "
        f"peak memory {numbers['rss_mb']:.0f} MB"
    )
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
