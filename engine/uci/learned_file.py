"""What a user does to files of learned positions, beside the engine: open, merge, forget by day."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from datetime import date
from functools import partial
from pathlib import Path

from dejavu.engine.loader import wanted
from dejavu.engine.options import Config
from dejavu.model.inference import load_backbone
from dejavu.retrieval.learned import LearnedMemory
from dejavu.retrieval.learned_records import LearnedFileError
from dejavu.retrieval.memory import Memory
from dejavu.retrieval.progress import Stages


def opened(path: Path) -> LearnedMemory:
    """The learned positions of a file that has to be there. Raises LearnedFileError."""
    learned = LearnedMemory(path)
    if not learned.refresh():
        raise LearnedFileError(f"{path} does not exist: nothing was learned yet")
    return learned


def merge(path: Path, others: Sequence[Path]) -> tuple[LearnedMemory, int]:
    """Take over what other files know better, as the shipped net sees it; -> the file, how many positions.

    Raises LearnedFileError, WriteError, MemoryFileError and WeightsError.
    """
    shipped = wanted(Config())
    assert shipped.memory is not None
    sources = [opened(other) for other in others]
    backbone = load_backbone(shipped.weights, os.cpu_count() or 1)
    base = Memory.open(shipped.memory, backbone.fingerprint)
    learned = LearnedMemory(path)
    count = 0
    with closing(Stages("positions")) as stages:
        for source in sources:
            count += learned.merge(source, base, backbone.embed_chunks, partial(stages, source.path.name))
    return learned, count


def forget_days(learned: LearnedMemory, first: date, last: date) -> int:
    """Forget what was learned from one day to another; -> how many positions.

    Raises LearnedFileError and WriteError.
    """
    days = learned.records["day"]
    rows = (days >= first.toordinal()) & (days <= last.toordinal())
    return learned.forget([record["boards"].tobytes() for record in learned.records[rows]])
