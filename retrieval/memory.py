"""The memory: one precomputed embedding file, written offline and opened by the engine at start.

The file is a safetensors file (https://github.com/huggingface/safetensors: eight bytes of header length, a
JSON header, the raw tensors). It is read and written here rather than by that library for two reasons: the
tensors are views of the file's bytes, mapped where they are many, so that opening costs a quarter of a second
at most at any size, and the bytes are the same every time the same memory is written. For n entries of l chunk
keys with c numbers each, made from chunk embeddings of d numbers, and G games:

    keys            int8    [n, l, c]  chunk keys; a position's key is their concatenation
    key_mean        float32 [l, d]     `project` subtracts this from an embedding and
    key_projection  float32 [l, d, c]  multiplies by this: the result is in the units of the keys
    boards          uint64  [n, 4]     packed positions, seen from the side to move
    clocks          uint8   [n]        half-move clock and repetition
    continuations   uint16  [n, 8]     policy indices of the plies that came next; NO_MOVE where unknown
    wdl             uint8   [n, 3]     win, draw, loss of the side to move, in 255ths
    game            int32   [n]        source game, 0 to G - 1
    centroids       float32 [C, l * c] k-means centres of the position keys
    cluster         uint16  [n]        the nearest centre of every entry
    game_names      uint8   [bytes]    UTF-8, lines as `names.GameName` reads them, end to end
    game_offsets    int64   [G + 1]    where each game's name begins in game_names

The metadata hold the format version, the fingerprint of the backbone that made the keys, where the entries
come from, what was added after the build, and a CRC-32 of every tensor and of the metadata themselves.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dejavu.retrieval.atomic import atomic_write
from dejavu.retrieval.moves import POLICY_SIZE
from dejavu.retrieval.text import plain

FORMAT = "dejavu-memory-1"
KEY_LIMIT = 127

VERIFY_AT_OPEN_BYTES = 256 * 2**20
"""`Memory.open` reads files up to this size and checks the sums of their bulk tensors (a quarter of a second at most);
larger ones are mapped, and those sums are checked only by `Memory.verify`, which a caller may run in the background."""

_PROJECTED_AT_ONCE = 64
"""Embeddings of so many positions stay in a core's cache, and take a tenth of the time of eight times as many."""
_HEADER_LIMIT = 2**20
_ALIGNMENT = 64
_DTYPES = {"I8": "<i1", "U8": "<u1", "U16": "<u2", "I32": "<i4", "I64": "<i8", "U64": "<u8", "F32": "<f4"}
_LAYOUT: Mapping[str, tuple[str, str]] = {
    # tensor: (safetensors dtype, dimensions; a letter stands for the same number everywhere)
    "boards": ("U64", "n 4"),
    "game_offsets": ("I64", "g"),
    "game": ("I32", "n"),
    "key_mean": ("F32", "l d"),
    "key_projection": ("F32", "l d c"),
    "centroids": ("F32", "C k"),
    "continuations": ("U16", "n 8"),
    "cluster": ("U16", "n"),
    "keys": ("I8", "n l c"),
    "clocks": ("U8", "n"),
    "wdl": ("U8", "n 3"),
    "game_names": ("U8", "b"),
}
_ALWAYS_VERIFIED = ("game_offsets", "key_mean", "key_projection", "centroids", "game_names")
_ADDED = "added"
_METADATA_SUM = "metadata_crc32"


class MemoryFileError(ValueError):
    """A memory that cannot be used; the message is one sentence that names the file and what is wrong."""


@dataclass(frozen=True)
class Provenance:
    """How a memory was built: kept in its metadata, read by people."""

    sources: str
    """Names of the files the games come from."""
    command: str
    date: str
    """Day of the build, ISO 8601."""


@dataclass(frozen=True)
class Source:
    """Games that were added to a memory after its build."""

    name: str
    first_game: int
    games: int
    """How many, numbered one after the other."""
    date: str
    """Day they were added, ISO 8601."""


