"""Build the memory: games set aside for it, embedded by a trained backbone, in one file.

    python scripts/build_memory.py --data runs/data.safetensors --weights runs/small/weights.safetensors \\
        --out runs/memory.safetensors --entries 150000
    python scripts/build_memory.py --games *.pgn.zst --out runs/large.safetensors --entries 1000000

The first takes the games that a data set keeps for the memory, the second all games of files, for the shipped network:
a large memory to play with (MemoryFile). A limited memory keeps the positions that most games met.

    python scripts/build_memory.py ... --cluster auto

The last has the positions embedded on the workers of a Ray cluster; a worker that dies loses its own shard alone.

Started again with the same arguments after a kill, a build goes on where it was and ends with the same file.
"""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import torch
from command_line.ending import GOES_ON, one_sentence
from command_line.game_files import GameFileError, game_file
from prepare_data import prepare
from tqdm import tqdm

from dejavu.engine.options import Config
from dejavu.engine.selfplay.cluster import Cluster, ClusterError
from dejavu.engine.uci.loader import wanted
from dejavu.model.data.dataset import SPLITS, Dataset, DatasetError
from dejavu.model.data.records import positions
from dejavu.model.data.shards import open_data
from dejavu.model.inference import load_backbone
from dejavu.model.weights import WeightsError
from dejavu.retrieval.build import BuildError, BuildOptions, Keys, build_memory, embed_here
from dejavu.retrieval.knn import ExactIndex, position_index, recall
from dejavu.retrieval.memory import Memory, MemoryFileError, Provenance
from dejavu.retrieval.positions import Positions

ROWS_A_BATCH = 65536
MEASURED_QUERIES = 256
MEASURED_NEIGHBOURS = 4


def batches(dataset: Dataset, splits: Sequence[str]) -> Iterator[Positions]:
    """All positions of some splits, a batch at a time."""
    rows = np.sort(np.concatenate([dataset.rows(SPLITS[split]) for split in splits]))
    for start in range(0, len(rows), ROWS_A_BATCH):
        yield positions(dataset, rows[start : start + ROWS_A_BATCH])


class ProgressBars:
    """One progress bar a stage, opened when the stage is first heard of."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._stage = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage != self._stage:
            self.close()
            # What a resumed build finds done counts for the bar, not for its speed.
            self._bar = tqdm(total=total, initial=done, desc=stage, unit=" positions", unit_scale=True)
            self._stage = stage
        assert self._bar is not None
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Finish the last bar."""
        if self._bar is not None:
            self._bar.close()


def measure(memory: Memory, threads: int) -> tuple[float, float]:
    """Recall of the memory's index and its microseconds a query, entries asking for others' games."""
    rows = np.random.default_rng(0).permutation(len(memory))[:MEASURED_QUERIES]
    queries, games = memory.position_keys[rows].astype(np.float32), memory.game[rows]
    expected = ExactIndex(memory.position_keys, memory.game).search(queries, MEASURED_NEIGHBOURS, games)
    index = position_index(memory, threads)
    index.search(queries[:1], MEASURED_NEIGHBOURS)  # the first search pays for faiss's threads
    start = time.perf_counter()
    found = index.search(queries, MEASURED_NEIGHBOURS, games)
    return recall(found, expected), (time.perf_counter() - start) / len(rows) * 1e6


def embed_on(
    cluster: Cluster, make_keys: Callable[[Positions], Keys], shards: Mapping[int, Positions]
) -> Iterator[tuple[int, Keys]]:
    """Make the keys of the shards on the workers of a cluster."""
    return cluster.run(partial(embed_here, make_keys), shards, bundle=1)


def data_of_games(paths: Sequence[Path], work: Path) -> Path:
    """Where the data set of game files lies among the unfinished work: another file if the games are others."""
    states = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    return work / f"games-{zlib.crc32(repr(states).encode()):08x}.safetensors"


