"""`map`: what it draws and prints of runs as they are kept, and every mistake in one sentence."""

import json
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import agents
import envs
from agents.commands.heatmap import Ground, Row, maps
from agents.commands.map import chosen
from agents.training import checkpoints, learner
from agents.training.exploration import reachable
from envs.errors import UsageError
from envs.wrappers import parse

ROOMS = "MiniGrid-MultiRoom-N2-S4-v0"
SMALL = {"hidden": (8,), "encoder": "mlp", "unroll": 20}


class Kept(NamedTuple):
    """The part of a run's tree that acting reads."""

    state: object = ()
    wrapper: object = ()


def write_run(folder, env, steps, seed=0, **options):
    """A folder as an untrained run would have left it."""
    folder.mkdir(parents=True)
    agent = agents.make("ppo", env.spec, **SMALL, **options)
    notes = {"agent": "ppo", "options": agent.config, "env": env.spec.id, "wrap": "", "wrap_options": {}, "train": {}}
    backend, env_options = ("device", env.options) if isinstance(env, envs.Env) else (env.backend, env.options)
    (folder / "config.json").write_text(json.dumps({**notes, "backend": backend, "env_options": env_options}))
    state = learner.with_progress(agent.init(jax.random.key(seed), env.spec), jnp.zeros(()))
    tree = {"learner": Kept(state=state), "acting": Kept(wrapper=parse("").init(env.spec, 4))}
    meta = {"n": 4, "seed": seed, "levels_hash": env.options.get("levels_hash", "")}
    for step in steps:
        checkpoints.save(folder / "checkpoints", step, tree, {**meta, "step": step}, keep=len(steps))
    return folder


@pytest.fixture(scope="module")
def env():
    return envs.make(ROOMS, backend="device", levels="generated", count=40)


@pytest.fixture(scope="module")
def runs(env, tmp_path_factory):
    """A run of two seeds with a bonus and one of a single seed without."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in range(2):
        write_run(folder / "paid" / f"seed-{seed}", env, (100, 2000), seed, bonus="rnd")
    write_run(folder / "plain", env, (100, 1000, 2000))
    return folder


def test_pictures_and_numbers(command, runs, tmp_path):
    import imageio.v3 as imageio

    out, rooms = tmp_path / "deep" / "map.png", tmp_path / "rooms.svg"
    said = command(
        "map", runs / "paid", runs / "plain", "--out", out, "--rooms", rooms, "--episodes", 16, "--level", 1, "--json"
    )
    assert said.code == 0, said.err
    found = said.result
    assert (found["map"], found["rooms"]) == (str(out), str(rooms))
    assert (found["env"], found["level"], found["episodes"]) == (ROOMS, 1, 16)
    paid, plain = found["runs"]
    assert (paid["run"], paid["seeds"], plain["run"], plain["seeds"]) == ("paid", 2, "plain", 1)
    assert [each["step"] for each in plain["checkpoints"]] == [100, 1000, 2000]
    assert [seed["steps"] for seed in paid["rooms"]] == [[100, 2000]] * 2
    for each in paid["checkpoints"] + plain["checkpoints"]:
        assert each["rooms_total"] == 2
        assert 1 <= each["rooms"] <= 2
        assert 0 < each["entropy"] <= np.log(each["cells"])
        assert ("bonus" in each) == (each in paid["checkpoints"])
    assert all(each["bonus"] > 0 for each in paid["checkpoints"])
    assert all(0.5 <= share <= 1 for run in (paid, plain) for seed in run["rooms"] for share in seed["share"])
    # The agents are untrained, and all their checkpoints the same.
    first, last = ({**paid["checkpoints"][index], "step": 0} for index in (0, -1))
    assert first == last
    picture = imageio.imread(out)[..., :3].astype(int)
    wall = np.abs(picture - 0x4D).sum(-1) < 6
    assert 0.05 < wall.mean() < 0.4
    assert (picture.min(-1) > 250).mean() > 0.4  # mostly white
    assert rooms.read_text().startswith("<?xml")


def test_what_people_read(command, runs, tmp_path):
    said = command("map", runs / "plain", "--out", tmp_path / "m.png", "--rooms", tmp_path / "r.png", "--episodes", 4)
    assert "plain, level 0, 4 episodes" in said.out
    assert "1,000" in said.out
    assert "of 2" in said.out
    assert f"the maps are in {tmp_path / 'm.png'}, the rooms reached in {tmp_path / 'r.png'}" in said.out.replace(
        "\n", " "
    )


def test_mistakes_are_one_sentence(command, env, runs, tmp_path):
    assert command("map").sentence.startswith("map needs the folders of one or more runs")
    assert "episodes must be above 0, not 0." in command("map", runs / "plain", "--episodes", "0").sentence
    assert "columns must be above 0, not 0." in command("map", runs / "plain", "--columns", "0").sentence
    assert "there is no evaluation level 40: take one from 0 to" in (
        command("map", runs / "plain", "--level", "40").sentence
    )
    assert "name it .png, .pdf or .svg" in command("map", runs / "plain", "--out", tmp_path / "m.doc").sentence
    assert "name it .png, .pdf or .svg" in command("map", runs / "plain", "--rooms", tmp_path / "m.doc").sentence
    assert "name two files" in command("map", runs / "plain", "--out", "a.png", "--rooms", "a.png").sentence
    empty = write_run(tmp_path / "empty", env, ())
    assert "empty holds no sound checkpoint yet." in command("map", empty).sentence
    assert "empty holds no sound checkpoint yet." in command("map", runs / "plain", empty).sentence
    toy = write_run(tmp_path / "toy", envs.make("Chain-v0", length=3), (10,))
    assert "Chain-v0 tells no positions on a grid" in command("map", toy).sentence


def test_a_run_on_the_host_is_refused(command, tmp_path):
    pytest.importorskip("minigrid")
    host = write_run(tmp_path / "host", envs.make(ROOMS, backend="reference"), (10,))
    assert "trained with --backend device" in command("map", host).sentence


def test_checkpoints_are_chosen_close_together_in_the_beginning():
    assert chosen(3, 5) == [0, 1, 2]
    assert chosen(20, 1) == [19]
    picked = chosen(20, 5)
    assert (picked[0], picked[-1]) == (0, 19)
    assert (np.diff(np.diff(picked)) >= 0).all()


def test_a_cells_colour_is_its_value_and_white_where_there_is_none(env, tmp_path):
    """The grid with two values is drawn twice, the second time with these two the other way round."""
    import imageio.v3 as imageio

    level = jax.tree.map(lambda leaf: leaf[0], env.evaluation.data)
    width = 25
    within = reachable(level.cells, int(level.position), width)
    free = np.flatnonzero(within & (np.asarray(level.cells) == 1))
    values = np.full(len(within), np.nan)
    values[free[0]], values[free[1]] = 0.0, 1.0
    row = Row("run", "label", [values], ["title"], ["caption"], "viridis_r", (0.0, 1.0))
    path = maps([row], Ground(level, width, within), tmp_path / "one.png", title="t", caption="c")
    picture = imageio.imread(path)[..., :3].astype(int)

    def areas(colour):  # without the colour bar at the right
        return (np.abs(picture[:, : picture.shape[1] * 3 // 4] - colour).sum(-1) < 6).sum()

    low, high = areas((253, 231, 37)), areas((68, 1, 84))
    assert low > 100
    assert high > 100
    assert areas((33, 145, 140)) == 0  # nothing between the two
    with pytest.raises(UsageError, match=r"name it \.png"):
        maps([row], Ground(level, width, within), tmp_path / "one.doc", title="t", caption="c")
