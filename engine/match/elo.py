"""What a match says: Elo difference, its error, likelihood of superiority, sequential test.

All from the pentanomial counts: two games of one opening with colours changed are one observation, as their results
depend on each other. The definitions are those that fastchess and fishtest use, so the numbers can be compared:

    Elo                400 log10(s / (1 - s)) of the mean score s; its error is half the width of the 95 % interval
    normalised Elo     (s - 1/2) / (standard deviation a game), in units of 800 / ln 10
    LOS                normal approximation of P(s > 1/2)
    LLR                generalised log likelihood ratio: M. Van den Bergh, "Comparing the approximations for the
                       generalized log likelihood ratio of a multinomial distribution" (logistic model) and
                       "Comments on normalized Elo", section 4.1 (normalised model)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

Hypothesis = Literal["H0", "H1"]

Pentanomial = tuple[int, int, int, int, int]
"""Pairs of games that gave 0, 1/2, 1, 1 1/2, 2 points."""

PAIR_SCORES = (0.0, 0.25, 0.5, 0.75, 1.0)
NORMAL_QUANTILE = 1.959963984540054
"""Two-sided 95 % quantile of the standard normal distribution."""
NORMALISED_ELO = 800 / math.log(10)
"""Normalised Elo of one standard deviation a game."""
UNSEEN = 1e-3
"""Stands for a count of 0 in the likelihood ratio, whose logarithms it keeps finite (fishtest's value)."""
BISECTIONS = 50
LARGEST_ELO = {"normalized": 200.0, "logistic": 1000.0}
"""Of a hypothesis, by model: beyond, the approximation of the normalised model has no solution."""
NORMALISED_CHANGE, NORMALISED_ROUNDS = 1e-4, 10
"""The normalised model's fixed-point iteration ends at this change of a probability, or after so many rounds."""


@dataclass(frozen=True)
class Results:
    """One side's results."""

    wins: int = 0
    draws: int = 0
    losses: int = 0
    pairs: Pentanomial = (0, 0, 0, 0, 0)
    drawn_pairs: int = 0
    """Those pairs of 1 point that were two draws."""

    @property
    def games(self) -> int:
        return self.wins + self.draws + self.losses

    @property
    def points(self) -> float:
        return self.wins + self.draws / 2

    def __add__(self, other: Results) -> Results:
        a, b = self.pairs, other.pairs
        pairs = (a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3], a[4] + b[4])
        return Results(
            self.wins + other.wins,
            self.draws + other.draws,
            self.losses + other.losses,
            pairs,
            self.drawn_pairs + other.drawn_pairs,
        )


def game_result(points: float) -> Results:
    """One game."""
    return Results(int(points == 1), int(points == 0.5), int(points == 0))


def pair_result(first: float, second: float) -> Results:
    """A pair of games, added to the results of its games."""
    counts = [0, 0, 0, 0, 0]
    counts[round(2 * (first + second))] = 1
    return Results(
        pairs=(counts[0], counts[1], counts[2], counts[3], counts[4]), drawn_pairs=int(first == second == 0.5)
    )


@dataclass(frozen=True)
class Estimate:
    """The strength that results show. Not a number, or infinite, where there are too few of them."""

    elo: float
    elo_error: float
    normalised_elo: float
    normalised_elo_error: float
    superiority: float
    """Likelihood of superiority, 0 to 1."""
    score: float
    """Points a game, 0 to 1."""


def elo_difference(score: float) -> float:
    """The Elo difference whose expected score is `score`; infinite at 0 and 1, not a number beyond."""
    if score in (0.0, 1.0):
        return math.copysign(math.inf, score - 0.5)
    return 400 * math.log10(score / (1 - score)) if 0 < score < 1 else math.nan


def expected_score(elo: float) -> float:
    """The score that a logistic Elo difference leads one to expect."""
    return 1 / (1 + 10 ** (-elo / 400))


def score_interval(score: float, games: int) -> tuple[float, float]:
    """95 % interval of a match score (0 to 1) after `games` games, by Wilson's formula (1927).

    It stays finite and honest at 0 and 100 %, where the usual standard error is zero. Draws count as half a
    win each, which makes the interval a little too wide rather than too narrow.
    """
    z2 = NORMAL_QUANTILE**2
    centre = (score + z2 / (2 * games)) / (1 + z2 / games)
    half_width = (NORMAL_QUANTILE / (1 + z2 / games)) * math.sqrt(score * (1 - score) / games + z2 / (4 * games**2))
    # Rounded, as 0 and 1 shall come out as such.
    return round(max(0.0, centre - half_width), 12), round(min(1.0, centre + half_width), 12)


def _mean_and_variance(scores: Sequence[float], shares: Sequence[float]) -> tuple[float, float]:
    mean = math.fsum(score * share for score, share in zip(scores, shares, strict=True))
    return mean, math.fsum(share * (score - mean) ** 2 for score, share in zip(scores, shares, strict=True))


