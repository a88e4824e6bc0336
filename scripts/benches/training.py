"""Samples a second of whole training steps, the arithmetic in them, and its share of the rate at which the same cores
multiply large matrices at the same time of day, without and with torch.compile (which wants a C++ compiler); and how
fast batches are prepared."""

from __future__ import annotations

import itertools
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benches.common import REPEATS, random_positions, timed
from dejavu.model.backbone import as_inputs
from dejavu.model.chess.attacks import legal_mask
from dejavu.model.chess.encoding import UNDERPROMOTION_OFFSET
from dejavu.model.chess.features import features
from dejavu.model.config import PRESETS
from dejavu.model.network import Network
from dejavu.model.training.auxiliary import PIECE_CODES, AuxiliaryHeads, Continuation
from dejavu.model.training.batches import Batch
from dejavu.model.training.checkpoint import MasterWeights
from dejavu.model.training.loop import Schedule
from dejavu.model.training.losses import losses_with_auxiliary
from dejavu.model.training.ranks import Ranks
from dejavu.model.training.replicas import Replicas

TRAINED_PRESETS = ("small", "base")
TRAINING_BATCH = 256
TRAINING_PART = 64
TRAINING_SECONDS = 15.0
MATRIX_SHAPE = (4096, 512, 512)
MATRIX_SECONDS = 3.0


def random_parts(count: int) -> list[Batch]:
    """Parts of training batches: positions of random games, a random legal move as the best one."""
    generator = np.random.default_rng(0)
    planes, clocks = random_positions(count * TRAINING_PART)
    parts = []
    for start in range(0, len(planes), TRAINING_PART):
        some = slice(start, start + TRAINING_PART)
        legal = legal_mask(planes[some])
        continuation = Continuation(
            torch.from_numpy(generator.integers(0, UNDERPROMOTION_OFFSET, TRAINING_PART)),
            torch.from_numpy(generator.integers(0, PIECE_CODES, (TRAINING_PART, 64))),
        )
        part = Batch(
            rows=np.arange(TRAINING_PART),
            inputs=as_inputs(features(planes[some], clocks[some]), torch.device("cpu")),
            legal=torch.from_numpy(legal),
            best=torch.from_numpy((generator.random(legal.shape) * legal).argmax(axis=1)),
            wdl=torch.from_numpy(generator.dirichlet((1, 1, 1), TRAINING_PART).astype(np.float32)),
            continuation=continuation,
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


def step_arithmetic(network: AuxiliaryHeads, part: Batch) -> float:
    """Floating-point operations a sample in the matrix products of a forward and a backward pass."""
    with FlopCounterMode(display=False) as counter:
        losses_with_auxiliary(network, part).total.backward()  # type: ignore[no-untyped-call]
    network.zero_grad()
    return float(counter.get_total_flops()) / len(part.rows)


def training_speed(preset: str, compiled: bool, parts: list[Batch], threads: int) -> dict[str, float]:
    """Whole steps of a fresh network, as train.py makes them, with the matrix rate measured before and after."""
    network = AuxiliaryHeads(Network(PRESETS[preset], retrieval=False)).to(torch.bfloat16)
    arithmetic = step_arithmetic(network, parts[0])
    replicas = Replicas(network, threads, losses_with_auxiliary, compiled)
    schedule = Schedule(steps=1, batch=TRAINING_BATCH, learning_rate=1e-3)
    masters = MasterWeights(
        dict(network.named_parameters()), schedule.learning_rate, schedule.weight_decay, schedule.averaging, threads
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


def bench() -> dict[str, Any]:
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
        f"{'':16}{'parameters':>12}{'samples/s':>12}{'MFLOP/sample':>14}{'GFLOP/s':>10}{'matrix rate':>13}{'share':>8}"
    )
    speeds = {}
    for preset, compiled in itertools.product(TRAINED_PRESETS, (False, True)):
        name = f"{preset}, compiled" if compiled else preset
        try:
            row = speeds[name] = training_speed(preset, compiled, parts, threads)
        except RuntimeError as error:  # of torch.compile, most likely for want of a C++ compiler
            if not compiled:
                raise
            print(f"{name:16}not measured: {str(error).strip().splitlines()[0]}")
            continue
        print(
            f"{name:16}{row['parameters']:>12,.0f}{row['samples_per_second']:>12,.0f}{row['mflop_a_sample']:>14,.0f}"
            f"{row['gflops']:>10,.0f}{row['matrix_gflops']:>13,.0f}{row['share_of_matrix_rate']:>8.0%}",
            flush=True,
        )
    return {"prepared_per_second": prepared, **speeds}
