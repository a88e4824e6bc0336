"""The scorecard as tables of Markdown, and these tables in the documents."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dejavu.engine.match.elo import elo_difference, score_interval
from dejavu.engine.scorecard.measure import (
    DEJAVU,
    DEJAVU_NODES,
    MATE_NODES,
    MEMORY_NODES,
    ON,
    STOCKFISH_NODES,
    SUITE_NODES,
    ScorecardError,
)
from dejavu.retrieval.atomic import write_text

BEGIN = "<!-- scorecard: written by `python scripts/scorecard.py --tables` -->\n"
END = "<!-- end of scorecard -->\n"


class Row(NamedTuple):
    """A line of the table."""

    what: str
    found: str
    short: bool = False
    """Whether the README tells it, too."""


def _score(player: Mapping[str, Any]) -> str:
    return f"{player['wins']} won, {player['draws']} drawn, {player['losses']} lost"


def _player(figures: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(player for player in figures["players"] if player["name"] == name)
    return found


def _elo(player: Mapping[str, Any], offset: int | None = None) -> str:
    """The difference of a match and its 95 % interval, "+24 (-2 to +50)"; with `offset`, the opponent's Elo, their sum.

    The interval is Wilson's of single games, which a match of any length has.
    """
    score = (player["wins"] + player["draws"] / 2) / player["games"]
    found = (elo_difference(share) for share in (score, *score_interval(score, player["games"])))
    words = [
        "beyond" if math.isinf(number) else f"{number:+.0f}" if offset is None else f"{offset + number:.0f}"
        for number in found
    ]
    return f"{words[0]} ({words[1]} to {words[2]})"


def _change(figures: Mapping[str, Any], key: str, scale: float, digits: int) -> str:
    mean, error = figures[key]["mean"] * scale, figures[key]["standard_error"] * scale
    return f"{mean:+.{digits}f} +- {error:.{digits}f}"


def _strength(results: Mapping[str, Any], sizes: Mapping[str, int]) -> Iterator[Row]:
    if figures := results.get("stockfish"):
        player, elo = _player(figures, DEJAVU), sizes["stockfish_elo"]
        yield Row(
            f"against Stockfish at `UCI_Elo` {elo} ({STOCKFISH_NODES:,} nodes a move), {DEJAVU_NODES} nodes a move",
            f"{_score(player)}: even at `UCI_Elo` {_elo(player, elo)}",
            short=True,
        )
    for part, figures in results.items():
        if part.startswith("suite "):
            share = figures["solved"] / figures["positions"]
            error = math.sqrt(share * (1 - share) / figures["positions"])
            yield Row(
                f"positions of {part.removeprefix('suite ')} solved within {SUITE_NODES} nodes",
                f"{100 * share:.1f} +- {100 * error:.1f} % of {figures['positions']}",
                short=True,
            )
    groups = results["mates"]["groups"]
    names, solved, all_of = (
        " / ".join(str(group[key]) for group in groups) for key in ("mate_in", "solved", "positions")
    )
    yield Row(f"forced mates in {names} found within {MATE_NODES} nodes", f"{solved} of {all_of}", short=True)


def _memory(results: Mapping[str, Any]) -> Iterator[Row]:
    player = _player(results["memory"], ON)
    yield Row(
        f"with the memory against without, {MEMORY_NODES} nodes a move",
        f"{_score(player)}: {_elo(player)} Elo",
    )
    for part, figures in results.items():
        if not part.startswith("held-out "):
            continue
        off, source = figures["memory off"], part.removeprefix("held-out ")
        where = f"{off['positions']:,} held-out positions of `{source}`"
        yield Row(
            f"{where}: the right move is the first choice",
            f"{100 * off['top1']['mean']:.1f} %, with the memory {_change(figures['minus off']['on'], 'top1', 100, 2)} "
            "points",
            short=True,
        )
        for key, name in (("policy_loss", "policy"), ("value_loss", "value")):
            yield Row(
                f"the same: {name} loss, in nats",
                f"{off[key]['mean']:.3f}, with the memory {_change(figures['minus off']['on'], key, 1, 4)}",
            )
    if figures := results.get("teach"):
        yield Row(
            f"{figures['taught']} errors, each put right by the remembered move",
            f"{100 * figures['played at 1 nodes']:.1f} % played right at 1 node, "
            f"{100 * figures['played at 100 nodes']:.1f} % at 100",
            short=True,
        )
        yield Row(
            f"first choice right in {figures['others']:,} other positions, before and after that",
            f"{100 * figures['top1 of others before']:.2f} %, {100 * figures['top1 of others after']:.2f} %",
        )


def _speed(speed: Mapping[str, Any]) -> Iterator[Row]:
    gain = speed["nps"] / speed["nps_no_memory"] - 1
    worth = f"the memory {'gives' if gain > 0 else 'costs'} {100 * abs(gain):.0f} %"
    yield Row(
        "nodes a second, with the memory / without",
        f"{speed['nps']:,.0f} / {speed['nps_no_memory']:,.0f}: {worth}",
        short=True,
    )
    batches = speed["evaluator_per_second"]
    yield Row(
        f"positions a second by {speed['backend']}, in batches of {' / '.join(batches)}",
        " / ".join(f"{number:,.0f}" for number in batches.values()),
    )
    yield Row("a node's tree and chess, without the network", f"{speed['tree_us_per_node']:.0f} microseconds")
    yield Row("nearest neighbours, of one position", f"{speed['knn_us_per_query']:.0f} microseconds")
    yield Row(
        "from the start to `uciok` / `readyok`",
        f"{speed['uciok_ms'] / 1000:.2f} s / {speed['readyok_ms'] / 1000:.1f} s "
        f"(the very first: {speed['first_readyok_ms'] / 1000:.1f} s)",
        short=True,
    )
    if speed["rss_mb"] is not None:
        yield Row("resident memory, at most", f"{speed['rss_mb']:.0f} MB")
    yield Row("from `stop` to `bestmove`, 99 %", f"within {speed['stop_ms_99_percent']:.0f} ms")


def rows(card: Mapping[str, Any]) -> list[Row]:
    """All that the scorecard tells."""
    results = card["results"]
    return [*_strength(results, card["sizes"]), *_memory(results), *_speed(results["speed"])]


def table(card: Mapping[str, Any], short: bool) -> str:
    """The table, and a sentence on what was measured where; only the chief rows where it is to be short."""
    head = (
        f"{card['net']} of {card['made']} ({card['parameters'] / 1e6:.1f} M parameters) with its memory of "
        f"{card['memory_entries']:,} positions, measured on {card['measured']} on {card['machine']}"
    )
    load = card["results"]["speed"]["load"]
    head += "." if load is None else f"; load {load:.1f} when its speeds were to be measured."
    lines = [f"| {row.what} | {row.found} |" for row in rows(card) if row.short or not short]
    return "\n".join([head, "", "| | |", "|---|---|", *lines]) + "\n"


def written(text: str, card: Mapping[str, Any], short: bool) -> str:
    """A document's text with the table between its marks. Raises ScorecardError where the marks are missing."""
    pattern = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
    if not pattern.search(text):
        raise ScorecardError(f"there is no place for the table, which begins with {BEGIN.strip()}")
    return pattern.sub(lambda _: BEGIN + table(card, short) + END, text)


def write_table(path: Path, card: Mapping[str, Any], short: bool) -> None:
    """Put the table into a document. Raises ScorecardError, OSError and WriteError."""
    try:
        write_text(path, written(path.read_text(encoding="utf-8"), card, short))
    except ScorecardError as error:
        raise ScorecardError(f"{path}: {error}") from None
