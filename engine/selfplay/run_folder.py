"""Folders whose contents all have the same settings."""

from __future__ import annotations

import json
from pathlib import Path

from dejavu.retrieval.atomic import write_text


class RunFolderError(ValueError):
    """A folder that was begun with other settings; the message is one sentence."""


def claim(folder: Path, settings: dict[str, str]) -> None:
    """Make the folder that of these settings, or find that it is. Raises RunFolderError, WriteError."""
    path = folder / "settings.json"
    folder.mkdir(parents=True, exist_ok=True)
    if path.exists():
        stored = json.loads(path.read_text(encoding="utf-8"))
        for name, value in settings.items():
            if stored.get(name) != value:
                was = stored.get(name)
                raise RunFolderError(f"{folder} was begun with {name} {was}, not {value}; choose another folder")
        return
    write_text(path, json.dumps(settings, indent=1) + "\n")
