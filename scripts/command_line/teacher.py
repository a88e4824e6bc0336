"""The arguments that describe a teacher."""

from __future__ import annotations

import argparse
import os
import shlex
from typing import Any

from command_line.arguments import option, options_of, positive, seconds
from dejavu.engine.annotation.teacher import TeacherSettings
from dejavu.engine.match.players import find_program


def add_teacher_arguments(parser: argparse.ArgumentParser) -> None:
    """What decides which engine labels, and how long; and how many do."""
    add = parser.add_argument
    add("--engine", required=True, metavar="CMD", help="the teacher's command")
    add("--option", type=option, action="append", default=[], metavar="NAME=VALUE", help="UCI option")
    pace = parser.add_mutually_exclusive_group(required=True)
    pace.add_argument("--nodes", type=positive, default=None, help="the teacher's nodes a position")
    pace.add_argument("--movetime", type=positive, default=None, help="its milliseconds a position, instead")
    add("--patience", type=seconds, default=60.0, help="seconds until a silent teacher has failed (60)")
    add("--processes", type=positive, help="one teacher each (CPUs)")


def program(text: str) -> tuple[str, ...]:
    """The words of a command, with the place of its program. Raises PlayerError where it is not there."""
    name, *words = shlex.split(text, posix=os.name == "posix") or [""]
    return find_program(name), *words


def teacher_settings(arguments: dict[str, Any]) -> TeacherSettings:
    """Take out what those arguments say, but for --processes. Raises PlayerError where the program is not there."""
    command = program(arguments.pop("engine"))
    given = {key: arguments.pop(key) for key in ("nodes", "movetime", "patience")}
    return TeacherSettings(command, options_of(arguments.pop("option")), **given)
