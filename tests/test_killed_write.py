"""A script that is killed at a write: the same command removes what was half written, and ends as if nothing was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from training import SCRIPTS, TINY_WORDS, curve

from dejavu.model.backends import compiled_cache
from dejavu.retrieval.memory import Memory

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL")
KILLED = """
import os, runpy, signal, sys
from dejavu.retrieval import atomic
left = int(sys.argv[1])
def replace(*names):
    global left
    if str(names[1]).endswith(".compiled"):  # the cache of compiled networks, filled or not by other tests
        return os.rename(*names)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    os.rename(*names)
atomic.os.replace = replace
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def killed(writes: int, script: str, *arguments: object) -> None:
    """Run a script until so many files are written and the next one is on the disk under its first name."""
    command = [sys.executable, "-c", KILLED, str(writes), str(SCRIPTS / script), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def run(script: str, *arguments: object) -> None:
    subprocess.run([sys.executable, str(SCRIPTS / script), *map(str, arguments)], capture_output=True, check=True)


def partials(folder: Path) -> list[Path]:
    return list(folder.rglob("*.partial"))


def test_remember(tmp_path: Path) -> None:
    games, out = tmp_path / "games.pgn", tmp_path / "memory.safetensors"
    games.write_text("1. a3 h6 *\n")
    killed(0, "remember.py", games, "--out", out)
    assert len(partials(tmp_path)) == 1
    assert not out.exists()
    run("remember.py", games, "--out", out)
    assert partials(tmp_path) == []
    assert Memory.open(out).added


@pytest.mark.parametrize("writes", [1, 4])
def test_build_memory(tmp_path: Path, data: Path, weights: Path, writes: int) -> None:
    out = tmp_path / "memory.safetensors"
    command = ["--data", data, "--weights", weights, "--out", out, "--threads", 1, "--entries", 100]
    killed(writes, "build_memory.py", *command)
    assert len(partials(tmp_path)) == 1
    assert not out.exists()
    run("build_memory.py", *command)
    assert list(tmp_path.iterdir()) == [out]


def test_train(tmp_path: Path, data: Path, backbone: Path) -> None:
    command = ["backbone", "--data", data, "--run", tmp_path, "--steps", 12, "--preset", "tiny", *TINY_WORDS]
    killed(3, "train.py", *command)
    assert [path.name.split(".")[0] for path in partials(tmp_path)] == ["undecayed"]
    run("train.py", *command)
    assert partials(tmp_path) == []
    assert curve(tmp_path) == curve(backbone)


def test_what_is_left_in_the_cache_of_compiled_networks_goes_whatever_is_compiled_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "from dejavu.retrieval import atomic; import os; atomic.os.replace = lambda *_: os.kill(os.getpid(), 9)\n"
    code += "from dejavu.model.backends import compiled_cache; compiled_cache.write('a', {'one': b'1'})"
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == -signal.SIGKILL
    [left] = partials(tmp_path)
    monkeypatch.setattr(compiled_cache, "folder", lambda: left.parent)
    compiled_cache.write("b", {"one": b"1"})
    assert partials(tmp_path) == []
    assert compiled_cache.read("b") is not None
