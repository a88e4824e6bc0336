"""A teacher for hundreds of thousands of short searches: UCI as lines through pipes.

A search of 1,200 nodes takes Stockfish less than a millisecond; an event loop, and the questions before every search,
take several. So this one asks nothing it need not know, and lets the engine keep what it knows between positions.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import threading
import time
from collections.abc import Sequence

import chess
import chess.engine

from dejavu.engine.annotation.teacher import OPTIONS_IF_OFFERED, TeacherSettings, Verdict
from dejavu.engine.match.players import STOP_SECONDS, FailureError, PlayerError, option_value

_WATCH_SECONDS = 0.5
_LINE = re.compile(r" pv ([a-h1-8qrbn ]+)")
_SCORE = re.compile(r" score (cp|mate) (-?\d+)")
_OPTION = re.compile(
    r"option name (?P<name>.+?) type (?P<type>\w+)(?: default (?P<default>.*?))?"
    r"(?: min (?P<min>-?\d+))?(?: max (?P<max>-?\d+))?(?P<var>(?: var .+)?)$"
)


class QuickTeacher:
    """An engine process, started when it is needed; one that stays silent for longer than its patience is ended."""

    def __init__(self, settings: TeacherSettings, plies: int = 1) -> None:
        """`plies` of the line that it expects are told, the best move included."""
        self._settings = settings
        self._plies = plies
        self._process: subprocess.Popen[str] | None = None
        self._waiting_since: float | None = None
        self.engine = settings.command[0]
        """Its name for itself, once it has been started."""
        pace = f"nodes {settings.nodes}" if settings.nodes else f"movetime {settings.movetime}"
        self._go = f"go {pace}\n"

    @property
    def name(self) -> str:
        """Engine and pace, once it has been started."""
        return f"{self.engine}, {self._settings.pace}"

    def start(self) -> None:
        """Start the process if there is none, and set its options. Raises PlayerError."""
        if self._process is not None:
            return
        command = self._settings.command
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                errors="replace",
                # Signals of the terminal are for the script, which ends its engines itself.
                start_new_session=os.name == "posix",
            )
            threading.Thread(target=self._watch, args=(self._process,), daemon=True).start()
            offered: dict[str, chess.engine.Option] = {}
            for line in self._ask("uci\n", "uciok"):
                if line.startswith("id name "):
                    self.engine = line.removeprefix("id name ").strip()
                elif (option := _read_option(line)) is not None:
                    offered[option.name.lower()] = option
            usual = {name: value for name, value in OPTIONS_IF_OFFERED.items() if name.lower() in offered}
            options = {**usual, **self._settings.options}
            for name, value in options.items():
                if name.lower() not in offered:
                    raise PlayerError(f"the teacher has no option {name}")
                option_value("the teacher", offered[name.lower()], value)
            self._ask("".join(f"setoption name {key} value {value}\n" for key, value in options.items()), None)
            self._ask("ucinewgame\nisready\n", "readyok")
        except PlayerError:
            self.close()
            raise
        except (FailureError, OSError) as error:
            self.close()
            raise PlayerError(f"the teacher does not start as `{shlex.join(command)}`: {error}") from error

    def close(self) -> None:
        """End the process: by `quit`, or by force where it does not obey."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            process.communicate("quit\n", timeout=STOP_SECONDS)
        process.kill()
        process.wait()

    def evaluate(self, board: chess.Board) -> Verdict:
        """Best move and evaluation of a position that is not the end of a game. Raises PlayerError and FailureError."""
        self.start()
        score = line = None
        lines = self._ask(f"position fen {board.fen()}\n{self._go}", "bestmove")
        for text in lines:
            score = _SCORE.search(text) or score
            line = _LINE.search(text) or line
        words = lines[-1].split()
        try:
            best = chess.Move.from_uci(words[1])
        except (IndexError, ValueError):
            best = chess.Move.null()
        if best not in board.legal_moves:
            raise FailureError("illegal move", f"the teacher answers `{lines[-1].strip()}` in {board.fen()}")
        if score is None:
            return Verdict(best, None)
        expected = line[1].split()[: self._plies] if line is not None else []
        later = _legal_part(board, best, expected[1:]) if expected[:1] == [words[1]] and len(expected) > 1 else ()
        number = int(score[2])
        relative = chess.engine.Cp(number) if score[1] == "cp" else chess.engine.Mate(number)
        return Verdict(best, chess.engine.PovScore(relative, board.turn), line=later)

    def _ask(self, text: str, until: str | None) -> list[str]:
        """Send `text`; -> the engine's lines up to the one that begins with `until`. Raises FailureError."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        lines: list[str] = []
        silent_since = self._waiting_since = time.monotonic()
        try:
            process.stdin.write(text)
            process.stdin.flush()
            while until is not None and not (lines and lines[-1].startswith(until)):
                line = process.stdout.readline()
                if not line:
                    break
                lines.append(line)
                silent_since = self._waiting_since = time.monotonic()
            else:
                return lines
        except OSError:
            pass  # it has ended
        finally:
            self._waiting_since = None
        silence = time.monotonic() - silent_since
        self.close()
        if silence >= self._settings.patience:
            raise FailureError("stall", f"the teacher has said nothing for {silence:.0f} seconds")
        raise FailureError("crash", f"the teacher has ended, with exit status {process.returncode}")

    def _watch(self, process: subprocess.Popen[str]) -> None:
        """End a process that lets its caller wait for too long."""
        while process.poll() is None:
            since = self._waiting_since
            if since is not None and time.monotonic() - since > self._settings.patience:
                process.kill()
            time.sleep(_WATCH_SECONDS)


def _legal_part(board: chess.Board, best: chess.Move, words: Sequence[str]) -> tuple[chess.Move, ...]:
    """The moves that follow `best`, up to the first that is none."""
    board = board.copy(stack=False)
    board.push(best)
    moves: list[chess.Move] = []
    with contextlib.suppress(ValueError):
        for word in words:
            moves.append(board.push_uci(word))
    return tuple(moves)


def _read_option(line: str) -> chess.engine.Option | None:
    """What an engine says of one of its options; None for any other line."""
    found = _OPTION.match(line.strip())
    if found is None:
        return None
    least, most = (None if found[name] is None else int(found[name]) for name in ("min", "max"))
    choices = found["var"].split(" var ")[1:]
    return chess.engine.Option(found["name"], found["type"], found["default"], least, most, choices)
