"""Play a match of Dejavu against Stockfish at a given UCI_Elo through fastchess, and sum it up.

Every opening is played twice, once with each colour. The games go to OUT/games.pgn and fastchess's log to
OUT/fastchess.log. Started again with the same settings, the script counts the games that are there already
and plays only the rest.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import chess
import chess.engine
import chess.pgn

ROOT = Path(__file__).resolve().parent.parent
PLAYER = "Dejavu"
POINTS = {"1-0": 1.0, "1/2-1/2": 0.5, "0-1": 0.0}
UNUSUAL_ENDINGS = ("time forfeit", "illegal move", "disconnect", "stall", "abandoned")
LOG_NAME = "fastchess.log"
UCIOK_SECONDS = 10.0
"""fastchess's own limit from the start of an engine to its `uciok`."""
TIME_MARGIN_MS = 300
"""How late a move may come before it loses on time; fastchess's own 0 suits only idle machines."""
NORMAL_QUANTILE = 1.959964
"""Two-sided 95 % quantile of the standard normal distribution."""


class GauntletError(ValueError):
    """Input that the match cannot be played or summed up with; the message is one sentence."""


@dataclass(frozen=True)
class Game:
    """A finished game, seen from Dejavu."""

    opening: str
    """EPD of the starting position (four fields)."""
    white: bool
    """Whether Dejavu had White."""
    points: float
    """1 for a win, 0.5 for a draw, 0 for a loss."""
    ending: str
    """"normal", or one of `UNUSUAL_ENDINGS`, which is the loser's doing."""


@dataclass(frozen=True)
class Batch:
    """Games that one run of fastchess can play: every opening once a colour in `colours`."""

    colours: tuple[bool, ...]
    """Dejavu's colours, True for White: both, or only one."""
    openings: tuple[str, ...]


def ending_of(game: chess.pgn.Game) -> str:
    """Return how a fastchess game ended; "unterminated" means that the match was stopped in the middle.

    fastchess writes "abandoned" for a crash as well as for a missing `readyok`; only the comment behind the
    last move tells them apart, and there is none where the engine failed before its first move.
    """
    termination = game.headers.get("Termination", "normal")
    if termination != "abandoned":
        return termination
    comment = game.end().comment
    if "disconnects" in comment:
        return "disconnect"
    return "stall" if "stalls" in comment else termination


def read_games(path: Path, opponent: str, settings: str) -> list[Game]:
    """Read the finished games of a match from the PGN that fastchess wrote; none if there is no file.

    Raises GauntletError for games by other players or under other settings, and for games that do not parse.
    """
    if not path.exists():
        return []
    # The parser would log a traceback of what is reported below in one sentence.
    logging.getLogger("chess.pgn").setLevel(logging.CRITICAL)
    games = []
    with path.open(encoding="utf-8") as file:
        number = 0
        while (game := chess.pgn.read_game(file)) is not None:
            number += 1
            headers, where = game.headers, f"{path}, game {number}"
            if game.errors:
                raise GauntletError(f"{where}: {game.errors[0]}")
            players = [headers.get("White"), headers.get("Black")]
            if sorted(map(str, players)) != sorted([PLAYER, opponent]):
                raise GauntletError(f"{where} is between {players[0]} and {players[1]}; choose another --out")
            if headers.get("Event") != settings:
                played = headers.get("Event")
                raise GauntletError(f"{where} was played at '{played}', not '{settings}'; choose another --out")
            ending, white_points = ending_of(game), POINTS.get(headers.get("Result", "*"))
            if ending == "unterminated" or white_points is None:
                continue
            white = players[0] == PLAYER
            points = white_points if white else 1 - white_points
            games.append(Game(game.board().epd(), white, points, ending))
    return games


def read_openings(path: Path) -> list[str]:
    """Read the four-field EPDs of an EPD file's positions; GauntletError names a line that is wrong."""
    openings = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            board, _ = chess.Board.from_epd(line)
        except ValueError as error:
            raise GauntletError(f"{path}, line {number}: {error}") from error
        if not board.is_valid() or board.is_game_over():
            raise GauntletError(f"{path}, line {number} is not a position that can be played on")
        openings.append(board.epd())
    if not openings:
        raise GauntletError(f"{path} holds no positions")
    return openings


def games_to_play(openings: Sequence[str], wanted: int, played: Iterable[Game]) -> list[Batch]:
    """Return what is missing from a match of `wanted` games: pairs first, then single games by colour.

    The match is opening 1 with White, opening 1 with Black, opening 2 with White, ... and starts over at the
    first opening when it has used them all.
    """
    there = Counter((game.opening, game.white) for game in played)
    missing: dict[tuple[bool, ...], list[str]] = {(True, False): [], (True,): [], (False,): []}
    for pair in range(math.ceil(wanted / 2)):
        opening = openings[pair % len(openings)]
        colours = []
        for white in (True, False)[: wanted - 2 * pair]:
            if there[opening, white]:
                there[opening, white] -= 1
            else:
                colours.append(white)
        if colours:
            missing[tuple(colours)].append(opening)
    return [Batch(colours, tuple(batch)) for colours, batch in missing.items() if batch]


