"""Meta-World's families ML1, ML10 and ML45: hidden goals, the splits, how tasks are dealt, engines that are reused."""

import functools
import pickle

import numpy as np
import pytest
from timestep_rules import assert_equal, check_resume, check_rules, play, random_actions

import envs
from envs.errors import UsageError

pytest.importorskip("metaworld")
REACH, ML10, ML45 = "MetaWorld-reach-v3", "MetaWorld-ML10-v3", "MetaWorld-ML45-v3"
GOALS = 5


def make(id, **options):
    task_set = {"task_set": "ML1"} if id == REACH else {}
    return envs.make(id, processes=False, **task_set, **options)


@pytest.fixture(scope="module", autouse=True)
def few_goals():
    """Five goals for each environment, and ML10 drawn once, as fifty take long."""
    import metaworld

    from envs.metaworld import arms

    arms.drawn.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        for module, name in ((metaworld, "_N_GOALS"), (envs.metaworld, "GOALS"), (arms, "GOALS")):
            patch.setattr(module, name, GOALS)
        patch.setattr(metaworld, "ML10", functools.cache(metaworld.ML10))
        yield
    arms.drawn.cache_clear()


def benchmark(id):
    """The package's own set."""
    import metaworld

    return metaworld.ML1("reach-v3", seed=0) if id == REACH else metaworld.ML10(seed=0)


def test_ml1_keeps_the_rules_and_hides_its_goals():
    history = check_rules(make(REACH, trial=2, max_steps=4), n=3, steps=20)
    assert all((t.obs[:, -3:] == 0).all() and (t.next_obs[:, -3:] == 0).all() for t in history)


def test_a_task_lasts_a_trial():
    history = play(make(REACH, trial=3, max_steps=2).open(0, 1), 24)[1:]
    tasks = np.array([t.extras["task_id"] for t in history]).reshape(4, 6)
    assert (tasks == tasks[:, :1]).all()
    assert len(set(tasks[:, 0])) == 4
    ends = np.array([t.extras["trial_last"] for t in history]).reshape(4, 6)
    assert (ends == (np.arange(6) == 5)).all()


def test_training_deals_each_goal_once_before_any_comes_again():
    history = play(make(REACH, trial=1, max_steps=1).open(0, GOALS), 4)[1:]
    tasks = np.array([t.extras["task_id"] for t in history])
    assert (np.sort(tasks) == np.arange(GOALS)).all()
    assert len({tuple(row) for row in tasks}) == 4


