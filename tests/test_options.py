"""The table of options and everything that derives from it."""

import dataclasses
import math
import os
import re
from pathlib import Path

import pytest
from fake_evaluator import Client, FakeEvaluator, even, field, last_info, material
from hypothesis import given
from hypothesis import strategies as st

from dejavu.engine.loader import load_network, wanted
from dejavu.engine.options import FIELDS, Config, Option, OptionError, markdown_table, set_option, uci_lines
from dejavu.engine.search.limits import Limits
from dejavu.engine.uci.protocol import parse_go
from dejavu.model.inference import NetworkEvaluator


def test_every_field_is_an_option_with_a_default_in_its_range() -> None:
    assert {name for name, _ in FIELDS.values()} == {each.name for each in dataclasses.fields(Config)}
    default = Config()
    for name, option in FIELDS.values():
        value = getattr(default, name)
        text = str(value).lower() if isinstance(value, bool) else str(value)
        assert option.parse(text) == value


def test_lines_are_what_guis_parse() -> None:
    for line in uci_lines():
        words = line.split()
        kind = words[words.index("type") + 1]
        assert kind in ("spin", "check", "combo", "string", "button")
        if kind == "spin":
            assert int(field(line, "min")) <= int(field(line, "default")) <= int(field(line, "max"))
        assert "  " not in line
    assert "option name SyzygyPath type string default <empty>" in uci_lines()
    assert "option name UseMemory type check default true" in uci_lines()
    assert "option name Backend type combo default auto var auto var cuda var openvino var torch" in uci_lines()
    assert "option name CPuct type string default 2.5" in uci_lines()


def test_a_combo_takes_its_choices_in_any_case_and_names_them() -> None:
    fruit = Option("Fruit", "combo", "What is for dessert.", choices=("apple", "Pear"))
    assert fruit.uci("Pear") == "option name Fruit type combo default Pear var apple var Pear"
    assert fruit.parse(" PEAR ") == "Pear"
    with pytest.raises(OptionError, match="option Fruit takes apple or Pear, not 'plum'"):
        fruit.parse("plum")


def test_the_readme_table_has_a_row_for_each() -> None:
    rows = markdown_table().splitlines()
    assert len(rows) == len(uci_lines()) + 2
    assert any(row.startswith("| `Move Overhead` | `100` | 0 to 10000 |") for row in rows)


@pytest.mark.parametrize(
    ("name", "value", "field_name", "expected"),
    [
        ("Threads", "3", "threads", 3),
        ("threads", " 3 ", "threads", 3),
        ("UCI_ShowWDL", "TRUE", "show_wdl", True),
        ("Move Overhead", "0", "move_overhead", 0),
        ("CPuct", "2.5", "cpuct", 2.5),
        ("SyzygyPath", "/a folder/x", "syzygy_path", "/a folder/x"),
        ("SyzygyPath", "<empty>", "syzygy_path", ""),
        ("Backend", "Torch", "backend", "torch"),
    ],
)
def test_values_are_understood(name: str, value: str, field_name: str, expected: object) -> None:
    assert getattr(set_option(Config(), name, value), field_name) == expected


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("Threads", "0", "Threads"),
        ("Threads", "many", "'many'"),
        ("Threads", "", "Threads"),
        ("Hash", "99999999", "65536"),
        ("CPuct", "nan", "CPuct"),
        ("CPuct", "inf", "CPuct"),
        ("Ponder", "perhaps", "true or false"),
        ("Nonsense", "1", "'Nonsense'"),
        ("Backend", "abacus", "openvino"),
        ("Threads", "9" * 5000, "Threads"),
        ("WeightsFile", "a\0b", "WeightsFile takes no text with a null character"),
        ("LogFile", "~nobody-is-called-so/log", "there is no user's folder '~nobody-is-called-so/log'"),
    ],
)
def test_bad_values_are_refused_in_one_sentence(name: str, value: str, named: str) -> None:
    with pytest.raises(OptionError, match=named) as caught:
        set_option(Config(), name, value)
    assert "\n" not in str(caught.value)