@dataclass(frozen=True, eq=False)
class Memory:
    """An embedding file's contents; arrays of an opened one are read-only views of it."""

    keys: NDArray[np.int8]
    key_mean: NDArray[np.float32]
    key_projection: NDArray[np.float32]
    boards: NDArray[np.uint64]
    clocks: NDArray[np.uint8]
    continuations: NDArray[np.uint16]
    wdl: NDArray[np.uint8]
    game: NDArray[np.int32]
    centroids: NDArray[np.float32]
    cluster: NDArray[np.uint16]
    game_names: NDArray[np.uint8]
    game_offsets: NDArray[np.int64]
    fingerprint: str
    """Hexadecimal name of the backbone's weights; keys of another backbone mean nothing."""
    provenance: Provenance
    added: tuple[Source, ...] = ()

    ENTRY_ARRAYS: ClassVar[tuple[str, ...]] = tuple(name for name, (_, shape) in _LAYOUT.items() if shape[0] == "n")
    """Names of the arrays that have a row for every entry."""

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def position_keys(self) -> NDArray[np.int8]:
        """[n, l * c]: the chunk keys of every entry, end to end."""
        return self.keys.reshape(len(self.keys), -1)

    def project(self, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Chunk embeddings [B, l, d] -> queries [B, l, c], see `project`."""
        return project(embeddings, self.key_mean, self.key_projection)

    @property
    def games(self) -> int:
        """G: games, those without an entry included."""
        return len(self.game_offsets) - 1

    def game_name(self, game: int) -> str:
        """The line that names a source game: "White - Black, Event, Year, Opening (ECO)"."""
        start, end = self.game_offsets[game : game + 2]
        return plain(self.game_names[start:end].tobytes().decode("utf-8", errors="replace"))

    def write(self, path: Path) -> None:
        """Write the file in one step: a reader sees the old file or the whole new one, never a part.

        Raises MemoryFileError if the arrays do not fit together, WriteError if the disk refuses.
        """
        tensors = {name: np.ascontiguousarray(getattr(self, name)) for name in _LAYOUT}
        _check(path, tensors)
        metadata = {"format": FORMAT, "fingerprint": self.fingerprint, **asdict(self.provenance)}
        if self.added:
            metadata[_ADDED] = json.dumps([asdict(source) for source in self.added])
        metadata |= {f"crc32 {name}": f"{zlib.crc32(tensor.data):08x}" for name, tensor in tensors.items()}
        metadata[_METADATA_SUM] = _metadata_sum(metadata)
        header: dict[str, Any] = {"__metadata__": metadata}
        end = 0
        for name, tensor in tensors.items():
            begin, end = end, end + tensor.nbytes
            header[name] = {
                "dtype": _LAYOUT[name][0],
                "shape": list(tensor.shape),
                "data_offsets": [begin, end],
            }
        text = json.dumps(header, sort_keys=True).encode()
        text += b" " * (-(len(text) + 8) % _ALIGNMENT)
        with atomic_write(path) as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for tensor in tensors.values():
                file.write(tensor.data)

    @classmethod
    def open(cls, path: Path, fingerprint: str | None = None, all_sums: bool = False) -> Memory:
        """Read the file and check it: header, metadata, shapes, dtypes, ranges of every index, sums.

        Past VERIFY_AT_OPEN_BYTES it is mapped, and the sums of the bulk tensors are left to `verify`, unless
        `all_sums` are wanted at once: what is made of a memory gets sums of its own, which a damage would not break.
        `fingerprint` names the backbone that will ask; None accepts any. Raises MemoryFileError.
        """
        tensors, metadata = _contents(path)
        if fingerprint is not None and metadata["fingerprint"] != fingerprint:
            raise MemoryFileError(
                f"memory {path} was built for other weights (fingerprint {metadata['fingerprint'][:12]}, "
                f"these weights have {fingerprint[:12]}); scripts/build_memory.py --memory makes it theirs"
            )
        whole = all_sums or path.stat().st_size <= VERIFY_AT_OPEN_BYTES
        _verify_sums(path, tensors, metadata, tensors if whole else _ALWAYS_VERIFIED)
        _check(path, tensors)
        provenance = Provenance(**{field.name: metadata[field.name] for field in fields(Provenance)})
        added = _added(path, metadata, len(tensors["game_offsets"]) - 1)
        return cls(**tensors, fingerprint=metadata["fingerprint"], provenance=provenance, added=added)

    @staticmethod
    def verify(path: Path) -> None:
        """Read the whole file and check the sum of every tensor; raises MemoryFileError."""
        tensors, metadata = _contents(path)
        _verify_sums(path, tensors, metadata, tensors)


def project(
    embeddings: NDArray[np.float32], mean: NDArray[np.float32], projection: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Chunk embeddings [B, l, d] -> queries [B, l, c]: whole numbers from -127 to 127, as float32.

    Queries are rounded just like stored keys: an entry then finds itself at distance 0, and every distance is
    a whole number that float32 holds exactly, whatever the order of the additions.
    """
    if len(embeddings) > _PROJECTED_AT_ONCE:
        starts = range(0, len(embeddings), _PROJECTED_AT_ONCE)
        return np.concatenate(
            [project(embeddings[start : start + _PROJECTED_AT_ONCE], mean, projection) for start in starts]
        )
    product = np.matmul((embeddings - mean).transpose(1, 0, 2), projection).transpose(1, 0, 2)
    keys: NDArray[np.float32] = np.clip(np.rint(product), -KEY_LIMIT, KEY_LIMIT).astype(np.float32)
    return keys


def encode_names(names: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Names of games, one line each -> (game_names, game_offsets)."""
    encoded = {name: plain(name).encode() for name in dict.fromkeys(names)}
    lines = [encoded[name] for name in names]
    offsets = np.cumsum([0, *map(len, lines)], dtype=np.int64)
    return np.frombuffer(b"".join(lines), dtype=np.uint8), offsets


def _contents(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Views of the file's tensors, with the right dtypes and inside the file, and its metadata."""
    try:
        size = path.stat().st_size
        if size < 8:
            raise MemoryFileError(f"memory {path} is not a memory file: it has only {size} bytes")
        if size > VERIFY_AT_OPEN_BYTES:
            raw: NDArray[np.uint8] = np.memmap(path, dtype=np.uint8, mode="r")
        else:
            # Its sums want all of it anyway, and if it were mapped, a copy over the file would end the engine.
            raw = np.fromfile(path, dtype=np.uint8)
            raw.flags.writeable = False
            size = len(raw)
    except OSError as error:
        raise MemoryFileError(f"memory {path} cannot be read: {error.strerror or error}") from None
    header_end = 8 + int.from_bytes(raw[:8].tobytes(), "little")
    if header_end > 8 + _HEADER_LIMIT:
        raise MemoryFileError(f"memory {path} is not a memory file: its header claims {header_end - 8} bytes")
    if header_end > size:
        raise MemoryFileError(f"memory {path} is cut short: it ends inside its header")
    try:
        header = json.loads(raw[8:header_end].tobytes())
    except (ValueError, RecursionError):
        raise MemoryFileError(f"memory {path} has a damaged header: it is not valid JSON") from None
    metadata = _metadata(path, header)
    data = np.asarray(raw[header_end:])
    return {name: _view(path, header, name, data) for name in _LAYOUT}, metadata


def _metadata(path: Path, header: object) -> dict[str, str]:
    """The header's metadata, complete and undamaged."""
    found = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise MemoryFileError(f"memory {path} is not a memory file: its header has no metadata")
    if found.get("format") != FORMAT:
        raise MemoryFileError(f"memory {path} has format {found.get('format')!r}, not {FORMAT!r}")
    metadata = {str(name): value for name, value in found.items()}
    if metadata.pop(_METADATA_SUM, None) != _metadata_sum(metadata):
        raise MemoryFileError(f"memory {path} has a damaged header: its metadata do not match their checksum")
    for name in ("fingerprint", *(field.name for field in fields(Provenance))):
        if name not in metadata:
            raise MemoryFileError(f"memory {path} does not say its {name}")
    return metadata


def _added(path: Path, metadata: Mapping[str, str], games: int) -> tuple[Source, ...]:
    """What was added after the build, from the metadata; games there are `games`."""
    try:
        sources = tuple(Source(**item) for item in json.loads(metadata.get(_ADDED, "[]")))
        sound = all(
            type(item.first_game) is type(item.games) is int
            and 0 <= item.first_game <= item.first_game + item.games <= games
            and isinstance(item.name, str)
            and isinstance(item.date, str)
            for item in sources
        )
    except (ValueError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise MemoryFileError(f"memory {path} is damaged: its list of added games is malformed")
    return sources


def _view(path: Path, header: Mapping[str, Any], name: str, data: NDArray[np.uint8]) -> NDArray[Any]:
    """The tensor `name` as a view of `data`, the file after its header."""
    if name not in header:
        raise MemoryFileError(f"memory {path} has no tensor {name!r}")
    code, dimensions = _LAYOUT[name]
    try:
        found, shape, (begin, end) = (header[name][key] for key in ("dtype", "shape", "data_offsets"))
        well_formed = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
    except (TypeError, KeyError, ValueError):
        well_formed = False
    if not well_formed:
        raise MemoryFileError(f"memory {path} has a damaged header: its entry for {name!r} is malformed")
    if found != code or len(shape) != len(dimensions.split()):
        raise MemoryFileError(
            f"memory {path} has tensor {name!r} as {found} {shape}, where {code} [{dimensions}] belongs"
        )
    dtype = np.dtype(_DTYPES[code])
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise MemoryFileError(f"memory {path} has a damaged header: tensor {name!r} does not fill its place")
    if end > len(data):
        raise MemoryFileError(f"memory {path} is cut short: tensor {name!r} ends past the end of the file")
    try:
        return data[begin:end].view(dtype).reshape(shape)
    except ValueError:  # without an entry, a tensor may claim any size
        raise MemoryFileError(f"memory {path} has tensor {name!r} as {found} {shape}, which is too large") from None


def _check(path: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Refuse tensors that do not fit together, and indices that point nowhere."""
    sizes: dict[str, int] = {}
    for name, tensor in tensors.items():
        code, dimensions = _LAYOUT[name]
        if tensor.dtype != np.dtype(_DTYPES[code]) or tensor.ndim != len(dimensions.split()):
            raise MemoryFileError(f"memory {path} needs {code} [{dimensions}] as tensor {name!r}")
        for letter, size in zip(dimensions.split(), tensor.shape, strict=True):
            expected = int(letter) if letter.isdigit() else sizes.setdefault(letter, size)
            if size != expected:
                raise MemoryFileError(
                    f"memory {path} does not fit together: tensor {name!r} has shape {list(tensor.shape)}, "
                    f"but its dimension {letter!r} should be {expected}"
                )
    if sizes["k"] != sizes["l"] * sizes["c"]:
        raise MemoryFileError(f"memory {path} does not fit together: centroids are not as long as keys")
    if min(sizes[letter] for letter in "nldcCg") == 0:
        raise MemoryFileError(f"memory {path} is empty")
    offsets = tensors["game_offsets"]
    problem = None
    if not all(np.isfinite(tensors[name]).all() for name in ("key_mean", "key_projection", "centroids")):
        problem = "a number in its projection or centroids is not finite"
    elif offsets[0] != 0 or offsets[-1] != sizes["b"] or np.any(np.diff(offsets) < 0):
        problem = "its game names do not lie end to end"
    elif tensors["game"].min() < 0 or tensors["game"].max() >= sizes["g"] - 1:
        problem = "an entry belongs to a game that is not there"
    elif tensors["cluster"].max() >= sizes["C"]:
        problem = "an entry belongs to a cluster that is not there"
    elif (tensors["continuations"] + np.uint16(1)).max() > POLICY_SIZE:  # NO_MOVE + 1 wraps to 0
        problem = "a continuation has a move that does not exist"
    if problem:
        raise MemoryFileError(f"memory {path} is damaged: {problem}")


def _verify_sums(
    path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str], names: Iterable[str]
) -> None:
    for name in names:
        if metadata.get(f"crc32 {name}") != f"{zlib.crc32(tensors[name].data):08x}":
            raise MemoryFileError(f"memory {path} is damaged: tensor {name!r} does not match its checksum")


def _metadata_sum(metadata: Mapping[str, str]) -> str:
    return f"{zlib.crc32(json.dumps(metadata, sort_keys=True).encode()):08x}"