@pytest.mark.parametrize("id", [REACH, ML10])
def test_evaluation_plays_the_packages_test_tasks_in_turn(id):
    maker = make(id, trial=1, max_steps=2).evaluation
    env, reference = maker.open(3, 7), benchmark(id)
    count = len(reference.test_classes)
    actions = random_actions(maker.spec.action, 2, 7, 0)
    history = [env.reset(), *map(env.step, actions)]
    env.close()
    for i in range(7):
        task = reference.test_tasks[GOALS * (i % count) + i // count % GOALS]
        engine = reference.test_classes[task.env_name]()
        engine.set_task(task)
        obs, _ = engine.reset()
        assert (history[0].obs[i] == obs.astype(np.float32)).all()
        for now, action in zip(history[1:], actions, strict=True):
            obs, reward, *_ = engine.step(action[i])
            assert (now.next_obs[i] == obs.astype(np.float32)).all()
            assert now.reward[i] == np.float32(reward)
            assert now.extras["task_id"][i] == i % (count * GOALS)
        goal = pickle.loads(task.data)["rand_vec"].astype(np.float32)
        told = history[-1].extras["task"][i]
        if id == ML10:
            assert f"{envs.metaworld.TASKS[int(told[0])]}-v3" == task.env_name
            told = told[1:]
        assert (told[: len(goal)] == goal).all()
        assert (told[len(goal) :] == 0).all()


def test_goals_are_fixed_by_the_seed_and_apart_in_the_splits():
    from envs.metaworld.arms import drawn, parameters

    def goals(split, seed):
        return {row.tobytes() for row in parameters(drawn("reach", "ML1", seed)[split], with_environment=False)}

    train, test = goals("train", 0), goals("test", 0)
    drawn.cache_clear()
    assert (goals("train", 0), goals("test", 0)) == (train, test)
    assert len(train) == len(test) == GOALS
    assert not train & test
    assert not train & goals("train", 2)


def test_ml10_has_all_its_environments_and_hides_their_goals():
    maker = make(ML10, trial=1, max_steps=1)
    seen = {}
    for split, made, steps in (("train", maker, 2 * GOALS), ("test", maker.evaluation, 1)):
        history = play(made.open(0, 5), steps)[1:]
        assert all((t.obs[:, -3:] == 0).all() and (t.next_obs[:, -3:] == 0).all() for t in history)
        places = np.concatenate([t.extras["task"][:, 0] for t in history]).astype(int)
        seen[split] = {f"{envs.metaworld.TASKS[place]}-v3" for place in places}
    assert seen == {"train": set(benchmark(ML10).train_classes), "test": set(benchmark(ML10).test_classes)}


def test_ml10_resumes_within_a_trial():
    maker, n, seed = make(ML10, trial=2, max_steps=5), 3, 4
    env, actions = maker.open(seed, n), random_actions(maker.spec.action, 13, n, 1)
    history, saves = [env.reset()], [env.save()]
    for action in actions:
        history.append(env.step(action))
        saves.append(env.save())
    env.close()
    assert len({tuple(t.extras["task_id"]) for t in history}) == 2
    check_resume(maker, n, seed, history, actions, saves[7], 7)  # in the second episode of the first trial
    check_resume(maker, n, seed, history, actions, saves[10], 10)  # between two trials


def test_processes_change_nothing_in_ml10():
    options = {"trial": 1, "max_steps": 3}
    makers = make(ML10, **options), envs.make(ML10, processes=True, **options)
    for here, there in zip(*(play(maker.open(3, 3), 8) for maker in makers), strict=True):
        assert_equal(here, there)


def test_arms_hand_their_engines_to_each_other(monkeypatch):
    import metaworld

    from envs.metaworld.arms import Arms, drawn

    made = []
    for name, engine in metaworld.ALL_V3_ENVIRONMENTS.items():
        monkeypatch.setitem(
            metaworld.ALL_V3_ENVIRONMENTS, name, lambda engine=engine, **kw: made.append(engine) or engine(**kw)
        )
    deck = envs.families.trials.Deck(np.zeros((5 * GOALS, 7), np.float32), trial=1, shuffled=False, n=2)
    arms = Arms(drawn("ML10", "ML10", 0)["test"], deck, "v2", render=False)
    pair = [arms(), arms()]
    for episode in range(5):  # 0 and 1, 2 and 3, 4 and 0, 1 and 2, 3 and 4
        for place, arm in enumerate(pair):
            arm.reset(options={"place": place, "episode": episode})
    assert len(made) == len(set(made)) == 5


def test_options_tell_the_tasks_and_make_them_again():
    maker = make(REACH, trial=2, task_seed=3, reward_function_version="v1")
    assert maker.options["task_set"] == "ML1"
    assert make(ML10).options["task_set"] == "ML10"
    for made, split in ((maker, "train"), (maker.evaluation, "test")):
        assert made.options["split"] == split
        assert made.spec.trial == 2
        again = envs.make(REACH, **made.options)
        assert (again.spec, again.options) == (made.spec, made.options)
    assert maker.evaluation.evaluation is None
    alone = envs.make(REACH)
    assert (alone.spec.trial, alone.evaluation) == (0, None)


@pytest.mark.parametrize(
    ("id", "options", "sentence"),
    [
        (REACH, {"task_set": "ML1-train"}, "task_set cannot be 'ML1-train': did you mean ML1"),
        (REACH, {"task_set": "ML1", "split": "tests"}, "split cannot be 'tests': did you mean test"),
        (REACH, {"task_set": "ML1", "trial": 0}, "trial must be an integer of at least 1, not 0"),
        (REACH, {"task_set": "ML1", "task_seed": -1}, "task_seed must be an integer of at least 0"),
        (ML10, {"task_set": "ML1"}, "task_set cannot be 'ML1': did you mean ML10"),
        (ML10, {"backend": "envpool"}, "has no backend 'envpool'"),
        ("MetaWorld-ML11-v3", {}, "did you mean MetaWorld-ML1"),
    ],
)
def test_what_cannot_be_is_one_sentence(id, options, sentence):
    with pytest.raises(UsageError, match=sentence):
        envs.make(id, **options)


@pytest.mark.slow
def test_ml45_has_all_its_environments():
    import metaworld

    from envs.metaworld.arms import drawn

    tasks = drawn("ML45", "ML45", 0)
    for split, count in envs.metaworld.SPREADS["ML45"].items():
        names = [task.env_name for task in tasks[split]]
        assert names[:count] * GOALS == names
        assert set(names) == set(metaworld.env_dict.ML45_V3[split])
    history = check_rules(make(ML45, trial=1, max_steps=2), n=8, steps=40)
    assert len({int(place) for t in history for place in t.extras["task"][:, 0]}) > 40
