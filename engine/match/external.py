"""A UCI engine in a process of its own, asked position by position by callers without an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, TypeVar

import chess

from dejavu.engine.match.pace import Clock
from dejavu.engine.match.players import Answer, FailureError, Player, PlayerError, PlayerSettings

T = TypeVar("T")
ENGINE_ERRORS = (PlayerError, FailureError)
"""What an engine that does not start, or fails, raises; each message is one sentence."""


class ExternalEngine:
    """An engine, started when it is needed and again after it failed; one thread at a time may ask it."""

    def __init__(self, settings: PlayerSettings, patience: float, say: Callable[[str], None] | None = None) -> None:
        """`patience`: seconds after which a silent engine, or one whose time is over, has failed.

        `say` gets its `info string`s.
        """
        self.settings = settings
        self._player = Player(settings, margin=patience, patience=patience, say=say or _ignore)
        self._loop = asyncio.new_event_loop()
        # In a thread of its own, where no signal interrupts it.
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._game: object = None

    @property
    def name(self) -> str:
        """What it calls itself, once it has been started."""
        return self._player.id_name

    def start(self) -> None:
        """Start it if it does not run. Raises PlayerError."""
        self._run(self._player.start())

    def play(self, board: chess.Board, game: object | None = None) -> Answer:
        """Its move in a position of `game`, or of a game of its own: it forgets all between games.

        Raises FailureError.
        """
        return self._run(self._play(board, game if game is not None else object()))

    async def _play(self, board: chess.Board, game: object) -> Answer:
        if game is not self._game:
            await self._player.new_game(game)
            self._game = game
        pace = self.settings.pace
        try:
            return await self._player.play(board, game, Clock(pace), Clock(pace))
        except FailureError:
            self._game = None
            raise

    def close(self) -> None:
        """End the process, for good."""
        if self._thread.is_alive():
            self._run(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _end(self) -> None:
        left = asyncio.all_tasks() - {asyncio.current_task()}  # of an interrupted wait
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
        await self._player.close()

    def __enter__(self) -> ExternalEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def _ignore(text: str) -> None:
    """Nobody asked for what it says."""