def elo_difference(score: float) -> float:
    """Elo difference that makes `score` (0 to 1) the expected one under the logistic model."""
    if score <= 0 or score >= 1:
        return math.copysign(math.inf, score - 0.5)
    return 400 * math.log10(score / (1 - score))


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


def record(games: Iterable[Game]) -> str:
    """Return "W-D-L"."""
    counts = Counter(game.points for game in games)
    return f"{counts[1.0]}-{counts[0.5]}-{counts[0.0]}"


def report(games: Sequence[Game], opponent: str, settings: str) -> str:
    """Return the summary of a match as text: results, Elo difference, and every unusual ending by side."""
    lines = [f"{PLAYER} against {opponent}, {settings}"]
    if not games:
        return "\n".join([*lines, "no finished games"])
    score = sum(game.points for game in games) / len(games)
    low, high = score_interval(score, len(games))
    white, black = [g for g in games if g.white], [g for g in games if not g.white]
    lines += [
        f"{len(games)} games, won-drawn-lost {record(games)} (White {record(white)}, Black {record(black)})",
        f"score {100 * score:.1f} %, 95 % interval [{100 * low:.1f}, {100 * high:.1f}]",
        f"Elo difference {elo_difference(score):+.0f}, "
        f"95 % interval [{elo_difference(low):+.0f}, {elo_difference(high):+.0f}]",
        "",
        f"{'lost by':<15}{PLAYER:>10}{opponent:>18}",
    ]
    for ending in UNUSUAL_ENDINGS:
        ours = sum(game.ending == ending and game.points == 0 for game in games)
        theirs = sum(game.ending == ending and game.points == 1 for game in games)
        lines.append(f"{ending:<15}{ours:>10}{theirs:>18}")
    return "\n".join(lines)


def find_program(name: str, hint: str) -> str:
    """Return the absolute path of a program; GauntletError, with a hint, if it is not there."""
    # Debian installs Stockfish where root's PATH does not look.
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/games"])
    found = shutil.which(name, path=search)
    if found is None:
        raise GauntletError(f"{name} was not found on PATH; {hint}")
    return os.path.abspath(found)


def check_engine(name: str, command: list[str], options: Iterable[str]) -> None:
    """Start an engine, and raise GauntletError if it is none or would not take one of the options.

    fastchess only warns, and plays the match with a Stockfish of another strength than the one asked for.
    """
    try:
        with chess.engine.SimpleEngine.popen_uci(command, timeout=UCIOK_SECONDS) as engine:
            for key, _, value in (option.partition("=") for option in options):
                offered = engine.options.get(key)
                if offered is None:
                    raise GauntletError(f"{name} has no option {key}")
                try:
                    offered.parse(value)
                except chess.engine.EngineError as error:
                    limits = f" (it takes {offered.min} to {offered.max})" if offered.type == "spin" else ""
                    raise GauntletError(f"{name} does not take {key}={value}{limits}") from error
    except (chess.engine.EngineError, TimeoutError, OSError) as error:
        command_line = " ".join(command)
        raise GauntletError(f"{name} does not start as `{command_line}`: {error or 'no answer'}") from error


def engine_arguments(name: str, command: Sequence[str], options: Iterable[str], pace: Iterable[str]) -> list[str]:
    """Return fastchess's description of one engine; `pace` is its time control or node limit."""
    arguments = ["-engine", f"name={name}", f"cmd={command[0]}", *pace]
    if len(command) > 1:
        quoted = [f'"{word}"' if " " in word else word for word in command[1:]]
        arguments.append("args=" + " ".join(quoted))
    return arguments + [f"option.{option}" for option in options]


def is_news(line: str) -> bool:
    """Whether a line of fastchess's output is shown: results, and warnings about Dejavu.

    Stockfish draws many warnings, as a limited UCI_Elo plays another move than its principal variation says.
    """
    return line.startswith(("Finished game", "Fatal;", "Error")) or (
        line.startswith("Warning;") and "Stockfish" not in line
    )


