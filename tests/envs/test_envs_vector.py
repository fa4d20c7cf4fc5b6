"""`envs.vector` on scripted environments: the rules of time, seeds, grouping, resume, and clean workers."""

import os
import signal
import subprocess
import sys
import textwrap
from functools import partial

import gymnasium
import numpy as np
import pytest
from timestep_rules import assert_equal, check_rules, play, random_actions

import envs
from envs.contract import Array, Discrete, EnvSpec
from envs.errors import UsageError
from envs.records import Recorder
from envs.vector import hidden_main, open_vector


class Forgetful(gymnasium.Env):
    """Counts the resets of its life, so that a fresh engine cannot repeat an old one."""

    def __init__(self, *, at_resets: bool):
        self.lives = 0
        self.at_resets = at_resets

    def reset(self, *, seed=None, options=None):
        self.lives += self.at_resets
        return np.float32(self.lives), {}

    def step(self, action):
        self.lives += not self.at_resets
        return np.float32(0), os.getpid() + self.lives, False, False, {}


class Process(gymnasium.Env):
    """Tells about the process it lives in."""

    def reset(self, *, seed=None, options=None):
        ignores = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        return np.array(["jax" in sys.modules, ignores, os.getppid()], np.int32), {}


def one(shape=()):
    return EnvSpec("One", "test", Array(shape, "float32" if shape == () else "int32"), Discrete(2))


def test_counting_keeps_the_rules_in_this_process():
    check_rules(envs.make("Counting-v0"), n=3, steps=60)


def test_counting_keeps_the_rules_in_spawned_processes():
    check_rules(envs.make("Counting-v0", processes=True), n=2, steps=30, strict_seed=False)


def test_processes_change_nothing():
    histories = [play(envs.make("Counting-v0", processes=p).open(3, 3), 20) for p in (False, True)]
    for here, there in zip(*histories, strict=True):
        assert_equal(here, there)


@pytest.mark.parametrize(
    ("ends", "options", "step", "discount"),
    [
        ("terminate 3", {}, 3, 0.0),
        ("truncate 3", {}, 3, 1.0),
        ("both 3", {}, 3, 0.0),
        ("terminate 9", {"max_steps": 4}, 4, 1.0),
        ("terminate 4", {"max_steps": 4}, 4, 0.0),
        ("truncate 4", {"max_steps": 4}, 4, 1.0),
        ("terminate 9", {"max_steps": 2, "repeat": 3}, 6, 1.0),
        ("terminate 6", {"max_steps": 2, "repeat": 3}, 6, 0.0),
    ],
)
def test_ends_are_told_as_they_are(ends, options, step, discount):
    env = envs.make("Counting-v0", ends=ends, **options).open(0, 2)
    before = env.reset()
    ended = 0
    for _ in range(12):
        now = env.step(np.zeros(2, np.int32))
        assert (now.next_obs["mark"] == before.obs["mark"]).all()  # the successor is of the same episode
        assert (now.last == (now.next_obs["step"] == step)).all()
        assert (now.discount == np.where(now.last, discount, 1.0)).all()
        assert (now.obs["step"] == np.where(now.last, 0, now.next_obs["step"])).all()
        assert ((now.obs["mark"] != before.obs["mark"]) == now.last).all()  # the reset one is of another
        for extra, obs in ((now.extras["grid_key"], now.obs), (now.extras["next_grid_key"], now.next_obs)):
            assert (extra == np.stack([obs["mark"], obs["step"]], 1)).all()
        assert (now.extras["success"] == (now.last & (discount == 0))).all()
        ended += now.last.sum()
        before = now
    assert ended >= 2


def test_repeat_sums_rewards_and_stops_at_an_end():
    env = envs.make("Counting-v0", ends="terminate 5", repeat=3).open(0, 1)
    env.reset()
    first, second = env.step(np.array([1])), env.step(np.array([2]))
    assert first.reward == pytest.approx(1.1 + 2.1 + 3.1)
    assert second.reward == pytest.approx(4.2 + 5.2)
    assert not first.last.any()
    assert second.last.all()


def test_limit_that_repeat_does_not_divide_is_kept_exactly():
    env = open_vector(
        envs.make("Counting-v0").spec, envs_counting("terminate 99"), 0, 1, processes=False, repeat=3, limit=5
    )
    env.reset()
    env.step(np.zeros(1))
    now = env.step(np.zeros(1))
    assert now.last.all()
    assert (now.next_obs["step"] == 5).all()


def envs_counting(ends):
    from envs.counting import create, read

    return partial(create, read(ends))


