"""Types of arguments, and files of this repository that are defaults."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable
from pathlib import Path

POSITIONS = Path(__file__).resolve().parent.parent.parent / "tests" / "positions"
OPENINGS, MATES = POSITIONS / "openings.epd", POSITIONS / "mates.epd"


def option(text: str) -> str:
    """Check a NAME=VALUE argument."""
    if not re.fullmatch(r"[^=]+=.*", text):
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=VALUE")
    return text


def options_of(texts: Iterable[str]) -> dict[str, str]:
    """Arguments that `option` has checked, by name; the last of a name counts."""
    return dict(text.split("=", 1) for text in texts)


def positive(text: str) -> int:
    """Parse a whole number of at least 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
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
