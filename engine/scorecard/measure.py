"""Measures the shipped net and memory, part after part, so that a killed run goes on with the next part.

Each part is one of the repository's commands, which writes its figures as JSON.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dejavu.engine.loader import wanted
from dejavu.engine.options import Config
from dejavu.model.weights import read_weights
from dejavu.retrieval.atomic import write_text
from dejavu.retrieval.memory import Memory

MATE_NODES = SUITE_NODES = 800
MEMORY_NODES = 100
"""A move, in the match with the memory against without."""
STOCKFISH_NODES = 30_000
"""A move of Stockfish's, as where UCI_Elo was anchored (engine/search/strength.py)."""
DEJAVU_NODES = 400
"""A move of Dejavu's against it."""
ON, OFF, DEJAVU = "with memory", "without memory", "Dejavu"
"""Names of players."""


class ScorecardError(Exception):
    """Measuring cannot go on; the message is one sentence."""


@dataclass(frozen=True)
class Request:
    """What to measure, and how much of it."""

    memory_games: int = 400
    """With the memory against without."""
    stockfish: str | None = None
    """The command; without one there is no such match."""
    stockfish_elo: int = 2000
    """Its UCI_Elo."""
    stockfish_games: int = 60
    data: Path | None = None
    """The data set with the held-out games; without one nothing is predicted or taught."""
    sources: tuple[str, ...] = ("teacher", "tcec")
    """Parts of the names of the data set's game files. The first is taught."""
    positions: int = 8192
    """Held-out positions of each source."""
    taught: int = 200
    suites: tuple[Path, ...] = ()
    """EPD files beside this repository's mates."""


def commands(request: Request, folder: Path) -> dict[str, list[str]]:
    """Part -> words of the command that measures it, but for where it writes; games are recorded in `folder`."""
    memory = ["--engine", f"name={ON}", "--engine", f"name={OFF}", "option.UseMemory=false"]
    found = {
        "speed": ["bench.py", "engine"],
        "mates": ["solve.py", "--each", f"nodes={MATE_NODES}"],
        "memory": [
            *["match.py", *memory, "--each", f"nodes={MEMORY_NODES}", "--games", str(request.memory_games)],
            *["--batched", "64", "--seed", "5", "--pgn", str(folder / "memory.pgn")],
        ],
    }
    for suite in request.suites:
        found[f"suite {suite.stem}"] = ["solve.py", str(suite), "--each", f"nodes={SUITE_NODES}"]
    if request.data is not None:
        data = ["--data", str(request.data)]
        for source in request.sources:
            some = ["--source", source, "--positions", str(request.positions)]
            found[f"held-out {source}"] = ["evaluate.py", *data, *some]
        some = ["--source", request.sources[0], "--positions", str(request.taught), "--others", str(request.positions)]
        found["teach"] = ["teach.py", *data, *some]
    if request.stockfish is not None:
        limit = ["option.UCI_LimitStrength=true", f"option.UCI_Elo={request.stockfish_elo}"]
        found["stockfish"] = [
            *["match.py", "--engine", f"name={DEJAVU}", f"nodes={DEJAVU_NODES}", "option.Threads=1"],
            *["--engine", "name=Stockfish", f"cmd={request.stockfish}", f"nodes={STOCKFISH_NODES}", *limit],
            *["--games", str(request.stockfish_games), "--concurrency", "2", "--pgn", str(folder / "stockfish.pgn")],
        ]
    return found


def fingerprints() -> dict[str, str]:
    """SHA-256 of the shipped files."""
    files = wanted(Config())
    assert files.memory is not None
    return {
        f"{name}_sha256": hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in (("weights", files.weights), ("memory", files.memory))
    }


def shipped() -> dict[str, Any]:
    """Name, date, size and fingerprints of the shipped files. Raises WeightsError and MemoryFileError."""
    files = wanted(Config())
    assert files.memory is not None
    weights, metadata = read_weights(files.weights)
    return {
        "net": metadata.get("training.name", ""),
        "made": metadata.get("training.date", ""),
        "parameters": weights.parameters,
        "memory_entries": len(Memory.open(files.memory, weights.fingerprint)),
        **fingerprints(),
    }


def machine() -> str:
    """Processor, cores and system, for people."""
    name = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            name = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), name)
    return f"{name}, {os.cpu_count()} cores, {platform.system()}"


def measure(
    request: Request, folder: Path, run: Callable[[Sequence[str]], None], say: Callable[[str], None]
) -> dict[str, Any]:
    """The scorecard, from what is in `folder` and what is measured now.

    `run` runs a script of the repository by its words, and raises ScorecardError where that fails. Raises
    ScorecardError, too, where the folder holds figures of other files or of another request; and WeightsError,
    MemoryFileError and WriteError.
    """
    pair = shipped()
    identity = json.dumps({**pair, **dataclasses.asdict(request)}, indent=1, default=str) + "\n"
    asked = folder / "request.json"
    if not asked.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_text(asked, identity)
    elif asked.read_text(encoding="utf-8") != identity:
        raise ScorecardError(f"{folder} holds figures of another net, memory or request; name another folder")
    results: dict[str, Any] = {}
    parts = commands(request, folder)
    for number, (part, words) in enumerate(parts.items(), 1):
        path = folder / f"{part}.json"
        if path.exists():
            say(f"{number} of {len(parts)}, {part}: measured before")
        else:
            say(f"{number} of {len(parts)}, {part}: {' '.join(words)}")
            # A match that was interrupted sums up what it has, which must not pass for the whole.
            unfinished = folder / f"{part}.unfinished"
            run([*words, "--json", str(unfinished)])
            os.replace(unfinished, path)
        results[part] = _without_answers(json.loads(path.read_text(encoding="utf-8")))
    date = datetime.now(timezone.utc).date().isoformat()
    where = {"measured": date, "machine": machine()}
    return {**pair, **where, "sizes": _sizes(request), "results": results}


def _without_answers(figures: dict[str, Any]) -> dict[str, Any]:
    """Figures but for the long lists of single positions; of solve.py's engines the only one."""
    if "engines" in figures:
        (figures,) = figures["engines"]
    return {key: value for key, value in figures.items() if key not in ("answers", "calibration")}


def _sizes(request: Request) -> dict[str, int]:
    """The numbers of the request."""
    return {key: value for key, value in dataclasses.asdict(request).items() if isinstance(value, int)}
