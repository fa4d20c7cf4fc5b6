"""Every test of these shares one compilation cache of this session, so that a loop built twice compiles once."""

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def compilation_cache(tmp_path_factory):
    """Where `agents.train`, and every process that a test starts, keeps what it compiled."""
    before = os.environ.get("AUXIN_CACHE")
    os.environ["AUXIN_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield os.environ["AUXIN_CACHE"]
    del os.environ["AUXIN_CACHE"]
    if before is not None:
        os.environ["AUXIN_CACHE"] = before
