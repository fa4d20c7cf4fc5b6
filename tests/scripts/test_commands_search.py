"""`search autombpo`: what it leaves, that it goes on where it was, and every mistake in one sentence.

Runs are stood in for by a toy, the rest is the real one; a slow test makes real runs.
"""

import json
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import agents
import envs
from agents import schedules
from agents.auxiliary.search import autombpo
from agents.commands.schedule_pictures import exported
from agents.training import trials
from agents.training.search import history

TINY = (
    *("--backend", "device", "--agent.hidden", "8", "--agent.ensemble.hidden", "8", "--agent.ensemble.members", "2"),
    *("--agent.ensemble.elites", "1", "--agent.rollouts", "16", "--agent.ratio", "1", "--agent.batch", "16"),
    *("--agent.unroll", "25", "--agent.uniform.capacity", "2000", "--agent.warmup", "500"),
    *("--updates", "1", "--most-updates", "2", "--hidden", "8", "--grad-steps", "4", "--batch", "8"),
)
SEARCH = (
    *("search", "autombpo", "--env", "Pendulum-v1", "--steps", "1500", "--epoch", "500", "--explore-stages", "1"),
    *("--stages", "3", "--runs", "2", "--base-runs", "2", "--most-horizon", "2", *TINY),
)


class Toy:
    """In place of `Runs`: the decisions of a run without its steps, paid for the share of real data."""

    made = 0
    stop_after = 10**9

    def __init__(self, task, manner):
        self.task, self.manner = task, manner

    def play(self, proposals, seeds, told=lambda *_: None):
        for index, (proposal, seed) in enumerate(zip(proposals, seeds, strict=True)):
            if Toy.made == Toy.stop_after:
                raise KeyboardInterrupt
            Toy.made += 1
            told((index + 1) * self.task.steps, -100.0)
            returns = np.asarray([-300.0, -200.0], np.float32)
            if self.task.agent == "mbpo":
                yield self.manner.read(trials.Played(returns, ()))
                continue
            design = autombpo.Design(**_design(self.task.options))
            log = jax.device_get(_decided(design, proposal["params"], proposal["explore"], jax.random.key(seed)))
            yield self.manner.read(trials.Played(returns + seed % 7, log))


def _design(options):
    return {name.removeprefix("autombpo."): value for name, value in options.items() if name.startswith("autombpo.")}


