"""Rules and tests as users write them: KEY=VALUE words, as cutechess and fastchess take them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dejavu.engine.match.adjudication import DrawRule, ResignRule
from dejavu.engine.match.elo import Sprt
from dejavu.engine.match.run import MatchError


def draw_rule(given: Sequence[str] | None) -> DrawRule | None:
    """The words of --draw; None if it was not given. Raises MatchError."""
    keys = {"movenumber": whole, "movecount": count, "score": whole}
    return None if given is None else DrawRule(**words(given, "--draw", keys))


def resign_rule(given: Sequence[str] | None) -> ResignRule | None:
    """The words of --resign; None if it was not given. Raises MatchError."""
    keys = {"movecount": count, "score": whole, "twosided": truth}
    return None if given is None else ResignRule(**words(given, "--resign", keys))


def sequential_test(given: Sequence[str] | None) -> Sprt | None:
    """The words of --sprt; None if it was not given. Raises MatchError and SprtError."""
    if given is None:
        return None
    numbers: dict[str, Callable[[str], Any]] = dict.fromkeys(("elo0", "elo1", "alpha", "beta"), float)
    found = words(given, "--sprt", {**numbers, "model": str})
    if "elo0" not in found or "elo1" not in found:
        raise MatchError("--sprt needs elo0=N and elo1=N")
    return Sprt(**found)


def words(given: Sequence[str], option: str, kinds: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    """Read KEY=VALUE words of an option; raises MatchError."""
    found = {}
    for word in given:
        key, equals, value = word.partition("=")
        try:
            if not equals or key not in kinds:
                raise ValueError
            found[key] = kinds[key](value)
        except ValueError as error:
            raise MatchError(f"{option} takes {', '.join(kinds)} as KEY=VALUE, not '{word}'") from error
    return found


def truth(text: str) -> bool:
    """Parse true or false."""
    if text not in ("true", "false"):
        raise ValueError
    return text == "true"


def whole(text: str) -> int:
    """Parse a whole number from 0."""
    if not text.isascii() or not text.isdigit():
        raise ValueError
    return int(text)


def count(text: str) -> int:
    """Parse a whole number from 1."""
    number = whole(text)
    if number == 0:
        raise ValueError
    return number
