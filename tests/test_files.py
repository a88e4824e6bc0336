"""The files that options name: loaded once, read again when they change, and a sentence for each that is no good."""

import os
import subprocess
import sys
from pathlib import Path

import chess
import chess.syzygy
import pytest
from fake_evaluator import Client, FakeEvaluator, best_move, field, last_info, material

from dejavu.engine.loader import Loader, Wanted
from dejavu.engine.options import Config
from dejavu.engine.search.evaluator import Evaluator


class Shop:
    """Makes evaluators, except from files that are named bad."""

    def __init__(self) -> None:
        self.orders: list[tuple[str, str | None, int]] = []

    def __call__(self, files: Wanted) -> Evaluator:
        self.orders.append((files.weights.name, files.memory.name if files.memory else None, files.threads))
        for path in (files.weights, files.memory):
            if path is not None and "bad" in path.name:
                raise ValueError(f"{path.name} is truncated")
            if path is not None and "worse" in path.name:
                raise KeyError("layers.0\nweight")
        return FakeEvaluator()


def test_loading_happens_once_and_again_only_for_a_change() -> None:
    shop = Shop()
    loader = Loader(shop, pytest.fail)
    assert loader.load(Config())
    assert not loader.load(Config(cpuct=2.0))
    assert loader.load(Config(threads=3))
    assert shop.orders == [
        ("dejavu.safetensors", "memory.safetensors", 2),
        ("dejavu.safetensors", "memory.safetensors", 3),
    ]


def test_files_that_were_replaced_are_read_again_when_asked_to(tmp_path: Path) -> None:
    shop, said = Shop(), list[str]()
    loader = Loader(shop, said.append)
    memory = tmp_path / "memory"
    memory.write_bytes(b"old")
    config = Config(memory_file=str(memory))
    assert loader.load(config)
    assert not loader.load(config, look_again=True)
    (tmp_path / "new").write_bytes(b"new")
    (tmp_path / "new").replace(memory)
    assert not loader.load(config)  # not in the middle of a game
    assert loader.load(config, look_again=True)
    assert not loader.load(config, look_again=True)
    assert len(shop.orders) == 2
    assert len(said) == 1
    assert "read again" in said[0]


def test_the_shipped_files_do_not_depend_on_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths: list[Path] = []

    def remember(files: Wanted) -> Evaluator:
        assert files.memory is not None
        paths.extend((files.weights, files.memory))
        return FakeEvaluator()

    monkeypatch.chdir(tmp_path)
    Loader(remember, pytest.fail).load(Config())
    assert all(path.is_absolute() and path.parent.name == "shipped" for path in paths)
    assert tmp_path not in paths[0].parents


def test_bad_weights_keep_the_last_good_network() -> None:
    said: list[str] = []
    loader = Loader(Shop(), said.append)
    loader.load(Config())
    good = loader.evaluator
    assert not loader.load(Config(weights_file="bad.safetensors"))
    assert loader.evaluator is good
    assert said == [
        "cannot load the weights: bad.safetensors is truncated; the last good network plays on",
    ]
    # The same bad file is not tried, or complained about, again.
    assert not loader.load(Config(weights_file="bad.safetensors"))
    assert len(said) == 1


def test_what_ships_takes_the_place_of_files_that_are_bad_from_the_start() -> None:
    for config, sentence in (
        (
            Config(weights_file="bad.safetensors", threads=3),
            "cannot load the weights: bad.safetensors is truncated; the shipped network and memory play instead",
        ),
        (
            Config(memory_file="bad.memory", threads=3),
            "cannot load the memory: bad.memory is truncated; the shipped one is asked instead",
        ),
    ):
        said: list[str] = []
        shop = Shop()
        loader = Loader(shop, said.append)
        assert loader.load(config)
        assert loader.has_network
        assert shop.orders[-1] == ("dejavu.safetensors", "memory.safetensors", 3)
        assert said == [sentence]
        assert not loader.load(config)
        loaded = len(shop.orders)
        assert not loader.load(Config(threads=3))  # that is what plays already
        assert len(shop.orders) == loaded


def shut(files: Wanted) -> Evaluator:
    raise ValueError(f"{files.weights} is truncated")


def test_without_any_weights_every_move_is_alike() -> None:
    said: list[str] = []
    loader = Loader(shut, said.append)
    loader.load(Config(weights_file="bad.safetensors"))
    assert not loader.has_network
    assert len(said) == 1
    assert "no network" in said[0]
    assert loader.evaluator.describe().startswith("no network")


def test_an_unforeseen_error_is_one_sentence_that_names_the_file() -> None:
    said: list[str] = []
    loader = Loader(Shop(), said.append)
    loader.load(Config(weights_file="/some/worse.safetensors"))
    assert len(said) == 1
    assert "/some/worse.safetensors" in said[0]
    assert "\n" not in said[0]


