"""The engine's options: one table, from which everything that names an option derives.

Each field of `Config` carries its UCI name, type, range and one sentence. The answer to `uci`, the parsing of
`setoption` and the table of docs/options.md are all read off these fields.
"""

from __future__ import annotations

import dataclasses
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dejavu.engine.search.strength import STRONGEST, WEAKEST
from dejavu.model.config import MEMORY_REACH

SHIPPED = "<shipped>"
"""Value of a file option that means the file inside the installed package."""

EMPTY = "<empty>"
"""How UCI spells an empty string."""


class OptionError(ValueError):
    """A `setoption` that cannot be obeyed; the message is one sentence for the user."""


@dataclass(frozen=True)
class Option:
    """One UCI option. `kind` is spin, check, combo, string, button, or real (a number; UCI knows it as a string)."""

    name: str
    kind: str
    sentence: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    """What a combo may be set to; none has a blank in it, which fastchess could not read."""

    def parse(self, text: str) -> bool | int | float | str:
        """Read the value part of a `setoption`; raises OptionError naming the option and what it accepts."""
        text = text.strip()
        if self.kind == "string":
            if "\0" in text:  # no file can be called so, and nothing that opens one is prepared for it
                raise OptionError(f"option {self.name} takes no text with a null character in it")
            if text.startswith("~") and file_path(text) == Path(text):
                raise OptionError(f"option {self.name}: there is no user's folder '{text}'")
            return "" if text == EMPTY else text
        if self.kind == "check":
            if text.lower() not in ("true", "false"):
                raise OptionError(f"option {self.name} takes true or false, not '{text}'")
            return text.lower() == "true"
        if self.kind == "combo":
            for choice in self.choices:
                if choice.lower() == text.lower():
                    return choice
            raise OptionError(f"option {self.name} takes {' or '.join(self.choices)}, not '{text}'")
        assert self.minimum is not None
        assert self.maximum is not None
        try:
            number: int | float = int(text) if self.kind == "spin" else float(text)
        except ValueError:
            number = math.nan
        if not self.minimum <= number <= self.maximum:
            raise OptionError(
                f"option {self.name} takes a number from {self.minimum:g} to {self.maximum:g}, not '{text}'"
            )
        return number

    def uci(self, default: object) -> str:
        """The line that declares this option, for example `option name Hash type spin default ...`."""
        if self.kind == "button":
            return f"option name {self.name} type button"
        if self.kind == "spin":
            limits = f"min {self.minimum:.0f} max {self.maximum:.0f}"
            return f"option name {self.name} type spin default {default} {limits}"
        if self.kind == "combo":
            choices = " ".join(f"var {choice}" for choice in self.choices)
            return f"option name {self.name} type combo default {default} {choices}"
        kind = "string" if self.kind == "real" else self.kind
        return f"option name {self.name} type {kind} default {_spell(default)}"


def _spell(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) or EMPTY


def _spin(name: str, default: int, minimum: int, maximum: int, sentence: str) -> Any:
    option = Option(name, "spin", sentence, minimum, maximum)
    return dataclasses.field(default=default, metadata={"option": option})


def _real(name: str, default: float, minimum: float, maximum: float, sentence: str) -> Any:
    option = Option(name, "real", sentence, minimum, maximum)
    return dataclasses.field(default=default, metadata={"option": option})


def _check(name: str, default: bool, sentence: str) -> Any:
    return dataclasses.field(default=default, metadata={"option": Option(name, "check", sentence)})


def _string(name: str, default: str, sentence: str) -> Any:
    return dataclasses.field(default=default, metadata={"option": Option(name, "string", sentence)})


def _combo(name: str, default: str, choices: tuple[str, ...], sentence: str) -> Any:
    option = Option(name, "combo", sentence, choices=choices)
    return dataclasses.field(default=default, metadata={"option": option})


