"""NetHack: seeds that seed, exact resume, true ends, and what the extras say."""

import re

import numpy as np
import pytest
from timestep_rules import assert_equal, check_rules, play, random_actions

import envs

pytest.importorskip("nle")


@pytest.mark.parametrize("task", ["Score", "Challenge"])
def test_keeps_the_rules(task):
    check_rules(envs.make(f"NetHack{task}-v0", max_steps=25, processes=False), steps=60)


def test_processes_change_nothing():
    histories = [play(envs.make("NetHackScore-v0", processes=p).open(3, 2), 40) for p in (False, True)]
    for here, there in zip(*histories, strict=True):
        assert_equal(here, there)


def test_every_listed_task_opens():
    from envs import nethack

    for id in nethack.ids():
        maker = envs.make(id, processes=False)
        env = maker.open(0, 1)
        first = env.reset()
        env.close()
        assert first.obs["glyphs"].shape == (1, 21, 79)
        assert first.extras["depth"] == 1
        assert len(maker.spec.action.names) == maker.spec.action.n
        assert maker.spec.max_steps == (1_000_000 if "Challenge" in id else 5_000)


def found(id, wanted, steps=1500, n=16, **options):
    """The first ended steps, and the environments, for which `wanted(timestep)`."""
    env = envs.make(id, processes=False, **options).open(1, n)
    before = env.reset()
    for action in random_actions(env.spec.action, steps, n, 0):
        now = env.step(action)
        rows = np.flatnonzero(now.last & wanted(now))
        if rows.size:
            env.close()
            return before, now, int(rows[0])
        before = now
    raise AssertionError("it never happened")


def test_a_solved_task_shows_its_last_state():
    _, now, i = found("NetHackStaircase-v0", lambda timestep: timestep.extras["success"])
    assert now.reward[i] == pytest.approx(1.0)
    assert now.discount[i] == 0
    x, y, turn = now.next_obs["blstats"][i, [0, 1, 20]]
    assert now.next_obs["chars"][i, y, x] == ord("@")
    assert turn == now.extras["turns"][i] > 1
    assert now.obs["blstats"][i, 20] == 1  # the game that began after it


def test_death_terminates_and_keeps_the_last_numbers():
    before, now, i = found("NetHackScore-v0", lambda timestep: timestep.discount == 0, steps=5000, n=4)
    assert not now.extras["success"][i]
    assert now.extras["depth"][i] >= 1
    assert now.extras["turns"][i] >= before.extras["turns"][i] > 1
    assert now.extras["max_depth"][i] >= now.extras["depth"][i]


def test_the_deepest_level_is_remembered_for_an_episode():
    from envs import nethack

    game = nethack.create("Score", "", nethack.SHOWN)
    obs, _ = game.reset(seed=0)
    depths = []
    for depth in (1, 3, 2):
        blstats = obs["blstats"].copy()
        blstats[12] = depth
        depths.append(game.extras({**obs, "blstats": blstats}, success=False)["max_depth"])
    assert depths == [1, 3, 3]
    assert game.reset(seed=1)[1]["max_depth"] == 1
    game.close()


def test_scores_are_numbers_among_the_extras():
    for id in ("NetHackScore-v0", "NetHackStaircase-v0"):
        spec = envs.make(id).spec
        assert {"score", "depth", "turns"} < set(spec.scores)
        assert all(spec.extras[name].shape == () for name in spec.scores)


def test_what_is_carried_is_observed_where_asked():
    env = envs.make("NetHackScore-v0", processes=False, inventory=True).open(0, 1)
    obs = env.reset().obs
    env.close()
    things, letters = obs["inv_glyphs"][0], obs["inv_letters"][0]
    assert 3 < (things < 5976).sum() < 20
    assert ((things < 5976) == (letters > 0)).all()
    assert letters[0] == ord("a")


def test_the_limit_truncates():
    history = play(envs.make("NetHackScore-v0", processes=False, max_steps=7).open(0, 2), 14)
    assert [bool(timestep.last.all()) for timestep in history] == [t in (7, 14) for t in range(15)]
    assert all((timestep.discount == 1).all() for timestep in history)


def test_grid_key_is_that_of_the_map():
    history = play(envs.make("NetHackScore-v0", processes=False, max_steps=50).open(0, 2), 200)
    maps, keys = set(), set()
    for timestep in history:
        for prefix, obs in (("", timestep.obs), ("next_", timestep.next_obs)):
            for glyphs, key in zip(obs["glyphs"], timestep.extras[f"{prefix}grid_key"], strict=True):
                maps.add(glyphs.tobytes())
                keys.add(key.tobytes())
                assert len(maps) == len(keys)
    assert len(maps) > 10


def test_character_is_chosen():
    from envs.errors import UsageError

    strength = []
    for character in ("mon-hum-neu-mal", "val-dwa-law-fem"):
        env = envs.make("NetHackScore-v0", processes=False, character=character).open(0, 1)
        strength.append(env.reset().obs["blstats"][0, 10])  # hit points
        env.close()
    assert strength[0] != strength[1]
    with pytest.raises(UsageError, match="did you mean character"):
        envs.make("NetHackScore-v0", charakter="@")


def test_drawing():
    env = envs.make("NetHackScore-v0", processes=False).open(0, 1, render=True)
    env.reset()
    (frame,) = env.render()
    env.close()
    assert frame.shape == (24 * 16, 80 * 8, 3)
    assert frame.max() > 0


@pytest.mark.parametrize("processes", [False, True])
def test_the_screen_is_the_games(processes):
    env = envs.make("NetHackScore-v0", processes=processes)
    plain, drawn = env.open(0, 2), env.open(0, 2, render=True)
    first = drawn.reset()
    assert_equal(first, plain.reset())
    assert plain.text is None
    one, other = drawn.text()
    assert one != other
    lines = re.sub(r"\x1b\[[0-9;]*m", "", one).split("\n")
    assert [len(line) for line in lines] == [80] * 24
    x, y = first.obs["blstats"][0, :2]
    assert lines[y + 1][x] == "@"
    assert "Dlvl:1" in lines[23]
    for engine in (plain, drawn):
        engine.close()
