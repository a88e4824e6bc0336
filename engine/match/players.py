"""The players of a match: UCI engines in processes of their own, described as cutechess and fastchess users do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import chess
import chess.engine

from dejavu.engine.match.pace import Clock, Pace, PaceError, TimeControl
from dejavu.retrieval.text import plain

START_SECONDS = 60.0
"""An engine may take so long to start, and to say that it is ready."""
STOP_SECONDS = 3.0
"""An engine that has not obeyed `stop` or `quit` after these is ended."""
INFO_STRINGS = 20
"""So many different `info string`s of an engine are passed on."""
FAILURES = ("time", "illegal move", "crash", "stall")
"""How a player can lose a game by its own fault: late, by an illegal move, by its end, by its silence."""

T = TypeVar("T")


class PlayerError(ValueError):
    """An engine that cannot play; the message is one sentence."""


class FailureError(Exception):
    """A player lost the game by its own fault."""

    def __init__(self, kind: str, detail: str) -> None:
        """`kind` is one of FAILURES."""
        super().__init__(detail)
        self.kind = kind


@dataclass(frozen=True)
class PlayerSettings:
    """One engine of a tournament."""

    name: str
    command: tuple[str, ...]
    """Empty for this Dejavu."""
    pace: Pace
    options: Mapping[str, str] = field(default_factory=dict)
    options_if_offered: Mapping[str, str] = field(default_factory=dict)
    """Set where the engine has them, and `options` says nothing else."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of the process, beside those of this one."""

    def __str__(self) -> str:
        """Pace and options, which games that are counted together have in common."""
        return ", ".join([str(self.pace), *(f"{name}={value}" for name, value in sorted(self.options.items()))])


def _number(kind: Callable[[str], T], key: str, text: str) -> T:
    try:
        number = kind(text)
    except ValueError:
        number = kind("0")
    if not 0 < number < float("inf"):  # type: ignore[operator]
        raise PlayerError(f"'{key}={text}' needs a number above 0")
    return number


def parse_player(words: Iterable[str], common: Iterable[str] = ()) -> PlayerSettings:
    """Read KEY=VALUE words; those of `common` hold where `words` do not say otherwise.

    Keys: name, cmd, args, tc, st (seconds a move), movetime (milliseconds a move), nodes, depth, option.NAME.
    Without `cmd` the engine is this Dejavu. Raises PlayerError.
    """
    values: dict[str, str] = {}
    for word in [*common, *words]:
        key, equals, value = word.partition("=")
        if not equals or not (
            key in ("name", "cmd", "args", "tc", "st", "movetime", "nodes", "depth")
            or (key.startswith("option.") and key != "option.")
        ):
            raise PlayerError(
                f"an engine is described by name, cmd, args, tc, st, movetime, nodes, depth and option.NAME=VALUE, "
                f"not by '{word}'"
            )
        values[key] = value
    try:
        control = TimeControl.parse(values["tc"]) if "tc" in values else None
    except PaceError as error:
        raise PlayerError(str(error)) from error
    movetime = _number(float, "st", values["st"]) if "st" in values else None
    if "movetime" in values:
        movetime = _number(float, "movetime", values["movetime"]) / 1000
    pace = Pace(
        control,
        movetime,
        _number(int, "nodes", values["nodes"]) if "nodes" in values else None,
        _number(int, "depth", values["depth"]) if "depth" in values else None,
    )
    command = _command(values.get("cmd"), values.get("args", ""))
    name = values.get("name", Path(command[0]).stem if command else "Dejavu")
    if not name.strip() or not name.isprintable() or any(character in name for character in '"\\[]'):
        raise PlayerError(f"'{name}' is no name for an engine")
    if pace == Pace():
        raise PlayerError(f"{name} has no limit: give it tc, st, movetime, nodes or depth")
    options = {key.removeprefix("option."): value for key, value in values.items() if key.startswith("option.")}
    return PlayerSettings(name, command, pace, options)


def _command(cmd: str | None, args: str) -> tuple[str, ...]:
    posix = os.name == "posix"
    if cmd is None:
        return ()
    words = [cmd] if cmd and Path(cmd).exists() else shlex.split(cmd, posix=posix)
    if not words:
        raise PlayerError("cmd= names no program")
    return (find_program(words[0]), *words[1:], *shlex.split(args, posix=posix))


def find_program(name: str) -> str:
    """The absolute path of an engine's program. Raises PlayerError."""
    # Debian installs chess engines where not everybody's PATH looks.
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/games"]))
    if found is None:
        raise PlayerError(f"the program {name} was not found")
    return os.path.abspath(found)


