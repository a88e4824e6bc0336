"""What all tests share."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def caches_of_their_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Neither use nor fill the user's caches; processes started by a test inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        folder = str(tmp_path_factory.mktemp("caches"))
        patch.setitem(os.environ, "XDG_CACHE_HOME", folder)
        patch.setitem(os.environ, "LOCALAPPDATA", folder)
        yield
