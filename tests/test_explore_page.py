"""`dejavu explore`: who may ask, what is answered, and the page in a real browser where there is one."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient

from dejavu.engine.explore.explorer import Explorer
from dejavu.engine.explore.server import HOST, LARGEST_QUESTION, TOKEN_HEADER, application
from dejavu.engine.options import Config
from dejavu.engine.uci.learning import FOLDER

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
TOKEN = "of the test"
ODD = ["a2a4", "h7h5", "a1a3", "h8h6"]
"""Moves that lead out of the memory."""
PGN = """[White "</script><img src=x onerror=alert(1)>"]
[FEN "7k/P7/8/8/8/8/8/K7 w - - 0 1"]
[SetUp "1"]

1. a8=R+ Kg7 2. Ra7+ *
"""


@pytest.fixture(scope="module")
def explorer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explorer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER, str(tmp_path_factory.mktemp("data")))
        started = Explorer(Config(threads=1))
        started.start()
        yield started


@pytest.fixture
def client(explorer: Explorer) -> TestClient:
    found = TestClient(application(explorer, TOKEN), base_url=f"http://{HOST}:8642")
    found.headers[TOKEN_HEADER] = TOKEN
    return found


def asked(client: TestClient, name: str, **question: object) -> dict[str, Any]:
    reply = client.post(f"/api/{name}", json={"fen": None, "moves": [], **question})
    found: dict[str, Any] = reply.json()
    assert (reply.status_code == 200) == ("error" not in found)
    return found


def test_a_position_is_told_with_its_neighbours_and_what_is_like_it(client: TestClient) -> None:
    found = asked(client, "position", moves=["e2e4", "c7c5"])
    assert found["whole"] == "rnbqkbnr/pp1ppppp/8/2p5/4P3/8/PPPP1PPP/RNBQKBNR w KQkq - 0 2"
    assert ["g1f3", "2.Nf3"] in found["legal"]
    assert found["moves"][0][:2] == ["g1f3", "Nf3"]
    assert len(found["remembered"]) == 1
    assert len(found["similar"]) == 8
    assert asked(client, "search", moves=["e2e4", "c7c5"])["line"].startswith("2.")


def test_what_is_taught_by_a_click_is_known_at_once_until_it_is_forgotten(client: TestClient) -> None:
    assert "taught: Nc3" in asked(client, "teach", moves=ODD, move="b1c3")["said"][0]
    known = asked(client, "position", moves=ODD)
    assert "Taught by hand" in known["remembered"][0]
    assert known["moves"][0][1] == "Nc3"
    assert "forgotten" in asked(client, "forget", moves=ODD)["said"][0]
    assert asked(client, "position", moves=ODD)["remembered"] == []


def test_the_end_of_a_game_is_told(client: TestClient) -> None:
    mated = ["f2f3", "e7e5", "g2g4", "d8h4"]
    assert asked(client, "position", moves=mated)["over"] == "checkmate"
    assert "score" not in asked(client, "search", moves=mated)


def test_a_fen_or_a_game_can_be_pasted(client: TestClient) -> None:
    assert asked(client, "paste", text=" 7k/P7/8/8/8/8/8/K7 w - - 0 1\n") == {
        "fen": "7k/P7/8/8/8/8/8/K7 w - - 0 1",
        "moves": [],
    }
    game = asked(client, "paste", text=PGN)
    assert game["fen"] == "7k/P7/8/8/8/8/8/K7 w - - 0 1"
    assert game["moves"] == [["a7a8r", "1.a8=R+"], ["h8g7", "1...Kg7"], ["a8a7", "2.Ra7+"]]


@pytest.mark.parametrize(
    ("name", "question", "sentence"),
    [
        ("position", {"fen": "8/8/8/8/8/8/8/8 w - - 0 1"}, "White has no king"),
        ("position", {"fen": 3}, "'fen' is to be a text"),
        ("position", {"moves": ["e2e5"]}, "illegal move 'e2e5'"),
        ("position", {"moves": "e2e4"}, "'moves' is to be a list of moves"),
        ("position", {"moves": ["e2e4"] * 1001}, "longer than 1,000"),
        ("search", {"moves": ["0000"]}, "illegal move '0000'"),
        ("paste", {"text": ""}, "paste a FEN, or a game as PGN"),
        ("paste", {"text": "1. e4 e4 *"}, "illegal san"),
        ("paste", {"text": "k/k/k/k/k/k/k/k"}, "bad FEN"),
        ("paste", {"text": '[Variant "Chess960"]\n\n1. e4 *'}, "a game of Chess960 cannot be shown here"),
    ],
)
def test_a_question_without_sense_is_answered_by_one_sentence(
    client: TestClient, name: str, question: dict[str, Any], sentence: str
) -> None:
    assert sentence in asked(client, name, **question)["error"]


def test_who_has_no_token_or_another_host_or_too_much_to_ask_is_refused(client: TestClient) -> None:
    def status(**more: Any) -> int:
        return int(client.post("/api/position", **{"json": {"moves": []}, **more}).status_code)

    assert status() == 200
    assert status(headers={TOKEN_HEADER: "guessed"}) == 403
    assert status(headers={TOKEN_HEADER: ""}) == 403
    assert status(headers={"host": "evil.example"}) == 400
    assert status(headers={"content-type": "text/plain"}) == 415
    assert status(json={"moves": [], "more": "x" * LARGEST_QUESTION}) == 413
    assert status(json=[1]) == 400
    assert client.get("/api/position").status_code == 404
    assert client.get("/../pyproject.toml").status_code == 404
    assert "script-src 'self'" in client.get("/").headers["content-security-policy"]


def test_a_port_in_use_is_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "dejavu.engine", "explore", "--no-browser", "--port", port]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"dejavu explore cannot listen on {HOST}:{port}: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def address(explorer: Explorer) -> Iterator[str]:
    with socket.socket() as listening:
        listening.bind((HOST, 0))
        server = uvicorn.Server(uvicorn.Config(application(explorer, TOKEN.replace(" ", "-")), log_level="error"))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.02)
        yield f"http://{HOST}:{listening.getsockname()[1]}/#{TOKEN.replace(' ', '-')}"
        server.should_exit = True
        thread.join()


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")
@pytest.mark.parametrize(("width", "scheme"), [(1300, "light"), (390, "dark")])
def test_in_a_browser_pieces_are_moved_and_positions_pasted_and_taught(
    address: str, width: int, scheme: Any, tmp_path: Path
) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
        problems: list[str] = []
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        page.wait_for_selector("#about tr")
        assert "#" not in page.url  # nobody reads the token over a shoulder, or copies it with the address

        def click(square: str) -> None:
            box = page.locator("#board svg").bounding_box()
            x, y = "abcdefgh".index(square[0]) + 0.5, 8.5 - int(square[1])
            page.mouse.click(box["x"] + x * box["width"] / 8, box["y"] + y * box["height"] / 8)

        def until(selector: str, pattern: str) -> None:
            page.locator(selector, has_text=re.compile(pattern)).wait_for()

        def line() -> str:
            return str(page.locator("#line").inner_text()).strip()

        # A second move, before the first has been answered, belongs to no position that is shown.
        page.evaluate("play('e2e4'); play('d2d4'); play('e2e4')")
        until("#fen", " b ")
        assert line() == "1.e4"
        page.click("#new")
        until("#fen", " w ")
        click("e2")
        click("e4")
        until("#fen", " b ")
        assert line() == "1.e4"
        click("c7")
        click("c5")
        until("#line", "c5")
        page.wait_for_selector("#about .known")
        until("#evaluation", "A short search: .*Best play: 2")
        page.keyboard.press("ArrowLeft")
        until("#fen", " b ")
        assert page.locator("#line .here").inner_text() == "1.e4"
        # A promotion is chosen; names are text.
        page.fill("#text", PGN)
        page.click("#paste")
        until("#fen", "^7k/P7")
        click("a7")
        click("a8")
        page.click("#promotion button:has-text('a8=Q+')")
        until("#fen", "^Q6k")
        # Out of the memory, a move is taught and forgotten.
        page.fill("#text", "1. a4 h5 2. Ra3 Rh6 *")
        page.click("#paste")
        until("#fen", "^rnbqkbnr/pppppppp")
        page.click("#last")
        page.wait_for_selector("#about .quiet:has-text('Nothing that is near')")
        page.select_option("#move", "b1c3")
        page.click("#teach")
        page.wait_for_selector("#about .known:has-text('Taught by hand')")
        assert "taught: Nc3" in page.locator("#said").inner_text()
        page.click("#forget")
        page.wait_for_selector("#about .quiet:has-text('Nothing that is near')")
        page.fill("#text", "nonsense")
        page.click("#paste")
        page.wait_for_selector("#problem:visible")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        # What the browser itself notes of an answer with status 400.
        assert [problem for problem in problems if "400 (Bad Request)" not in problem] == []
        assert all(url.startswith(address.partition("#")[0]) or url == "data:," for url in requests)
        browser.close()
