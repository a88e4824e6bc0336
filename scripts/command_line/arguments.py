"""Types of arguments, and files of this repository that are defaults."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

POSITIONS = Path(__file__).resolve().parent.parent.parent / "tests" / "positions"
OPENINGS, MATES = POSITIONS / "openings.epd", POSITIONS / "mates.epd"


def option(text: str) -> str:
    """Check a NAME=VALUE argument."""
    if not re.fullmatch(r"[^=]+=.*", text):
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=VALUE")
    return text


def positive(text: str) -> int:
    """Parse a whole number of at least 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


def share(text: str) -> float:
    """Parse a number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not between 0 and 1")
    return value


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