@dataclass(frozen=True)
class Config:
    """The value of every option.

    Search defaults are lc0's (its `search/classic/params.cc`), but for CPuct and PolicyTemperature, which matches have
    decided (docs/search.md).
    """

    threads: int = _spin(
        "Threads", 2, 1, 512, "CPU threads the network computes with; at most as many as there are cores."
    )
    hash_megabytes: int = _spin(
        "Hash",
        256,
        1,
        65536,
        "Megabytes for the search tree and the cache of evaluations; a full tree drops what was searched least.",
    )
    multi_pv: int = _spin(
        "MultiPV",
        1,
        1,
        500,
        "How many of the best moves to report, each with its line, the most visited first. Unless on a clock, a mate"
        " does not end the search for the others.",
    )
    ponder: bool = _check("Ponder", False, "Tells the engine that the GUI may let it think on the opponent's time.")
    move_overhead: int = _spin(
        "Move Overhead",
        100,
        0,
        10000,
        "Milliseconds a move may lose between GUI and engine, kept off the clock.",
    )
    show_wdl: bool = _check(
        "UCI_ShowWDL", False, "Adds the chances of win, draw and loss, in thousandths, to each score."
    )
    chess960: bool = _check("UCI_Chess960", False, "Plays Chess960: castling is spelled as king takes own rook.")
    syzygy_path: str = _string(
        "SyzygyPath", "", "Folders with Syzygy endgame tables, separated as in PATH (`:`, or `;` on Windows)."
    )
    weights_file: str = _string("WeightsFile", SHIPPED, "The network's weights, a safetensors file.")
    memory_file: str = _string(
        "MemoryFile",
        SHIPPED,
        "The memory of games that the network retrieves from; several, separated as in PATH, are asked together.",
    )
    use_memory: bool = _check(
        "UseMemory", True, "Retrieves from the memories and from what was learned; off, the backbone plays alone."
    )
    memory_reach: int = _spin(
        "MemoryReach",
        MEMORY_REACH,
        0,
        2_000_000_000,
        "Squared distance up to which a remembered position is asked; without any, the backbone evaluates alone.",
    )
    backend: str = _combo(
        "Backend",
        "auto",
        ("auto", "cuda", "openvino", "torch"),
        "What computes the network; `auto` takes the first of the others that works here.",
    )
    experience_file: str = _string(
        "ExperienceFile", "", "PGN file that every game's deep searches are added to, for scripts/remember.py."
    )
    learn: str = _combo(
        "Learn",
        "read",
        ("off", "read", "on"),
        "Uses what was learned in the user's own file; `on` also learns from every game and stopped analysis.",
    )
    show_neighbours: bool = _check("ShowNeighbours", False, "Names the remembered positions behind the move it plays.")
    minibatch_size: int = _spin(
        "MinibatchSize", 24, 1, 1024, "The most positions the network evaluates at once; fewer in a young tree."
    )
    cpuct: float = _real("CPuct", 2.5, 0.0, 100.0, "Exploration: the larger, the wider the search.")
    cpuct_base: float = _real("CPuctBase", 38739.0, 1.0, 1e9, "Visits at which exploration has begun to grow.")
    cpuct_factor: float = _real("CPuctFactor", 3.894, 0.0, 1000.0, "How fast exploration grows with visits.")
    fpu_value: float = _real(
        "FpuValue",
        0.330,
        -100.0,
        100.0,
        "How much worse than its parent an unvisited move is assumed to be.",
    )
    policy_temperature: float = _real(
        "PolicyTemperature", 1.0, 0.1, 10.0, "Softmax temperature of the policy: above 1 flattens it."
    )
    smart_pruning_factor: float = _real(
        "SmartPruningFactor",
        1.33,
        0.0,
        10.0,
        "On a clock, stops once no move can overtake the best; larger stops sooner, 0 never.",
    )
    temperature: float = _real(
        "Temperature",
        0.0,
        0.0,
        100.0,
        "Above 0 the move is drawn, with chances in proportion to visits^(1/temperature); for variety in self-play.",
    )
    temperature_decay_moves: int = _spin(
        "TempDecayMoves", 0, 0, 1000, "Moves of the game over which Temperature falls to 0; 0 is never."
    )
    noise_epsilon: float = _real(
        "DirichletNoiseEpsilon",
        0.0,
        0.0,
        1.0,
        "Share of Dirichlet noise in the priors of the position to play; for variety in self-play, 0 is none.",
    )
    noise_alpha: float = _real(
        "DirichletNoiseAlpha", 0.3, 0.001, 1000.0, "Concentration of that noise: the smaller, the fewer moves share it."
    )
    draw_score: float = _real(
        "DrawScore",
        0.0,
        -1.0,
        1.0,
        "What a draw is worth to the side to move, the opposite to its opponent; below 0 avoids draws.",
    )
    score_type: str = _combo(
        "ScoreType",
        "centipawn",
        ("centipawn", "WDL", "Q"),
        "What stands behind `score cp`: centipawns, the expected score (0 to 10000) or Q (-10000 to 10000).",
    )
    verbose_move_stats: bool = _check(
        "VerboseMoveStats", False, "Before the best move, tells what the search knows of each move, as `info string`."
    )
    log_live_stats: bool = _check("LogLiveStats", False, "Tells the same beside every info line.")
    limit_strength: bool = _check("UCI_LimitStrength", False, "Plays at the strength of UCI_Elo.")
    elo: int = _spin(
        "UCI_Elo",
        WEAKEST,
        WEAKEST,
        STRONGEST,
        "The strength to play at, on the scale of Stockfish 15.1's option of that name: fewer nodes, softer choices.",
    )
    nodes_per_second_limit: int = _spin(
        "NodesPerSecondLimit", 0, 0, 1_000_000, "The most nodes a second; the engine waits in between. 0 is no limit."
    )
    log_file: str = _string("LogFile", "", "Every line in and out is written to this file, with its time.")
    node_limit: int = _spin(
        "NodeLimit", 0, 0, 2_000_000_000, "The most nodes a move, whatever the GUI asks for; 0 is no limit."
    )


