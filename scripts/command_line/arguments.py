"""Types of arguments, and files of this repository that are defaults."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

POSITIONS = Path(__file__).resolve().parent.parent.parent / "tests" / "positions"
Arguments = argparse._ActionsContainer  # a parser, or a group of arguments
OPENINGS, MATES = POSITIONS / "openings.epd", POSITIONS / "mates.epd"


def option(text: str) -> str:
    """Check a NAME=VALUE argument."""
    if not re.fullmatch(r"[^=]+=.*", text):
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=VALUE")
    return text


def options_of(texts: Iterable[str]) -> dict[str, str]:
    """Arguments that `option` has checked, by name; the last of a name counts."""
    return dict(text.split("=", 1) for text in texts)


def game_file(text: str) -> Path:
    """An argument that names a game file which is there."""
    path = Path(text)
    if not path.is_file():
        raise argparse.ArgumentTypeError(f"game file {path} does not exist")
    return path


def positive(text: str) -> int:
    """Parse a whole number of at least 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


def natural(text: str) -> int:
    """Parse a whole number from 0."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number")
    return int(text)


def number_between(kind: type, low: float, high: float) -> Callable[[str], float]:
    """A parser of numbers from `low` to `high`."""

    def parse(text: str) -> float:
        try:
            value: float = kind(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"'{text}' is not a number from {low:g} to {high:g}")
        return value

    return parse


many, share = number_between(int, 1, 999_999), number_between(float, 0, 1)


def parse_sources(text: str) -> dict[str, float]:
    """ "teacher=2,tcec=1" -> parts of game-file names and their weights in a batch."""
    try:
        return {name: float(weight) for name, weight in (part.split("=") for part in text.split(","))}
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=WEIGHT,NAME=WEIGHT,...") from None


def seconds(text: str) -> float:
    """Parse a number above 0."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds")
    return value


def span(text: str) -> tuple[int, int]:
    """Parse LOW-HIGH or one number."""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if match is None or int(match[2] or match[1]) < int(match[1]):
        raise argparse.ArgumentTypeError(f"'{text}' is not LOW-HIGH")
    return int(match[1]), int(match[2] or match[1])


class Options(argparse.Action):
    """NAME=VALUE arguments as a dictionary; the last of a name counts, and the option may be given again."""

    def __call__(
        self, parser: object, namespace: argparse.Namespace, values: Any, option_string: object = None
    ) -> None:
        given = values if isinstance(values, list) else [values]
        setattr(namespace, self.dest, {**getattr(namespace, self.dest, {}), **options_of(given)})


def add_self_play_arguments(parser: Arguments, options: Mapping[str, str], games: int, max_plies: int) -> None:
    """Add what decides about games of self-play: `options` are those that differ from play, the rest are defaults."""
    parser.add_argument("--games", type=many, help=f"games, those there already included ({games})")
    parser.add_argument("--nodes", type=many, help="nodes a move (100)")
    parser.add_argument("--max-plies", type=many, help=f"a game of so many plies is drawn ({max_plies})")
    parser.add_argument("--resign", type=share, help="give up at Q <= -VALUE; 0 never (0.95)")
    usual = ", ".join(f"{name}={value}" for name, value in options.items())
    parser.add_argument(
        "--options",
        type=option,
        nargs="+",
        action=Options,
        metavar="NAME=VALUE",
        help=f"UCI options; those of play but for {usual}",
    )
    parser.add_argument("--at-once", type=many, help="games at the same time (64)")
    plies = number_between(int, 0, 100)
    parser.add_argument("--random-plies", type=plies, help="at most so many random moves at the start (8)")


def add_openings_argument(parser: Arguments) -> None:
    """Add --openings, of a match."""
    parser.add_argument(
        "--openings", type=Path, default=OPENINGS, metavar="FILE", help="EPD, PGN, or TSV file (ECO, name, moves)"
    )
