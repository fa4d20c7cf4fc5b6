"""EnvPool's adapter: the rules of a `TimeStep`, the true successor, ends at the limit, repeats, save and restore."""

import numpy as np
import pytest
from timestep_rules import assert_equal, check_rules, play, random_actions

from envs import minigrid, mujoco
from envs.errors import UsageError

pytest.importorskip("envpool")


@pytest.mark.parametrize(
    ("suite", "id", "options", "ends"),
    [
        (minigrid, "MiniGrid-KeyCorridorS3R3-v0", {"max_steps": 23}, True),
        (minigrid, "MiniGrid-LavaGapS5-v0", {}, True),
        (minigrid, "MiniGrid-FourRooms-v0", {"max_steps": 9, "repeat": 2}, True),
        (mujoco, "Hopper-v5", {}, True),
        (mujoco, "Ant-v5", {"max_steps": 15}, True),
        (mujoco, "Reacher-v5", {"repeat": 3}, True),
        (mujoco, "Humanoid-v5", {}, True),
    ],
)
def test_rules_and_resume(suite, id, options, ends):
    check_rules(suite.make(id, threads=2, **options), n=5, steps=90, ends=ends)


def test_one_environment_is_the_same_in_any_batch():
    maker = minigrid.make("MiniGrid-DoorKey-8x8-v0", max_steps=20)
    actions = random_actions(maker.spec.action, 50, 6, seed=1)
    wide, narrow = maker.open(4, 6), maker.open(4, 2)
    wide.reset(), narrow.reset()
    for action in actions:
        a, b = wide.step(action), narrow.step(action[:2])
        np.testing.assert_array_equal(a.next_obs["image"][:2], b.next_obs["image"])
        np.testing.assert_array_equal(a.extras["grid_key"][:2], b.extras["grid_key"])


def test_the_successor_of_an_end_is_the_engines_and_no_slot_is_dead():
    """At a time limit of 4, step 5 acts already on the new episode, and the successor is what no limit would show."""
    limited = mujoco.make("HalfCheetah-v5", max_steps=4).open(0, 3)
    free = mujoco.make("HalfCheetah-v5").open(0, 3)
    first, _ = limited.reset(), free.reset()
    actions = random_actions(limited.spec.action, 9, 3, seed=0)
    episodes = [limited.step(action) for action in actions]
    for t in range(4):
        step = free.step(actions[t])
        np.testing.assert_array_equal(episodes[t].next_obs, step.next_obs)
        np.testing.assert_array_equal(episodes[t].reward, step.reward)
    assert [bool(step.last.all()) for step in episodes] == [False, False, False, True] * 2 + [False]
    end = episodes[3]
    assert (end.discount == 1).all()
    assert not np.array_equal(end.obs, end.next_obs)
    assert not np.array_equal(end.obs, first.obs)
    assert (np.abs(episodes[4].obs - end.obs).max(1) > 0).all()


def test_a_success_exactly_at_the_limit_is_a_termination():
    """Five steps lead to the goal of Empty-5x5 and a sixth would be too late."""
    path = [2, 2, 1, 2, 2]
    for limit, discount, reward in ((5, 0.0, 1 - 0.9), (4, 1.0, 0.0), (6, 0.0, 1 - 0.9 * 5 / 6)):
        env = minigrid.make("MiniGrid-Empty-5x5-v0", max_steps=limit).open(0, 1)
        env.reset()
        steps = [env.step(np.array([action], np.int32)) for action in path[:limit]]
        end = steps[-1]
        assert [bool(step.last[0]) for step in steps] == [False] * (len(steps) - 1) + [True]
        assert end.discount[0] == discount
        assert end.reward[0] == np.float32(reward)
        assert end.extras["success"][0] == (discount == 0)


def test_lava_exactly_at_the_limit_is_a_termination_without_success():
    rng = np.random.default_rng(0)
    maker = minigrid.make("MiniGrid-LavaGapS5-v0")
    actions = rng.integers(0, 3, (80, 1), dtype=np.int32)
    env = maker.open(1, 1)
    env.reset()
    fall = next(t for t, action in enumerate(actions) if (env.step(action)).discount[0] == 0) + 1
    env = minigrid.make("MiniGrid-LavaGapS5-v0", max_steps=fall).open(1, 1)
    env.reset()
    end = [env.step(action) for action in actions[:fall]][-1]
    assert end.last[0]
    assert end.discount[0] == 0
    assert end.reward[0] == 0
    assert not end.extras["success"][0]


def test_a_repeated_action_sums_rewards_and_stops_at_an_end():
    maker = mujoco.make("Hopper-v5", repeat=3)
    assert maker.spec.max_steps == 334
    repeated, single = maker.open(2, 1), mujoco.make("Hopper-v5").open(2, 1)
    repeated.reset(), single.reset()
    for action in random_actions(maker.spec.action, 30, 1, seed=3):
        step = repeated.step(action)
        total = np.float32(0)
        for _ in range(3):
            one = single.step(action)
            total += one.reward[0]
            if one.last[0]:
                break
        np.testing.assert_array_equal(step.next_obs, one.next_obs)
        np.testing.assert_array_equal(step.obs, one.obs)
        assert step.reward[0] == total
        assert step.discount[0] == one.discount[0]
        assert step.last[0] == one.last[0]


def test_the_actions_of_a_step_may_be_reused_by_the_caller():
    maker = mujoco.make("Swimmer-v5")
    env, action = maker.open(0, 2), np.zeros((2, 2), np.float32)
    env.reset()
    for t in range(5):
        action[:] = t / 5
        step = env.step(action)
    assert_equal(maker.open(0, 2).restore(env.save()), step)


def test_long_episodes_and_many_resets_are_replayed():
    maker = minigrid.make("MiniGrid-Empty-Random-6x6-v0")
    env = maker.open(0, 4)
    env.reset()
    actions = random_actions(maker.spec.action, 700, 4, seed=0)
    for action in actions[:600]:
        env.step(action)
    again = maker.open(0, 4)
    again.restore(env.save())
    for action in actions[600:]:
        assert_equal(again.step(action), env.step(action))


def test_restore_refuses_what_is_not_its_own():
    maker = minigrid.make("MiniGrid-FourRooms-v0")
    with pytest.raises(UsageError, match="before its first reset"):
        maker.open(0, 2).save()
    env = maker.open(0, 2)
    env.reset()
    env.step(np.array([2, 0], np.int32))
    saved = env.save()
    with pytest.raises(UsageError, match="fresh"):
        env.restore(saved)
    with pytest.raises(UsageError, match="seed 1"):
        maker.open(1, 2).restore(saved)
    with pytest.raises(UsageError, match="the 3 of"):
        maker.open(0, 3).restore(saved)
    with pytest.raises(UsageError, match="does not repeat itself"):
        maker.open(0, 2).restore({**saved, "actions": np.array([[1], [1]], np.int32)})


def test_bad_batches_are_refused():
    with pytest.raises(UsageError, match="at least"):
        minigrid.make("MiniGrid-FourRooms-v0").open(-1, 2)
    with pytest.raises(UsageError, match="at least"):
        minigrid.make("MiniGrid-FourRooms-v0").open(0, 0)


def test_the_same_seed_gives_the_same_run_on_any_number_of_threads():
    runs = [play(mujoco.make("Walker2d-v5", threads=threads).open(6, 8), 30) for threads in (1, 2, 3)]
    for other in runs[1:]:
        for a, b in zip(runs[0], other, strict=True):
            assert_equal(a, b)
