"""The pages say what is so: options, scripts, commands; their links lead somewhere, and the README is short."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import chess
import numpy as np
import pytest
from scripts_together import run_together

from dejavu.engine.loader import wanted
from dejavu.engine.options import Config, markdown_table
from dejavu.model.chess.encoding import pack
from dejavu.model.remembered import Remembered, entry_fields
from dejavu.retrieval.memory import Memory

ROOT = Path(__file__).parent.parent
PAGES = [path for folder in (".", "docs", "docs/history", "tests/positions") for path in (ROOT / folder).glob("*.md")]
# In the order in which they are followed. What is told in docs/history was done with what is there no longer.
MANUAL = [ROOT / "README.md", *(ROOT / "docs" / f"{page}.md" for page in ("training", "memory", "selfplay"))]
MANUAL += sorted(path for path in (ROOT / "docs").glob("*.md") if path not in MANUAL)
TEXT = "".join(page.read_text(encoding="utf-8") for page in MANUAL)


SUBCOMMANDS = ("backbone", "retrieval", "prepare", "train", "list", "merge", "forget", "export")
COMMANDS = re.findall(r"python (scripts/\w+\.py(?:[^\n`]*\\\n)*[^\n`]*)", TEXT)


def documented(command: str) -> tuple[str, ...]:
    """Which help has the options of a command: the script's, or that of its subcommand."""
    words = command.replace("\\\n", " ").split()
    return Path(words[0]).name, *(word for word in words[1:2] if word in SUBCOMMANDS)


@cache
def helps() -> dict[tuple[str, ...], str]:
    """What every script says to --help, and every subcommand of the pages."""
    asked = list(
        dict.fromkeys([*((path.name,) for path in (ROOT / "scripts").glob("*.py")), *map(documented, COMMANDS)])
    )
    ended = run_together([(*words, "--help") for words in asked])
    assert [end.status for end in ended] == [0] * len(asked)
    return {words: end.said for words, end in zip(asked, ended, strict=True)}


def test_the_option_table_is_the_engines_own() -> None:
    assert markdown_table() in (ROOT / "docs" / "options.md").read_text(encoding="utf-8")


def test_the_readme_is_short_and_every_page_says_for_whom_it_is() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130
    for page in (ROOT / "docs").rglob("*.md"):
        opening = page.read_text(encoding="utf-8").split("\n\n")[1]
        assert opening.startswith("For who"), page


def test_the_readme_shows_what_eval_says_of_the_starting_position() -> None:
    """As the memory has it, which a net takes seconds to say."""
    path, board = wanted(Config()).memory, chess.Board()
    assert path is not None
    memory = Memory.open(path)
    (entry,) = np.flatnonzero((memory.boards == np.frombuffer(pack(board), "<u8")).all(axis=1))
    remembered = Remembered(**entry_fields(memory, int(entry), 0))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first = remembered.moves(board)[0].uci()
    assert f"info string with memory: {first} " in text
    line = re.search(r"info string distance .* moves (.*) \.\.\. game (.*?)(?: \.\.\.)?$", text, re.M)
    assert line is not None
    assert remembered.line(board).startswith(line[1])
    assert remembered.game.startswith(line[2])


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "scripts").glob("*.py")))
def test_every_script_is_mentioned_and_explains_itself(script: str) -> None:
    assert f"scripts/{script}" in (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert helps()[script,].startswith("usage")


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "scripts").glob("*.py")))
def test_every_example_of_a_script_can_be_copied_from_its_help(script: str) -> None:
    shown = helps()[script,]
    description = shown.partition("\n\n")[2].partition("\noptions:")[0]
    written = (ROOT / "scripts" / script).read_text(encoding="utf-8").split('"""')[1]
    assert max(map(len, description.splitlines())) <= 120
    examples = re.findall(r"^    (?:python|torchrun)\b(?:.*\\\n)*.*", description, re.M)
    assert len(examples) == len(re.findall(r"^    (?:python|torchrun)\b", written, re.M))
    for example in examples:
        lines = example.splitlines()
        assert all(line.endswith(" \\") for line in lines[:-1])
        assert not any(re.search(r"\S  +\S", line) for line in lines), example  # lines that were joined


def test_every_option_a_command_of_the_pages_uses_exists() -> None:
    assert len(COMMANDS) > 30
    for command in COMMANDS:
        shown = helps()[documented(command)]
        for option in re.findall(r"(?<= )--[a-z0-9-]+", command):
            assert option in shown, f"{command}: {option}"


def test_every_file_a_command_of_the_pages_reads_is_made_before_or_the_readers_own() -> None:
    sentences = re.findall(r"Files of your own are ([^.]*(?:\.\w[^.]*)*)\.", TEXT)
    assert len(sentences) > 3
    own, made = set(re.findall(r"`([^`]+)`", "".join(sentences))), set[str]()
    for command in re.findall(r"python scripts/\w+\.py((?:[^\n`]*\\\n)*[^\n`]*)", TEXT):
        words = command.replace("\\\n", " ").split()
        written = {words[i + 1] for i, word in enumerate(words[:-1]) if word in ("--out", "--run", "--pgn", "--html")}
        names = {word.rpartition("=")[2] for word in words if word not in written and word != "--forget"}
        for name in names:
            if name.startswith("runs/") or re.search(r"\.(pgn|zst|epd|tsv|safetensors)$", name):
                is_made = any(name == file or name.startswith(f"{file}/") for file in made)
                kept = name.startswith(("checkpoints/", "model/shipped/", "retrieval/shipped/"))
                is_here = kept and (ROOT / name).exists()
                assert is_made or is_here or name in own, f"{name} in {command}"
        made |= written


@pytest.mark.parametrize("page", sorted(path.relative_to(ROOT).as_posix() for path in PAGES))
def test_every_relative_link_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"\w+:|#", link):
            assert ((ROOT / page).parent / link.partition("#")[0]).exists(), link


def test_every_row_of_a_table_stands_under_its_head() -> None:
    for path in PAGES:
        for block in re.findall(r"(?:^\|.*\n)+", path.read_text(encoding="utf-8"), re.M):
            assert re.search(r"\A.*\n\|[-:| ]+\|\n", block), f"{path}: {block[:80]}"


def test_every_package_is_installed() -> None:
    declared = set(
        re.findall(r'^    "dejavu\.([\w.]+)",$', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    )
    folders = {path.parent for top in ("engine", "model", "retrieval") for path in (ROOT / top).rglob("*.py")}
    assert declared == {".".join(folder.relative_to(ROOT).parts) for folder in folders}
