"""Where policies go: rooms and entropy by hand, and episodes of scripted agents counted cell by cell."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import agents
import envs
from agents import registry
from agents.training import learner
from agents.training.exploration import Explorer, Walks, entropy, open_beside, reachable, rooms, rooms_reached
from agents.training.saved import Saved
from envs.errors import UsageError
from envs.minigrid import cells as cell
from envs.wrappers import parse

ROOMS = "MiniGrid-MultiRoom-N2-S4-v0"
FORWARD = 2
CLOSED = cell.pack(cell.DOOR, cell.RED, cell.CLOSED)
PAID = {"bonus": "noveld", "noveld.beta": 0.0, "noveld.coef": 0.5, "noveld.hidden": (8,), "noveld.predictor": (8,)}


@pytest.fixture(scope="module")
def env():
    return envs.make(ROOMS, backend="device", levels="generated", count=40)


def saved_with(env, name="ppo", wrap="", **options):
    """An untrained agent as if it were a run's."""
    wrapper = parse(wrap)
    spec = wrapper.spec(env.spec)
    agent = agents.make(name, spec, **{"hidden": (8,), "encoder": "mlp", "unroll": 16, **options})
    state = learner.with_progress(agent.init(jax.random.key(0), spec), jnp.zeros(()))
    return Saved(None, 0, agent, env, wrapper, state, wrapper.init(env.spec, 1))


@pytest.fixture(scope="module")
def paid(env):
    """An agent that is paid for first visits, and that walks straight on where its knob `straight` says so."""
    saved = saved_with(env, **PAID)

    def act(key, state, carry, timestep, evaluate):
        assert not evaluate
        action, carry, extras = saved.agent.act(key, state, carry, timestep, evaluate)
        return jnp.where(state.knobs["straight"] > 0, FORWARD, action), carry, extras

    return turned(saved._replace(agent=saved.agent._replace(act=act)), straight=0.0)


@pytest.fixture(scope="module")
def explorer(paid):
    return Explorer(paid, 6)


def turned(saved, **knobs):
    """The same run with knobs turned."""
    knobs = {name.replace("_", "."): jnp.float32(value) for name, value in knobs.items()}
    return saved._replace(state=saved.state._replace(knobs={**saved.state.knobs, **knobs}))


def walked(explorer, saved, level=None, seed=3):
    return explorer(saved.state, saved.wrapper_state, seed, level)


def cells_ahead(level, width):
    """The cells that one who walks straight on stands in, the start first."""
    place, direction = int(level.position), int(level.direction)
    found = [place]
    while cell.kind(int(level.cells[place + (1, width, -1, -width)[direction]])) in (cell.NOTHING, cell.GOAL):
        place += (1, width, -1, -width)[direction]
        found.append(place)
    return found


# -------------------------------------------------------------------------------------------------------------- ROOMS

MAP = """
#####...
#  D ##.
#  ## #.
#######.
........
"""


def drawn(text):
    kinds = {"#": cell.WALL, " ": cell.EMPTY, ".": cell.EMPTY, "D": CLOSED}
    rows = text.strip("\n").splitlines()
    return np.array([kinds[sign] for row in rows for sign in row], np.uint16), len(rows[0])


def test_rooms_are_what_doors_and_walls_leave_of_what_can_be_reached():
    cells, width = drawn(MAP)
    numbers = rooms(cells, width + 1, width).reshape(-1, width)
    np.testing.assert_array_equal(numbers[1], [0, 1, 1, 0, 2, 0, 0, 0])
    np.testing.assert_array_equal(numbers[2], [0, 1, 1, 0, 0, 0, 0, 0])  # the cell at x = 5 is shut in
    assert numbers.max() == 2
    assert not numbers[[0, 3, 4]].any()  # nor is what lies outside a room
    assert reachable(cells, width + 1, width).sum() == 6


def test_rooms_reached_are_counted_once():
    cells, width = drawn(MAP)
    visits = np.zeros((3, len(cells)), int)
    visits[0, width + 1] = 9
    visits[1, [width + 1, width + 2, width + 3]] = 1  # a door is no room
    visits[2, [width + 2, width + 3, width + 4]] = 4
    reached, total = rooms_reached(Walks(np.stack([cells] * 3), np.full(3, width + 1), visits, None, None), width)
    np.testing.assert_array_equal(reached, [1, 1, 2])
    np.testing.assert_array_equal(total, [2, 2, 2])


