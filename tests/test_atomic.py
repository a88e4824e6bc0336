"""Files that are whole whatever happens at the write: a full disk, a kill, another writer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dejavu.retrieval.atomic import WriteError, append, atomic_write, remove_abandoned, write_text

posix = pytest.mark.skipif(os.name != "posix", reason="limits of a process and locks that a kill lets go")

HOLDING = """
import sys
from pathlib import Path
from dejavu.retrieval.atomic import atomic_write
with atomic_write(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    print("writing", flush=True)
    sys.stdin.read()
"""
LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from safetensors.numpy import save_file
from dejavu.retrieval.atomic import append, atomic_write
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
path, how = Path(sys.argv[1]), sys.argv[2]
try:
    if how == "append":
        append(path, bytes(20_000))
    else:
        with atomic_write(path) as file:
            if how == "handle":
                file.write(bytes(20_000))
            else:
                save_file({"x": np.zeros(20_000, np.uint8)}, file.name)
except OSError as error:
    print(type(error).__name__, error)
"""


def writer(path: Path) -> subprocess.Popen[str]:
    """A process in the middle of writing a file."""
    command = [sys.executable, "-c", HOLDING, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def test_a_reader_sees_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_text(path, "old")
    with atomic_write(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_libraries_write_by_name(tmp_path: Path) -> None:
    path = tmp_path / "file.safetensors"
    with atomic_write(path) as file:
        save_file({"x": np.arange(3)}, file.name)
    assert load_file(path)["x"].tolist() == [0, 1, 2]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_else_goes_wrong_passes_and_leaves_the_file_as_it_was(tmp_path: Path, error: type[BaseException]) -> None:
    def write_half() -> None:
        with atomic_write(path) as file:
            file.write(b"half")
            raise error

    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@posix
@pytest.mark.parametrize("how", ["handle", "safetensors", "append"])
@pytest.mark.parametrize("old", [b"old", None])
def test_a_disk_without_room_costs_one_sentence_and_nothing_else(tmp_path: Path, how: str, old: bytes | None) -> None:
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path), how], capture_output=True, text=True, check=True)
    assert done.stdout == f"WriteError {path} cannot be written: File too large\n"
    assert [item.read_bytes() for item in tmp_path.iterdir()] == ([] if old is None else [old])


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_what_is_refused_after_the_last_byte_counts_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(28, os.strerror(28))

    path = tmp_path / "file"
    write_text(path, "old")
    monkeypatch.setattr(os, fails, refuse)
    with pytest.raises(WriteError, match=r"^[^\[]*file cannot be written: No space left on device$"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@posix
def test_the_next_writer_removes_what_a_killed_one_left_and_nothing_of_a_living_one(tmp_path: Path) -> None:
    path, other = tmp_path / "file", tmp_path / "other"
    with writer(path) as killed, writer(path) as living, writer(other) as killed_elsewhere:
        for process in (killed, killed_elsewhere):
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert len(list(tmp_path.glob("file.*.partial"))) == 2
        write_text(path, "whole")
        assert len(list(tmp_path.glob("file.*.partial"))) == 1
        assert len(list(tmp_path.glob("other.*.partial"))) == 1
        remove_abandoned(tmp_path)
        assert len(list(tmp_path.glob("*.partial"))) == 1
        living.communicate("")
    assert path.read_text() == "half"
    assert list(tmp_path.iterdir()) == [path]


def test_files_of_other_programs_that_are_called_alike_stay(tmp_path: Path) -> None:
    for name in ("file.partial", "file.1.partial", "file.notatokn.partial"):
        (tmp_path / name).write_text("not ours")
    write_text(tmp_path / "file", "ours")
    assert len(list(tmp_path.iterdir())) == 4


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=f"^{tmp_path} cannot be written: "):
        write_text(tmp_path, "text")
    with pytest.raises(WriteError, match=f"^{tmp_path} cannot be written: "):
        append(tmp_path, b"text")


@posix
def test_links_and_devices_are_written_to_and_stay(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "link").symlink_to("file")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"
    write_text(Path(os.devnull), "nothing")
    append(Path(os.devnull), b"nothing")
    assert not Path(os.devnull).is_file()


def test_what_is_added_may_take_the_place_of_an_unfinished_end(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lines"
    append(path, b"one\n")
    append(path, b"tw")
    append(path, b"two\n", at=4)
    assert path.read_bytes() == b"one\ntwo\n"
