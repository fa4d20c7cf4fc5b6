"""The generators of levels: the same distribution as Farama's, and the contract of `draw` and `sample`.

`level_statistics.py` says what is tested and at which level. The full version compares 5,000 levels a side.
"""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from level_statistics import compare, farama_levels, paths

from envs.errors import UsageError
from envs.minigrid import generators
from envs.minigrid.cells import DOOR, EMPTY, kind
from envs.minigrid.convert import level_of
from envs.minigrid.generators import keycorridor, multiroom
from envs.minigrid.tasks import TASKS

IDS = [id for id in TASKS if "MultiRoom" in id or "KeyCorridor" in id]
FEW, MANY = 600, 5000
SMALL = [f"MiniGrid-{name}-v0" for name in ("MultiRoom-N2-S4", "MultiRoom-N6", "KeyCorridorS3R3")]
FULL = [f"MiniGrid-{name}" for name in ("MultiRoom-N6-v0", "MultiRoom-N4-S5-v1", "MultiRoom-N7-S4-v0")]
FULL += [f"MiniGrid-{name}-v0" for name in ("KeyCorridorS3R2", "KeyCorridorS3R3", "KeyCorridorS6R3")]
SIZES = [*((id, FEW) for id in SMALL), *(pytest.param(id, MANY, marks=pytest.mark.slow) for id in FULL)]


def versus_farama(id, draw, n, seed=7):
    """Comparison of `n` levels of a generator with as many of Farama's."""
    pytest.importorskip("minigrid")
    task = TASKS[id]
    return compare(generators.collect(draw, jax.random.key(seed), n), farama_levels(task, n, seed), task.size)


# --- the distribution --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("id", "n"), SIZES)
def test_levels_are_distributed_as_faramas(id, n):
    comparison = versus_farama(id, generators.find(TASKS[id]), n)
    assert not comparison.rejected, sorted(comparison.each.items(), key=lambda item: item[1])[:5]


@pytest.mark.parametrize(("id", "n"), SIZES)
def test_every_level_can_be_solved(id, n):
    levels = generators.sample(TASKS[id], jax.random.key(3), n)
    assert all((legs > 0).all() for legs in paths(levels, TASKS[id].size))


@pytest.mark.parametrize(
    ("id", "n"), [(SMALL[0], FEW), (SMALL[1], FEW), pytest.param(SMALL[1], MANY, marks=pytest.mark.slow)]
)
def test_doors_in_the_corners_of_rooms_are_told_apart(id, n):
    comparison = versus_farama(id, multiroom.generator(TASKS[id], margin=0), n)
    assert comparison.rejected
    # Other statistics than whether a level can be solved see it too.
    assert max(comparison.each[name] for name in ("exits", "entries", "walls around door")) < 1e-6


def blind(place_agent):
    """The agent may face the locked door."""
    return lambda word, plan, cells: place_agent(word, plan, jnp.asarray(plan.cells))


def astray(place_objects):
    """The key lies on the right, in the room above or below the locked one."""
    return lambda word, plan, room: place_objects(word, plan, room.at[1].set((room[0] + 3) % (3 * plan.rows)))


def lavish(connect):
    """Every door that is allowed is there."""
    return lambda word, plan, locked_room: jnp.asarray((plan.ends != locked_room).all(-1))


def thrifty(connect):
    """Doors are tried in one order."""
    return lambda word, plan, locked_room: connect(jnp.sort(word), plan, locked_room)


def square(inside):
    """The last row may be used too."""
    return lambda room, grid: (room.top >= 0).all() & (room.top + room.size <= jnp.array(grid)).all()


def even(apart):
    """Walls may touch on all sides."""
    return lambda room, others: apart(room._replace(size=room.size - 1), others)