def estimate(pairs: Pentanomial) -> Estimate:
    """Estimate from pairs of games; all fields are not a number without any."""
    count = sum(pairs)
    if count == 0:
        return Estimate(*[math.nan] * 6)
    score, variance = _mean_and_variance(PAIR_SCORES, [n / count for n in pairs])
    margin = NORMAL_QUANTILE * math.sqrt(variance / count)
    elo_error = (elo_difference(score + margin) - elo_difference(score - margin)) / 2
    # A pair's score is the mean of two games': a game's variance is twice a pair's.
    deviation = math.sqrt(2 * variance)
    if deviation == 0:
        decided = (score > 0.5) - (score < 0.5)
        normalised = math.copysign(math.inf, decided) if decided else math.nan
        return Estimate(elo_difference(score), elo_error, normalised, math.nan, (1 + decided) / 2, score)
    return Estimate(
        elo_difference(score),
        elo_error,
        (score - 0.5) / deviation * NORMALISED_ELO,
        margin / deviation * NORMALISED_ELO,
        (1 + math.erf((score - 0.5) / math.sqrt(2 * variance / count))) / 2,
        score,
    )


class SprtError(ValueError):
    """Parameters of a test that make no sense; the message is one sentence."""


@dataclass(frozen=True)
class Sprt:
    """Sequential probability ratio test of elo >= `elo1` against elo <= `elo0`."""

    elo0: float
    elo1: float
    alpha: float = 0.05
    """Probability of accepting elo1 where elo0 is so."""
    beta: float = 0.05
    """Probability of accepting elo0 where elo1 is so."""
    model: str = "normalized"
    """In which Elo the hypotheses are given: "normalized" or "logistic"."""

    def __post_init__(self) -> None:
        """Raises SprtError."""
        if not self.elo0 < self.elo1:
            raise SprtError(f"elo0 has to be less than elo1, not {self.elo0:g} and {self.elo1:g}")
        if not (0 < self.alpha < 1 and 0 < self.beta < 1 and self.alpha + self.beta < 1):
            raise SprtError(
                f"alpha and beta have to be above 0 and their sum below 1, not {self.alpha:g} and {self.beta:g}"
            )
        if self.model not in LARGEST_ELO:
            raise SprtError(f"the model is normalized or logistic, not '{self.model}'")
        largest = LARGEST_ELO[self.model]
        if max(abs(self.elo0), abs(self.elo1)) > largest:
            raise SprtError(f"elo0 and elo1 of the {self.model} model have to lie within {largest:g} of 0")

    @property
    def bounds(self) -> tuple[float, float]:
        """The log likelihood ratios at which the test ends: elo0 accepted, elo1 accepted (Wald)."""
        return math.log(self.beta / (1 - self.alpha)), math.log((1 - self.beta) / self.alpha)

    def log_likelihood_ratio(self, pairs: Pentanomial) -> float:
        """Of elo1 against elo0."""
        if not sum(pairs):
            return 0.0
        counts = [float(n) if n else UNSEEN for n in pairs]
        total = sum(counts)
        shares = [n / total for n in counts]
        likeliest = _likeliest_with_score if self.model == "logistic" else _likeliest_with_normalised_elo
        p0, p1 = likeliest(shares, self.elo0), likeliest(shares, self.elo1)
        return total * math.fsum(p * (math.log(b) - math.log(a)) for p, a, b in zip(shares, p0, p1, strict=True))

    def accepted(self, pairs: Pentanomial) -> Hypothesis | None:
        """The hypothesis that is accepted, if either is by now."""
        ratio = self.log_likelihood_ratio(pairs)
        lower, upper = self.bounds
        return "H1" if ratio >= upper else "H0" if ratio <= lower else None


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a decreasing function crosses zero in an open interval."""
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if function(middle) > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _tilted(shares: Sequence[float], deviations: Sequence[float]) -> list[float]:
    """The likeliest distribution under which the mean of `deviations` is zero (Van den Bergh's proposition 1.1)."""

    def slope(theta: float) -> float:
        return math.fsum(p * d / (1 + theta * d) for p, d in zip(shares, deviations, strict=True))

    theta = _root(slope, -1 / max(deviations), -1 / min(deviations))
    return [p / (1 + theta * d) for p, d in zip(shares, deviations, strict=True)]


def _likeliest_with_score(shares: Sequence[float], elo: float) -> list[float]:
    score = expected_score(elo)
    return _tilted(shares, [value - score for value in PAIR_SCORES])


def _likeliest_with_normalised_elo(shares: Sequence[float], elo: float) -> list[float]:
    """Equation 4.9 of "Comments on normalized Elo", from the uniform distribution until nothing changes."""
    target = math.sqrt(2) * elo / NORMALISED_ELO
    found = [1 / len(shares)] * len(shares)
    for _ in range(NORMALISED_ROUNDS):
        mean, variance = _mean_and_variance(PAIR_SCORES, found)
        deviation = math.sqrt(variance)
        # The constraint mean - 1/2 = target * deviation, made linear around `found`.
        deviations = [
            value - 0.5 - target * deviation * (1 + ((value - mean) / deviation) ** 2) / 2 for value in PAIR_SCORES
        ]
        if not min(deviations) < 0 < max(deviations):
            break
        before, found = found, _tilted(shares, deviations)
        if max(abs(a - b) for a, b in zip(before, found, strict=True)) < NORMALISED_CHANGE:
            break
    return found
