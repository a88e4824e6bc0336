"""A whole game explained: what is said of it, and the page, in a real browser where there is one."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import chess
import pytest

from dejavu.engine.loader import wanted
from dejavu.engine.options import Config
from dejavu.engine.pages.game import game_page, move_lines, summary
from dejavu.engine.seeing.played import parse_game
from dejavu.engine.seeing.review import FORGOTTEN_PLIES, Evaluation, Review, review
from dejavu.model.chess.encoding import pack
from dejavu.model.explanation import Explanation, NeighbourDescription
from dejavu.model.inference import NetworkEvaluator

SCRIPT = Path(__file__).parent.parent / "scripts" / "explain.py"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
ODD = "</script><script>alert(1)</script><img src=x onerror=alert(2)>'" + '\\"' + "\x1b[2J\u202e" + "long " * 2000
PGN = f"""[White "{ODD}"]
[Black "B & <i>C"]
[Event "{ODD}"]
[Result "0-1"]

1. f3 e5 2. g4 Qh4# 0-1
"""


@pytest.fixture(scope="module")
def evaluator() -> NetworkEvaluator:
    files = wanted(Config())
    return NetworkEvaluator.load(files.weights, files.memory, threads=1, backend="torch")


@pytest.fixture(scope="module")
def reviewed(evaluator: NetworkEvaluator) -> Review:
    done: list[tuple[int, int]] = []
    found = review(parse_game(PGN, "it"), evaluator, 40, lambda *numbers: done.append(numbers))
    assert done == [(number, 5) for number in range(1, 6)]
    return found


def test_every_position_is_evaluated_and_errors_are_named(reviewed: Review) -> None:
    assert [moment.board.ply() for moment in reviewed.moments] == list(range(5))
    assert [moment.evaluation.words(moment.board.turn) for moment in reviewed.moments[3:]] == ["#-1", "#"]
    assert [moment.evaluation.white_score(moment.board.turn) for moment in reviewed.moments[3:]] == [0, 0]
    assert reviewed.moments[2].lost > 0.3  # 2.g4 lets Black mate
    assert reviewed.moments[3].other_move is None
    assert reviewed.moments[4].explanation is None
    (line,) = [line for line in move_lines(reviewed) if line.startswith("2.g4: ")]
    assert re.search(r"the engine would have played \S+, for \d+% of a point more", line)


def known(review: Review, plies: set[int], of: int) -> Review:
    """The review of a game of so many positions, of which these are remembered."""
    board = chess.Board()
    moments = []
    for ply in range(of):
        item = NeighbourDescription(0.0, pack(board), 0, (), (1, 0, 0), "A - B", None, 0.0, 0.0)
        explanation = Explanation((), (1, 0, 0), (1, 0, 0), (item,) * (ply in plies))
        moment = replace(review.moments[0], board=board.copy(), explanation=explanation)
        move = next(iter(board.legal_moves))
        moments.append(replace(moment, played=move, evaluation=Evaluation((1, 0, 0), None, (move,))))
        board.push(move)
    return replace(review, moments=moments)


@pytest.mark.parametrize(
    ("plies", "new"),
    [
        ({0, 1, 2}, 3),
        ({0, 1, 2, 4}, 5),
        ({0, 1, 2 + FORGOTTEN_PLIES}, 2),
        (set(), 0),
        (set(range(9)), None),
        (set(range(8)), 8),
    ],
)
def test_a_game_is_new_from_the_move_that_leaves_the_memory_for_good(
    reviewed: Review, plies: set[int], new: int | None
) -> None:
    found = known(reviewed, plies, 9)
    assert found.new_from == new
    told = summary(found)
    if new:
        number, first = f"{(new - 1) // 2 + 1}{'.' if new % 2 else '...'}", found.moments[new - 1]
        assert first.played is not None
        assert told.startswith(f"New from {number}{first.board.san(first.played)}:")
    else:
        assert told.startswith("The game does not begin" if new == 0 else "Every position")


def test_a_game_that_is_remembered_to_its_mating_move_is_not_new_from_the_mate(reviewed: Review) -> None:
    found = known(reviewed, set(range(8)), 9)
    mated = replace(found.moments[-1], explanation=None, played=None)
    assert replace(found, moments=[*found.moments[:-1], mated]).new_from is None
    left = known(reviewed, set(range(6)), 9)
    assert replace(left, moments=[*left.moments[:-1], mated]).new_from == 6


def test_the_page_is_one_file_that_loads_nothing_and_obeys_no_name(reviewed: Review) -> None:
    text = game_page(reviewed)
    assert len(text) < 200_000
    assert text.count("<script") == text.count("</script") == 2
    assert not re.search(r"<img|<\w+ [^>]*src=|@import|url\(|https?://(?!www\.w3\.org/)", text)
    assert "B &amp; &lt;i&gt;C" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "default-src 'none'" in text


@pytest.fixture
def browser() -> Iterator[Any]:
    if BROWSER is None:
        pytest.skip("no Chromium or Chrome is installed")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.mark.parametrize(("width", "scheme"), [(1300, "light"), (390, "dark")])
def test_a_browser_shows_the_game_and_goes_through_it(
    reviewed: Review, browser: Any, width: int, scheme: str, tmp_path: Path
) -> None:
    file = tmp_path / "game.html"
    file.write_text(game_page(reviewed), encoding="utf-8")
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("dialog", lambda dialog: problems.append(dialog.message))
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(file.as_uri())

    def title() -> str:
        return str(page.locator("#about h2").inner_text())

    assert title() == "1.f3"
    assert page.locator("#board use").count() == 32
    assert page.locator("#similar article").count() == len(reviewed.moments[0].similar)
    page.keyboard.press("ArrowRight")
    assert title() == "1...e5"
    page.click("#back")
    page.click("#next")
    assert page.locator("#about .mark", has_text="The engine would have played").count() == 1
    page.click("#moves a[data-ply='2']")
    assert title() == "2.g4"
    assert page.locator("#moves .here").inner_text() == "2.g4"
    page.keyboard.press("End")
    assert title() == "The end of the game"
    curve = page.locator("#curve")
    curve.click(position={"x": curve.bounding_box()["width"] * 0.75, "y": 5})
    assert title() == "2...Qh4#"
    page.reload()
    assert title() == "2...Qh4#"
    # Nothing sticks out of a phone, and day and night differ.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper)[:3])) > 384) == (scheme == "light")
    assert problems == []
    assert {request.partition("#")[0] for request in requests} == {file.as_uri()}
    context.close()


def test_the_script_explains_a_game(tmp_path: Path) -> None:
    pgn, html = tmp_path / "games.pgn", tmp_path / "report.html"
    pgn.write_text(f"1. e4 *\n\n{PGN}", encoding="utf-8")
    command = [sys.executable, str(SCRIPT), str(pgn), "--game", "2", "--nodes", "20", "--html", str(html)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "of the 4 moves otherwise" in done.stdout
    assert "searched: 5 of 5 positions" in done.stderr
    assert "2...Qh4#" in html.read_text(encoding="utf-8")


def test_the_script_refuses_a_broken_game(tmp_path: Path) -> None:
    pgn = tmp_path / "games.pgn"
    pgn.write_text("1. e4 e4 *\n", encoding="utf-8")
    done = subprocess.run([sys.executable, str(SCRIPT), str(pgn)], capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(r"explain: game file .*: illegal san: 'e4' .*\n", done.stderr)