def test_a_bad_memory_is_done_without_where_the_shipped_one_does_not_fit() -> None:
    said: list[str] = []

    def fits_no_memory(files: Wanted) -> Evaluator:
        if files.memory is not None:
            raise ValueError(f"{files.memory.name} was built for other weights")
        return FakeEvaluator()

    loader = Loader(fits_no_memory, said.append)
    assert loader.load(Config(memory_file="other.memory"))
    assert loader.has_network
    assert said == ["cannot load the memory: other.memory was built for other weights; playing without memory"]


def test_a_bad_memory_keeps_the_last_good_one() -> None:
    said: list[str] = []
    shop = Shop()
    loader = Loader(shop, said.append)
    loader.load(Config())
    good = loader.evaluator
    assert not loader.load(Config(memory_file="bad.memory"))
    assert loader.evaluator is good
    assert said == ["cannot load the memory: bad.memory is truncated; the last good memory stays"]
    # The memory was tried with the network, and the network not once more alone; back again, nothing is loaded.
    assert [memory for _, memory, _ in shop.orders] == ["memory.safetensors", "bad.memory"]
    assert not loader.load(Config())
    assert len(shop.orders) == 2


@pytest.mark.parametrize("backend", ["auto", "torch"])
def test_a_bad_memory_does_not_cost_the_good_one_under_other_threads_or_backend(backend: str) -> None:
    other = Config(memory_file="bad.memory", threads=3, backend=backend)
    for first in (Config(memory_file="bad.memory"), Config()):
        said: list[str] = []
        shop = Shop()
        loader = Loader(shop, said.append)
        loader.load(first)
        assert loader.load(other)
        assert loader.has_memory
        assert shop.orders[-1] == ("dejavu.safetensors", "memory.safetensors", 3)
        assert said[-1] == "cannot load the memory: bad.memory is truncated; the last good memory stays"
        loaded = len(shop.orders)
        assert not loader.load(Config(threads=3, backend=backend))  # that is what plays already
        assert len(shop.orders) == loaded


def test_the_last_good_memory_is_asked_once_where_it_stands_beside_a_bad_one() -> None:
    said: list[str] = []
    loader = Loader(Shop(), said.append)
    loader.load(Config(memory_file="good.memory"))
    assert loader.load(Config(memory_file=os.pathsep.join(("bad.memory", "good.memory")), threads=3))
    assert said == ["cannot load the memory: bad.memory is truncated; the last good memory stays"]
    assert loader._good is not None
    assert loader._good.memory == Path("good.memory")
    assert loader._good.beside == ()


def test_a_bad_memory_after_none_leaves_the_network_as_it_is() -> None:
    said: list[str] = []
    shop = Shop()
    loader = Loader(shop, said.append)
    loader.load(Config(memory_file=""))
    good = loader.evaluator
    assert not loader.load(Config(memory_file="bad.memory"))
    assert loader.evaluator is good
    assert said == ["cannot load the memory: bad.memory is truncated; playing without memory"]
    assert [memory for _, memory, _ in shop.orders] == [None, "bad.memory"]


def test_a_bad_memory_beside_weights_that_were_replaced_is_told_from_bad_weights(tmp_path: Path) -> None:
    said: list[str] = []
    shop = Shop()
    loader = Loader(shop, said.append)
    weights = tmp_path / "weights"
    weights.write_bytes(b"old")
    loader.load(Config(weights_file=str(weights), memory_file=""))
    good = loader.evaluator
    (tmp_path / "new").write_bytes(b"another")
    (tmp_path / "new").replace(weights)
    assert loader.load(Config(weights_file=str(weights), memory_file="bad.memory"))
    assert loader.evaluator is not good
    assert [memory for _, memory, _ in shop.orders] == [None, "bad.memory", None]


def test_switching_the_memory_forgets_evaluations_made_with_it() -> None:
    evaluator = FakeEvaluator(material)
    client = Client(evaluator)
    client.go("position startpos", "go nodes 100")
    before = len(evaluator.batches)
    assert evaluator.asked_memory
    client.go("setoption name UseMemory value false", "go nodes 100")
    assert not evaluator.asked_memory
    assert len(evaluator.batches) > before
    client.close()


def test_bad_files_cost_one_line_each_through_uci(tmp_path: Path) -> None:
    client = Client()
    client.ready()
    client.send("setoption name SyzygyPath value /no/such/folder", f"setoption name LogFile value {tmp_path}")
    said = client.ready()
    assert len(said) == 2
    assert any("/no/such/folder" in line for line in said)
    assert any("log file" in line for line in said)
    assert client.ready() == []
    client.close()


