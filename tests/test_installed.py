"""What pip has installed: the command `dejavu`, and the version that the engine says."""

from __future__ import annotations

import subprocess
import sysconfig
from importlib.metadata import entry_points, version
from pathlib import Path

from dejavu.engine import __main__ as engine
from dejavu.engine.uci import protocol


def test_the_engines_name_has_the_version_of_the_package() -> None:
    assert f"Dejavu {version('dejavu-chess')}" == protocol.NAME


def test_the_command_is_the_engine() -> None:
    [command] = entry_points(group="console_scripts", name="dejavu")
    assert command.load() is engine.main
    [installed] = Path(sysconfig.get_path("scripts")).glob("dejavu*")
    done = subprocess.run([installed], input="uci\nquit\n", capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"id name {protocol.NAME}")
    assert done.stdout.endswith("uciok\n")
    assert done.stderr == ""
