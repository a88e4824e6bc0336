"""What all tests share: caches of their own, a net, and one small training of both stages."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("patient", deadline=None)  # a busy machine takes its time
settings.load_profile("patient")


@pytest.fixture(scope="session", autouse=True)
def caches_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Neither use nor fill the user's caches, nor what was learned; processes started by a test inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        folder = str(tmp_path_factory.mktemp("caches"))
        patch.setitem(os.environ, "XDG_CACHE_HOME", folder)
        patch.setitem(os.environ, "LOCALAPPDATA", folder)
        patch.setitem(os.environ, "DEJAVU_DATA", str(tmp_path_factory.mktemp("user_data")))
        yield


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Where a shell has started pytest in its background, Ctrl-C is ignored; processes started by a test inherit it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Imported where they are needed: most tests do without torch.


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a tiny net that has learned nothing and knows no memory."""
    import torch

    from dejavu.model.config import PRESETS
    from dejavu.model.network import Network
    from dejavu.model.weights import save_weights

    path = tmp_path_factory.mktemp("net") / "weights.safetensors"
    torch.manual_seed(0)
    save_weights(path, Network(PRESETS["tiny"], retrieval=False), PRESETS["tiny"], {})
    return path


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of short random games without evaluations."""
    from training import run_script, write_random_games

    folder = tmp_path_factory.mktemp("data")
    games, out = folder / "games.pgn", folder / "data.safetensors"
    write_random_games(games)
    done = run_script("prepare_data.py", games, "--out", out, "--memory", "0.4", "--held-out", "0.1")
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def backbone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run of stage 1."""
    from training import run_backbone

    run = tmp_path_factory.mktemp("stage1")
    run_backbone(data, run, 12)
    return run


@pytest.fixture(scope="session")
def memory(data: Path, backbone: Path) -> Path:
    """A memory of that backbone."""
    from training import run_script

    out, weights = backbone / "memory.safetensors", backbone / "weights.safetensors"
    options = ["--work", backbone / "work", "--entries", 400]
    done = run_script("build_memory.py", "--data", data, "--weights", weights, "--out", out, *options)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def retrieval(data: Path, backbone: Path, memory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run of stage 2."""
    from training import run_retrieval

    run = tmp_path_factory.mktemp("stage2")
    run_retrieval(data, backbone, memory, run, 12)
    return run
