"""Time: never lose on it, use it otherwise."""

import time
from dataclasses import replace

import chess
import pytest
from fake_evaluator import Client, FakeEvaluator, best_move, even, field, last_info, material
from hypothesis import given
from hypothesis import strategies as st
from searching import child_named, search

from dejavu.engine.options import Config
from dejavu.engine.search.clock import BatchPace, Budget, budget
from dejavu.engine.search.limits import Limits
from dejavu.engine.search.request import _stoppers
from dejavu.engine.search.stoppers import MateStopper, SearchState, SmartPruningStopper, TimeStopper, first_reason
from dejavu.engine.search.task import Signals
from dejavu.engine.uci.session import Session

TIMES = st.one_of(st.none(), st.integers(-1000, 10_000_000))


@given(
    TIMES,
    TIMES,
    st.integers(-100, 100_000),
    st.integers(-100, 100_000),
    st.one_of(st.none(), st.integers(-3, 100)),
    st.booleans(),
    st.integers(0, 5000),
    st.booleans(),
)
def test_the_budget_fits_the_clock(
    wtime: int | None,
    btime: int | None,
    winc: int,
    binc: int,
    movestogo: int | None,
    white: bool,
    overhead: int,
    only_move: bool,
) -> None:
    limits = Limits(wtime=wtime, btime=btime, winc=winc, binc=binc, movestogo=movestogo)
    result = budget(limits, white, overhead, only_move)
    own, other = (wtime, btime) if white else (btime, wtime)
    clock = own if own is not None else other
    if clock is None:
        assert result is None
        return
    assert result is not None
    assert 0 <= result.soft <= result.hard
    assert result.hard <= max(clock - overhead, 0) / 1000 * 0.81
    if only_move:
        assert result.hard <= 0.1


@given(st.integers(0, 1_000_000), st.integers(0, 5000))
def test_move_time_is_used_and_kept(movetime: int, overhead: int) -> None:
    result = budget(Limits(movetime=movetime), True, overhead, only_move=False)
    assert result is not None
    assert result.soft == result.hard <= movetime / 1000
    assert result.soft >= max(movetime - overhead, 0) / 1000


@given(st.integers(1000, 600_000), st.integers(0, 10_000), st.integers(40, 80))
def test_a_whole_game_at_the_soft_limit_never_runs_out(start: int, increment: int, moves: int) -> None:
    clock = float(start)
    for _ in range(moves):
        limits = Limits(wtime=int(clock), winc=increment)
        result = budget(limits, True, 0, only_move=False)
        assert result is not None
        clock -= result.hard * 1000
        assert clock >= 0
        clock += increment


def test_more_time_or_fewer_moves_to_go_means_longer_thought() -> None:
    def soft(limits: Limits) -> float:
        result = budget(limits, True, 100, only_move=False)
        assert result is not None
        return result.soft

    assert soft(Limits(wtime=60_000)) > soft(Limits(wtime=30_000))
    assert soft(Limits(wtime=60_000, winc=1000)) > soft(Limits(wtime=60_000))
    assert soft(Limits(wtime=60_000, movestogo=5)) > soft(Limits(wtime=60_000, movestogo=20))
    assert soft(Limits(wtime=60_000, movestogo=1)) > 30
    assert soft(Limits(wtime=60_000, movestogo=0)) == soft(Limits(wtime=60_000))
    assert soft(Limits(wtime=60_000)) < 6


@pytest.mark.parametrize("white", [True, False])
def test_each_side_has_its_own_increment(white: bool) -> None:
    def soft(winc: int, binc: int) -> float:
        result = budget(Limits(wtime=60_000, btime=60_000, winc=winc, binc=binc), white, 0, only_move=False)
        assert result is not None
        return result.soft

    own, others = ((1000, 0), (0, 1000)) if white else ((0, 1000), (1000, 0))
    assert soft(*own) == pytest.approx(soft(0, 0) + 0.75)
    assert soft(*others) == soft(0, 0)


def test_of_a_move_time_below_the_overhead_half_is_used() -> None:
    assert budget(Limits(movetime=50), True, 100, only_move=False) == Budget(0.025, 0.025, on_clock=False)


