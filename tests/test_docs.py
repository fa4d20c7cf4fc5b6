"""The documentation's code, run as it stands: blocks that name a file are written to it, all others run in order.

Budgets of the README are those of a real run; here they are cut.
"""

import importlib
import re
import sys
import tomllib
from pathlib import Path

import pytest

from agents import registry

ROOT = Path(registry.ROOT)
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"# (\S+\.\w+)\n")


def blocks(page, language):
    found = [text for kind, text in BLOCK.findall((ROOT / page).read_text()) if kind == language]
    assert found, f"{page} has no {language}"
    return found


def test_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text in blocks("README.md", "python"):
        cut = re.sub(r"steps=[\d_]+", "steps=2_000", re.sub(r"episodes=\d+", "episodes=4", text))
        assert cut != text
        exec(compile(cut, "README.md", "exec"), {})


@pytest.fixture
def package(tmp_path, monkeypatch):
    """`my_rl` of docs/write_your_own.md, as if it were installed in `tmp_path`."""
    for text in blocks("docs/write_your_own.md", "python"):
        if name := NAMED.match(text):
            path = tmp_path / name[1]
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
    (project,) = blocks("docs/write_your_own.md", "toml")
    info = tmp_path / "my_rl-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-rl\nVersion: 0.1.0\n")
    groups = tomllib.loads(project)["project"]["entry-points"]
    lines = [
        line
        for group, points in groups.items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in points.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_rl"]:
        del sys.modules[name]


def test_write_your_own(package, capsys):
    scope = {}
    for text in blocks("docs/write_your_own.md", "python"):
        if not NAMED.match(text):
            exec(compile(text, "docs/write_your_own.md", "exec"), scope)
    ring, slope, bonus, successes = capsys.readouterr().out.splitlines()
    assert float(ring) > 0.9  # random walks reach the goal of a ring of 6 in time too, but not always
    assert float(slope) < 0
    assert float(bonus) > 0
    assert all(0.9 < float(success) <= 1 for success in successes.strip("[]").split(","))
    assert registry.members("agent")["reinforce"].doc.startswith("REINFORCE: ")
    assert registry.members("intrinsic reward")["surprise"].status == "ready"


def test_doors_page_is_the_registry():
    rows = ["| door | folder | asked for by | what enters |", "|---|---|---|---|"]
    rows += [f"| {door.name} | `{door.folder}/` | `{door.option}` | {door.doc} |" for door in registry.DOORS.values()]
    assert "\n".join(rows) in (ROOT / "docs/doors.md").read_text()


@pytest.mark.parametrize("page", ["README.md", "docs/README.md", "docs/write_your_own.md", "docs/doors.md"])
def test_links_within_the_project_lead_somewhere(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (ROOT / page).parent.joinpath(target).exists(), target