def play(fastchess: str, players: tuple[list[str], list[str]], batch: Batch, out: Path, args: list[str]) -> None:
    """Let fastchess play a batch of games; GauntletError if it ends with a failure."""
    openings = out / "remaining.epd"
    # The operation makes it an EPD: without a semicolon, fastchess would read a six-field FEN.
    openings.write_text("".join(f"{epd} hmvc 0;\n" for epd in batch.openings), encoding="utf-8", newline="\n")
    first, second = players if batch.colours[0] else players[::-1]
    command = [fastchess, *first, *second]
    command += ["-openings", f"file={openings}", "format=epd", "order=sequential"]
    command += ["-rounds", str(len(batch.openings)), "-games", str(len(batch.colours))]
    # With one game a round, fastchess would change colours from round to round.
    command += ["-noswap"] if len(batch.colours) == 1 else []
    # -recover: a crash loses its game and is counted, and the match goes on.
    command += ["-recover", *args]
    last = "no message"
    with subprocess.Popen(
        command, cwd=out, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace"
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                last = line.strip() or last
                if is_news(last):
                    print(last, flush=True)
        except KeyboardInterrupt:
            process.terminate()
            raise
    if process.returncode != 0:
        raise GauntletError(f"fastchess ended with status {process.returncode} ({last}); see {out / LOG_NAME}")


def option(text: str) -> str:
    """Check a NAME=VALUE argument."""
    if not re.fullmatch(r"[^=]+=.*", text):
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=VALUE")
    return text


def positive(text: str) -> int:
    """Parse a whole number of at least 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
    return int(text)


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse `arguments`, or the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    pace = parser.add_mutually_exclusive_group(required=True)
    pace.add_argument("--tc", help="time control of both sides, SECONDS+INCREMENT, such as 5+0.1")
    pace.add_argument("--nodes", type=positive, help="fixed nodes a move for Dejavu, instead of a clock")
    parser.add_argument(
        "--opponent-nodes",
        type=positive,
        default=20000,
        help="Stockfish's nodes a move beside --nodes (20000)",
    )
    parser.add_argument("--elo", type=positive, default=1350, help="Stockfish's UCI_Elo (1350)")
    parser.add_argument("--games", type=positive, default=30, help="games of the whole match (30)")
    parser.add_argument(
        "--openings",
        type=Path,
        default=ROOT / "tests" / "positions" / "openings.epd",
        help="EPD file of starting positions",
    )
    parser.add_argument("--concurrency", type=positive, default=1, help="games played at the same time (1)")
    parser.add_argument("--out", type=Path, default=Path("runs/gauntlet"), help="folder (runs/gauntlet)")
    parser.add_argument("--engine", metavar="CMD", help="Dejavu's command (this Python with -m dejavu.engine)")
    parser.add_argument(
        "--option",
        type=option,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="UCI option for Dejavu",
    )
    parser.add_argument("--fastchess", default="fastchess", help="fastchess's command (found on PATH)")
    parser.add_argument("--stockfish", default="stockfish", help="Stockfish's command (found on PATH)")
    args = parser.parse_args(arguments)
    if args.tc is not None and not re.fullmatch(r"\d+(\.\d+)?(\+\d+(\.\d+)?)?", args.tc):
        parser.error(f"argument --tc: '{args.tc}' is not SECONDS+INCREMENT")
    return args


def prepare(args: argparse.Namespace, opponent: str) -> tuple[str, tuple[list[str], list[str]]]:
    """Find and check all programs; returns fastchess's path and its description of both players."""
    engine = [sys.executable, "-m", "dejavu.engine"]
    if args.engine:
        engine = shlex.split(args.engine, posix=os.name == "posix") or [""]
        engine[0] = find_program(engine[0], "check --engine")
    stockfish = find_program(args.stockfish, "install it or name it with --stockfish")
    fastchess = find_program(args.fastchess, "build it from source or name it with --fastchess")
    limits = ["UCI_LimitStrength=true", f"UCI_Elo={args.elo}"]
    check_engine(PLAYER, engine, args.option)
    check_engine(opponent, [stockfish], limits)
    if args.tc:
        clock = [f"tc={args.tc}", f"timemargin={TIME_MARGIN_MS}"]
        paces = clock, clock
    else:
        paces = [f"nodes={args.nodes}"], [f"nodes={args.opponent_nodes}"]
    return fastchess, (
        engine_arguments(PLAYER, engine, args.option, paces[0]),
        engine_arguments(opponent, [stockfish], limits, paces[1]),
    )


def names(args: argparse.Namespace) -> tuple[str, str]:
    """The opponent's name and the settings, as the games of the match carry them."""
    pace = args.tc or f"{args.nodes} nodes against {args.opponent_nodes}"
    return f"Stockfish {args.elo}", ", ".join([pace, *args.option])


def finished_games(args: argparse.Namespace) -> list[Game]:
    """The games of the match that have been played so far."""
    return read_games(args.out.resolve() / "games.pgn", *names(args))


def run(args: argparse.Namespace) -> None:
    """Play what is missing of the match and print the summary; GauntletError says what prevents it."""
    opponent, settings = names(args)
    out = args.out.resolve()
    pgn = out / "games.pgn"
    batches = games_to_play(read_openings(args.openings), args.games, finished_games(args))
    if batches:
        fastchess, players = prepare(args, opponent)
        out.mkdir(parents=True, exist_ok=True)
        common = ["-concurrency", str(args.concurrency), "-event", settings]
        common += ["-pgnout", f"file={pgn}", "nodes=true", "timeleft=true", "latency=true"]
        common += ["-log", f"file={out / LOG_NAME}", "level=info", "engine=true"]
    try:
        for batch in batches:
            play(fastchess, players, batch, out, common)
    finally:
        print(report(finished_games(args), opponent, settings))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `arguments`, or the command line; exit status 0 when the whole match has been played and summed up."""
    args = parse_arguments(arguments)
    try:
        run(args)
    except (GauntletError, OSError, UnicodeDecodeError) as error:
        print(f"gauntlet: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("gauntlet: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
