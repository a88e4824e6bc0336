"""Build a memory offline: positions -> chunk embeddings -> keys -> clusters -> file.

Everything slow is kept in a work folder as it is made, so that a build that was killed goes on where it was
and ends with the very same bytes. The stages:

    1. select    every distinct position once; if not all are wanted, those of the most games
    2. fit       mean and principal components of the chunk embeddings of a sample
    3. embed     keys of all positions, shard by shard
    4. cluster   k-means of the position keys
    5. write     the file, then the work folder is emptied

When the backbone changes, `embed_anew` does stages 2 to 5 for what a memory holds; the games are not needed again.

The network comes in as a function: nothing here knows the model.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dejavu.retrieval.atomic import atomic_write, remove_abandoned, write_text
from dejavu.retrieval.knn import train_clusters
from dejavu.retrieval.memory import KEY_LIMIT, Memory, Provenance, encode_names, project
from dejavu.retrieval.positions import Positions, merge_equal

Embed = Callable[[NDArray[np.uint64], NDArray[np.uint8]], NDArray[np.float32]]
"""(planes [B, 4], clocks [B]) -> chunk embeddings [B, l, d]."""

Progress = Callable[[str, int, int], None]
"""(stage, positions done, positions in all), called after every step of the slow stages."""

Keys = NDArray[np.int8]
"""[B, l, c]"""

EmbedShards = Callable[[Callable[[Positions], Keys], Mapping[int, Positions]], Iterable[tuple[int, Keys]]]
"""(how to make keys, shards by number) -> keys with the numbers of their shards, in any order."""

_SHARD_ROWS = 4096
BATCH_ROWS = 512
"""Positions embedded at once, which `Embed` may share among threads."""
_CLIPPED = 0.001


class BuildError(ValueError):
    """A build that cannot go on; the message is one sentence."""


@dataclass(frozen=True)
class BuildOptions:
    """What a build may choose; a resumed build must choose the same."""

    entries: int | None = None
    """At most so many entries, those met in the most games first; None keeps all."""
    key_size: int = 96
    """Numbers a position key; each of the l chunk keys has the l-th part of them."""
    sample: int = 8192
    """Positions that mean and principal components are taken from."""
    seed: int = 0


@dataclass(frozen=True)
class BuildReport:
    """What came of a build."""

    entries: int
    duplicates: int
    """Positions dropped because an equal one is stored."""
    bytes_an_entry: float


def embed_here(make_keys: Callable[[Positions], Keys], shards: Mapping[int, Positions]) -> Iterator[tuple[int, Keys]]:
    """Make the keys of one shard after the other in this process."""
    for number, positions in shards.items():
        yield number, make_keys(positions)


@dataclass(frozen=True)
class Build:
    """How a memory is built, and where."""

    embed: Embed
    fingerprint: str
    """Names the backbone behind `embed`."""
    provenance: Provenance
    out: Path
    work: Path
    """Folder of unfinished work."""
    options: BuildOptions
    progress: Progress
    threads: int = 1
    embed_shards: EmbedShards = embed_here
    """May have the slowest stage done elsewhere."""


def build_memory(batches: Iterable[Positions], game_name: Callable[[int], str], build: Build) -> BuildReport:
    """Build a memory of positions; `game_name` names a game by its number in them.

    Raises BuildError if there is nothing to build from or the work folder holds another build, WriteError.
    """
    positions, duplicates = _select(_concatenate(batches), build.options)
    # Games keep the numbers the caller knows them by, so that it can exclude them; unused ones have no name.
    used = np.bincount(positions.game) > 0
    names, offsets = encode_names([game_name(game) if used[game] else "" for game in range(len(used))])
    provenance = _claim(build, positions, names)
    Memory(
        **_make_keys(build, positions)._asdict(),
        boards=positions.planes,
        clocks=positions.clocks,
        continuations=positions.continuations,
        wdl=np.rint(positions.wdl * 255).astype(np.uint8),
        game=positions.game,
        game_names=names,
        game_offsets=offsets,
        fingerprint=build.fingerprint,
        provenance=provenance,
    ).write(build.out)
    _empty(build.work)
    return BuildReport(len(positions), duplicates, build.out.stat().st_size / len(positions))


def embed_anew(memory: Memory, build: Build) -> BuildReport:
    """Build a memory of all that `memory` holds, which another backbone has made.

    Raises BuildError if it is empty or the work folder holds another build, WriteError.
    """
    if not len(memory):
        raise BuildError("there are no positions to build a memory from")
    positions = Positions(
        planes=memory.boards,
        clocks=memory.clocks,
        continuations=memory.continuations,
        wdl=np.divide(memory.wdl, 255, dtype=np.float32),
        game=memory.game,
    )
    provenance = _claim(build, positions, memory.game_names)
    made = _make_keys(build, positions)
    replace(memory, **made._asdict(), fingerprint=build.fingerprint, provenance=provenance).write(build.out)
    _empty(build.work)
    return BuildReport(len(positions), 0, build.out.stat().st_size / len(positions))


class _Made(NamedTuple):
    """What a backbone makes of positions, by the names of Memory."""

    keys: Keys
    key_mean: NDArray[np.float32]
    key_projection: NDArray[np.float32]
    centroids: NDArray[np.float32]
    cluster: NDArray[np.uint16]


def _make_keys(build: Build, positions: Positions) -> _Made:
    """Stages 2 to 4."""
    work, options, progress = build.work, build.options, build.progress
    mean, projection = _fit(positions, build.embed, work, options, progress)
    keys = _embed_all(positions, partial(_keys, build.embed, mean, projection), build.embed_shards, work, progress)
    return _Made(keys, mean, projection, *_cluster(keys, work, options, build.threads, progress))


def _concatenate(batches: Iterable[Positions]) -> Positions:
    parts = [batch for batch in batches if len(batch)]
    if not parts:
        raise BuildError("there are no positions to build a memory from")
    columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(Positions)}
    return Positions(**{name: np.concatenate(column) for name, column in columns.items()})


def _select(positions: Positions, options: BuildOptions) -> tuple[Positions, int]:
    """Distinct positions in their first order, and how many were dropped as equal to one that stays.

    If not all are wanted, those met in the most games stay: they are the likeliest to be met again. A random choice
    among the rest meets more games than the first so many positions would.
    """
    distinct, games = merge_equal(positions)
    duplicates = len(positions) - len(distinct)
    if options.entries is not None and options.entries < len(distinct):
        shuffled = np.random.default_rng(options.seed).permutation(len(distinct))
        chosen = shuffled[np.argsort(-games[shuffled], kind="stable")[: options.entries]]
        distinct = distinct.take(np.sort(chosen))
    return distinct, duplicates


def _claim(build: Build, positions: Positions, names: NDArray[np.uint8]) -> Provenance:
    """Make the work folder that of this build, or find that it is; -> the provenance of the first start."""
    checksum = zlib.crc32(names.data)
    for field in fields(positions):
        checksum = zlib.crc32(np.ascontiguousarray(getattr(positions, field.name)).data, checksum)
    state = {
        "positions": f"{len(positions)} {checksum:08x}",
        "fingerprint": build.fingerprint,
        "options": asdict(build.options),
    }
    work = build.work
    manifest = work / "build.json"
    work.mkdir(parents=True, exist_ok=True)
    try:
        stored = json.loads(manifest.read_text(encoding="utf-8"))
        if stored["build"] != state:
            raise BuildError(f"work folder {work} belongs to another build: finish that or remove the folder")
        return Provenance(**stored["provenance"])
    except FileNotFoundError:
        text = json.dumps({"build": state, "provenance": asdict(build.provenance)}, indent=1)
        write_text(manifest, text)
        return build.provenance
    except (json.JSONDecodeError, KeyError, TypeError):
        raise BuildError(f"{manifest} is damaged: remove the folder {work} and start again") from None


def _fit(
    positions: Positions, embed: Embed, work: Path, options: BuildOptions, progress: Progress
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean [l, d] and scaled principal components [l, d, c] of a sample's chunk embeddings.

    One scale serves all chunks and components, so that distances between keys are distances between
    embeddings, up to a factor and to the components left out. One number in a thousand exceeds an int8.
    """
    path = work / "projection.npz"
    if path.exists():
        with np.load(path) as stored:
            return stored["mean"], stored["projection"]
    generator = np.random.default_rng(options.seed)
    rows = np.sort(generator.permutation(len(positions))[: options.sample])
    parts = []
    for batch in _batches(positions.take(rows)):
        parts.append(_embed(embed, batch))
        progress("fit", sum(map(len, parts)), len(rows))
    embeddings = np.concatenate(parts)
    chunks, size = embeddings.shape[1:]
    kept = options.key_size // chunks
    if not 0 < kept <= size:
        raise BuildError(f"keys of {options.key_size} numbers cannot be made of {chunks} embeddings of {size} numbers")
    mean = embeddings.mean(axis=0, dtype=np.float64)
    components = np.empty((chunks, size, kept))
    projected = np.empty((len(embeddings), chunks, kept))
    for chunk in range(chunks):
        centred = embeddings[:, chunk] - mean[chunk]
        _, vectors = np.linalg.eigh(centred.T @ centred)  # ascending eigenvalues
        components[chunk] = vectors[:, : -kept - 1 : -1]
        projected[:, chunk] = centred @ components[chunk]
    largest = np.quantile(np.abs(projected), 1 - _CLIPPED)
    if not largest > 0:
        raise BuildError("the embeddings of all positions are equal, so no keys can be made from them")
    projection = components * (KEY_LIMIT / largest)
    fitted = {"mean": mean.astype(np.float32), "projection": projection.astype(np.float32)}
    with atomic_write(path) as file:
        np.savez(file, **fitted)
    return fitted["mean"], fitted["projection"]


