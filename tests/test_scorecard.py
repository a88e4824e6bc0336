"""The scorecard: the documents say what it says, it is of what ships, and measuring it goes on after a kill."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dejavu.engine.scorecard.measure import Request, ScorecardError, fingerprints, measure
from dejavu.engine.scorecard.tables import BEGIN, END, rows, table, write_table, written

ROOT = Path(__file__).parent.parent
CARD: dict[str, Any] = json.loads((ROOT / "docs" / "scorecard.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("page", "short"), [("README.md", True), ("docs/results.md", False)])
def test_the_tables_of_the_documents_are_those_of_the_scorecard(page: str, short: bool) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert text == written(text, CARD, short), "write them by: python scripts/scorecard.py --tables"


def test_the_scorecard_is_of_the_files_that_ship() -> None:
    found = fingerprints()
    assert {key: CARD[key] for key in found} == found, "measure anew by: python scripts/scorecard.py --write-docs ..."


class Scripts:
    """Scripts that write made-up figures; one of them fails once."""

    def __init__(self, fails: str = "") -> None:
        self.ran: list[str] = []
        self._fails = fails

    def __call__(self, words: Sequence[str]) -> None:
        self.ran.append(words[0])
        figures: dict[str, Any] = {"figure": 1, "answers": [1, 2]}
        if words[0] == "solve.py":
            figures = {"left_out": [], "engines": [figures]}
        Path(words[words.index("--json") + 1]).write_text(json.dumps(figures), encoding="utf-8")
        if words[0] == self._fails:
            self._fails = ""
            raise ScorecardError(f"{words[0]} ended with status 1")


def test_after_a_failure_only_what_is_missing_is_measured(tmp_path: Path) -> None:
    request = Request(data=Path("data.safetensors"), suites=(Path("wac.epd"),), stockfish="stockfish")
    said: list[str] = []
    scripts = Scripts(fails="match.py")
    with pytest.raises(ScorecardError, match=r"match\.py ended with status 1"):
        measure(request, tmp_path / "run", scripts, said.append)
    before = list(scripts.ran)
    card = measure(request, tmp_path / "run", scripts, said.append)
    again = scripts.ran[len(before) :]
    # What the interrupted match had summed up is no result.
    assert again[0] == "match.py"
    assert sorted(before[:-1] + again) == ["bench.py", "evaluate.py", "evaluate.py"] + ["match.py"] * 2 + [
        "solve.py",
        "solve.py",
        "teach.py",
    ]
    assert list(card["results"]) == [
        *("speed", "mates", "memory", "suite wac", "held-out teacher", "held-out tcec", "teach", "stockfish")
    ]
    assert card["results"]["suite wac"] == {"figure": 1}
    assert {key: card[key] for key in fingerprints()} == fingerprints()
    assert any("measured before" in line for line in said)


def test_figures_of_another_request_are_not_mixed(tmp_path: Path) -> None:
    measure(Request(), tmp_path, Scripts(), lambda text: None)
    with pytest.raises(ScorecardError, match="name another folder"):
        measure(Request(memory_games=2), tmp_path, Scripts(), lambda text: None)


def test_what_was_not_measured_has_no_row() -> None:
    some = {key: CARD["results"][key] for key in ("speed", "mates", "memory")}
    told = [row.what for row in rows({**CARD, "results": some})]
    assert len(told) > 5
    assert not any("Stockfish" in what or "held-out" in what for what in told)


def test_the_table_tells_what_else_the_machine_did_when_speeds_were_measured() -> None:
    for load, told in ((1.26, "; load 1.3 when its speeds were to be measured."), (None, ".")):
        results = {**CARD["results"], "speed": {**CARD["results"]["speed"], "load": load}}
        assert table({**CARD, "results": results}, short=True).splitlines()[0].endswith(CARD["machine"] + told)


def test_a_match_tells_how_sure_its_difference_is_however_few_its_games() -> None:
    results = json.loads(json.dumps(CARD["results"]))
    for player in results["memory"]["players"]:
        player |= {"games": 2, "wins": 1, "draws": 0, "losses": 1}
    assert "1 won, 0 drawn, 1 lost: +0 (-393 to +393) Elo" in table({**CARD, "results": results}, short=False)
    for player in results["memory"]["players"]:
        player |= {"wins": 2, "losses": 0}
    assert "2 won, 0 drawn, 0 lost: beyond (" in table({**CARD, "results": results}, short=False)


def test_a_table_goes_between_the_marks_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}old\n{END}after\n", encoding="utf-8")
    write_table(page, CARD, short=True)
    assert page.read_text(encoding="utf-8") == f"before\n{BEGIN}{table(CARD, short=True)}{END}after\n"
    page.write_text("no marks\n", encoding="utf-8")
    with pytest.raises(ScorecardError, match=r"page\.md: there is no place"):
        write_table(page, CARD, short=True)