def test_tables_of_every_folder_decide_the_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SyzygyPath from the option to the move, with files that only look like tables and a fake prober."""
    for folder, name in (("a folder", "KRvK"), ("b", "KRvKR")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.rtbw").touch()

    def probe(tables: object, board: chess.Board) -> int:
        mine, theirs = (bool(board.rooks & board.occupied_co[colour]) for colour in (board.turn, not board.turn))
        return 2 * (mine - theirs)

    monkeypatch.setattr(chess.syzygy.Tablebase, "probe_wdl", probe)
    client = Client(FakeEvaluator(lambda board: 0.0, lambda board, move: 9.0 * (move.uci() == "g1f1")))
    position = "position fen 8/8/8/8/3k4/8/1r6/1R4K1 w - - 0 1"
    assert best_move(client.go(position, "go nodes 20")) == "g1f1"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    folders = os.pathsep.join((str(tmp_path / "a folder"), str(Path("~") / "b")))
    client.send(f"setoption name SyzygyPath value {folders}")
    assert client.ready() == []
    lines = client.go(position, "go nodes 20")
    assert best_move(lines) == "b1b2"
    assert int(field(last_info(lines), "tbhits")) > 0
    client.send("setoption name SyzygyPath value <empty>")
    assert best_move(client.go(position, "go nodes 20")) == "g1f1"
    client.close()


def test_the_log_file_has_every_line_with_its_time(tmp_path: Path) -> None:
    path = tmp_path / "with blanks.log"
    client = Client()
    client.send(f"setoption name LogFile value {path}")
    client.go("position startpos", "go nodes 5")
    client.send("setoption name LogFile value <empty>")
    client.ready()
    text = path.read_text(encoding="utf-8")
    for piece in (">> position startpos", ">> go nodes 5", "<< bestmove ", "<< info depth"):
        assert piece in text
    assert text.splitlines()[0][:4].isdigit()
    client.close()
    assert "quit" not in path.read_text(encoding="utf-8")


FULL = Path("/dev/full")


@pytest.mark.parametrize("option", ["WeightsFile", "MemoryFile", "SyzygyPath", "LogFile", "ExperienceFile"])
def test_no_system_has_a_file_of_that_name(option: str) -> None:
    client = Client()
    client.send(f"setoption name {option} value {'/long' * 2000}")
    said = client.ready()
    lines = client.go("position startpos", "go nodes 300")
    client.send("ucinewgame")
    said += client.ready()
    assert best_move(lines) != "(none)"
    assert not [line for line in lines if line.startswith("info string")]
    # A file that is only written at the end of a game is complained about then, others at once; a fake is never read.
    assert len(said) == (option not in ("WeightsFile", "MemoryFile"))
    assert not any("failed" in line or len(line) > 1100 for line in said)
    client.close()


@pytest.mark.skipif(not FULL.exists(), reason="no device that is always full")
def test_a_full_disk_costs_the_log_and_one_sentence() -> None:
    """As a process, since Python would tell of it on stderr, which some GUIs show."""
    engine = [sys.executable, str(Path(__file__).parent / "fake_evaluator.py")]
    options = "setoption name Hash value 16\nsetoption name MultiPV value 2\nisready\n"
    commands = f"setoption name LogFile value {FULL}\n{options}position startpos\ngo nodes 50\nisready\nquit\n"
    done = subprocess.run(engine, input=commands, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if "log file" in line] == [
        "info string the log file /dev/full cannot be written any more: No space left on device"
    ]
    assert "bestmove" in done.stdout


def test_a_log_goes_on_in_another_file_after_a_full_disk(tmp_path: Path) -> None:
    if not FULL.exists():
        pytest.skip("no device that is always full")
    client = Client()
    client.send(f"setoption name LogFile value {FULL}", "isready")
    client.read_until("info string the log file /dev/full cannot be written any more")
    client.send(f"setoption name LogFile value {tmp_path / 'log'}")
    client.go("position startpos", "go nodes 5")
    client.send("setoption name LogFile value <empty>")
    assert client.ready() == []
    assert "<< bestmove" in (tmp_path / "log").read_text(encoding="utf-8")
    client.close()


@pytest.mark.skipif(not FULL.exists(), reason="no device that is always full")
def test_a_full_disk_costs_the_experience_of_a_game_and_one_sentence() -> None:
    client = Client()
    client.go(f"setoption name ExperienceFile value {FULL}", "position startpos", "go nodes 300")
    client.send("ucinewgame")
    sentence = f"the experience file {FULL} cannot be written: No space left on device; the game is kept until"
    assert [line.startswith(f"info string {sentence}") for line in client.ready()] == [True]
    client.close()
