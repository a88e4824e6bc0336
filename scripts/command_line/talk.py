"""What scripts say while they work, and the figures that they write."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dejavu.retrieval.atomic import write_text


def tell(text: str) -> None:
    """Say how it goes."""
    print(text, flush=True)


def complain_as(script: str) -> Callable[[str], None]:
    """What passes on complaints, an engine's for instance, in the script's name on standard error."""

    def complain(text: str) -> None:
        print(f"{script}: {text}", file=sys.stderr, flush=True)

    return complain


def write_json(path: Path | None, figures: Any) -> None:
    """Write figures where that is asked for. Raises WriteError."""
    if path is not None:
        write_text(path, json.dumps(figures, indent=1) + "\n")
