"""The registry: members by listing folders, without importing them; broken files and outside packages."""

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from agents import registry
from envs.errors import UsageError

MEMBER = '''"""{name}: one line.

More.
"""
from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    coef: float = 1.0
    """Weight."""


def make(spec=None, **options):
    return "{name}"
'''


@pytest.fixture
def door(tmp_path, monkeypatch):
    """A door of its own, whose folder the test fills."""
    folder = tmp_path / "registry_fakes" / "rewards"
    folder.mkdir(parents=True)
    monkeypatch.setattr(registry, "ROOT", tmp_path)
    monkeypatch.setattr(registry, "DOORS", {"fake": registry.Door("fake", "registry_fakes/rewards", "--fake", "")})
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith("registry_fakes")]:
        del sys.modules[name]


def test_members_are_files_with_make_and_config(door):
    (door / "beta.py").write_text(MEMBER.format(name="beta"))
    (door / "alpha.py").write_text(MEMBER.format(name="alpha"))
    (door / "helper.py").write_text('"""No member."""\n\n\ndef make():\n    pass\n')
    (door / "notes.txt").write_text("nothing")
    found = registry.members("fake")
    assert list(found) == ["alpha", "beta"]
    assert found["beta"] == registry.Member(
        "beta", "fake", "beta: one line.", str(door / "beta.py"), "registry_fakes.rewards.beta", "ready"
    )
    assert not [name for name in sys.modules if name.startswith("registry_fakes")]


def test_a_broken_file_is_listed_as_broken_and_harms_no_other(door):
    (door / "alpha.py").write_text(MEMBER.format(name="alpha"))
    (door / "bad.py").write_text("def make(:\n")
    found = registry.members("fake")
    assert {name: member.status for name, member in found.items()} == {"alpha": "ready", "bad": "broken"}
    assert registry.load("fake", "alpha").make() == "alpha"
    with pytest.raises(UsageError, match="the fake 'bad' cannot be imported"):
        registry.load("fake", "bad")


def test_load_imports_only_the_one(door):
    (door / "alpha.py").write_text(MEMBER.format(name="alpha"))
    (door / "explosive.py").write_text(MEMBER.format(name="explosive") + "\nimport no_such_package_at_all\n")
    assert registry.load("fake", "alpha").Config().coef == 1.0
    with pytest.raises(UsageError, match="no_such_package_at_all"):
        registry.load("fake", "explosive")
    with pytest.raises(UsageError, match="there is no fake 'alhpa': did you mean alpha"):
        registry.load("fake", "alhpa")


def test_names_joined_by_plus(door):
    for name in ("alpha", "beta"):
        (door / f"{name}.py").write_text(MEMBER.format(name=name))
    assert registry.parse_names("beta+alpha", "fake") == ["beta", "alpha"]
    assert registry.parse_names("", "fake") == []
    with pytest.raises(UsageError, match="there is no fake 'betta': did you mean beta"):
        registry.parse_names("alpha+betta", "fake")
    with pytest.raises(UsageError, match="named twice"):
        registry.parse_names("beta+beta", "fake")


def test_outside_packages_add_members_but_take_no_name(door, tmp_path, monkeypatch):
    (door / "alpha.py").write_text(MEMBER.format(name="alpha"))
    (tmp_path / "registry_fakes_outside.py").write_text(MEMBER.format(name="theirs"))
    points = [
        EntryPoint("theirs", "registry_fakes_outside", "auxin.fake"),
        EntryPoint("alpha", "registry_fakes_outside", "auxin.fake"),
        EntryPoint("lost", "registry_fakes_nowhere.at.all", "auxin.fake"),
    ]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "auxin.fake" else [])
    found = registry.members("fake")
    assert {name: member.status for name, member in found.items()} == {
        "alpha": "ready",
        "lost": "broken",
        "theirs": "ready",
    }
    assert found["theirs"].doc == "theirs: one line."
    assert registry.load("fake", "alpha").make() == "alpha"
    assert registry.load("fake", "theirs").make() == "theirs"


def test_the_groups_of_doors_have_underscores(monkeypatch):
    asked = []
    monkeypatch.setattr(registry, "entry_points", lambda group: asked.append(group) or [])
    registry.members("intrinsic reward")
    assert asked == ["auxin.intrinsic_reward"]


def test_there_is_no_such_door():
    with pytest.raises(UsageError, match="did you mean encoder"):
        registry.members("encodr")


def test_the_agents_are_found_and_every_member_has_its_line():
    assert {"ppo", "impala", "bebold", "agac"} <= set(registry.members("agent"))
    assert {"bebold", "rnd", "count", "noveld"} <= set(registry.members("intrinsic reward"))
    for door in registry.DOORS:
        for member in registry.members(door).values():
            assert member.doc, member
            assert member.status == "ready", member


def test_listing_imports_no_jax():
    code = (
        "import sys; from agents import registry; "
        "names = [m.name for d in registry.DOORS for m in registry.members(d).values()]; "
        "assert 'ppo' in names; assert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=registry.ROOT)
