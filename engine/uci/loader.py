"""Gets the evaluator the options ask for, and the best there is where the files are no good."""

from __future__ import annotations

import importlib.resources
import logging
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dejavu.engine.options import SHIPPED, Config, file_path
from dejavu.engine.search.evaluator import Evaluator, UniformEvaluator, expansions
from dejavu.model.backends import AUTO
from dejavu.model.backends.protocol import BackendError
from dejavu.model.chess.encoding import clock_byte, pack, stack

EvaluatorFactory = Callable[[Path, "Path | None", int, str], Evaluator]
"""(weights, memory or None, threads, backend) -> evaluator; raises ValueError or OSError with one sentence, and
BackendError where only the backend is at fault."""


_log = logging.getLogger("dejavu")


class Wanted(NamedTuple):
    """What the options ask for."""

    weights: Path
    memory: Path | None
    threads: int
    backend: str


def load_network(weights: Path, memory: Path | None, threads: int, backend: str) -> Evaluator:
    """The real network; imports torch, which takes seconds."""
    from dejavu.model.inference import NetworkEvaluator

    return NetworkEvaluator.load(weights, memory, threads, backend)


def _path(value: str, package: str, shipped_name: str) -> Path:
    if value == SHIPPED:
        return Path(str(importlib.resources.files(package))) / "shipped" / shipped_name
    return file_path(value)


def wanted(config: Config) -> Wanted:
    """The files, threads and backend of `config`; an empty MemoryFile means none."""
    return Wanted(
        _path(config.weights_file, "dejavu.model", "dejavu.safetensors"),
        _path(config.memory_file, "dejavu.retrieval", "memory.safetensors") if config.memory_file else None,
        config.threads,
        config.backend,
    )


def _stamps(target: Wanted) -> list[tuple[int, int, int] | None]:
    """Something about the files that changes when they do."""
    stamps: list[tuple[int, int, int] | None] = []
    for path in (target.weights, target.memory):
        try:
            status = path.stat() if path is not None else None
        except OSError:
            status = None
        stamps.append(status and (status.st_mtime_ns, status.st_size, status.st_ino))
    return stamps


def _sentence(error: Exception, path: Path) -> str:
    """The error in one line that names the file."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
    return text if str(path) in text or path.name in text else f"{path}: {text}"


class Loader:
    """Keeps the evaluator in step with the options, and the last good one where a file is bad."""

    def __init__(self, factory: EvaluatorFactory, complain: Callable[[str], None]) -> None:
        self._factory = factory
        self._complain = complain
        self._tried: Wanted | None = None
        self._stamps: list[tuple[int, int, int] | None] = []
        self._good: Wanted | None = None
        self._good_stamps: list[tuple[int, int, int] | None] = []
        self.evaluator: Evaluator = UniformEvaluator()

    @property
    def has_network(self) -> bool:
        """False if every move would be chosen without a network."""
        return self._good is not None

    @property
    def has_memory(self) -> bool:
        """Whether a memory is loaded, in use or not."""
        return self._good is not None and self._good.memory is not None

    def load(self, config: Config, look_again: bool = False) -> bool:
        """Load what `config` asks for, unless that was done; True if positions may now be evaluated otherwise.

        With `look_again`, files that were replaced since they were read are read again.
        Every bad file costs one sentence to `complain`: bad weights keep the last good evaluator, a bad
        memory keeps the last good one of the same weights, or none, and a bad backend keeps the last good one.
        """
        target = wanted(config)
        changed = False
        if target != self._tried:
            self._tried, self._stamps = target, _stamps(target)
            changed = self._replace(target)
        elif look_again and self._stamps != (stamps := _stamps(target)):
            self._stamps = stamps
            changed = self._replace(target)
            if changed:
                self._complain(f"the files have changed and were read again: {self.evaluator.describe()}")
        if self.evaluator.use_memory != config.use_memory and self.has_network:
            self.evaluator.use_memory = config.use_memory
            changed = True
        if self.evaluator.memory_reach != config.memory_reach and self.has_network:
            self.evaluator.memory_reach = config.memory_reach
            changed = True
        return changed

    def _replace(self, target: Wanted) -> bool:
        if target == self._good and self._stamps == self._good_stamps:
            return False  # back from files that were refused
        try:
            return self._replace_files(target)
        except BackendError as error:
            problem = f"cannot use the backend {target.backend}: {error}"
        if self._good is not None and self._good._replace(backend=target.backend) == target:
            self._complain(f"{problem}; the last good one stays")
            return False
        self._complain(f"{problem}; another is chosen")
        return self._replace_files(target._replace(backend=AUTO))

    def _replace_files(self, target: Wanted) -> bool:
        # Whatever a damaged file makes a library raise must end as a sentence, not as a dead engine.
        try:
            self._accept(self._checked(target), target)
            return True
        except BackendError:
            raise
        except Exception as error:
            _log.debug("cannot load %s", target, exc_info=True)
            problem = error
        if target.memory is not None:
            without = target._replace(memory=None)
            if self._plays(without):
                return self._memory_is_bad(self.evaluator, without, _sentence(problem, target.memory))
            try:
                evaluator = self._checked(without)
            except BackendError:
                raise
            except Exception as error:
                _log.debug("cannot load %s", without, exc_info=True)
                problem = error
            else:
                return self._memory_is_bad(evaluator, without, _sentence(problem, target.memory))
        kept = "the last good network plays on" if self.has_network else "there is no network to play with"
        self._complain(f"cannot load the weights: {_sentence(problem, target.weights)}; {kept}")
        return False

    def _plays(self, without: Wanted) -> bool:
        """Whether the last good network is that of `without` in the same file: then only a memory can be bad."""
        good = self._good
        return good is not None and good._replace(memory=None) == without and self._good_stamps[0] == self._stamps[0]

    def _memory_is_bad(self, evaluator: Evaluator, without: Wanted, sentence: str) -> bool:
        """Do without the memory, with `evaluator`, unless there is a last good one."""
        good = self._good
        if good is not None and good.memory is not None and good._replace(memory=None) == without:
            self._complain(f"cannot load the memory: {sentence}; the last good memory stays")
            return False
        self._complain(f"cannot load the memory: {sentence}; playing without memory")
        if evaluator is self.evaluator:
            return False
        self._accept(evaluator, without)
        return True

    def _accept(self, evaluator: Evaluator, source: Wanted) -> None:
        self.evaluator = evaluator
        self._good, self._good_stamps = source, self._stamps

    def _checked(self, target: Wanted) -> Evaluator:
        """Load, and evaluate the starting position once: a damaged file shows, and torch warms up."""
        import chess

        evaluator = self._factory(*target)
        clocks = np.array([clock_byte(0, repeated=False)], np.uint8)
        expansions(evaluator.evaluate(stack([pack(chess.Board())]), clocks), 1.0)
        return evaluator