def test_many_moves_to_go_do_not_make_the_thought_shorter_than_none() -> None:
    def soft(movestogo: int | None) -> float:
        result = budget(Limits(wtime=60_000, movestogo=movestogo), True, 100, only_move=False)
        assert result is not None
        return result.soft

    assert soft(40) == soft(19) == soft(18) == soft(None)
    assert soft(17) > soft(18)


def test_other_limits_do_not_limit_time() -> None:
    assert budget(Limits(nodes=5, depth=3, winc=100), True, 0, only_move=True) is None


def test_black_reads_blacks_clock() -> None:
    result = budget(Limits(wtime=1_000_000, btime=1000), False, 0, only_move=False)
    assert result is not None
    assert result.hard < 1


# Stoppers


def test_the_next_batch_must_fit() -> None:
    stopper = TimeStopper(Budget(5.0, 5.0, on_clock=False))
    assert stopper.reason(SearchState(elapsed=4.5, batch_seconds=0.4)) is None
    assert stopper.reason(SearchState(elapsed=4.5, batch_seconds=0.6)) == "time"


def test_doubt_extends_the_search_to_the_hard_limit() -> None:
    stopper = TimeStopper(Budget(1.0, 3.0, on_clock=True))
    assert stopper.reason(SearchState(elapsed=1.1)) == "time"
    assert stopper.reason(SearchState(elapsed=1.1, best_has_best_value=False)) is None
    assert stopper.reason(SearchState(elapsed=3.1, best_has_best_value=False)) == "time"


def test_time_does_not_run_while_pondering() -> None:
    seconds = Budget(1.0, 1.0, on_clock=True)
    progress = SearchState(elapsed=10, searching=10, playouts=100, best_visits=90, pondering=True)
    assert TimeStopper(seconds).reason(progress) is None
    assert SmartPruningStopper(seconds, 1.33).reason(progress) is None


class HitWhenAsked(Signals):
    """`ponderhit` comes at the very moment when the search asks whether it ponders."""

    armed = False

    @property
    def pondering(self) -> bool:
        """See `Signals`."""
        if self.armed:
            self.armed = False
            self.ponderhit()
        return self._pondering

    @pondering.setter
    def pondering(self, value: bool) -> None:
        self._pondering = value


def test_ponderhit_starts_the_clock_whenever_it_comes() -> None:
    run, _, _ = search(chess.STARTING_FEN, 10, FakeEvaluator(even))
    run.task = replace(run.task, stoppers=(TimeStopper(Budget(1.0, 1.0, on_clock=True)),))
    signals = HitWhenAsked(started=time.perf_counter() - 60, pondering=True)
    run.signals = signals
    assert run.reason_to_stop() is None
    signals.armed = True
    assert run.reason_to_stop() is None
    assert not signals.pondering
    signals.started -= 60
    assert run.reason_to_stop() == "time"


def test_ponderhit_does_not_restart_the_clock_of_a_search_that_does_not_ponder() -> None:
    began = time.perf_counter() - 60
    signals = Signals(started=began)
    signals.ponderhit()
    assert signals.started == began
    signals = Signals(started=began, pondering=True)
    signals.ponderhit()
    hit = signals.started
    assert hit > began + 59
    signals.ponderhit()
    assert signals.started == hit


def test_smart_pruning_stops_when_the_second_move_cannot_catch_up() -> None:
    stopper = SmartPruningStopper(Budget(3.0, 3.0, on_clock=True), 1.0)

    # 100 visits a second and 2 seconds left: 200 visits to come.
    def reason(lead: int) -> str | None:
        return stopper.reason(
            SearchState(playouts=100, searching=1.0, elapsed=1.0, best_visits=300 + lead, second_visits=300)
        )

    assert reason(199) is None
    assert reason(201) == "decided"