@partial(jax.jit, static_argnums=0)
def _decided(design, params, explore, key):
    def decide(carry, number):
        setting, log = carry
        opens = number % 4 == 0
        known = autombpo.Facts(number / 8.0, 0.0, 0.0, 0.0, setting.real_ratio)
        seen = autombpo.observe(design, known, setting)
        taken, logp = autombpo.sample(design, params, jax.random.fold_in(key, number), seen, explore)
        _, setting = autombpo.apply(design, setting, taken, opens)
        log = autombpo.append(log, seen, taken, logp, autombpo.acted(design, opens), setting.real_ratio)
        return (setting, log), None

    begun = autombpo.start(design), autombpo.empty(design, 8)
    return jax.lax.scan(decide, begun, jnp.arange(8))[0][1]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("AUXIN_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.setattr(trials, "Runs", Toy)
    monkeypatch.setattr(Toy, "made", 0)
    monkeypatch.setattr(Toy, "stop_after", 10**9)
    return Toy


def test_what_a_search_leaves(command, toy, tmp_path):
    out = tmp_path / "s"
    said = command(*SEARCH, "--out", out, "--json")
    assert said.code == 0, said.err
    assert toy.made == 2 + 3 * 2
    for label in ("mbpo  3.0k/3.0k steps", "stage 1 of 3", "stage 3 of 3"):
        assert label in said.err
    stages = history(out)
    assert [len(stage) for stage in stages] == [2, 2, 2]
    result = said.result
    assert json.loads((out / "RESULT.json").read_text()) == result
    assert [row["explored"] for row in result["stages"]] == [1.0, 0.0, 0.0]
    means = [np.mean([each.score for each in stage]) for stage in stages]
    np.testing.assert_allclose([row["hyper_return"] for row in result["stages"]], means, rtol=1e-6)
    assert result["best_stage"] == 2 + int(np.argmax(means[1:]))
    assert result["provenance"]["packages"]["jax"] == jax.__version__
    for picture in result["pictures"]:
        assert out.joinpath(picture).stat().st_size > 10_000

    schedule = json.loads((out / "schedule.json").read_text())
    assert (schedule["every"], schedule["steps"]) == (125, 1500)
    assert schedules.replayed(out / "schedule.json").most_horizon == max(schedule["knobs"]["horizon"])
    logs = [each.log for each in stages[result["best_stage"] - 1]]
    rises = [np.cumprod(1.2 ** (log["action"][:, 1] - 1.0)) * 0.05 for log in logs]
    np.testing.assert_allclose(schedule["knobs"]["real_ratio"], np.mean(rises, 0), rtol=1e-5)
    assert sum(schedule["knobs"]["fit"]) == np.ceil(np.mean([(log["action"][:, 0] == 0).sum() for log in logs]))

    params, design = autombpo.load(out, knobs="model+ratio+policy")
    assert design.epoch == 500
    spec = envs.make("Pendulum-v1", backend="device").spec
    own = {"hidden": (8,), "ensemble.hidden": (8,), "rollouts": 16, "warmup": 500, "uniform.capacity": 2000}
    agent = agents.make("autombpo", spec, controller=str(out / "controller"), **own)
    state = agent.init(jax.random.key(0), spec)
    jax.tree.map(np.testing.assert_array_equal, state.variables["learning"].schedule.params, params)


def test_what_people_read(command, toy, tmp_path):
    out = command(*SEARCH, "--out", tmp_path / "s", "--quiet").out
    for said in ("plain MBPO", "100%", "best", "real_ratio 0.0", "schedule.json"):
        assert said in out


def test_a_mean_schedule_fits_as_often_as_its_runs_and_right_away():
    turned = {
        "real_ratio": np.asarray([[0.1] * 5, [0.3] * 5]),
        "ratio": np.asarray([[1.0] * 5, [4.0] * 5]),
        "horizon": np.ones((2, 5)),
        "fit": np.asarray([[1, 0, 0, 1, 1], [0, 1, 0, 1, 0]], np.float32),
    }
    task = trials.Task("autombpo", {}, "Pendulum-v1", None, {}, 3000, 1000)
    found = exported(autombpo.Config(), task, turned)
    assert found["knobs"]["fit"] == [1, 0, 0, 1, 1]
    np.testing.assert_allclose(found["knobs"]["real_ratio"], 0.2)
    assert found["knobs"]["ratio"] == [2] * 5
    assert (found["every"], found["steps"]) == (125, 3000)


def test_a_search_that_was_stopped_goes_on_where_it_was(command, toy, tmp_path):
    assert command(*SEARCH, "--out", tmp_path / "whole", "--quiet").code == 0
    whole, toy.made, toy.stop_after = toy.made, 0, 5
    said = command(*SEARCH, "--out", tmp_path / "parts", "--quiet")
    assert said.code == 130
    assert "stopped in stage 2 of 3; the same command goes on in" in said.err
    toy.stop_after = 10**9
    assert command(*SEARCH, "--out", tmp_path / "parts", "--quiet").code == 0
    assert toy.made == whole  # nothing is run twice
    for one, other in zip(history(tmp_path / "whole"), history(tmp_path / "parts"), strict=True):
        assert [each.score for each in one] == [each.score for each in other]
    both = [autombpo.load(tmp_path / name)[0] for name in ("whole", "parts")]
    jax.tree.map(np.testing.assert_array_equal, *both)


def test_a_search_that_is_done_goes_on_with_more_stages_alone(command, toy, tmp_path):
    command(*SEARCH, "--out", tmp_path, "--quiet")
    assert command(*SEARCH, "--out", tmp_path, "--quiet", "--stages", 4, "--json").result["stages"][3]["stage"] == 4
    assert toy.made == 2 + 4 * 2
    said = command(*SEARCH, "--out", tmp_path, "--clip", "0.3")
    assert "holds a search with options clip 0.2, not clip 0.3: take another --out." in said.sentence
    assert "agent rollouts 16, not rollouts 32" in command(*SEARCH, "--out", tmp_path, "--agent.rollouts", 32).sentence


def test_a_controller_goes_on_from_another(command, toy, tmp_path):
    """The knobs of the paper's MuJoCo tasks are learned in turn."""
    command(*SEARCH, "--out", tmp_path / "a", "--knobs", "model+ratio", "--quiet")
    words = (*SEARCH, "--out", tmp_path / "b", "--knobs", "policy", "--frozen", tmp_path / "a")
    assert command(*words, "--quiet").code == 0
    (first, _), (both, design) = autombpo.load(tmp_path / "a"), autombpo.load(tmp_path / "b")
    assert design.knobs == "model+ratio,policy"
    jax.tree.map(np.testing.assert_array_equal, {knob: both[knob] for knob in first}, first)


def test_a_base_may_come_from_another_search(command, toy, tmp_path):
    file = tmp_path / "base.json"
    file.write_text("[-900, -800, -700]")
    result = command(*SEARCH, "--out", tmp_path / "s", "--base", file, "--quiet", "--json").result
    assert toy.made == 3 * 2
    assert result["config"]["agent"]["base"] == [-900, -800, -700]


class Ray:
    """In place of the package: actors in this process, the last call first."""

    util = None
    killed = 0

    @classmethod
    def ActorPool(cls, actors):
        class Pool:
            @staticmethod
            def map_unordered(call, items):
                return [call(actors[index % len(actors)], item) for index, item in reversed(list(enumerate(items)))]

        return Pool

    @staticmethod
    def cluster_resources():
        return {"CPU": 1.0}

    @staticmethod
    def is_initialized():
        return True

    @staticmethod
    def remote(made):
        class Method:
            def __init__(self, call):
                self.remote = call

        class Handle:
            def __init__(self):
                self.call = Method(made().call)

            @classmethod
            def options(cls, **_):
                return cls

            remote = classmethod(lambda cls: cls())

        return Handle

    @classmethod
    def kill(cls, actor):
        cls.killed += 1


def test_workers_find_the_same(command, toy, tmp_path, monkeypatch):
    found = command(*SEARCH, "--out", tmp_path / "one", "--quiet", "--json").result
    monkeypatch.setitem(sys.modules, "ray", Ray)
    monkeypatch.setitem(sys.modules, "ray.util", Ray)
    shared = command(*SEARCH, "--out", tmp_path / "two", "--workers", 3, "--quiet", "--json").result
    assert shared["stages"] == found["stages"]
    assert Ray.killed == 4  # one for each stage and the base, for there is one core


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["search"], "search needs a method as its first word: choose from autombpo."),
        (["search", "automppo", "--env", "Pendulum-v1"], "there is no search 'automppo': did you mean autombpo"),
        (["search", "autombpo"], "search needs an environment"),
        ([*SEARCH, "--knobs", "model+ration"], "there is no knob 'ration': did you mean ratio"),
        ([*SEARCH, "--stages", "0"], "stages must be above 0, not 0."),
        ([*SEARCH, "--stage", "1"], "search autombpo has no option --stage: did you mean --stages"),
        ([*SEARCH, "--agent.hiden", "8"], "did you mean hidden"),
        ([*SEARCH, "--most-horizon", "0"], "most_horizon must be at least 1, not 0."),
        ([*SEARCH, "--real-ratio", "1.5"], "real_ratio must be above 0 and at most 1, not 1.5."),
        ([*SEARCH, "--steps", "900"], "a run of 900 steps has no whole epoch of 500 after its first 500"),
        ([*SEARCH, "--frozen", "nowhere"], "nowhere holds no controller"),
        ([*SEARCH, "--base", "none.json"], "none.json cannot be read as the returns of plain MBPO"),
        ([*SEARCH, "--base", "short.json"], "the base has returns of 1 epochs, but a run of 1,000 steps has 2 epochs"),
    ],
)
def test_mistakes_are_one_sentence(command, words, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short.json").write_text('{"returns": [[1.0]]}')
    assert sentence in command(*words).sentence


def test_workers_without_ray_are_one_sentence(command, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    sentence = command(*SEARCH, "--workers", 2, "--out", tmp_path / "s").sentence
    assert "Ray is not installed: pip install 'auxin[ray]' brings it." in sentence
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_real_runs_side_by_side_compile_once(command, tmp_path, monkeypatch):
    """Every decision is logged, epochs are paid for at their ends, and no stage compiles anew."""
    loops = []
    begin = trials._Seeds.begin
    monkeypatch.setattr(trials._Seeds, "begin", lambda self, *given: (loops.append(self), begin(self, *given))[1])
    result = command(*SEARCH, "--out", tmp_path, "--quiet", "--json").result
    assert len(result["stages"]) == 3
    mine = loops[1:]
    assert len({id(loop) for loop in mine}) == 1
    assert mine[0]._advance._cache_size() == 1
    base = np.mean(json.loads((tmp_path / "base.json").read_text())["returns"], 0)
    for each in [each for stage in history(tmp_path) for each in stage]:
        assert int(each.log["size"]) == 8
        fits = 0.1 * (each.log["action"][:, 0] - 0.5)
        paid = each.log["reward"] - fits
        assert (np.flatnonzero(np.abs(paid) > 1e-6) % 4 == 3).all()
        np.testing.assert_array_less(np.abs(paid[[3, 7]] * 300 + base), 2000)  # some episode's return


@pytest.mark.slow
def test_real_runs_on_the_host(command, tmp_path):
    words = [*SEARCH, "--out", tmp_path, "--quiet", "--json", "--stages", 1, "--runs", 1, "--base-runs", 1]
    words[words.index("device")] = "host"
    (row,) = command(*words).result["stages"]
    assert np.isfinite(row["hyper_return"])
