"""`bank`: what it prints, and every mistake in one sentence."""

import pytest

from envs.minigrid import bank, build

ID = "MiniGrid-DoorKey-8x8-v0"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with a bank of two parts."""
    root = tmp_path_factory.mktemp("banks")
    build.build(bank.find_task(ID), root, levels=200, processes=1)
    return root


def test_json(command, root):
    said = command("bank", ID, "--levels", 150, "--out", root, "--json")
    found = bank.read(bank.find_task(ID), root)
    assert said.code == 0
    assert "200/200" in said.err
    assert said.result == {
        "task": ID,
        "seed": 0,
        "minigrid": found.version,
        "levels": 200,
        "distinct": found.distinct,
        "train": 200 - found.evaluation.sum(),
        "evaluation": found.evaluation.sum(),
        "shared": False,
        "bytes": sum(path.stat().st_size for path in found.folder.iterdir()),
        "hash": found.hash,
        "folder": str(root / ID / "seed-0"),
    }


def test_what_people_read(command, root):
    out = command("bank", ID, "--levels", 200, "--out", root).out
    found = bank.read(bank.find_task(ID), root)
    for said in (f"{found.bytes:,}", found.hash, f"the bank is in {root}", "evaluation", f"minigrid {found.version}"):
        assert said in out
    assert "There are only" not in out


def test_a_task_with_few_levels_says_so(command, tmp_path):
    id = "MiniGrid-MemoryS7-v0"
    said = command("bank", id, "--levels", 1, "--seed", 5, "--processes", 1, "--out", tmp_path)
    assert "There are only 16 different levels: training and evaluation share them all." in said.out
    assert (tmp_path / id / "seed-5" / "part-00000.safetensors").exists()
    result = command("bank", id, "--levels", 1, "--seed", 5, "--out", tmp_path, "--json").result
    assert (result["shared"], result["train"], result["evaluation"]) == (True, 100, 100)


def test_an_interruption_says_what_is_kept(command, tmp_path, monkeypatch):
    def interrupted(task, folder, seed, levels, processes, watch):
        watch(1200, 20_000)
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "build", interrupted)
    said = command("bank", ID, "--out", tmp_path)
    assert said.code == 130
    assert "auxin: stopped; 1,200 levels are kept, and the same command goes on." in said.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "bank needs the id of a task, such as MiniGrid-MultiRoom-N6-v0."),
        ([ID, ID], f"bank cannot use the word '{ID}'"),
        (["MiniGrid-DorKey-8x8-v0"], "no task 'MiniGrid-DorKey-8x8-v0': did you mean MiniGrid-DoorKey-8x8-v0"),
        (["CartPole-v1"], "MiniGrid has no task 'CartPole-v1'"),
        (["MiniGrid-Playground-v0"], "MiniGrid-Playground-v0 does not run on the device"),
        ([ID, "--levels", "0"], "levels must be above 0, not 0."),
        ([ID, "--levels", "many"], "levels must be a whole number"),
        ([ID, "--seed", "-1"], "seed must be between 0 and 2147483647, not -1."),
        ([ID, "--processes", "-1"], "processes must be at least 0, not -1."),
        ([ID, "--level", "1"], "bank has no option --level: did you mean --levels"),
    ],
)
def test_mistakes_are_one_sentence(command, words, sentence):
    assert sentence in command("bank", *words).sentence


def test_a_missing_generator_is_one_sentence(command, tmp_path, monkeypatch):
    def absent(name):
        raise build.PackageNotFoundError(name)

    monkeypatch.setattr(build, "version", absent)
    assert "pip install 'auxin[minigrid]'" in command("bank", ID, "--out", tmp_path).sentence
    assert list(tmp_path.iterdir()) == []