@pytest.mark.parametrize(
    ("searching", "playouts", "reason"),
    [(1.0, 100, "decided"), (1.0, 99, None), (0.1, 1000, "decided"), (0.09, 1000, None)],
)
def test_smart_pruning_waits_until_speed_and_moves_are_known(
    searching: float, playouts: int, reason: str | None
) -> None:
    stopper = SmartPruningStopper(Budget(1.0, 1.0, on_clock=True), 1.0)
    progress = SearchState(playouts=playouts, searching=searching, elapsed=searching, best_visits=10**6)
    assert stopper.reason(progress) == reason


@pytest.mark.parametrize(("limits", "reason"), [(Limits(movetime=9000), None), (Limits(wtime=160_000), "decided")])
def test_a_move_time_is_used_up_though_the_move_is_decided(limits: Limits, reason: str | None) -> None:
    config = Config(move_overhead=0)
    time_for_move = budget(limits, True, config.move_overhead, only_move=False)
    assert time_for_move is not None
    assert 8 < time_for_move.soft < 10
    stoppers = _stoppers(limits, config, None, time_for_move)
    assert first_reason(stoppers, SearchState(playouts=900, searching=1.0, elapsed=1.0, best_visits=10**6)) == reason


def test_while_two_minibatches_overlap_the_clock_must_allow_for_both() -> None:
    def seconds(minibatch_size: int, nodes: int) -> float:
        run, _, _ = search(chess.STARTING_FEN, nodes, FakeEvaluator(even), Config(minibatch_size=minibatch_size))
        run.task = replace(run.task, node_limit=None)
        run.pace = BatchPace()
        run.pace.measured(minibatch_size, 0.5)
        run.reason_to_stop()
        return run.progress.batch_seconds

    assert seconds(8, nodes=16 * 8) == pytest.approx(1.0)
    assert seconds(8, nodes=16 * 8 - 1) == pytest.approx(0.5)
    assert seconds(1, nodes=100) == pytest.approx(0.5)


def test_a_move_that_is_proven_to_lose_is_no_rival_of_the_best() -> None:
    def love_losing(board: chess.Board, move: chess.Move) -> float:
        return 9.0 if move == chess.Move.from_uci("f1f2") else 0.0  # flipped: 1...Rf7

    run, _, _ = search("5rk1/6pp/8/6N1/8/1B6/6PP/Q5K1 b - - 0 1", 200, FakeEvaluator(even, love_losing))
    assert run.tree.visits[child_named(run, "f8f7")] > 1
    assert (run.progress.second_visits, run.progress.open_moves) == (0, 1)
    assert run.progress.best_visits == run.tree.visits[child_named(run, "g8h8")]


def test_smart_pruning_stops_when_all_moves_but_one_lose() -> None:
    stopper = SmartPruningStopper(Budget(9.0, 9.0, on_clock=True), 1.0)
    progress = SearchState(playouts=100, searching=1.0, elapsed=1.0, best_visits=60, open_moves=2)
    assert stopper.reason(progress) is None
    progress.open_moves = 1
    assert stopper.reason(progress) == "decided"
    progress.playouts = 99
    assert stopper.reason(progress) is None


def test_a_move_that_runs_into_a_mate_does_not_end_the_search_for_one() -> None:
    stopper = MateStopper(3)
    assert stopper.reason(SearchState(mate_in=3)) == "mate"
    assert stopper.reason(SearchState(mate_in=4)) is None
    assert stopper.reason(SearchState(mate_in=-1)) is None


def test_pace_remembers_slow_batches_for_a_while() -> None:
    pace = BatchPace()
    assert pace.expected(16) == 0
    pace.measured(8, 0.08)
    assert pace.expected(16) == pytest.approx(0.12)
    assert 0.04 < pace.expected(1) < 0.08
    pace.measured(8, 0.01)
    assert 0.01 < pace.expected(8) < 0.08
    for _ in range(20):
        pace.measured(8, 0.01)
    assert pace.expected(8) == pytest.approx(0.01)


def test_small_batches_say_little_of_large_ones() -> None:
    pace = BatchPace()
    pace.measured(1, 0.005)
    pace.measured(24, 0.03)
    assert pace.expected(24) == pytest.approx(0.03)
    for size in (2, 1, 3, 1):
        pace.measured(size, 0.005)
    assert 0.02 < pace.expected(24) <= 0.03
    pace.measured(2, 0.05)
    assert pace.expected(24) == pytest.approx(0.05)


