"""`envs` as a package: cheap imports, names and listings, entry points, and shadowed siblings."""

import importlib.metadata
import os
import subprocess
import sys
import types
from collections import Counter
from pathlib import Path

import pytest

import envs
from envs.errors import UsageError
from envs.registry import Listing

ROOT = Path(envs.__file__).parent.parent


def python(code: str, *path: Path) -> subprocess.CompletedProcess:
    """A fresh interpreter with `path` before the project on its import path."""
    search = os.pathsep.join(map(str, [*path, ROOT]))
    return subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": search}
    )


def test_importing_and_listing_load_no_engine_and_no_jax():
    heavy = {"jax", "envpool", "minigrid", "nle", "metaworld", "mujoco", "flax"}
    run = python(f"import envs, sys; print(len(envs.ids())); print({heavy} & set(sys.modules))")
    count, loaded = run.stdout.split("\n")[:2]
    assert int(count) > 50, run.stderr
    assert loaded == "set()"


def test_ids_are_unique_and_complete():
    listed = envs.ids()
    assert [name for name, k in Counter(listing.name for listing in listed).items() if k > 1] == []
    assert all(listing.backends and listing.doc and listing.suite for listing in listed)
    suites = list(dict.fromkeys(listing.suite for listing in listed))
    assert suites == [*envs.registry.SUITES, envs.registry.LAST]


def test_names_of_the_package():
    assert envs.make is envs.registry.make
    assert envs.UsageError is UsageError
    assert {"make", "ids", "TimeStep", "EnvSpec", "Env", "HostEnv", "HostMaker", "batch", "wrappers"} <= {
        *dir(envs),
        "wrappers",
    }
    with pytest.raises(AttributeError, match="no attribute 'mak'"):
        envs.mak  # noqa: B018


def test_batch_stays_the_function_whoever_imports_it_first():
    run = python("from envs.batch import Batch; import envs; print(envs.batch.__name__, type(envs.batch).__name__)")
    assert run.stdout.split() == ["batch", "function"], run.stderr


@pytest.mark.parametrize(
    ("id", "sentence"),
    [
        ("CartPole-v11", "there is no environment 'CartPole-v11': did you mean CartPole-v1"),
        ("NetHackScor-v0", "did you mean NetHackScore-v0"),
        ("MetaWorld-reach", "MetaWorld-reach-v3"),
    ],
)
def test_unknown_id_names_the_nearest(id, sentence):
    with pytest.raises(UsageError, match=sentence):
        envs.make(id)


def test_unknown_option_names_the_nearest():
    with pytest.raises(UsageError, match=r"Counting-v0 has no option 'end': did you mean ends\?"):
        envs.make("Counting-v0", end="terminate 3")
    with pytest.raises(UsageError, match="'stop 3' is no end"):
        envs.make("Counting-v0", ends="stop 3")


def test_options_are_recorded():
    maker = envs.make("Counting-v0", max_steps=6, ends="both 2")
    assert maker.options == {"max_steps": 6, "repeat": 1, "processes": False, "ends": "both 2"}
    assert (maker.backend, maker.spec.max_steps) == ("host", 6)


def entry(name: str, load):
    return types.SimpleNamespace(name=name, value=f"{name}:suite", load=load)


def test_other_packages_add_suites_and_a_broken_one_only_warns(monkeypatch):
    suite = types.ModuleType("theirs")
    suite.ids = lambda: {"Theirs-v0": Listing("Theirs-v0", "theirs", ("host",), "Somebody else's.")}
    suite.make = lambda id, backend, *, level=1: (id, backend, level)

    def broken():
        raise ImportError("no such thing")

    points = [entry("zz", lambda: suite), entry("broken", broken)]
    monkeypatch.setattr("envs.registry.entry_points", lambda group: points if group == "auxin.env" else [])
    with pytest.warns(UserWarning, match="'broken:suite' cannot be imported: no such thing"):
        assert envs.make("Theirs-v0", level=3) == ("Theirs-v0", "host", 3)
    with (
        pytest.warns(UserWarning, match="broken"),
        pytest.raises(UsageError, match=r"no option 'levels': did you mean level\?"),
    ):
        envs.make("Theirs-v0", levels=3)


def test_a_missing_engine_names_its_extra(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setitem(sys.modules, "nle", None)
    monkeypatch.setattr("envs.metaworld.version", missing)
    for id, extra in (("NetHackScore-v0", "nethack"), ("MetaWorld-reach-v3", "metaworld")):
        with pytest.raises(UsageError, match=rf"pip install 'auxin\[{extra}\]'"):
            envs.make(id)


def test_a_shadowed_sibling_is_one_sentence(tmp_path):
    (tmp_path / "losses").mkdir()
    (tmp_path / "losses" / "__init__.py").write_text("")
    run = python("import envs", tmp_path)
    assert "Auxin's package 'losses' is shadowed by" in run.stderr.strip().split("\n")[-1]