class _Protocol(chess.engine.UciProtocol):
    """python-chess's UCI, with the times at which `go` went out and `bestmove` came in."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = time.perf_counter()
        """When the engine last said anything."""
        self.asked = self.answered = 0.0
        self.last_error = ""
        """The last line on its standard error."""
        self.info_strings: list[str] = []
        """New ones, not yet passed on."""

    def send_line(self, line: str) -> None:
        super().send_line(line)
        if line.startswith("go"):
            self.asked = time.perf_counter()

    def line_received(self, line: str) -> None:
        self.heard = time.perf_counter()
        if line.startswith("bestmove"):
            self.answered = self.heard
        elif line.startswith("info string "):
            self.info_strings.append(plain(line.removeprefix("info string ")))

    def error_line_received(self, line: str) -> None:
        self.last_error = plain(line) or self.last_error


class _NewGame(chess.engine.BaseCommand[None]):
    """`ucinewgame`, waited for, so that what it costs is not on the clock of the first move."""

    def __init__(self, protocol: _Protocol, game: object) -> None:
        super().__init__(protocol)
        self._protocol = protocol
        self._game = game

    def start(self) -> None:
        self._protocol.first_game, self._protocol.game = False, self._game
        self._protocol.send_line("ucinewgame")
        self._protocol.send_line("isready")

    def line_received(self, line: str) -> None:
        if line.strip() == "readyok":
            self.result.set_result(None)
            self.set_finished()


class _Evaluation(chess.engine.BaseCommand["list[str]"]):
    """Dejavu's own `eval`: its lines about the position it was given last."""

    def __init__(self, protocol: _Protocol) -> None:
        super().__init__(protocol)
        self._protocol = protocol
        self._lines: list[str] = []

    def start(self) -> None:
        self._protocol.send_line("eval")
        self._protocol.send_line("isready")

    def line_received(self, line: str) -> None:
        if line.strip() == "readyok":
            self._protocol.info_strings.clear()
            self.result.set_result(self._lines)
            self.set_finished()
        else:
            self._lines.append(plain(line.removeprefix("info string ")))


@dataclass(frozen=True)
class Answer:
    """A player's move and what it said of it."""

    move: chess.Move
    seconds: float
    """From `go` to `bestmove`, by our own clock."""
    score: chess.engine.Score | None
    """For the player."""
    depth: int | None
    nodes: int | None
    neighbours: tuple[str, ...] = ()


