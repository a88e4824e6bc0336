"""Long work shows a bar to whoever watches a terminal, and writes few lines to a file."""

from __future__ import annotations

import io
import os
from contextlib import closing
from pathlib import Path

import pytest

from dejavu.retrieval.progress import SECONDS_A_LINE, Stages, followed, print_above, progress_bar

SOURCES = Path(__file__).parent.parent


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_file_gets_a_line_at_the_start_every_minute_and_at_the_end() -> None:
    file, clock = io.StringIO(), Clock()
    with progress_bar("embed", "positions", 16_000, stream=file, clock=clock) as progress:
        for _ in range(1600):  # 3 minutes and 20 seconds
            clock.now += 0.125
            progress.update(10)
    assert file.getvalue().splitlines() == [
        "embed: 0 of 16,000 positions",
        "embed: 4,800 of 16,000 positions, 80 a second, 2:20 left",
        "embed: 9,600 of 16,000 positions, 80 a second, 1:20 left",
        "embed: 14,400 of 16,000 positions, 80 a second, 0:20 left",
        "embed: 16,000 of 16,000 positions, 80 a second, 3:20",
    ]


def test_what_was_done_before_counts_for_the_whole_and_not_for_the_speed() -> None:
    file, clock = io.StringIO(), Clock()
    progress = progress_bar("playing", "games", 100, 90, stream=file, clock=clock)
    clock.now += SECONDS_A_LINE * 2
    progress.reach(91)
    progress.close()
    progress.close()  # tells it once
    assert file.getvalue().splitlines() == [
        "playing: 90 of 100 games",
        "playing: 91 of 100 games, 0.5 a minute, 18:00 left",
        "playing: 91 of 100 games, 0.5 a minute, 2:00",
    ]


def test_work_of_unknown_length_and_a_note_beside_it() -> None:
    file, clock = io.StringIO(), Clock()
    with progress_bar("labelling", "positions", stream=file, clock=clock) as progress:
        clock.now += 7200
        progress.note("loss=3.1")
        progress.update(14_400)
    assert file.getvalue().splitlines() == [
        "labelling: 0 positions",
        "labelling: 14,400 positions, 2 a second, loss=3.1",
        "labelling: 14,400 positions, 2 a second, 2:00:00, loss=3.1",
    ]


def test_work_that_fails_says_how_far_it_came() -> None:
    file, clock = io.StringIO(), Clock()

    def work() -> None:
        with progress_bar("embed", "positions", 10, stream=file, clock=clock) as progress:
            progress.update(4)
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        work()
    assert file.getvalue().splitlines()[-1].startswith("embed: 4 of 10 positions")


def test_items_are_counted_when_they_are_done(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(followed("abc", "letters", "letters")) == ["a", "b", "c"]
    first, last = capfd.readouterr().err.splitlines()
    assert first == "letters: 0 of 3 letters"
    assert last.startswith("letters: 3 of 3 letters")
    assert list(followed("abc", "letters", "letters", silent=True)) == ["a", "b", "c"]
    assert capfd.readouterr() == ("", "")


def test_each_stage_is_told_of_once(capfd: pytest.CaptureFixture[str]) -> None:
    with closing(Stages("positions")) as stages:
        stages("fit", 5, 10)
        stages("fit", 10, 10)
        stages("embed", 20, 20)
    lines = capfd.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [
        "fit: 5 of 10 positions",
        "fit: 10 of 10 positions",
        "embed: 20 of 20 positions",
        "embed: 20 of 20 positions",
    ]


def test_a_terminal_gets_one_bar_that_moves() -> None:
    pty = pytest.importorskip("pty")
    reader, writer = pty.openpty()
    with os.fdopen(writer, "w") as terminal:
        with progress_bar("embed", "positions", 3, stream=terminal) as progress:
            progress.note("loss=3.1")
            progress.update(3)
            print_above("a line", terminal)
        terminal.flush()
        shown = os.read(reader, 65536).decode()
    os.close(reader)
    assert "100%" in shown
    assert "3/3" in shown
    assert "loss=3.1" in shown
    assert "\r" in shown
    assert "a line" in shown


def test_nobody_draws_a_bar_another_way() -> None:
    """A bar that knows no files fills them with thousands of lines."""
    folders = ("engine", "model", "retrieval", "scripts")
    sources = [path for folder in folders for path in (SOURCES / folder).rglob("*.py") if path.name != "progress.py"]
    assert len(sources) > 100
    drawing = [path.name for path in sources if "tqdm" in (text := path.read_text()) or 'end="", flush' in text]
    assert drawing == []