def test_entropy_of_visits():
    assert entropy(np.array([0, 7, 0])) == 0
    np.testing.assert_allclose(entropy(np.array([[3, 3], [3, 3]])), np.log(4))
    np.testing.assert_allclose(entropy(np.array([1, 3])), -(0.25 * np.log(0.25) + 0.75 * np.log(0.75)))


# ----------------------------------------------------------------------------------------------------------- EPISODES


def test_a_straight_walk_is_counted_and_paid_cell_by_cell(env, explorer, paid):
    for number in range(3):
        level = explorer.level(number)
        path = cells_ahead(level, explorer.size[0])
        expected = np.zeros(len(level.cells), int)
        expected[path] = 1
        expected[path[-1]] += env.spec.max_steps + 1 - len(path)  # against the wall until time is up
        walks = walked(explorer, turned(paid, straight=1.0), number)
        for episode in range(6):
            np.testing.assert_array_equal(walks.cells[episode], level.cells)
            np.testing.assert_array_equal(walks.visits[episode], expected)
            # States that the episode had not seen are paid for, once, and nothing else is.
            np.testing.assert_array_equal(np.flatnonzero(walks.paid[episode]), sorted(path[1:]))
        assert (walks.start == path[0]).all()
        assert not walks.success.any()


def test_the_length_of_unrolls_changes_nothing_and_the_weight_scales_the_bonus(env, explorer, paid):
    short, doubled = walked(explorer, paid, 2), walked(explorer, turned(paid, noveld_coef=1.0), 2)
    longer = saved_with(env, **{**PAID, "unroll": 24})
    long = walked(Explorer(longer, 6), longer, 2)
    np.testing.assert_array_equal(short.visits, long.visits)
    np.testing.assert_allclose(short.paid, long.paid, rtol=1e-5)
    np.testing.assert_allclose(2 * short.paid, doubled.paid, rtol=1e-5)
    assert len(np.unique(short.visits, axis=0)) > 1  # actions are drawn


def test_an_episode_is_counted_to_its_end_and_no_further():
    """With wrappers and a memory that are carried along."""
    env = envs.make(ROOMS, backend="device", levels="generated", count=40, max_steps=160)
    saved = saved_with(env, "impala", wrap="frame_stack", core="gru", core_width=8)
    walks = walked(Explorer(saved, 64), saved)
    lengths = walks.visits.sum(1) - 1
    assert walks.success.any()
    assert (lengths[~walks.success] == 160).all()
    assert (lengths[walks.success] < 160).all()
    goal = cell.kind(walks.cells) == cell.GOAL
    np.testing.assert_array_equal((goal * walks.visits).sum(1), walks.success)
    assert walks.paid is None
    assert len(np.unique(walks.cells, axis=0)) > 1  # levels are drawn


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(registry.members("intrinsic reward")))
def test_every_bonus_can_be_mapped(env, name):
    saved = saved_with(env, bonus=name)
    walks = walked(Explorer(saved, 8), saved, 0)
    assert np.isfinite(walks.paid).all()
    assert not (walks.paid * (walks.visits == 0)).any()


# ------------------------------------------------------------------------------------------------------------- REFUSED


def test_what_has_no_map_is_refused_in_a_sentence(explorer):
    with pytest.raises(UsageError, match="no evaluation level 40: take one from 0 to"):
        explorer.check(40)
    chain = envs.make("Chain-v0", length=3)
    with pytest.raises(UsageError, match="tells no positions"):
        Explorer(saved_with(chain), 4)


def test_runs_in_other_environments_are_refused(env, tmp_path):
    other = envs.make(ROOMS, backend="device", levels="generated", count=30)
    notes = {name: {} for name in ("agent", "options", "backend", "wrap", "wrap_options", "train")}
    (tmp_path / "config.json").write_text(json.dumps({**notes, "env": ROOMS, "env_options": other.options}))
    with pytest.raises(UsageError, match="or on other levels"):
        open_beside(tmp_path, saved_with(env))