CLEAR_HASH = Option("Clear Hash", "button", "Forgets the search tree and the cache of evaluations.")

FIELDS: dict[str, tuple[str, Option]] = {
    field.metadata["option"].name.lower(): (field.name, field.metadata["option"])
    for field in dataclasses.fields(Config)
}
"""Option name in lower case (UCI ignores case) -> field of Config and the option."""


def set_option(config: Config, name: str, value: str) -> Config:
    """`config` with the option `name` set; raises OptionError for a bad name or value."""
    found = FIELDS.get(name.lower())
    if found is None:
        raise OptionError(f"there is no option '{name}'")
    field, option = found
    changes: dict[str, Any] = {field: option.parse(value)}
    return dataclasses.replace(config, **changes)


def file_path(value: str) -> Path:
    """The file or folder that an option names; `~` is the user's own folder."""
    return Path(os.path.expanduser(value))


def uci_lines() -> list[str]:
    """The `option` lines of the answer to `uci`, in the table's order."""
    default = Config()
    lines = [option.uci(getattr(default, field)) for field, option in FIELDS.values()]
    return [*lines, CLEAR_HASH.uci(None)]


def markdown_table() -> str:
    """The table of docs/options.md."""
    default = Config()
    rows = ["| option | default | range | |", "|---|---|---|---|"]
    for field, option in FIELDS.values():
        limits = "" if option.minimum is None else f"{option.minimum:.10g} to {option.maximum:.10g}"
        limits = limits or ", ".join(f"`{choice}`" for choice in option.choices)
        rows.append(f"| `{option.name}` | `{_spell(getattr(default, field))}` | {limits} | {option.sentence} |")
    rows.append(f"| `{CLEAR_HASH.name}` | | button | {CLEAR_HASH.sentence} |")
    return "\n".join(rows)