@given(st.sampled_from(sorted(FIELDS)), st.text(max_size=30))
def test_any_value_is_taken_or_refused_never_fatal(name: str, value: str) -> None:
    try:
        changed = set_option(Config(), name, value)
    except OptionError:
        return
    field_name, option = FIELDS[name]
    got = getattr(changed, field_name)
    if option.minimum is not None and option.maximum is not None:
        assert option.minimum <= got <= option.maximum


def test_go_is_parsed() -> None:
    limits, complaints = parse_go(
        "searchmoves e2e4 d2d4 wtime 1000 btime -5 winc 10 binc 20 movestogo 3 depth 4 nodes 5 mate 6 ponder"
    )
    assert complaints == []
    assert limits == Limits(
        wtime=1000,
        btime=-5,
        winc=10,
        binc=20,
        movestogo=3,
        depth=4,
        nodes=5,
        mate=6,
        ponder=True,
        searchmoves=("e2e4", "d2d4"),
    )
    assert parse_go("infinite movetime 7")[0] == Limits(infinite=True, movetime=7)
    limits, complaints = parse_go("wtime btime 5 nodes x bogus depth")
    assert limits == Limits(btime=5)
    assert len(complaints) == 4


@pytest.mark.parametrize(
    ("text", "number"),
    [("500.0", 500), ("1500.9", 1500), ("-0.5", 0), ("1e2", 100), ("1e400", 10**12), ("-inf", -(10**12))],
)
def test_numbers_of_go_may_have_decimals(text: str, number: int) -> None:
    assert parse_go(f"wtime {text} nodes {text}") == (Limits(wtime=number, nodes=number), [])


@pytest.mark.parametrize(
    ("go", "limits"),
    [
        ("movetime", Limits(movetime=0)),
        ("nodes nan", Limits(movetime=0)),
        ("ponder movetime soon winc 100", Limits(ponder=True, movetime=0, winc=100)),
        ("mate 3 movetime x", Limits(mate=3, movetime=0)),
        ("infinite movetime x", Limits(infinite=True)),
        ("nodes 5 movetime x", Limits(nodes=5)),
    ],
)
def test_a_number_that_is_none_is_named_and_does_not_make_a_search_endless(go: str, limits: Limits) -> None:
    got, complaints = parse_go(go)
    assert got == limits
    assert len(complaints) == 1
    assert complaints[0].startswith("go: ")


@given(st.text(max_size=60))
def test_any_go_is_parsed(text: str) -> None:
    limits, _ = parse_go(text)
    assert isinstance(limits, Limits)


# What the options do


def test_node_limit_lets_any_gui_play_at_one_node() -> None:
    evaluator = FakeEvaluator(even)
    client = Client(evaluator)
    client.go("setoption name NodeLimit value 1", "position startpos", "go wtime 60000 btime 60000")
    client.ready()
    # One evaluation when the network was loaded, one for the move.
    assert sum(evaluator.batches) == 2
    client.close()


def test_minibatch_size_is_the_most_at_once() -> None:
    for size in (1, 5):
        evaluator = FakeEvaluator(even)
        client = Client(evaluator)
        client.go(f"setoption name MinibatchSize value {size}", "position startpos", "go nodes 300")
        assert max(evaluator.batches) == size
        client.close()


def test_hash_bounds_the_tree_and_the_search_goes_on() -> None:
    client = Client()
    client.send("setoption name Hash value 1", "position startpos", "go nodes 15000")
    lines = client.read_until("bestmove", 120)
    full = [int(field(line, "hashfull")) for line in lines if " hashfull " in line]
    tree = client.loop.session._kept_tree._tree
    assert tree is not None
    assert tree.bytes < 2**20 * 1.1
    assert 500 < max(full) <= 1000
    assert int(field(last_info(lines), "nodes")) == 15000
    client.close()


def test_threads_and_files_reach_the_evaluator() -> None:
    client = Client()
    client.send("setoption name Threads value 2", "setoption name WeightsFile value a b.safetensors")
    client.send("setoption name MemoryFile value <empty>")
    client.ready()
    [(weights, memory, threads, *_)] = client.loaded
    assert (weights.name, memory, threads) == ("a b.safetensors", None, 2)
    client.close()


