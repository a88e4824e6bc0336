"""Gets the evaluator the options ask for, and the best there is where the files are no good."""

from __future__ import annotations

import importlib.resources
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dejavu.engine.options import SHIPPED, Config, file_path
from dejavu.engine.search.evaluator import Evaluator, Extensible, UniformEvaluator, expansions
from dejavu.model.backends import AUTO
from dejavu.model.backends.protocol import BackendError
from dejavu.model.chess.encoding import clock_byte, pack, stack
from dejavu.model.jit import compile_all
from dejavu.model.stored_evaluations import file_beside
from dejavu.retrieval.memory import Memory, MemoryFileError

_log = logging.getLogger("dejavu")


class Wanted(NamedTuple):
    """What the options ask for."""

    weights: Path
    memory: Path | None
    threads: int
    backend: str
    beside: tuple[Path, ...] = ()
    """Memories that are asked beside the first one."""


EvaluatorFactory = Callable[[Wanted], Evaluator]
"""Makes an evaluator of weights, first memory, threads and backend; the loader puts the others beside it.

Raises ValueError or OSError with one sentence, and BackendError where only the backend is at fault.
"""


def load_network(files: Wanted) -> Evaluator:
    """The real network; imports torch, which takes seconds."""
    from dejavu.model.inference import NetworkEvaluator

    # Each thread costs time to make ready, and those beyond the cores give nothing back.
    threads = min(files.threads, os.cpu_count() or files.threads)
    return NetworkEvaluator.load(files.weights, files.memory, threads, files.backend)


def _path(value: str, package: str, shipped_name: str) -> Path:
    if value == SHIPPED:
        return Path(str(importlib.resources.files(package))) / "shipped" / shipped_name
    return file_path(value)


def wanted(config: Config) -> Wanted:
    """The files, threads and backend of `config`; an empty MemoryFile means none, and it may be a list of files."""
    names = _names(config.memory_file)
    memories = [_path(name, "dejavu.retrieval", "memory.safetensors") for name in names]
    return Wanted(
        _path(config.weights_file, "dejavu.model", "dejavu.safetensors"),
        memories[0] if memories else None,
        config.threads,
        config.backend,
        tuple(memories[1:]),
    )


def _names(value: str) -> list[str]:
    """The files of a list separated as in PATH; what is the name of a file is that file."""
    if os.pathsep not in value or file_path(value).is_file():
        return [value] if value else []
    return list(dict.fromkeys(name for name in value.split(os.pathsep) if name))


