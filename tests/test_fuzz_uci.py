"""Ten thousand lines of rubbish and near-rubbish: one sentence at most, and the engine stays ready."""

import random
import re

from fake_evaluator import Client, FakeEvaluator, even

LINES = 10_000

WORDS = re.findall(
    r"\S+",
    """
    uci isready ucinewgame position go stop ponderhit setoption debug d eval register startpos fen
    moves name value on off infinite ponder searchmoves wtime btime winc binc movestogo movetime nodes depth
    mate e2e4 e7e5 g1f3 e1g1 a7a8q 0000 e2e9 -1 0 1 2 7 50 1e9 99999999999999999999 nan true false
    Threads Hash MultiPV Move Overhead UCI_ShowWDL UCI_Chess960 UseMemory CPuct MinibatchSize
    PolicyTemperature Clear SyzygyPath WeightsFile /no/such/file bestmove info \u00e9 \u265a \x00 \x1b[31m
    %s {} \\n ' "
    rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR 8/8/8/8/8/8/8/8 4k3/8/8/8/8/8/8/4K2R w b KQkq K - e3
    """,
)

TEMPLATES = (
    "position startpos",
    "position startpos moves {} {}",
    "position fen {} {} {} {} {} {}",
    "position fen rnbqkbnr/pppppppp/8/8/8/8/PPPPPPPP/RNBQKBNR w KQkq - {} {} moves {}",
    "go nodes {}",
    "go wtime {} btime {} winc {}",
    "go searchmoves {} {} nodes 3",
    "setoption name {} value {}",
    "setoption name {} {} value {} {}",
    "debug {}",
)


def fuzzed_line(rng: random.Random) -> str:
    """A template with random words, random words, or random characters."""
    kind = rng.random()
    if kind < 0.5:
        template = rng.choice(TEMPLATES)
        return template.format(*(rng.choice(WORDS) for _ in range(template.count("{}"))))
    if kind < 0.85:
        return " ".join(rng.choice(WORDS) for _ in range(rng.randrange(8)))
    return "".join(chr(rng.randrange(1, 0x2FF)) for _ in range(rng.randrange(40)))


def test_nothing_stops_the_engine() -> None:
    rng = random.Random(2026)
    client = Client(FakeEvaluator(even))
    # Few nodes, or the searches that are found among the rubbish would take minutes.
    client.send("setoption name NodeLimit value 2")
    lines = [line for line in (fuzzed_line(rng) for _ in range(LINES)) if not {"quit", "NodeLimit"} & set(line.split())]
    assert len(lines) > 0.9 * LINES
    output: list[str] = []
    for start in range(0, len(lines), 500):
        # Not isready, which is among the rubbish, too: what came after its first answer would go unread.
        client.send(*lines[start : start + 500], "stop", f"position fen after {start}")
        output += client.read_until(f"info string bad FEN 'after {start}'", 60)
    client.send("position startpos", "go nodes 2")
    output += client.read_until("bestmove", 10)
    for line in output:
        assert line.split(" ")[0] in ("info", "bestmove", "readyok", "uciok", "id", "option"), line
        assert "Traceback" not in line
        assert "\n" not in line
        # A command that failed is caught, but it is a fault of ours all the same.
        assert not (line.startswith("info string command") and "failed" in line), line
        assert "given up" not in line, line
    assert sum(line.startswith("bestmove") for line in output) > 100
    client.close()
