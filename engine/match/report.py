"""What a match says, for people and as JSON: score, Elo, test, crosstable, failures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from dejavu.engine.match.elo import Estimate, Results, Sprt, estimate
from dejavu.engine.match.players import FAILURES
from dejavu.engine.match.record import PlayedGame, results


def _ratio(a: float, b: float) -> str:
    return f"{a / b:.2f}" if b else "inf" if a else "nan"


def _elo(found: Estimate) -> str:
    return f"{found.elo:.2f} +/- {found.elo_error:.2f}"


def sprt_line(sprt: Sprt, found: Results) -> str:
    """The log likelihood ratio, its way to the bound, the bounds and the hypotheses."""
    ratio = sprt.log_likelihood_ratio(found.pairs)
    lower, upper = sprt.bounds
    share = ratio / upper if ratio >= 0 else -ratio / lower
    line = f"LLR: {ratio:.2f} ({100 * share:.1f}%) ({lower:.2f}, {upper:.2f}) [{sprt.elo0:.2f}, {sprt.elo1:.2f}]"
    hypothesis = sprt.accepted(found.pairs)
    elo = {"H0": sprt.elo0, "H1": sprt.elo1}
    return f"{line} - {hypothesis} accepted: Elo {elo[hypothesis]:g}" if hypothesis else line


def score_line(found: Results, sprt: Sprt | None) -> str:
    """A match so far, in one line; with the Elo difference as soon as there is an interval to it.

    Of how many pairs it is, is said while games have no partner: it need not have the sign of the games counted.
    """
    line = f"+{found.wins} ={found.draws} -{found.losses}"
    if pairs := sum(found.pairs):
        estimated = estimate(found.pairs)
        if estimated.elo_error > 0:
            line += f"  Elo {estimated.elo:+.1f} +- {estimated.elo_error:.1f}  LOS {100 * estimated.superiority:.1f} %"
            if 2 * pairs < found.games:
                line += f" ({pairs} pairs)"
        if sprt is not None:
            lower, upper = sprt.bounds
            line += f"  LLR {sprt.log_likelihood_ratio(found.pairs):.2f} ({lower:.2f}, {upper:.2f})"
    return line


def match_report(games: Sequence[PlayedGame], first: str, second: str, conditions: str, sprt: Sprt | None) -> str:
    """The result of `first` against `second`, in fastchess's words."""
    found = results(games, first, [second])
    head = f"Results of {first} vs {second}{f' ({conditions})' if conditions else ''}:"
    if found.games == 0:
        return f"{head}\nno games yet"
    estimated = estimate(found.pairs)
    pairs, count = found.pairs, sum(found.pairs)
    score = 100 * found.points / found.games
    lines = [
        head,
        f"Elo: {_elo(estimated)}, nElo: {estimated.normalised_elo:.2f} +/- {estimated.normalised_elo_error:.2f}",
        f"LOS: {100 * estimated.superiority:.2f} %, DrawRatio: {100 * pairs[2] / count if count else math.nan:.2f} %, "
        f"PairsRatio: {_ratio(pairs[3] + pairs[4], pairs[0] + pairs[1])}",
        f"Games: {found.games}, Wins: {found.wins}, Losses: {found.losses}, Draws: {found.draws}, "
        f"Points: {found.points:.1f} ({score:.2f} %)",
        f"Ptnml(0-2): {list(pairs)}, WL/DD Ratio: {_ratio(pairs[2] - found.drawn_pairs, found.drawn_pairs)}",
    ]
    if sprt is not None:
        lines.append(sprt_line(sprt, found))
    if found.games != 2 * count:
        lines.append(f"Elo, LOS and LLR are of {count} pairs; games without their partner: {found.games - 2 * count}")
    return "\n".join(lines)


def ranking(games: Sequence[PlayedGame], names: Sequence[str]) -> list[tuple[str, Results, Estimate]]:
    """The players, best first, with their results against all others."""
    rows = []
    for name in names:
        found = results(games, name, [other for other in names if other != name])
        rows.append((name, found, estimate(found.pairs)))
    return sorted(rows, key=lambda row: row[1].points / max(row[1].games, 1), reverse=True)


