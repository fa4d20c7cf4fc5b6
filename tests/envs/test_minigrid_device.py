"""MiniGrid as a device environment: what `make` takes and refuses, fresh episodes out of a bank, the full grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.batch import select
from envs.errors import UsageError
from envs.minigrid import bank, build, device, world
from envs.minigrid.farama import FaramaGrid
from envs.minigrid.tasks import TASKS

CORRIDOR = "MiniGrid-KeyCorridorS3R1-v0"


@pytest.fixture(scope="module")
def banks(tmp_path_factory):
    """A folder with a bank of 300 levels of KeyCorridorS3R1."""
    folder = tmp_path_factory.mktemp("banks")
    build.build(TASKS[CORRIDOR], folder, levels=300, processes=1)
    return str(folder)


@pytest.fixture(scope="module")
def corridor(banks):
    return envs.make(CORRIDOR, backend="device", levels="bank", banks=banks)


def rows(levels):
    return {tuple(np.concatenate([np.asarray(leaf).ravel() for leaf in one])) for one in zip(*levels, strict=True)}


def test_options_name_the_levels_exactly(corridor, banks):
    options = corridor.options
    assert (options["levels"], options["count"]) == ("bank", 300)
    again = envs.make(CORRIDOR, backend="device", **options)
    jax.tree.map(np.testing.assert_array_equal, again.data, corridor.data)
    fewer = envs.make(CORRIDOR, backend="device", levels="bank", banks=banks, count=120)
    assert fewer.options["levels_hash"] != options["levels_hash"]
    assert fewer.options["count"] == 120


def test_evaluation_has_levels_of_its_own(corridor):
    training, evaluation = rows(corridor.data), rows(corridor.evaluation.data)
    assert len(evaluation) > 10
    assert not training & evaluation


def test_a_bank_comes_before_the_generator_and_the_generator_before_a_complaint(banks, tmp_path):
    assert envs.make(CORRIDOR, backend="device", banks=banks).options["levels"] == "bank"
    drawn = envs.make(CORRIDOR, backend="device", banks=str(tmp_path), count=50)
    assert drawn.options["levels"] == "generated"
    assert len(drawn.data.position) + len(drawn.evaluation.data.position) == 50


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"levels": "bnk"}, "did you mean bank"),
        ({"threads": 2}, "threads is an option of the backend host"),
        ({"levels": "generated", "count": -1}, "at least 0"),
        ({"levels": "generated", "count": 20, "levels_hash": "abc"}, "not the ones asked for"),
    ],
)
def test_impossible_options_are_refused_in_a_sentence(options, says):
    with pytest.raises(UsageError, match=says):
        envs.make(CORRIDOR, backend="device", **options)


def test_options_of_the_device_are_refused_elsewhere():
    with pytest.raises(UsageError, match=r"full_grid is an option of the backend device"):
        envs.make(CORRIDOR, backend="reference", full_grid=True)


def test_tasks_that_draw_while_they_step_have_no_device_backend():
    with pytest.raises(UsageError, match="has no backend 'device'"):
        envs.make("MiniGrid-Dynamic-Obstacles-6x6-v0", backend="device")


def test_a_missing_bank_names_the_command_that_makes_it(tmp_path):
    with pytest.raises(UsageError, match="auxin bank MiniGrid-DoorKey-5x5-v0"):
        envs.make("MiniGrid-DoorKey-5x5-v0", backend="device", banks=str(tmp_path))


def begun(levels, at):
    """The state and image of these levels, the plain way."""
    level = jax.tree.map(lambda leaf: leaf[at], levels)
    return jax.vmap(lambda one: world.start(one, TASKS[CORRIDOR].size[0]))(level)


@pytest.mark.parametrize("ends", ["none", "some", "all"])
@pytest.mark.parametrize("n", [5, 64])
def test_fresh_episodes_are_written_where_one_ended_and_nowhere_else(corridor, ends, n):
    batch = envs.batch(corridor, n)
    states, timestep = batch.reset(jax.random.key(0), corridor.data)
    for turn in range(3):
        states, timestep = batch.step(jax.random.key(turn), states, jnp.full(n, 2), corridor.data)
    last = {"none": jnp.zeros(n, bool), "some": jnp.arange(n) % 3 == 1, "all": jnp.ones(n, bool)}[ends]
    timestep = timestep._replace(last=last, obs=timestep.next_obs)
    found, after = jax.jit(corridor.refill)(jax.random.key(9), states, timestep, corridor.data)
    at = jax.random.randint(jax.random.key(9), (n,), 0, len(corridor.data.position))
    fresh = begun(corridor.data, at)
    for new, old, got in zip(fresh, states, found, strict=True):
        mask = np.asarray(last).reshape((n,) + (1,) * (new.ndim - 1))
        np.testing.assert_array_equal(got, np.where(mask, new, old))
    opening = jax.vmap(corridor.reset, in_axes=(None, 0))(
        jax.random.key(0), jax.tree.map(lambda a: a[at], corridor.data)
    )[1]
    expected = select(last, opening.obs, timestep.obs)
    jax.tree.map(np.testing.assert_array_equal, after.obs, expected)
    for name in ("grid_key", "position"):
        np.testing.assert_array_equal(after.extras[name][last], opening.extras[name][last])
    jax.tree.map(np.testing.assert_array_equal, after.next_obs, timestep.next_obs)
    np.testing.assert_array_equal(after.extras["next_grid_key"], timestep.extras["next_grid_key"])


def test_both_ways_of_writing_fresh_episodes_agree():
    rng = np.random.default_rng(0)
    new = jnp.asarray(rng.integers(9, size=(100, 4)))
    old = (jnp.asarray(rng.integers(9, size=(100, 4))),)
    for share in (0.0, 0.02, 0.4, 1.0):
        ended = jnp.asarray(rng.random(100) < share)
        few, every = (way(lambda at: (new[at],), ended, old)[0] for way in (device.write_few, device.write_all))
        np.testing.assert_array_equal(few, every)


def test_levels_are_drawn_uniformly(corridor):
    n = len(corridor.data.position)
    drawn = jax.vmap(lambda key: corridor.draw(key, corridor.data._replace(position=jnp.arange(n))).position)(
        jax.random.split(jax.random.key(1), 40 * n)
    )
    counts = np.bincount(np.asarray(drawn), minlength=n)
    assert ((counts - 40) ** 2 / 40).sum() < n + 5 * np.sqrt(2 * n)  # chi-square, five standard deviations


def test_episodes_end_at_the_limit_and_pay_by_it(banks):
    env = envs.make(CORRIDOR, backend="device", banks=banks, max_steps=7)
    assert env.spec.max_steps == 7
    batch = envs.batch(env, 3)
    states, _ = batch.reset(jax.random.key(0))
    lasts = []
    for turn in range(15):
        states, timestep = batch.step(jax.random.key(turn), states, jnp.zeros(3, jnp.int32))
        lasts.append(bool(timestep.last.all()))
        assert (timestep.discount == 1).all()
    assert lasts == [(turn + 1) % 7 == 0 for turn in range(15)]


def test_the_full_grid_is_what_minigrid_encodes():
    from minigrid.wrappers import FullyObsWrapper

    task = TASKS["MiniGrid-DoorKey-6x6-v0"]
    farama = FaramaGrid(task.id, task.max_steps)
    farama.reset(seed=3)
    from envs.minigrid import make
    from envs.minigrid.convert import level_of

    level = jax.tree.map(lambda leaf: np.asarray(leaf)[None], level_of(farama.env, task))
    spec = make(task.id, backend="reference").spec
    env = device.environment(task, spec, level, task.max_steps, full_grid=True)
    state, timestep = env.reset(jax.random.key(0), jax.tree.map(lambda leaf: leaf[0], env.data))
    full = FullyObsWrapper(farama.env)
    for action in (2, 1, 2, 3, 0, 5, 2, 4, 1, 2):
        expected = full.observation(farama.env.gen_obs())["image"]
        np.testing.assert_array_equal(timestep.obs["grid"], expected)
        farama.step(action)
        state, timestep = env.step(jax.random.key(0), state, action)


def test_the_position_is_the_agents_column_and_row(corridor):
    level = corridor.draw(jax.random.key(0), corridor.data)
    state, timestep = corridor.reset(jax.random.key(0), level)
    for turn in range(12):
        x, y = np.asarray(timestep.extras["next_position"])
        assert y * 7 + x == state.position
        state, timestep = corridor.step(jax.random.key(0), state, jnp.int32((2, 2, 1)[turn % 3]))


def test_the_spec_tells_of_the_full_grid(banks):
    env = envs.make(CORRIDOR, backend="device", banks=banks, full_grid=True)
    _, timestep = env.reset(jax.random.key(0), env.draw(jax.random.key(0), env.data))
    assert env.spec.obs["grid"].shape == timestep.obs["grid"].shape == (7, 3, 3)


def test_a_picture_of_every_state_can_be_drawn(corridor):
    state, _ = corridor.reset(jax.random.key(0), corridor.draw(jax.random.key(0), corridor.data))
    assert corridor.picture(jax.device_get(state)).shape == (3 * 32, 7 * 32, 3)
    assert bank.find_task(CORRIDOR).size == (7, 3)


def test_levels_that_take_their_time_are_announced(monkeypatch, capsys):
    monkeypatch.setattr("envs.minigrid.supply.PATIENCE", -1.0)
    envs.make(CORRIDOR, backend="device", levels="generated", count=30)
    assert capsys.readouterr().err == f"{CORRIDOR}: 30 of 30 levels are drawn\n"
