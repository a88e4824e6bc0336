"""The README says what is so: its option table, its scripts, the size of what ships."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from dejavu.engine.options import markdown_table

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@cache
def help_of(*words: str) -> str:
    """What a script says to --help; starting one takes seconds."""
    command = [sys.executable, str(ROOT / words[0]), *words[1:], "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_option_table_is_the_engines_own() -> None:
    assert markdown_table() in README


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "scripts").glob("*.py")))
def test_every_script_is_mentioned_and_explains_itself(script: str) -> None:
    assert f"scripts/{script}" in README
    assert "usage" in help_of(f"scripts/{script}")


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "scripts").glob("*.py")))
def test_every_example_of_a_script_can_be_copied_from_its_help(script: str) -> None:
    shown = help_of(f"scripts/{script}")
    description = shown.partition("\n\n")[2].partition("\noptions:")[0]
    written = (ROOT / "scripts" / script).read_text(encoding="utf-8").split('"""')[1]
    assert max(map(len, description.splitlines())) <= 120
    examples = re.findall(r"^    (?:python|torchrun)\b(?:.*\\\n)*.*", description, re.M)
    assert len(examples) == len(re.findall(r"^    (?:python|torchrun)\b", written, re.M))
    for example in examples:
        lines = example.splitlines()
        assert all(line.endswith(" \\") for line in lines[:-1])
        assert not any(re.search(r"\S  +\S", line) for line in lines), example  # lines that were joined


def test_every_option_a_readme_command_uses_exists() -> None:
    commands = re.findall(r"python (scripts/\w+\.py(?:[^\n`]*\\\n)*[^\n`]*)", README)
    assert len(commands) > 5
    for command in commands:
        words = command.replace("\\\n", " ").split()
        shown = help_of(words[0], *(word for word in words[1:2] if word in ("backbone", "retrieval")))
        for option in re.findall(r"(?<= )--[a-z0-9-]+", command):
            assert option in shown, f"{command}: {option}"


def test_every_package_is_installed() -> None:
    declared = set(
        re.findall(r'^    "dejavu\.([\w.]+)",$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    )
    folders = {path.parent for top in ("engine", "model", "retrieval") for path in (ROOT / top).rglob("*.py")}
    assert declared == {".".join(folder.relative_to(ROOT).parts) for folder in folders}