FAULTS = [
    (SMALL[2], FEW, keycorridor, "place_objects", astray),
    (SMALL[2], 3 * FEW, keycorridor, "place_agent", blind),  # one level of 36 gives it away
    pytest.param(SMALL[2], FEW, keycorridor, "connect", lavish, marks=pytest.mark.slow),
    pytest.param(SMALL[2], FEW, keycorridor, "connect", thrifty, marks=pytest.mark.slow),
    pytest.param(SMALL[1], FEW, multiroom, "inside", square, marks=pytest.mark.slow),
    pytest.param(FULL[2], FEW, multiroom, "apart", even, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("id", "n", "module", "part", "fault"), FAULTS)
def test_other_faults_are_told_apart(id, n, module, part, fault, monkeypatch):
    monkeypatch.setattr(module, part, fault(getattr(module, part)))
    assert versus_farama(id, module.generator(TASKS[id]), n).rejected


# --- the contract ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", [SMALL[0], SMALL[2]])
def test_levels_are_built_as_those_from_farama(id):
    pytest.importorskip("minigrid")
    from envs.minigrid.farama import create

    env = create(TASKS[id])
    env.reset(seed=11)
    theirs = level_of(env, TASKS[id])
    ours = generators.sample(TASKS[id], jax.random.key(11), 1)
    for field, leaf in zip(theirs._fields, theirs, strict=True):
        assert (getattr(ours, field).shape, getattr(ours, field).dtype) == ((1, *leaf.shape), leaf.dtype)
    if "MultiRoom" in id:
        assert (ours.mission[0] == theirs.mission).all()
    else:
        assert ours.target[0, 0] in ours.cells[0]
        assert keycorridor.MISSIONS[ours.target[0, 0] >> 4].tolist() == ours.mission[0].tolist()


@pytest.mark.parametrize("id", IDS)
def test_every_task_of_both_families_has_a_generator(id):
    level, ok = jax.eval_shape(generators.find(TASKS[id]), jax.random.key(0))
    assert level.cells.shape == (TASKS[id].size[0] * TASKS[id].size[1],)
    assert (ok.shape, ok.dtype) == ((), bool)


@pytest.mark.slow
@pytest.mark.parametrize("id", IDS)
def test_every_task_of_both_families_has_levels(id):
    levels = generators.sample(TASKS[id], jax.random.key(5), 40)
    assert all((legs > 0).all() for legs in paths(levels, TASKS[id].size))
    doors = (kind(levels.cells) == DOOR).sum(1)
    if "MultiRoom" in id:
        assert (doors == TASKS[id].max_steps // 20 - 1).all()
    else:
        assert (doors >= 2 * TASKS[id].size[1] // TASKS[id].size[0]).all()


def test_a_level_depends_on_its_key_alone():
    task, key = TASKS[SMALL[0]], jax.random.key(2)
    levels = generators.sample(task, key, 40)
    for other in (generators.sample(task, key, 40), generators.sample(task, key, 40, batch=16)):
        jax.tree.map(np.testing.assert_array_equal, levels, other)
    first = generators.sample(task, key, 10)
    jax.tree.map(lambda few, many: np.testing.assert_array_equal(few, many[:10]), first, levels)
    assert len(np.unique(levels.cells, axis=0)) > 35
    assert (generators.sample(task, jax.random.key(3), 40).cells != levels.cells).any(1).all()


@pytest.mark.parametrize("id", [SMALL[0], SMALL[2]])
def test_jit_and_vmap_change_nothing(id):
    draw = generators.find(TASKS[id])
    keys = jax.random.split(jax.random.key(4), 3)
    batched = jax.jit(jax.vmap(draw))(keys)
    for at, key in enumerate(keys):
        jax.tree.map(lambda one, many, at=at: np.testing.assert_array_equal(one, many[at]), jax.jit(draw)(key), batched)


@pytest.mark.slow
@pytest.mark.parametrize("id", [SMALL[0], SMALL[2]])
def test_generators_run_without_jit(id):
    draw, key = generators.find(TASKS[id]), jax.random.key(4)
    with jax.disable_jit():
        plain = draw(key)
    jax.tree.map(np.testing.assert_array_equal, plain, jax.jit(draw)(key))


def test_failed_attempts_are_thrown_away():
    draw, key = generators.find(TASKS[SMALL[1]]), jax.random.key(9)
    keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(jnp.arange(1024))
    levels, ok = jax.tree.map(np.asarray, jax.jit(jax.vmap(draw))(keys))
    assert 0.16 < ok.mean() < 0.28  # about every fifth chain gets its six rooms
    kept = generators.sample(TASKS[SMALL[1]], key, int(ok.sum()))
    np.testing.assert_array_equal(kept.cells, levels.cells[ok])
    assert ((kind(kept.cells) == DOOR).sum(1) == 5).all()
    assert (kept.cells[np.arange(len(kept.cells)), kept.position] == EMPTY).all()


def test_other_tasks_have_no_generator():
    task = TASKS["MiniGrid-Empty-5x5-v0"]
    assert generators.find(task) is None
    with pytest.raises(UsageError, match="Empty-5x5-v0 has no generator"):
        generators.sample(task, jax.random.key(0), 1)
    with pytest.raises(UsageError, match="at least 1"):
        generators.sample(TASKS[SMALL[0]], jax.random.key(0), 0)


def test_generators_do_without_minigrid():
    code = "import sys; sys.modules['minigrid'] = None; import jax; from envs.minigrid import generators, tasks; "
    code += f"jax.eval_shape(generators.find(tasks.TASKS[{SMALL[2]!r}]), jax.random.key(0))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