# A whole engine with a slow network


def seconds_of(client: Client, *lines: str) -> float:
    client.send(*lines[:-1])
    client.ready()
    began = time.monotonic()
    client.go(lines[-1])
    return time.monotonic() - began


@pytest.fixture
def slow_client() -> Client:
    return Client(FakeEvaluator(material, seconds=0.03))


def test_a_tiny_clock_is_answered_within_it(slow_client: Client) -> None:
    assert seconds_of(slow_client, "position startpos", "go wtime 100 btime 100") < 0.1
    assert seconds_of(slow_client, "position startpos moves e2e4", "go wtime 400 btime 400") < 0.4
    slow_client.close()


def test_move_time_is_kept_to_the_batch(slow_client: Client) -> None:
    overhead = "setoption name Move Overhead value 0"
    slow_client.go("position startpos", "go movetime 200")
    taken = seconds_of(slow_client, "ucinewgame", overhead, "position startpos", "go movetime 400")
    assert 0.25 < taken < 0.45
    slow_client.close()


def test_one_batch_that_was_held_up_does_not_end_every_later_search() -> None:
    evaluator = FakeEvaluator(material, seconds=1.0)
    client = Client(evaluator)
    client.go("position startpos", "go nodes 1")
    evaluator.seconds = 0.001
    asked = len(evaluator.batches)
    for _ in range(8):
        client.go("go movetime 400")
    assert len(evaluator.batches) > asked + 10
    client.close()


def test_a_search_with_nothing_to_do_says_nothing_of_the_time_for_a_batch() -> None:
    session = Session(lambda _: FakeEvaluator(material), pytest.fail)
    expected = []
    for _ in range(2):  # the second finds its nodes in the kept tree
        session.go(Limits(nodes=50), lambda info: None, lambda best: None)
        session.wait()
        expected.append(session._pace.expected(8))
    assert expected[0] == expected[1] > 0


def test_the_only_move_is_played_quickly() -> None:
    client = Client(FakeEvaluator(even, seconds=0.001))
    fen = "position fen 7k/8/8/8/8/8/1r6/K7 w - - 0 1"
    assert len(list(chess.Board(fen.removeprefix("position fen ")).legal_moves)) == 1
    assert seconds_of(client, fen, "go wtime 60000 btime 60000") < 0.4
    client.close()


def test_an_obvious_move_is_played_before_the_soft_limit() -> None:
    def recapture(board: chess.Board, move: chess.Move) -> float:
        return 8.0 if board.is_capture(move) else 0.0

    client = Client(FakeEvaluator(even, recapture, seconds=0.002))
    fen = "position fen r1bqkbnr/pppp1ppp/2n5/4N3/4P3/8/PPPP1PPP/RNBQKB1R b KQkq - 0 3"
    lines = [fen, "go wtime 60000 btime 60000"]
    decided = seconds_of(client, *lines)
    client.send("setoption name SmartPruningFactor value 0", "ucinewgame")
    assert decided < seconds_of(client, *lines) - 0.2
    client.close()


def test_the_only_move_that_does_not_lose_is_played_quickly() -> None:
    client = Client(FakeEvaluator(even, seconds=0.003))
    # 1...Rf7 2. Qa8 is mate; there is only 1...Kh8 beside it.
    fen = "position fen 5rk1/6pp/8/6N1/8/1B6/6PP/Q5K1 b - - 0 1"
    assert seconds_of(client, fen, "go wtime 60000 btime 60000") < 1.0
    client.close()


def test_time_is_reported_in_milliseconds(slow_client: Client) -> None:
    slow_client.send("setoption name MinibatchSize value 1", "position startpos")
    began = time.monotonic()
    lines = slow_client.go("go nodes 8")  # one after the other, each of at least 30 ms
    elapsed = time.monotonic() - began
    assert 8 * 30 <= int(field(last_info(lines), "time")) <= 1000 * elapsed
    assert best_move(lines)
    slow_client.close()
