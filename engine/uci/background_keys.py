"""Keys of learned positions, made anew for another network or memory beside everything else."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from dejavu.engine.search.evaluator import Extensible
from dejavu.retrieval.atomic import WriteError
from dejavu.retrieval.learned import LearnedMemory
from dejavu.retrieval.memory import Memory

_log = logging.getLogger("dejavu")


class BackgroundKeys:
    """Makes the keys that learned positions lack, one memory at a time."""

    def __init__(self, say: Callable[[str], None], complain: Callable[[str], None]) -> None:
        """`complain` gets what goes wrong, from another thread."""
        self._say = say
        self._complain = complain
        self._thread: threading.Thread | None = None
        self._makes: tuple[Memory, LearnedMemory] | None = None
        """The memory that this thread makes keys for, and the reader of the file that has them."""
        self._failed_for: Memory | None = None
        self._told_for: Memory | None = None
        self._rewrites = True
        """Whether the file may be written anew. Engines of different networks that take turns would do it before every
        game."""

    @property
    def is_pending(self) -> bool:
        """Whether keys are being made, or are there to be taken over."""
        return self._thread is not None

    def take_over(self, learned: LearnedMemory, base: Memory) -> None:
        """Give `learned` the keys that are ready, if they are for `base`."""
        if self._thread is None or self._thread.is_alive():
            return
        if self._makes is not None and self._makes[0] is base:
            learned.take_keys(self._makes[1])
        self._thread = self._makes = None

    def make(self, learned: LearnedMemory, base: Memory, evaluator: object, learns: bool) -> None:
        """Begin to make the keys that are lacking for `base`, unless keys are being made, or cannot be.

        They go into the file where the engine `learns`, but only once; otherwise they are kept in memory.
        """
        if self.is_pending or self._failed_for is base or not isinstance(evaluator, Extensible):
            return
        rewrites = learns and self._rewrites
        if rewrites:
            self._rewrites = False
        if self._told_for is not base:
            self._told_for = base
            self._say(
                f"{learned.path} was learned with another network or memory: its {len(learned):,} positions are made "
                "ready for this one in the background"
            )
        other = LearnedMemory(learned.path)
        other.take_keys(learned)
        self._makes = base, other

        def work() -> None:
            try:
                other.refresh()
                make = other.make_keys_anew if rewrites else other.make_keys
                make(base, evaluator.another_embedder())
            except WriteError as error:
                self._complain(f"{error}; what was learned is made ready in memory")
            except Exception as error:
                _log.exception("keys cannot be made anew")
                self._failed_for = base
                self._complain(f"{error}; what was learned stays as it is, and is not asked")

        self._thread = threading.Thread(target=work, name="embed", daemon=True)
        self._thread.start()