class Player:
    """An engine process, started when it is needed and again after it failed."""

    def __init__(
        self, settings: PlayerSettings, margin: float, patience: float, say: Callable[[str], None], neighbours: int = 0
    ) -> None:
        """`margin`: seconds a move may come late; `patience`: seconds of silence after which a search has failed.

        `say` gets the engine's `info string`s, each once; `neighbours` is how many to ask a Dejavu for at each move.
        """
        self.settings = settings
        self._margin = margin
        self._patience = patience
        self._say = say
        self._said: set[str] = set()
        self._neighbours = neighbours
        self._protocol: _Protocol | None = None
        self.id_name = settings.name
        """What the engine calls itself, once it has been started."""

    async def start(self) -> None:
        """Start the process if there is none, and set its options. Raises PlayerError."""
        if self._protocol is not None:
            return
        name = self.settings.name
        command = self.settings.command or (sys.executable, "-m", "dejavu.engine")
        try:
            # Signals of the terminal are for the match, which ends its engines itself.
            started = _Protocol.popen(list(command), setpgrp=True, env={**os.environ, **self.settings.environment})
            _, protocol = await asyncio.wait_for(started, START_SECONDS)
            self._protocol = protocol
            await self._wait(protocol.initialize())
            self.id_name = protocol.id.get("name", name)
            options = {}
            usual = {key: value for key, value in self.settings.options_if_offered.items() if key in protocol.options}
            if self.id_name.startswith("Dejavu ") and "Learn" in protocol.options:
                usual["Learn"] = "off"
            for key, value in {**usual, **self.settings.options}.items():
                if key not in protocol.options:
                    raise PlayerError(f"{name} has no option {key}")
                options[key] = option_value(name, protocol.options[key], value)
            await protocol.configure(options)
            await self._wait(protocol.ping())
        except PlayerError:
            await self.close()
            raise
        except (FailureError, chess.engine.EngineError, OSError, asyncio.TimeoutError) as error:
            last_words = self._protocol.last_error if self._protocol is not None else ""
            await self.close()
            reason = ", ".join(filter(None, [str(error) or "no answer", last_words]))
            raise PlayerError(f"{name} does not start as `{shlex.join(command)}`: {reason}") from error
        self._pass_on()

    async def new_game(self, game: object) -> None:
        """Get ready for a game; `game` tells it from others. Raises FailureError."""
        try:
            await self.start()
        except PlayerError as error:
            raise FailureError("crash", str(error)) from error
        protocol = self._running()
        with self._failures():
            await self._wait(protocol.communicate(lambda _: _NewGame(protocol, game)))

    async def play(self, board: chess.Board, game: object, own: Clock, other: Clock) -> Answer:
        """Ask for a move and take the time it costs off the clock `own`. Raises FailureError."""
        protocol, pace = self._running(), self.settings.pace
        limit = chess.engine.Limit(time=pace.movetime, nodes=pace.nodes, depth=pace.depth)
        if pace.time_control is not None:
            white, black = (own, other) if board.turn == chess.WHITE else (other, own)
            limit.white_clock, limit.black_clock = white.left, black.left
            limit.white_inc, limit.black_inc = white.increment, black.increment
            limit.remaining_moves = own.moves_to_go
        wanted = chess.engine.INFO_BASIC | chess.engine.INFO_SCORE
        with self._failures():
            # Asked apart from `go`, what the engine does between moves is not on its clock.
            await self._wait(protocol.ping())
            protocol.asked = time.perf_counter()
            thinking = asyncio.ensure_future(protocol.play(board, limit, game=game, info=wanted))
            try:
                await self._wait_for_move(thinking, own.left + self._margin if pace.is_timed else None)
            finally:
                thinking.cancel()
            self._pass_on()
            error = thinking.exception()
            if isinstance(error, chess.engine.EngineTerminatedError):
                raise error
            seconds, left = protocol.answered - protocol.asked, own.left
            if not own.spend(seconds, self._margin):
                raise FailureError("time", f"{1000 * (seconds - left):.0f}ms overrun")
            if error is not None:
                raise FailureError("illegal move", str(error)) from error
            found = thinking.result()
            if found.move is None or found.move not in board.legal_moves:
                raise FailureError("illegal move", str(found.move or "no move"))
            score = found.info.get("score")
            return Answer(
                found.move,
                seconds,
                None if score is None else score.relative,
                found.info.get("depth"),
                found.info.get("nodes"),
                await self._neighbours_of(protocol),
            )

    async def _wait_for_move(self, thinking: asyncio.Future[chess.engine.PlayResult], allowed: float | None) -> None:
        """Until the answer; an engine whose time is over, or who has been silent for too long, is told to stop."""
        protocol = self._running()
        while True:
            since = protocol.asked if allowed is not None else max(protocol.asked, protocol.heard)
            limit = self._patience if allowed is None else allowed
            rest = since + limit - time.perf_counter()
            if rest <= 0:
                break
            done, _ = await asyncio.wait({thinking}, timeout=rest)
            if done:
                return
        protocol.send_line("stop")
        grace = min(STOP_SECONDS, self._patience)
        done, _ = await asyncio.wait({thinking}, timeout=grace)
        if not done:
            self._kill()
            kind = "stall" if allowed is None else "time"
            raise FailureError(kind, f"no answer {grace:g} seconds after stop")

    async def _neighbours_of(self, protocol: _Protocol) -> tuple[str, ...]:
        if not self._neighbours:
            return ()
        lines = await self._wait(protocol.communicate(lambda _: _Evaluation(protocol)))
        return tuple(line for line in lines if line.startswith("distance "))[: self._neighbours]

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        """Turn what python-chess raises into failures of the player; a process that has ended is forgotten."""
        try:
            yield
        except chess.engine.EngineError as error:
            last_words = self._protocol.last_error if self._protocol is not None else ""
            self._protocol = None
            raise FailureError("crash", ", ".join(filter(None, [str(error), last_words]))) from error

    async def _wait(self, answer: Awaitable[T]) -> T:
        """`answer`, or FailureError when it does not come; the process is then ended."""
        try:
            return await asyncio.wait_for(answer, START_SECONDS)
        except asyncio.TimeoutError as error:
            self._kill()
            raise FailureError("stall", f"no answer for {START_SECONDS:g} seconds") from error

    def _running(self) -> _Protocol:
        if self._protocol is None:
            raise FailureError("crash", "the engine is not running")
        return self._protocol

    def _pass_on(self) -> None:
        protocol = self._running()
        for text in protocol.info_strings:
            if text not in self._said and len(self._said) < INFO_STRINGS:
                self._said.add(text)
                self._say(f"{self.settings.name}: {text}")
        protocol.info_strings.clear()

    async def close(self) -> None:
        """End the process: by `quit`, or by force where it does not obey."""
        if self._protocol is not None and not self._protocol.returncode.done():
            with contextlib.suppress(asyncio.TimeoutError, OSError):
                await asyncio.wait_for(self._protocol.quit(), STOP_SECONDS)
        self._kill()

    def _kill(self) -> None:
        protocol, self._protocol = self._protocol, None
        if protocol is not None and protocol.transport is not None:
            protocol.transport.close()  # which kills a process that still runs


def option_value(player: str, option: chess.engine.Option, text: str) -> chess.engine.ConfigValue:
    """What an engine's option is to be set to. Raises PlayerError for a text that it does not take."""
    limits = ""
    try:
        if option.is_managed():
            limits = " (the match sets it itself)"
            raise chess.engine.EngineError
        if option.type == "spin":
            limits = f" (it takes {option.min} to {option.max})"
        elif option.type == "check":
            limits = " (it takes true or false)"
            if text not in ("true", "false"):
                raise chess.engine.EngineError
        return option.parse(text)
    except (chess.engine.EngineError, ValueError) as error:
        raise PlayerError(f"{player} does not take {option.name}={text}{limits}") from error
