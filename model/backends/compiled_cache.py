"""Files of compiled networks among the user's caches, so that not every start has to compile.

The cache is nothing but a short cut: where its folder is missing or cannot be written, nothing is kept; a file that is
damaged, or was made for anything but what the key says, is passed over and written anew. Several engines may read and
write at once.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from dejavu.retrieval.atomic import atomic_write, remove_abandoned

KEPT_FILES = 8
"""A file is 9 MB with the shipped network. The ones used last stay: those of a few networks and numbers of threads."""

_DIGEST_BYTES = 16

_log = logging.getLogger("dejavu")


def folder() -> Path | None:
    """Where this user's caches belong on this system; None if the user has no home."""
    if sys.platform == "win32":
        given = os.environ.get("LOCALAPPDATA")
    else:
        given = os.environ.get("XDG_CACHE_HOME")
    if given and os.path.isabs(given):
        return Path(given) / "dejavu"
    try:
        return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "dejavu"
    except RuntimeError:
        return None


def _file(key: str) -> Path | None:
    directory = folder()
    name = hashlib.blake2b(key.encode(), digest_size=_DIGEST_BYTES).hexdigest()
    return None if directory is None else directory / f"{name}.compiled"


def _sum(key: str, content: bytes) -> bytes:
    return hashlib.blake2b(key.encode() + b"\0" + content, digest_size=_DIGEST_BYTES).digest()


def read(key: str) -> dict[str, bytes] | None:
    """What was written with this key, or None."""
    path = _file(key)
    if path is None:
        return None
    try:
        content = path.read_bytes()
        # A library that is given a damaged compiled network may crash, so the sum comes first.
        if content[:_DIGEST_BYTES] != _sum(key, content[_DIGEST_BYTES:]):
            _log.debug("%s is damaged", path)
            return None
        parts = {name: part.tobytes() for name, part in load(content[_DIGEST_BYTES:]).items()}
    except (OSError, SafetensorError) as error:
        _log.debug("no compiled network: %s", error)
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # used just now
    return parts


def write(key: str, parts: Mapping[str, bytes]) -> None:
    """Keep `parts` for the next start, if that is possible, and drop the files that were not used for longest."""
    path = _file(key)
    if path is None:
        return
    content = save({name: np.frombuffer(part, np.uint8) for name, part in parts.items()})
    try:
        with atomic_write(path) as file:
            file.write(_sum(key, content) + content)
        remove_abandoned(path.parent, "*.compiled")
        files = sorted(path.parent.glob("*.compiled"), key=lambda file: file.stat().st_mtime, reverse=True)
        for unused in files[KEPT_FILES:]:
            unused.unlink()
    except OSError as error:
        _log.debug("the compiled network is not kept: %s", error)