def test_every_episode_and_every_environment_has_its_own_seed():
    history = play(envs.make("Counting-v0", ends="terminate 2").open(5, 4), 20)
    marks = np.stack([timestep.obs["mark"] for timestep in history])
    assert len(np.unique(marks)) == 4 * 11


def test_step_does_not_keep_the_callers_actions():
    maker = envs.make("Counting-v0", ends="terminate 99")
    env, actions = maker.open(0, 2), np.ones(2, np.int32)
    env.reset()
    env.step(actions)
    actions[:] = 2
    assert (env.save()["actions"] == 1).all()


def test_restore_refuses_another_run():
    maker = envs.make("Counting-v0")
    env = maker.open(0, 2)
    env.reset()
    for other in (maker.open(1, 2), maker.open(0, 3)):
        with pytest.raises(UsageError, match="were made with seed"):
            other.restore(env.save())


@pytest.mark.parametrize("at_resets", [True, False])
def test_restore_refuses_an_engine_that_does_not_repeat_itself(at_resets):
    thunk = partial(Forgetful, at_resets=at_resets)
    env = open_vector(one(), thunk, 0, 1, processes=False, limit=2)
    env.reset()
    for _ in range(3):
        env.step(np.zeros(1))
    saved = env.save()
    saved["records"] = saved["records"].copy()
    with pytest.raises(UsageError, match="does not repeat itself"):
        open_vector(one(), thunk, 0, 1, processes=False, limit=2).restore(saved)


@pytest.mark.parametrize(("seed", "n"), [(-1, 1), (0, 0)])
def test_seed_and_count_must_make_sense(seed, n):
    with pytest.raises(UsageError, match="at least"):
        envs.make("Counting-v0").open(seed, n)


def test_workers_have_no_jax_and_leave_ctrl_c_to_the_owner():
    import jax  # noqa: F401  (it is loaded here, and must not be there)

    env = open_vector(one((3,)), Process, 0, 1, processes=True)
    has_jax, ignores, parent = env.reset().obs[0]
    env.close()
    assert not has_jax
    assert ignores
    assert parent == os.getpid()


def test_a_script_without_a_main_guard_may_spawn(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import gymnasium, numpy, envs
        print("once")
        class Mine(gymnasium.Env):
            observation_space, action_space = gymnasium.spaces.Box(0, 1, (2,)), gymnasium.spaces.Discrete(2)
            def reset(self, *, seed=None, options=None):
                return numpy.zeros(2, numpy.float32), {}
            def step(self, action):
                return numpy.ones(2, numpy.float32), 1.5, True, False, {}
        gymnasium.register("Mine-v0", Mine)
        env = envs.make("Mine-v0", processes=True).open(0, 1)
        env.reset()
        print(env.step(numpy.zeros(1)).reward)
        env.close()
        """)
    )
    run = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(envs.__file__))},
    )
    assert run.stdout.split() == ["once", "[1.5]"], run.stderr


def test_hidden_main_comes_back():
    main = sys.modules["__main__"]
    with hidden_main():
        assert sys.modules["__main__"] is not main
    assert sys.modules["__main__"] is main


def test_recorder_equals_plain_lists():
    rng = np.random.default_rng(0)
    recorder, lists, episodes = Recorder(3, (2,), np.dtype(np.float32)), [[], [], []], [0, 0, 0]
    for t in range(200):
        actions, last = rng.random((3, 2), np.float32), rng.random(3) < 0.1
        recorder.add(actions, last)
        for i in range(3):
            lists[i] = [] if last[i] else [*lists[i], actions[i]]
            episodes[i] += last[i]
        saved = recorder.save()
        assert saved["episode"].tolist() == episodes
        assert saved["length"].tolist() == [len(one) for one in lists]
        for i in range(3):
            assert np.array_equal(saved["actions"][i, : len(lists[i])], np.reshape(lists[i], (-1, 2)))
        if t % 7 == 0:
            recorder = Recorder(3, (2,), np.dtype(np.float32))
            recorder.restore(saved)
    assert len(recorder.log) < 150, "old actions must be forgotten"


def test_frames_are_drawn_where_asked():
    maker = envs.make("Counting-v0")
    assert maker.open(0, 1).render is None
    env = maker.open(0, 2, render=True)
    env.reset()
    env.step(random_actions(maker.spec.action, 1, 2, 0)[0])
    frames = env.render()
    assert [frame.shape for frame in frames] == [(8, 8, 3)] * 2
    assert frames[0].dtype == np.uint8