def dataset_of(arguments: argparse.Namespace, work: Path) -> Dataset:
    """The data set to build from; that of game files is made once and kept until the memory is built."""
    if arguments.data is not None:
        return open_data(arguments.data)
    path = data_of_games(arguments.games, work)
    if path.exists():
        return Dataset.open(path)
    work.mkdir(parents=True, exist_ok=True)
    return prepare(arguments.games, path, memory=1.0, held_out=0.0, processes=arguments.threads)


def build(arguments: argparse.Namespace) -> None:
    """Build, open what was built, and say what came of it."""
    start = time.monotonic()
    work = arguments.work or arguments.out.with_name(arguments.out.name + ".work")
    dataset = dataset_of(arguments, work)
    backbone = load_backbone(arguments.weights, arguments.threads)
    provenance = Provenance(
        sources=", ".join(dataset.sources),
        command=arguments.command,
        date=datetime.date.today().isoformat(),
    )
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(arguments.cluster, arguments.threads, complain) if arguments.cluster else None
    with closing(ProgressBars()) as bars:
        report = build_memory(
            batches(dataset, arguments.split),
            backbone.embed_chunks,
            dataset.game_name,
            backbone.fingerprint,
            provenance,
            arguments.out,
            work,
            BuildOptions(entries=arguments.entries, seed=arguments.seed),
            bars,
            arguments.threads,
            partial(embed_on, cluster) if cluster is not None else embed_here,
        )
    if cluster is not None:
        cluster.close()
    if arguments.games:
        data_of_games(arguments.games, work).unlink()
        if not any(work.iterdir()):
            work.rmdir()
    Memory.verify(arguments.out)  # opening a large memory leaves out the sums of its bulk
    seconds = time.monotonic() - start
    share, microseconds = measure(Memory.open(arguments.out, backbone.fingerprint), arguments.threads)
    print(f"{report.entries:,} entries of {report.bytes_an_entry:.1f} bytes, made in {seconds:.0f} s")
    print(f"{report.duplicates:,} duplicate positions dropped")
    print(f"recall@{MEASURED_NEIGHBOURS} {share:.4f}, {microseconds:.0f} microseconds a query")
    print(f"wrote {arguments.out}, {arguments.out.stat().st_size / 1e6:.1f} MB")


def complain(text: str) -> None:
    """Say on standard error what does not stop the build."""
    tqdm.write(f"build_memory: {text}", file=sys.stderr)


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line `words`, or that of the process."""
    words = sys.argv[1:] if words is None else words
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--data",
        type=Path,
        nargs="+",
        help="data sets of scripts/prepare_data.py, folders of scripts/selfplay.py; the same as in training",
    )
    source.add_argument("--games", nargs="+", type=game_file, metavar="PGN", help="or all games of these files")
    shipped = wanted(Config()).weights
    parser.add_argument("--weights", type=Path, default=shipped, help="trained backbone (default: the shipped one)")
    parser.add_argument("--out", type=Path, required=True, help="memory to write")
    parser.add_argument("--entries", type=int, help="at most so many, those met in the most games (default: all)")
    parser.add_argument(
        "--split", choices=SPLITS, nargs="+", default=["memory"], help="which games (default: those set aside for it)"
    )
    parser.add_argument("--work", type=Path, help="folder of unfinished work (default: beside the memory)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU cores, of each worker, too")
    parser.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="embed on this Ray cluster (HOST:PORT, auto, or local: this machine's cores)",
    )
    arguments = parser.parse_args(words)
    arguments.command = shlex.join(["build_memory.py", *words])
    if arguments.entries is not None and arguments.entries < 1:
        parser.error("--entries must be at least 1")
    torch.set_num_threads(arguments.threads)
    with one_sentence(
        "build_memory",
        GameFileError,
        DatasetError,
        WeightsError,
        BuildError,
        MemoryFileError,
        ClusterError,
        OSError,
        stopped=GOES_ON,
    ):
        build(arguments)


if __name__ == "__main__":
    main()
