"""Several lines at once (MultiPV): as many as asked for, also beside a mate."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fake_evaluator import Client, best_move, field, last_info


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client()
    yield client
    client.close()


def test_multipv_lines_are_sorted_and_different(client: Client) -> None:
    fen = "r1bqkbnr/pppp1ppp/2n5/4N3/4P3/8/PPPP1PPP/RNBQKB1R b KQkq - 0 3"
    lines = client.go("setoption name MultiPV value 3", f"position fen {fen}", "go nodes 400")
    final = [line for line in lines if " multipv " in line][-3:]
    assert [field(line, "multipv") for line in final] == ["1", "2", "3"]
    assert len({field(line, "pv") for line in final}) == 3
    assert field(final[0], "pv") == "c6e5" == best_move(lines)


MATE_IN_ONE = "position fen 6k1/5ppp/8/8/8/8/5PPP/3R2K1 w - - 0 1"


def last_lines(lines: list[str], count: int) -> list[str]:
    """The last info lines of a search with so many lines, the best first."""
    final = [line for line in lines if " multipv " in line][-count:]
    assert [field(line, "multipv") for line in final] == [str(number + 1) for number in range(count)]
    assert len({field(line, "pv") for line in final}) == count
    return final


@pytest.mark.parametrize("nodes", [1, 3, 40])
def test_there_are_as_many_lines_as_asked_for(client: Client, nodes: int) -> None:
    """A GUI that waits for all of them, as En Croissant does, shows nothing otherwise."""
    lines = client.go("setoption name MultiPV value 25", "position startpos", f"go nodes {nodes}")
    told = [line.split() for line in lines if " multipv " in line][-20:]
    assert [int(words[words.index("multipv") + 1]) for words in told] == list(range(1, 21))
    assert len({words[words.index("pv") + 1] for words in told}) == 20
    scores = [int(words[words.index("cp") + 1]) for words in told]
    unseen = [score for score, words in zip(scores, told, strict=True) if len(words) - words.index("pv") == 2]
    assert max(unseen) <= scores[0]


@pytest.mark.parametrize("batch", [1, 24])
def test_multipv_goes_on_behind_a_mate(client: Client, batch: int) -> None:
    client.send(f"setoption name MinibatchSize value {batch}", "setoption name MultiPV value 3")
    lines = client.go(MATE_IN_ONE, "go nodes 300")
    best, *others = last_lines(lines, 3)
    assert (field(best, "mate"), field(best, "pv"), best_move(lines)) == ("1", "d1d8", "d1d8")
    assert all(field(line, "nodes") == "300" for line in (best, *others))
    assert all(len(line.split(" pv ")[1].split()) > 1 for line in others)
    kept = client.go("go nodes 400")
    assert field(last_lines(kept, 3)[0], "nodes") == "400"


def test_multipv_of_a_mate_waits_for_stop(client: Client) -> None:
    client.send("setoption name MultiPV value 3", MATE_IN_ONE, "go infinite")
    assert not [line for line in client.quiet(0.3) if line.startswith("bestmove")]
    lines = client.go("stop")
    assert field(last_lines(lines, 3)[0], "mate") == "1"
    assert best_move(lines) == "d1d8"


def test_multipv_ends_when_so_many_moves_win_or_all_are_proven(client: Client) -> None:
    client.send("setoption name MultiPV value 3", "debug on")
    lines = client.go("position fen k7/2K5/8/8/8/8/8/1R6 b - - 0 1", "go nodes 5000")
    assert field(last_lines(lines, 1)[0], "mate") == "-1"
    assert int(field(last_info(lines), "nodes")) < 100
    client.send("setoption name MultiPV value 2", "position fen 7k/R7/8/8/8/8/8/1R3QK1 w - - 0 1")
    lines = client.go("go nodes 5000")
    assert [field(line, "mate") for line in last_lines(lines, 2)] == ["1", "1"]
    assert int(field(last_info(lines), "nodes")) < 5000


def test_multipv_does_not_hold_up_a_mate_on_a_clock(client: Client) -> None:
    client.send("setoption name MultiPV value 3")
    lines = client.go(MATE_IN_ONE, "go wtime 600000 btime 600000")
    assert best_move(lines) == "d1d8"
    assert int(field(last_info(lines), "nodes")) < 50