def test_threads_beyond_the_cores_are_not_made(weights: Path) -> None:
    cores = os.cpu_count() or 1
    for threads, made in ((1, 1), (cores, cores), (512, min(512, cores))):
        config = Config(weights_file=str(weights), memory_file="", threads=threads, backend="torch")
        evaluator = load_network(wanted(config))
        assert isinstance(evaluator, NetworkEvaluator)
        assert evaluator.backend.parts == made


def test_the_reach_of_the_memory_reaches_the_evaluator() -> None:
    client = Client()
    client.send("setoption name MemoryReach value 1234")
    client.ready()
    assert isinstance(client.evaluator, FakeEvaluator)
    assert client.evaluator.memory_reach == 1234
    client.send("setoption name MemoryReach value -1")
    assert any("MemoryReach" in line for line in client.ready())
    assert client.evaluator.memory_reach == 1234
    client.close()


def test_exploration_options_change_the_search() -> None:
    def prefer_low(board: object, move: object) -> float:
        return -float(getattr(move, "to_square")) / 10  # noqa: B009

    def visited(*options: str) -> int:
        client = Client(FakeEvaluator(even, prefer_low))
        client.send(*(f"setoption name {option}" for option in options), "setoption name VerboseMoveStats value true")
        lines = client.go("position startpos", "go nodes 40")
        client.close()
        counts = [re.search(r"^info string (?!node)\w+ .* N: +(\d+) ", line) for line in lines]
        assert sum(count is not None for count in counts) == 20
        return sum(count is not None and int(count[1]) > 0 for count in counts)

    usual = visited()
    assert visited("FpuValue value 5") < usual
    assert visited("PolicyTemperature value 10") > usual
    assert visited("CPuct value 0", "CPuctFactor value 0", "FpuValue value 0.5") == 1


def test_score_type_decides_what_stands_behind_cp() -> None:
    def scores(score_type: str) -> list[int]:
        client = Client(FakeEvaluator(material))
        client.send(f"setoption name ScoreType value {score_type}", "setoption name UCI_ShowWDL value true")
        line = last_info(client.go("position fen 4k3/pppp4/8/8/8/8/PPPP4/3QK3 w - - 0 1", "go nodes 1"))
        client.close()
        words = line.split()
        return [int(word) for word in (field(line, "cp"), words[words.index("wdl") + 1], words[words.index("wdl") + 3])]

    q = math.tanh(0.9)
    points, win, loss = scores("wdl")
    assert points == pytest.approx(10 * (win + (1000 - win - loss) / 2), abs=10)
    assert scores("Q") == [round(10000 * q), win, loss]
    assert scores("centipawn") == [round(90 * math.tan(1.5637541897 * q)), win, loss]


@pytest.mark.parametrize("score_type", ["WDL", "Q"])
def test_a_mate_is_told_as_a_mate_under_any_score_type(score_type: str) -> None:
    client = Client()
    client.send(f"setoption name ScoreType value {score_type}")
    lines = client.go("position fen 6k1/5ppp/8/8/8/8/8/R5K1 w - - 0 1", "go nodes 200")
    assert field(last_info(lines), "mate") == "1"
    client.close()


def test_a_finished_game_is_a_draw_in_every_unit() -> None:
    client = Client()
    lines = client.go("setoption name ScoreType value WDL", "position fen 7k/5Q2/6K1/8/8/8/8/8 b - - 0 1", "go nodes 1")
    assert field(last_info(lines), "cp") == "5000"
    client.close()


def test_the_speed_limit_holds_and_the_clock_and_stop_still_rule() -> None:
    client = Client(FakeEvaluator(material))
    client.send("setoption name NodesPerSecondLimit value 40")
    line = last_info(client.go("position startpos", "go movetime 700"))
    # A wait ends where one visit is due, and a visit may end in a few results that need no evaluation.
    assert 1 < int(field(line, "nodes")) <= 40 * int(field(line, "time")) / 1000 + 2
    client.send("setoption name Clear Hash", "setoption name NodesPerSecondLimit value 1", "go nodes 1000")
    client.quiet(0.3)
    client.send("stop")
    assert int(field(last_info(client.read_until("bestmove")), "nodes")) < 20
    client.close()
