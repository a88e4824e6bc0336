"""The parts of a match on their own: statistics, clocks, openings, schedule, adjudication, record."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import chess
import pytest
from chess.engine import Cp, Mate, Score
from hypothesis import given
from hypothesis import strategies as st

from dejavu.engine.match.adjudication import Adjudicator, DrawRule, ResignRule, Rules
from dejavu.engine.match.elo import Pentanomial, Results, Sprt, elo_difference, estimate, score_interval
from dejavu.engine.match.openings import Opening, OpeningError, read_openings
from dejavu.engine.match.pace import Clock, Pace, PaceError, TimeControl
from dejavu.engine.match.players import Answer
from dejavu.engine.match.record import Record, RecordError, to_pgn
from dejavu.engine.match.report import score_line
from dejavu.engine.match.schedule import schedule


@pytest.mark.parametrize(
    ("pairs", "elo", "normalised", "superiority", "sprt", "ratio"),
    [
        # Printed by fastchess 1.8.2 for matches it had played.
        ((3, 4, 17, 4, 12), "79.53 +/- 70.49", "90.34 +/- 76.13", "99.00", Sprt(0, 5, model="logistic"), "0.30"),
        ((11, 12, 63, 10, 34), "59.37 +/- 37.03", "69.31 +/- 42.23", "99.94", Sprt(0, 5, model="logistic"), "0.80"),
        ((14, 23, 58, 18, 12), "-12.51 +/- 32.87", "-16.46 +/- 43.07", "22.69", Sprt(0, 10, model="logistic"), "-0.62"),
        ((20, 23, 41, 23, 18), "-5.56 +/- 38.48", "-6.25 +/- 43.07", "38.81", Sprt(0, 10), "-0.23"),
        ((0, 0, 13, 13, 7), "150.97 +/- 54.55", "265.54 +/- 83.82", "100.00", Sprt(0, 40), "3.04"),
    ],
)
def test_numbers_are_those_of_fastchess(
    pairs: Pentanomial, elo: str, normalised: str, superiority: str, sprt: Sprt, ratio: str
) -> None:
    found = estimate(pairs)
    assert f"{found.elo:.2f} +/- {found.elo_error:.2f}" == elo
    assert f"{found.normalised_elo:.2f} +/- {found.normalised_elo_error:.2f}" == normalised
    assert f"{100 * found.superiority:.2f}" == superiority
    assert f"{sprt.log_likelihood_ratio(pairs):.2f}" == ratio


@pytest.mark.parametrize("model", ["logistic", "normalized"])
def test_the_test_is_symmetric_and_decides_at_its_bounds(model: str) -> None:
    sprt, mirrored = Sprt(0, 10, 0.05, 0.1, model), Sprt(-10, 0, 0.05, 0.1, model)
    assert sprt.bounds == pytest.approx((math.log(0.1 / 0.95), math.log(0.9 / 0.05)))
    for pairs in ((1, 5, 20, 9, 3), (0, 0, 7, 0, 0), (40, 0, 0, 0, 2)):
        turned = (pairs[4], pairs[3], pairs[2], pairs[1], pairs[0])
        assert sprt.log_likelihood_ratio(pairs) == pytest.approx(-mirrored.log_likelihood_ratio(turned), abs=1e-6)
    assert sprt.accepted((0, 0, 0, 0, 0)) is None
    assert sprt.accepted((0, 50, 400, 150, 0)) == "H1"
    assert sprt.accepted((0, 150, 400, 50, 0)) == "H0"


@given(
    pairs=st.tuples(*[st.integers(0, 1) | st.integers(0, 100_000)] * 5),
    elos=st.tuples(st.floats(-200, 200), st.floats(-200, 200)).filter(lambda pair: pair[0] < pair[1]),
    model=st.sampled_from(["logistic", "normalized"]),
)
def test_any_results_have_a_likelihood_ratio(pairs: Pentanomial, elos: tuple[float, float], model: str) -> None:
    assert math.isfinite(Sprt(*elos, model=model).log_likelihood_ratio(pairs))


@pytest.mark.parametrize(
    ("score", "games", "elo", "low", "high"),
    [
        (0.5, 4, 0, -301, 301),
        # 75 % is 400 log10(3); Wilson's interval of 3 in 4 is 30.06 % to 95.44 %.
        (0.75, 4, 191, -147, 528),
        # At 0 and 100 % the finite end is n / (n + z^2): 2 / 5.84 and, for four losses, 1 - 4 / 7.84.
        (1.0, 2, math.inf, -113, math.inf),
        (0.0, 4, -math.inf, -math.inf, -7),
    ],
)
def test_the_interval_of_a_score_is_wilsons(score: float, games: int, elo: float, low: float, high: float) -> None:
    found = [elo_difference(share) for share in (score, *score_interval(score, games))]
    assert found == pytest.approx([elo, low, high], abs=0.5)


def test_an_estimate_of_one_sided_results_says_what_it_does_not_know() -> None:
    assert estimate((0, 0, 0, 0, 3)).elo == math.inf
    assert math.isnan(estimate((0, 0, 0, 0, 3)).elo_error)
    even = estimate((0, 0, 3, 0, 0))
    assert (even.elo, even.elo_error, even.superiority) == (0, 0, 0.5)
    assert math.isnan(estimate((0, 0, 0, 0, 0)).elo)


def test_a_match_so_far_names_no_difference_before_it_has_an_interval() -> None:
    assert score_line(Results(1, 0, 1, (0, 0, 1, 0, 0)), None) == "+1 =0 -1"
    assert score_line(Results(0, 1, 5, (2, 1, 0, 0, 0)), None) == "+0 =1 -5"
    assert "+- " in score_line(Results(4, 2, 2, (0, 1, 1, 1, 1)), None)
    assert " (4 pairs)" not in score_line(Results(4, 2, 2, (0, 1, 1, 1, 1)), None)
    assert score_line(Results(6, 2, 2, (0, 1, 1, 1, 1)), None).endswith(" (4 pairs)")


@pytest.mark.parametrize(
    ("text", "control"),
    [
        ("10+0.1", TimeControl(10, 0.1)),
        ("40/60+1", TimeControl(60, 1, 40)),
        ("2:30", TimeControl(150)),
        ("0+1", TimeControl(0, 1)),
    ],
)
def test_time_controls_as_users_write_them(text: str, control: TimeControl) -> None:
    assert TimeControl.parse(text) == control
    assert TimeControl.parse(str(control)) == control


@pytest.mark.parametrize("text", ["", "fast", "0", "0+0", "0/60", "10+", "-5", "1:2:3"])
def test_other_time_controls_are_refused(text: str) -> None:
    with pytest.raises(PaceError, match="time"):
        TimeControl.parse(text)


def test_the_clock_adds_increments_and_begins_again_at_the_time_control() -> None:
    clock = Clock(Pace(TimeControl(10, 1, 2)))
    assert (clock.left, clock.moves_to_go) == (11, 2)
    assert clock.spend(4, margin=0)
    assert (clock.left, clock.moves_to_go) == (8, 1)
    assert clock.spend(8.05, margin=0.1)
    assert (clock.left, clock.moves_to_go) == (11, 2)
    assert not clock.spend(11.2, margin=0.1)
    assert Clock(Pace(movetime=1)).spend(1.05, margin=0.1)
    assert not Clock(Pace(movetime=1)).spend(1.2, margin=0.1)
    assert Clock(Pace(nodes=5)).spend(1e6, margin=0)


def test_openings_of_every_kind_of_file(tmp_path: Path) -> None:
    after = "rnbqkbnr/pp1ppppp/8/2p5/4P3/8/PPPP1PPP/RNBQKBNR w KQkq - 0 2"
    files = {
        "a.epd": f'{after[:-4]} id "Sicilian";\n\n{after}\n',
        "b.pgn": '[ECO "B20"]\n[Opening "Sicilian"]\n\n1. e4 (1. d4) c5 *\n',
        "c.tsv": "eco\tname\tpgn\nB20\tSicilian\t1. e4 c5\nA00\tFool's Mate\t1. f3 e5 2. g4 Qh4#\n",
    }
    names = {"a.epd": ["Sicilian", ""], "b.pgn": ["B20 Sicilian"], "c.tsv": ["B20 Sicilian"]}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        found = read_openings(tmp_path / name)
        assert [opening.name for opening in found] == names[name]
        assert {opening.board().epd() for opening in found} == {chess.Board(after).epd()}
    assert len(read_openings(tmp_path / "b.pgn")[0].moves) == 2


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.epd", "8/8/8 w - -\n", "a.epd, line 1: "),
        ("a.epd", "8/8/8/8/8/8/8/K7 w - -\n", "line 1 is not a legal position"),
        ("a.pgn", "1. e4 e5 *\n\n1. e4 Ke7 *\n", "a.pgn, game 2: illegal san"),
        ("a.tsv", "A00 Amar 1. Nh3\n", "a.tsv, line 1: not ECO, name and moves between tabs"),
        ("a.epd", "\n", "holds no openings"),
    ],
)
def test_bad_openings_are_named(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(OpeningError, match=complaint):
        read_openings(tmp_path / name)


def test_the_openings_of_this_repository_are_200_different_quiet_positions() -> None:
    openings = read_openings(Path(__file__).parent / "positions" / "openings.epd")
    boards = [opening.board() for opening in openings]
    assert len({board.epd() for board in boards}) == len(boards) == 200
    assert all(not board.is_check() and board.fullmove_number <= 6 for board in boards)


def test_more_games_are_added_at_the_end_of_a_schedule() -> None:
    openings = [Opening(name=str(number)) for number in range(5)]
    games = [schedule(["a", "b", "c"], openings, count, gauntlet=False, seed=3) for count in (12, 14)]
    assert games[1][: len(games[0])] == games[0]
    assert len(games[1]) == 14 * 3
    assert len({game.round for game in games[1]}) == len(games[1])
    for first, second in pairwise(games[1]):
        if second.half == 2:
            assert (first.white, first.black, first.opening) == (second.black, second.white, second.opening)
    assert {game.white for game in schedule(["a", "b", "c"], openings, 1, gauntlet=True, seed=None)} == {"a"}


def verdicts(rules: Rules, fen: str, moves: str, scores: list[Score | None]) -> list[str | None]:
    """What an adjudicator says after each move: the result, or None."""
    board, adjudicator, found = chess.Board(fen), Adjudicator(rules), []
    for move, score in zip(moves.split(), scores, strict=True):
        board.push_uci(move)
        verdict = adjudicator.after(board, score)
        found.append(verdict.result if verdict else None)
    return found


KNIGHTS = "g1f3 g8f6 f3g1 f6g8 g1f3 g8f6"


def test_resignation() -> None:
    start, lost, won, even = chess.STARTING_FEN, Cp(-700), Cp(700), Cp(0)
    one_sided, two_sided = ResignRule(2, 600), ResignRule(2, 600, twosided=True)
    mated: list[Score | None] = [Mate(-9), even, Cp(-600), even, even, even]
    assert verdicts(Rules(resign=one_sided), start, KNIGHTS, mated) == [None, None, "0-1", None, None, None]
    broken: list[Score | None] = [lost, even, None, even, lost, even]
    assert verdicts(Rules(resign=one_sided), start, KNIGHTS, broken) == [None] * 6
    alone: list[Score | None] = [even, lost, even, lost, even, lost]
    assert verdicts(Rules(resign=two_sided), start, KNIGHTS, alone) == [None] * 6
    agreed: list[Score | None] = [won, lost, won, lost, won, lost]
    assert verdicts(Rules(resign=two_sided), start, KNIGHTS, agreed)[:4] == [None, None, None, "1-0"]


def test_draws_by_adjudication() -> None:
    start, rule = chess.STARTING_FEN, DrawRule(movenumber=2, movecount=1, score=10)
    even: list[Score | None] = [Cp(10)] * 6
    assert verdicts(Rules(draw=rule), start, KNIGHTS, even)[:4] == [None, None, None, "1/2-1/2"]
    doubtful: list[Score | None] = [Cp(0), Cp(11)] * 3
    assert verdicts(Rules(draw=rule), start, KNIGHTS, doubtful) == [None] * 6
    pawn: list[Score | None] = [Cp(0)] * 4
    assert verdicts(Rules(draw=DrawRule(0, 2, 10)), start, "g1f3 g8f6 e2e4 f6g8", pawn) == [None] * 4
    assert verdicts(Rules(maxmoves=2), start, KNIGHTS, [None] * 6)[:4] == [None, None, None, "1/2-1/2"]


def test_a_record_cut_anywhere_keeps_its_whole_games(tmp_path: Path) -> None:
    move = chess.Move.from_uci("e2e4")
    texts = [
        to_pgn(
            {"Event": "Höhe", "Round": f"{number}.1", "White": "a", "Black": "b", "Result": "1-0"},
            Opening(),
            [Answer(move, 0.25, Cp(31), 7, 99, ('say "{x}"',))],
            "White mates",
        )
        for number in (1, 2)
    ]
    whole = "".join(texts).encode()
    first = len(texts[0].encode())
    path = tmp_path / "match.pgn"
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        record = Record(path, "Höhe")
        expected = (cut >= first) + (cut == len(whole))
        assert len(record.games) == expected, whole[:cut]
        record.add(texts[0])
        assert path.read_bytes() == whole[: [0, first, len(whole)][expected]] + texts[0].encode()
    assert [(game.round, game.reason) for game in record.games[:2]] == [("1.1", "White mates"), ("2.1", "White mates")]


@pytest.mark.parametrize("text", ["notes of mine\n", '[Event "?"]\n\n1. e4 *\n', '[Event "match"]\r\n\r\n*\r\n\r\n'])
def test_a_file_that_is_no_record_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "match.pgn"
    path.write_bytes(text.encode())
    with pytest.raises(RecordError, match="no record of this match"):
        Record(path, "match")