def _stamps(target: Wanted) -> list[tuple[int, int, int] | None]:
    """Something about the files that changes when they do."""
    stamps: list[tuple[int, int, int] | None] = []
    evaluations = file_beside(target.memory) if target.memory is not None else None
    for path in (target.weights, target.memory, evaluations, *target.beside):
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
        self._beside: dict[Path, Memory] = {}
        """The last good state of every memory beside the first."""
        self.learned: Memory | None = None
        """The user's own memory, the last one that is asked."""
        self._use_memory = True
        self.evaluator: Evaluator = UniformEvaluator()

    @property
    def has_network(self) -> bool:
        """False if every move would be chosen without a network."""
        return self._good is not None

    @property
    def has_memory(self) -> bool:
        """Whether a memory is loaded, in use or not."""
        return self._good is not None and (
            self._good.memory is not None or bool(self._beside) or self.learned is not None
        )

    def load(self, config: Config, look_again: bool = False) -> bool:
        """Load what `config` asks for, unless that was done; True if positions may now be evaluated otherwise.

        With `look_again`, files that were replaced since they were read are read again.
        Every bad file costs one sentence to `complain`: bad weights keep the last good evaluator, a bad
        memory keeps the last good one of the same weights, or none, and a bad backend keeps the last good one.
        At the start the last good files are those that ship.
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
        if self._use_memory != config.use_memory:
            self._use_memory = config.use_memory
            changed = True
        if self.evaluator.memory_reach != config.memory_reach and self.has_network:
            self.evaluator.memory_reach = config.memory_reach
            changed = True
        return changed

    def memory_files(self) -> list[tuple[str, Memory]]:
        """The memories that are asked, but for the user's own, with the names of their files."""
        if not isinstance(self.evaluator, Extensible) or self._good is None:
            return []
        first = [] if self._good.memory is None else [self._good.memory]
        paths = [str(path) for path in (*first, *self._beside)]
        return list(zip(paths, self.evaluator.memories, strict=False))

    def put_learned(self, memory: Memory | None) -> None:
        """Let this be the user's own memory, the last one that is asked. Positions may then be evaluated otherwise."""
        if memory is not self.learned:
            self.learned = memory
            if isinstance(self.evaluator, Extensible):
                self._put_beside(self.evaluator)

    def _open_beside(self, evaluator: Extensible, paths: Sequence[Path]) -> None:
        """Open the memories beside the first one; a bad file keeps the last good state of it, or is left out."""
        opened: dict[Path, Memory] = {}
        for path in paths:
            try:
                opened[path] = Memory.open(path, evaluator.fingerprint)
                evaluator.put_beside([opened[path]])
            except (MemoryFileError, OSError) as error:
                opened.pop(path, None)
                good = self._beside.get(path)
                kept = "the others play on"
                if good is not None and good.fingerprint == evaluator.fingerprint:
                    opened[path], kept = good, "its last good state stays"
                self._complain(f"cannot load the memory: {_sentence(error, path)}; {kept}")
        self._beside = opened
        self._put_beside(evaluator)

    def _put_beside(self, evaluator: Extensible) -> None:
        if self.learned is not None and self.learned.fingerprint != evaluator.fingerprint:
            self.learned = None
        evaluator.put_beside([*self._beside.values(), *([] if self.learned is None else [self.learned])])

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
            bad = f"cannot load the memory: {_sentence(problem, target.memory)}"
            if self._keeps_memory(target, bad):
                return True
            if self._starts_with(
                target._replace(memory=wanted(Config()).memory), f"{bad}; the shipped one is asked instead"
            ):
                return True
            try:
                evaluator = self._checked(without)
            except BackendError:
                raise
            except Exception as error:
                _log.debug("cannot load %s", without, exc_info=True)
                problem = error
            else:
                return self._memory_is_bad(evaluator, without, _sentence(problem, target.memory))
        bad = f"cannot load the weights: {_sentence(problem, target.weights)}"
        shipped = wanted(Config())._replace(threads=target.threads, backend=target.backend)
        if self._starts_with(shipped, f"{bad}; the shipped network and memory play instead"):
            return True
        kept = "the last good network plays on" if self.has_network else "there is no network to play with"
        self._complain(f"{bad}; {kept}")
        return False

    def _starts_with(self, shipped: Wanted, sentence: str) -> bool:
        """Whether shipped files can take the place of some that are bad from the start; tells of it by `sentence`."""
        if self._good is not None or shipped == self._tried:
            return False
        return self._takes_the_place(shipped, sentence)

    def _keeps_memory(self, target: Wanted, bad: str) -> bool:
        """Whether the last good memory can take the place of a bad one, with the same weights computed otherwise."""
        good = self._good
        if good is None or good.memory is None or good.weights != target.weights or good.memory == target.memory:
            return False
        beside = tuple(path for path in target.beside if path != good.memory)
        kept = target._replace(memory=good.memory, beside=beside)
        return self._takes_the_place(kept, f"{bad}; the last good memory stays")

    def _takes_the_place(self, substitute: Wanted, sentence: str) -> bool:
        """Whether files that were not asked for could be loaded instead; tells of it by `sentence`."""
        try:
            evaluator = self._checked(substitute)
        except BackendError:
            raise
        except Exception:
            _log.debug("cannot load %s", substitute, exc_info=True)
            return False
        self._complain(sentence)
        self._accept(evaluator, substitute)
        self._good_stamps = _stamps(substitute)
        return True

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
        self._complain(f"cannot load the memory: {sentence}; playing without {'it' if without.beside else 'memory'}")
        if evaluator is self.evaluator:
            return False
        self._accept(evaluator, without)
        return True

    def _accept(self, evaluator: Evaluator, source: Wanted) -> None:
        self.evaluator = evaluator
        self._good, self._good_stamps = source, self._stamps
        if isinstance(evaluator, Extensible) and evaluator.warning:
            self._complain(evaluator.warning)
        if isinstance(evaluator, Extensible) and (source.beside or self._beside or self.learned is not None):
            self._open_beside(evaluator, source.beside)

    def _checked(self, target: Wanted) -> Evaluator:
        """Load, and evaluate the starting position once: a damaged file shows, and torch warms up."""
        import chess

        evaluator = self._factory(target)
        compile_all()
        clocks = np.array([clock_byte(0, repeated=False)], np.uint8)
        expansions(evaluator.evaluate(stack([pack(chess.Board())]), clocks), 1.0)
        return evaluator
