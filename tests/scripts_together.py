"""Several runs of scripts in one process: each in its own would import everything again, which takes seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection, Sequence
from typing import NamedTuple

from training import SCRIPTS

PROGRAM = """
import contextlib, io, json, runpy, sys
commands, missing, folder = json.load(sys.stdin)
sys.path.insert(0, folder)
sys.modules.update(dict.fromkeys(missing))  # whoever imports them is told that they are not there
ended = []
for words in commands:
    sys.argv, status = [f"{folder}/{words[0]}", *words[1:]], 0
    with contextlib.redirect_stdout(io.StringIO()) as said:
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as end:
            status = end.code
    ended.append((said.getvalue(), status))
json.dump(ended, sys.stdout)
"""


class Ended(NamedTuple):
    """What came of a run."""

    said: str
    status: int | str | None
    """Exit status, or the sentence that the script ended with."""


def run_together(commands: Sequence[Sequence[str]], missing: Collection[str] = ()) -> list[Ended]:
    """Run scripts one after the other, without the modules that are `missing`."""
    asked = json.dumps([[list(words) for words in commands], list(missing), str(SCRIPTS)])
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [Ended(*item) for item in json.loads(done.stdout)]
