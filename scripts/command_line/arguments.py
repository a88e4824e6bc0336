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