def crosstable(games: Sequence[PlayedGame], names: Sequence[str]) -> str:
    """All players, best first: Elo against the field, score, and points against each other player."""
    rows = ranking(games, names)
    width = max(len("Name"), *map(len, names))
    columns = "".join(f"{number:>14}" for number in range(1, len(rows) + 1))
    lines = [f"Rank {'Name':<{width}} {'Elo':>8} {'+/-':>7} {'Games':>6} {'Score':>7}{columns}"]
    for rank, (name, found, estimated) in enumerate(rows, 1):
        score = f"{100 * found.points / found.games:.1f} %" if found.games else "-"
        line = (
            f"{rank:>4} {name:<{width}} {estimated.elo:>8.1f} {estimated.elo_error:>7.1f} {found.games:>6} {score:>7}"
        )
        for other, *_ in rows:
            met = results(games, name, [other])
            line += f"{f'+{met.wins} ={met.draws} -{met.losses}' if met.games else '.':>14}"
        lines.append(line)
    return "\n".join(lines)


def failures(games: Sequence[PlayedGame], names: Sequence[str]) -> dict[str, Counter[str]]:
    """For each player, how many games it lost by each of FAILURES."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in names}
    for game in games:
        if game.failure is not None and game.loser is not None:
            counts[game.loser][game.failure] += 1
    return counts


def failure_table(games: Sequence[PlayedGame], names: Sequence[str]) -> str:
    """Every failure of every player, or one line if there was none."""
    counts = failures(games, names)
    if not any(counter.total() for counter in counts.values()):
        return "No game was lost by a crash, on time, by silence or by an illegal move."
    width = max(len("Lost by"), *map(len, names))
    lines = [f"{'Lost by':<{width}}" + "".join(f"{kind:>14}" for kind in FAILURES)]
    return "\n".join(
        [*lines, *(f"{name:<{width}}" + "".join(f"{counts[name][kind]:>14}" for kind in FAILURES) for name in names)]
    )


def full_report(games: Sequence[PlayedGame], names: Sequence[str], conditions: str, sprt: Sprt | None) -> str:
    """Everything, as text."""
    parts = (
        [match_report(games, names[0], names[1], conditions, sprt)] if len(names) == 2 else [crosstable(games, names)]
    )
    return "\n\n".join([*parts, failure_table(games, names)])


def as_json(games: Sequence[PlayedGame], names: Sequence[str], sprt: Sprt | None) -> dict[str, Any]:
    """Everything, as JSON; numbers that are not finite are null."""
    counts = failures(games, names)
    players = []
    for name, found, estimated in ranking(games, names):
        players.append(
            {
                "name": name,
                "games": found.games,
                "wins": found.wins,
                "draws": found.draws,
                "losses": found.losses,
                "pentanomial": list(found.pairs),
                "elo": _finite(estimated.elo),
                "elo_error": _finite(estimated.elo_error),
                "normalised_elo": _finite(estimated.normalised_elo),
                "normalised_elo_error": _finite(estimated.normalised_elo_error),
                "los": _finite(estimated.superiority),
                "failures": {kind: counts[name][kind] for kind in FAILURES},
            }
        )
    answer: dict[str, Any] = {"games": len(games), "players": players}
    if sprt is not None:
        pairs = results(games, names[0], [names[1]]).pairs
        lower, upper = sprt.bounds
        answer["sprt"] = {
            "of": names[0],
            "elo0": sprt.elo0,
            "elo1": sprt.elo1,
            "alpha": sprt.alpha,
            "beta": sprt.beta,
            "model": sprt.model,
            "llr": sprt.log_likelihood_ratio(pairs),
            "lower": lower,
            "upper": upper,
            "verdict": sprt.accepted(pairs),
        }
    return answer


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