def _embed_all(
    positions: Positions,
    make_keys: Callable[[Positions], Keys],
    embed_shards: EmbedShards,
    work: Path,
    progress: Progress,
) -> Keys:
    """Keys of all positions, from the shards already there and those made now."""
    starts = range(0, len(positions), _SHARD_ROWS)
    paths = [work / f"keys-{number:05d}.npy" for number in range(len(starts))]
    missing = {
        number: positions.take(np.arange(start, min(start + _SHARD_ROWS, len(positions))))
        for number, start in enumerate(starts)
        if not paths[number].exists()
    }
    done = len(positions) - sum(map(len, missing.values()))
    progress("embed", done, len(positions))
    for number, keys in embed_shards(make_keys, missing):
        with atomic_write(paths[number]) as file:
            np.save(file, keys)
        done += len(keys)
        progress("embed", done, len(positions))
    return np.concatenate([np.load(path) for path in paths])


def _keys(embed: Embed, mean: NDArray[np.float32], projection: NDArray[np.float32], positions: Positions) -> Keys:
    batches = [project(_embed(embed, batch), mean, projection) for batch in _batches(positions)]
    return np.concatenate(batches).astype(np.int8)


def _cluster(
    keys: NDArray[np.int8], work: Path, options: BuildOptions, threads: int, progress: Progress
) -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
    """Centroids and clusters of the position keys, see `train_clusters`."""
    path = work / "clusters.npz"
    if not path.exists():
        progress("cluster", 0, len(keys))
        centroids, cluster = train_clusters(keys.reshape(len(keys), -1), options.seed, threads)
        with atomic_write(path) as file:
            np.savez(file, centroids=centroids, cluster=cluster)
    progress("cluster", len(keys), len(keys))
    with np.load(path) as stored:
        return stored["centroids"], stored["cluster"]


def _batches(positions: Positions) -> Iterator[Positions]:
    for start in range(0, len(positions), BATCH_ROWS):
        yield positions.take(np.arange(start, min(start + BATCH_ROWS, len(positions))))


def _embed(embed: Embed, batch: Positions) -> NDArray[np.float32]:
    embeddings = embed(batch.planes, batch.clocks)
    if not np.isfinite(embeddings).all():
        raise BuildError("the network gave an embedding that is not finite")
    return embeddings


def _empty(work: Path) -> None:
    """Remove what the build left in `work`, and the folder if nothing else is in it."""
    made = ["build.json", "projection.npz", "clusters.npz", "keys-*.npy"]
    remove_abandoned(work)
    for path in [path for pattern in made for path in work.glob(pattern)]:
        path.unlink()
    if not any(work.iterdir()):
        work.rmdir()
