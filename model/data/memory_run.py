"""Building the memory: positions of games, or of another memory, embedded by a trained backbone, in one file."""

from __future__ import annotations

import datetime
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch

from dejavu.model.data.dataset import SPLITS, Dataset
from dejavu.model.data.game_files import name_broken
from dejavu.model.data.prepare import PrepareRun, prepare
from dejavu.model.data.records import positions
from dejavu.model.data.shards import open_data
from dejavu.model.inference import load_backbone
from dejavu.retrieval.build import Build, BuildOptions, BuildReport, Keys, build_memory, embed_anew, embed_here
from dejavu.retrieval.cluster import Cluster
from dejavu.retrieval.knn import ExactIndex, position_index, recall
from dejavu.retrieval.memory import Memory, Provenance
from dejavu.retrieval.positions import Positions
from dejavu.retrieval.progress import Stages

ROWS_A_BATCH = 65536
MEASURED_QUERIES = 256
MEASURED_NEIGHBOURS = 4


@dataclass(frozen=True)
class MemoryRun:
    """What a memory is built from; started again with the same values after a kill, it goes on where it was."""

    out: Path
    weights: Path
    """Of the backbone."""
    data: Sequence[Path] = ()
    """Data sets, and folders of games of self-play ..."""
    games: Sequence[Path] = ()
    """... or else game files, all of whose games are taken ..."""
    memory: Path | None = None
    """... or else a memory of any backbone, all that it holds."""
    entries: int | None = None
    """At most so many, those met in the most games; None: all."""
    split: Sequence[str] = ("memory",)
    """Which games of the data sets: names of SPLITS."""
    work: Path | None = None
    """Folder of unfinished work; None: beside the memory."""
    seed: int = 0
    threads: int = field(default_factory=torch.get_num_threads)
    """CPU cores, of each worker of a cluster, too."""
    cluster: str | None = None
    """Address of a Ray cluster whose workers embed the positions."""
    command: str = ""
    """What was asked for, in words that are kept with the memory."""

    @property
    def work_folder(self) -> Path:
        return self.work or self.out.with_name(self.out.name + ".work")


@dataclass(frozen=True)
class MemoryReport:
    """The memory that was built."""

    built: BuildReport
    seconds: float
    recall: float
    """Of its index, for MEASURED_NEIGHBOURS neighbours."""
    microseconds: float
    """A query."""
    out: Path

    def __str__(self) -> str:
        built = self.built
        return (
            f"{built.entries:,} entries of {built.bytes_an_entry:.1f} bytes, made in {self.seconds:.0f} s\n"
            f"{built.duplicates:,} duplicate positions dropped\n"
            f"recall@{MEASURED_NEIGHBOURS} {self.recall:.4f}, {self.microseconds:.0f} microseconds a query\n"
            f"wrote {self.out}, {self.out.stat().st_size / 1e6:.1f} MB"
        )


def batches(dataset: Dataset, splits: Sequence[str]) -> Iterator[Positions]:
    """All positions of some splits, a batch at a time."""
    rows = np.sort(np.concatenate([dataset.rows(SPLITS[split]) for split in splits]))
    for start in range(0, len(rows), ROWS_A_BATCH):
        yield positions(dataset, rows[start : start + ROWS_A_BATCH])


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


def dataset_of(run: MemoryRun, path: Path) -> Dataset:
    """The data set to build from; that of game files is made once, at `path`, and kept until the memory is built."""
    if run.data:
        return open_data(run.data)
    if path.exists():
        return Dataset.open(path)
    prepared = prepare(PrepareRun(run.games, path, memory=1.0, held_out=0.0, processes=run.threads))
    name_broken(prepared.broken)
    print(prepared)
    return prepared.dataset


def make_memory(run: MemoryRun, complain: Callable[[str], None]) -> MemoryReport:
    """Build, and open what was built; `complain` is told of workers of the cluster that die.

    Raises GameFileError, DatasetError, WeightsError, BuildError, MemoryFileError, ClusterError and WriteError.
    """
    start = time.monotonic()
    torch.set_num_threads(run.threads)
    prepared = data_of_games(run.games, run.work_folder)  # once: the files may be touched while it builds
    source = Memory.open(run.memory, all_sums=True) if run.memory else dataset_of(run, prepared)
    backbone = load_backbone(run.weights, run.threads)
    provenance = Provenance(
        sources=source.provenance.sources if isinstance(source, Memory) else ", ".join(source.sources),
        command=run.command,
        date=datetime.date.today().isoformat(),
    )
    run.out.parent.mkdir(parents=True, exist_ok=True)
    cluster = Cluster(run.cluster, run.threads, complain) if run.cluster else None
    with closing(Stages("positions")) as bars:
        build = Build(
            backbone.embed_chunks,
            backbone.fingerprint,
            provenance,
            run.out,
            run.work_folder,
            BuildOptions(entries=run.entries, seed=run.seed),
            bars,
            run.threads,
            partial(embed_on, cluster) if cluster is not None else embed_here,
        )
        if isinstance(source, Memory):
            built = embed_anew(source, build)
        else:
            built = build_memory(batches(source, run.split), source.game_name, build)
    if cluster is not None:
        cluster.close()
    if run.games:
        prepared.unlink(missing_ok=True)
        if not any(run.work_folder.iterdir()):
            run.work_folder.rmdir()
    Memory.verify(run.out)  # opening a large memory leaves out the sums of its bulk
    seconds = time.monotonic() - start
    share, microseconds = measure(Memory.open(run.out, backbone.fingerprint), run.threads)
    return MemoryReport(built, seconds, share, microseconds, run.out)
