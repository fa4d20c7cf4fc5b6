"""AutoMBPO's decision process and controller: oracles, golden numbers, and a toy run with a known optimum."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import losses
from agents import registry
from agents.auxiliary.search import autombpo
from agents.auxiliary.search.autombpo import Config, Facts, Log, Setting
from agents.auxiliary.search.hyper_mdp import columns
from agents.auxiliary.tool import Outcome
from agents.training.statistics import interval
from envs.errors import UsageError

ALL = "model+ratio+policy+rollout"
DOWN, STAY, UP = 0, 1, 2


def facts(**values):
    return Facts(**{name: jnp.float32(values.get(name, 0.0)) for name in Facts._fields})


def action(model=0, ratio=STAY, policy=STAY, rollout=STAY):
    return jnp.asarray([model, ratio, policy, rollout], jnp.int32)


# ----------------------------------------------------------------------------------------------- the decision process


@pytest.mark.parametrize(
    ("fits", "ended", "returned", "expected"),
    [(0, False, 0.0, -0.05), (1, False, 9.0, 0.05), (0, True, 700.0, -0.05), (1, True, 1000.0, 1.05)],
)
def test_reward(fits, ended, returned, expected):
    """Oracle (a): a fit costs, leaving it out pays, and a return equal to the base's is worth nothing."""
    given = autombpo.fit_reward(Config(), action(fits))
    given += ended * autombpo.epoch_reward(Config(), jnp.float32(returned), jnp.float32(700.0))
    np.testing.assert_allclose(given, expected, rtol=1e-5)


def test_without_the_knob_of_the_model_only_returns_are_worth_something():
    config = Config(knobs="ratio")
    assert autombpo.fit_reward(config, action(0)) == 0.0
    assert autombpo.epoch_reward(config, jnp.float32(3), jnp.float32(33)) == pytest.approx(-0.1)


def test_the_share_of_real_data_goes_up_by_a_fifth_and_is_whole_after_17_steps():
    """Oracle (b)."""
    config, setting = Config(), autombpo.start(Config())
    shares = []
    for _ in range(18):
        _, setting = autombpo.apply(config, setting, action(ratio=UP), jnp.asarray(False))
        shares.append(float(setting.real_ratio))
    np.testing.assert_allclose(shares, np.minimum(1.0, 0.05 * 1.2 ** np.arange(1, 19)), rtol=1e-5)
    assert [share == 1.0 for share in shares].index(True) + 1 == 17


def test_knobs_are_held_within_their_ranges_and_the_rollout_turns_at_an_epochs_first_decision_alone():
    config = Config(knobs=ALL, most_horizon=3)
    apply = jax.jit(partial(autombpo.apply, config))
    setting = Setting(jnp.float32(0.5), jnp.float32(20), jnp.float32(3))
    fit, after = apply(setting, action(1, DOWN, UP, UP), jnp.asarray(True))
    assert not fit
    np.testing.assert_allclose(after, [0.5 / 1.2, 20, 3], rtol=1e-6)
    fit, after = apply(after._replace(updates=jnp.float32(1)), action(0, STAY, DOWN, DOWN), jnp.asarray(False))
    assert fit
    np.testing.assert_allclose(after, [0.5 / 1.2, 1, 3], rtol=1e-6)
    _, after = apply(after, action(0, STAY, UP, DOWN), jnp.asarray(True))
    np.testing.assert_allclose(after, [0.5 / 1.2, 2, 2], rtol=1e-6)


def test_a_knob_that_is_not_scheduled_keeps_what_it_has():
    config = Config(knobs="policy")
    fit, after = autombpo.apply(config, autombpo.start(config), action(1, UP, UP, UP), jnp.asarray(True))
    assert fit  # the rhythm is the agent's own
    np.testing.assert_allclose(after, [0.05, 11, 1], rtol=1e-6)


def test_what_is_seen_is_scaled_clipped_and_0_where_it_is_not_known():
    config = Config(knobs=ALL, model_scale=0.5, critic_scale=10, shift_scale=4, return_scale=1000, most_horizon=10)
    seen = autombpo.observe(
        config,
        facts(progress=0.25, model_loss=jnp.nan, critic_loss=jnp.inf, shift=1, returned=-5000),
        Setting(jnp.float32(0.2), jnp.float32(5), jnp.float32(4)),
    )
    np.testing.assert_allclose(seen, [0.25, 0, 1, 0.25, -1, 0.2, 0.25, 0.4], rtol=1e-6)
    assert autombpo.observe(Config(knobs="model"), facts(), autombpo.start(config)).shape == (5,)


def test_a_log_grows_within_its_room_and_is_credited_what_comes_later():
    config = Config(knobs="ratio")
    log = autombpo.credit(autombpo.empty(config, 2), jnp.float32(5.0))
    assert float(log.reward.sum()) == 0.0
    for number in range(3):
        obs = jnp.full(6, number, jnp.float32)
        log = autombpo.append(log, obs, action(ratio=number), jnp.ones(4), autombpo.acted(config, jnp.asarray(True)))
        log = autombpo.credit(log, jnp.float32(number + 1)) if number < 2 else log
    assert int(log.size) == 2
    np.testing.assert_allclose(log.reward, [1, 2])
    np.testing.assert_allclose(log.obs[:, 0], [0, 1])
    np.testing.assert_array_equal(log.acted, [[False, True, False, False]] * 2)


def test_a_log_is_replayed_into_the_schedule_that_it_was():
    config = Config(knobs=ALL)
    log, setting, expected = autombpo.empty(config, 6), autombpo.start(config), []
    for number in range(6):
        turned, opens = action(number % 2, UP, number % 3, UP), jnp.asarray(number % 2 == 0)
        fit, setting = autombpo.apply(config, setting, turned, opens)
        log = autombpo.append(log, jnp.zeros(8), turned, jnp.zeros(4), autombpo.acted(config, opens))
        expected.append([fit, *setting])
    fit, schedule = autombpo.replayed(config, log)
    np.testing.assert_allclose(np.stack([fit, *schedule], 1), np.asarray(expected, np.float32), rtol=1e-6)


# --------------------------------------------------------------------------------------------------- the controller


@pytest.fixture(scope="module")
def design():
    return Config(knobs=ALL, hidden=16)


@pytest.fixture(scope="module")
def params(design):
    return autombpo.make(knobs=ALL, hidden=16).init(jax.random.key(0)).params


def test_decisions_are_drawn_from_the_nets_and_logged_with_their_probability(design, params):
    obs = jnp.linspace(-1, 1, 8)
    draw = jax.jit(jax.vmap(lambda key, explore: autombpo.sample(design, params, key, obs, explore), (0, None)))
    keys = jax.random.split(jax.random.key(1), 4000)
    drawn, logp = draw(keys, jnp.float32(0.0))
    every = {knob: np.exp(value) for knob, value in autombpo.controller.log_probabilities(design, params, obs).items()}
    for at, knob in enumerate(autombpo.KNOBS):
        share = np.bincount(drawn[:, at], minlength=len(every[knob])) / len(keys)
        np.testing.assert_allclose(share, every[knob], atol=0.03)
        np.testing.assert_allclose(np.exp(logp[:, at]), every[knob][drawn[:, at]], rtol=1e-5)
    wild, logp = draw(keys, jnp.float32(1.0))
    for at, knob in enumerate(autombpo.KNOBS):
        share = np.bincount(wild[:, at]) / len(keys)
        np.testing.assert_allclose(share, 1 / len(every[knob]), atol=0.03)
        np.testing.assert_allclose(np.exp(logp[:, at]), every[knob][wild[:, at]], rtol=1e-5)  # the controller's own
    half, _ = draw(keys, jnp.float32(0.5))
    same = (half == drawn).all(1).mean()
    assert 0.5 < same < 0.6  # all knobs turn at random together, or none
    likeliest, _ = autombpo.sample(design, params, keys[0], obs, jnp.float32(1.0), greedy=True)
    np.testing.assert_array_equal(likeliest, [every[knob].argmax() for knob in autombpo.KNOBS])


def test_a_knob_that_does_not_act_is_neutral():
    design = Config(knobs="policy", hidden=4)
    params = autombpo.make(knobs="policy", hidden=4).init(jax.random.key(0)).params
    drawn, logp = autombpo.sample(design, params, jax.random.key(1), jnp.zeros(6), jnp.float32(1.0))
    assert drawn.tolist()[:2] == [0, STAY]
    assert drawn[3] == STAY
    np.testing.assert_array_equal(logp[jnp.asarray([0, 1, 3])], 0.0)


@partial(jax.jit, static_argnums=(0, 2))
def records(design, params, count, key):
    """Decisions as the nets make them, with the rollout's knob turned in every second one."""
    obs = jax.random.uniform(key, (count, 8), minval=-1)
    keys = jax.random.split(key, count)
    taken, logp = jax.vmap(lambda key, obs: autombpo.sample(design, params, key, obs, jnp.float32(0)))(keys, obs)
    turns = jax.vmap(partial(autombpo.acted, design))(jnp.arange(count) % 2 == 0)
    return Log(obs, taken, logp, turns, jnp.zeros(count), jnp.zeros(count))


def test_with_a_ratio_of_1_the_surrogate_is_the_policy_gradient(design, params):
    """Oracle (f)."""
    log, advantage = records(design, params, 32, jax.random.key(3)), jax.random.normal(jax.random.key(4), (32,))

    def plain(params):
        logp = autombpo.log_probability(design, params, log.obs, log.action)
        each = jax.vmap(lambda column: losses.policy_gradient(column, advantage), 1, 1)(logp)
        return jnp.where(log.acted, each, 0.0).sum(1).mean()

    ours = jax.jit(jax.grad(lambda params: autombpo.surrogate(design, params, log, advantage)))(params)
    jax.tree.map(partial(np.testing.assert_allclose, atol=1e-6), ours, jax.jit(jax.grad(plain))(params))
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(ours)) > 1e-3


def test_surrogate_by_hand(design, params):
    """Two decisions: `rho` 1.5 and 0.5 for every knob, advantages 2 and -1, clipped at 0.2; the rollout acts in one."""
    log = records(design, params, 2, jax.random.key(5))
    logp = autombpo.log_probability(design, params, log.obs, log.action)
    log = log._replace(logp=logp - jnp.log(jnp.asarray([[1.5], [0.5]])))
    loss = autombpo.surrogate(design, params, log, jnp.asarray([2.0, -1.0]))
    # min(1.5 * 2, 1.2 * 2) = 2.4 for four knobs; min(-0.5, -0.8) = -0.8 for three
    np.testing.assert_allclose(loss, -(4 * 2.4 - 3 * 0.8) / 2, rtol=1e-5)


def test_rewards_to_go_are_not_discounted_and_end_with_the_log():
    log = autombpo.empty(Config(), 5)._replace(reward=jnp.asarray([1.0, -2.0, 4.0, 9.0, 9.0]), size=jnp.int32(3))
    np.testing.assert_allclose(jax.jit(autombpo.rewards_to_go)(log), [3, 2, 4, 0, 0])


# ---------------------------------------------------------------------------------------------- frozen, and on disk


def test_a_frozen_controller_turns_its_knobs_as_before_and_is_not_moved(tmp_path):
    first = autombpo.make(knobs="policy", hidden=8)
    held = first.init(jax.random.key(0)).params
    held["policy"]["logits"]["bias"] = jnp.asarray([2.0, 0.0, -2.0])
    autombpo.save(held, Config(knobs="policy", hidden=8), tmp_path / "controller")
    search = autombpo.make(
        knobs="ratio+rollout", hidden=8, frozen=str(tmp_path), grad_steps=5, batch=8, explore_stages=0
    )
    config, _ = autombpo.resolve(Config(knobs="ratio+rollout", hidden=8, frozen=str(tmp_path)))
    assert config.knobs == "policy,ratio+rollout"
    # The facts, and of the shares of real data, updates and horizon what was scheduled when it was learned.
    assert columns(config, "policy") == (0, 1, 2, 3, 4, 6)
    assert columns(config, "ratio") == columns(config, "rollout") == (0, 1, 2, 3, 4, 5, 6, 7)

    state = search.init(jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, state.params["policy"], held["policy"])
    keys = jax.random.split(jax.random.key(2), 500)
    sample = partial(autombpo.sample, config, state.params)
    draw = jax.jit(jax.vmap(lambda key: sample(key, jnp.zeros(8), jnp.float32(1.0))[0]))(keys)
    own = np.exp(autombpo.controller.log_probabilities(config, state.params, jnp.zeros(8))["policy"])
    np.testing.assert_allclose(np.bincount(draw[:, 2], minlength=3) / 500, own, atol=0.07)  # never at random

    log = records(config, state.params, 6, jax.random.key(3))._replace(reward=jnp.arange(6.0), size=jnp.int32(6))
    outcome = Outcome(15.0, {name: np.asarray(leaf) for name, leaf in log._asdict().items()})
    state, proposals = search.ask(jax.random.key(4), state, 2)
    after = search.tell(jax.random.key(5), state, proposals, [outcome, Outcome(np.nan)])
    jax.tree.map(np.testing.assert_array_equal, after.params["policy"], held["policy"])
    moved = [
        np.abs(after.params[knob]["logits"]["bias"] - state.params[knob]["logits"]["bias"]).max()
        for knob in ("ratio", "rollout")
    ]
    assert min(moved) > 0


def test_a_controller_on_disk(design, params, tmp_path):
    autombpo.save(params, design, tmp_path / "a")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["controller.json", "controller.npz"]
    for path in (tmp_path / "a", tmp_path / "a" / "controller.npz"):
        found, of = autombpo.load(path, knobs="rollout+model+ratio+policy")
        assert of.knobs == ALL
        assert of.hidden == 16
        jax.tree.map(np.testing.assert_array_equal, found, params)


def test_a_controller_that_cannot_be_used_is_one_sentence(design, params, tmp_path):
    path = autombpo.save(params, design, tmp_path / "a")
    with pytest.raises(UsageError, match=r"turns model\+ratio\+policy\+rollout, but one of ratio is asked for"):
        autombpo.load(path, knobs="ratio")
    with pytest.raises(UsageError, match="holds no controller"):
        autombpo.load(tmp_path / "none")
    with pytest.raises(UsageError, match="trained with epoch 1000, not 500"):
        autombpo.make(knobs="ratio", hidden=16, epoch=500, frozen=str(path))
    with pytest.raises(UsageError, match="turns ratio already"):
        autombpo.make(knobs="ratio", hidden=16, frozen=str(path))
    notes = json.loads((path / "controller.json").read_text())
    notes["design"]["hidden"] = 8
    (path / "controller.json").write_text(json.dumps(notes))
    with pytest.raises(UsageError, match="does not hold the weights"):
        autombpo.load(path)
    (path / "controller.npz").write_bytes(b"PK")
    with pytest.raises(UsageError, match="damaged controller"):
        autombpo.load(path)


# -------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"knobs": "model+ration"}, "there is no knob 'ration': did you mean ratio"),
        ({"knobs": "ratio+ratio"}, "ratio once"),
        ({"knobs": ""}, "knobs must name at least one"),
        ({"most_horizon": 0}, "most_horizon must be at least 1, not 0"),
        ({"real_ratio": 0.0}, "real_ratio must be above 0 and at most 1, not 0.0"),
        ({"real_ratio": 1.5}, "real_ratio must be above 0 and at most 1, not 1.5"),
        ({"decide_every": 300}, "epoch must be a multiple of decide_every, 300, not 1000"),
        ({"updates": 30}, "updates must be at most most_updates 20, not 30"),
        ({"grad_steps": 0}, "grad_steps must be above 0"),
        ({"explore": 3}, "there is no option 'explore': did you mean explore_stages"),
    ],
)
def test_mistakes_are_one_sentence(options, sentence):
    with pytest.raises(UsageError, match=sentence.replace("+", r"\+")):
        autombpo.make(**options)


def test_a_base_that_is_too_short_is_one_sentence():
    autombpo.check_base(Config(), (1.0,) * 5, 5500)
    with pytest.raises(UsageError, match="the base has returns of 4 epochs, but a run of 5,000 steps has 5 epochs"):
        autombpo.check_base(Config(), (1.0,) * 4, 5000)


def test_a_stage_of_which_every_run_failed_is_one_sentence():
    search = autombpo.make(hidden=4)
    state = search.init(jax.random.key(0))
    state, proposals = search.ask(jax.random.key(1), state, 2)
    with pytest.raises(UsageError, match="all 2 runs of this stage failed"):
        search.tell(jax.random.key(2), state, proposals, [Outcome(np.nan), Outcome(np.inf)])


def test_the_controller_of_a_stage_that_explored_gives_way_to_one_that_did_not():
    config = Config(hidden=4)
    search = autombpo.make(hidden=4, explore_stages=2, grad_steps=1, batch=2)
    state, seen = search.init(jax.random.key(0)), []
    log = autombpo.empty(config, 3)._replace(size=jnp.int32(3), reward=jnp.ones(3), acted=jnp.ones((3, 4), bool))
    for stage, score in enumerate((9.0, 8.0, 1.0, 3.0, 2.0)):
        key = jax.random.key(stage)
        state, proposals = search.ask(key, state, 1)
        seen.append(proposals[0])
        outcome = Outcome(score, {name: np.asarray(leaf) for name, leaf in log._asdict().items()})
        state = search.tell(key, state, proposals, [outcome])
    assert [float(proposal["explore"]) for proposal in seen] == [1.0, 0.5, 0.0, 0.0, 0.0]
    assert (int(state.best_stage), float(state.best_score)) == (3, 3.0)
    jax.tree.map(np.testing.assert_array_equal, search.best(state)["params"], seen[3]["params"])


# --------------------------------------------------------------------------------------------- a run with an optimum

DECISIONS, EVERY = 30, 4


def toy(config, params, explore, key):
    """A run of 30 decisions, best with a share of real data that only rises and a fit every fourth decision.

    The model ages by 1 with each decision; a return is the share of real data less what an age above 3 costs.
    """

    def decide(carry, number):
        setting, age, log = carry
        opens = number % 8 == 0
        seen = autombpo.observe(config, facts(progress=number / DECISIONS, model_loss=age), setting)
        taken, logp = autombpo.sample(config, params, jax.random.fold_in(key, number), seen, explore)
        fit, setting = autombpo.apply(config, setting, taken, opens)
        age = jnp.where(fit, 0.0, age + 1)
        returned = setting.real_ratio - 1.5 * jnp.maximum(0.0, age - (EVERY - 1))
        paid = autombpo.fit_reward(config, taken) + autombpo.epoch_reward(config, returned, jnp.float32(0.0))
        log = autombpo.append(log, seen, taken, logp, autombpo.acted(config, opens), paid)
        return (setting, age, log), None

    begun = (autombpo.start(config), jnp.float32(EVERY), autombpo.empty(config, DECISIONS))
    return jax.lax.scan(decide, begun, jnp.arange(DECISIONS))[0][2]


def test_a_controller_learns_the_schedule_of_a_toy_run():
    """Claim (iii): 20 stages of 10 runs improve the hyper-return in each of three searches."""
    options = {"knobs": "model+ratio", "hidden": 64, "model_scale": 8.0, "reward_scale": 4.0, "explore_stages": 3}
    config, search = Config(**options), autombpo.make(**options)
    play = jax.jit(jax.vmap(partial(toy, config), (None, None, 0)))
    gains, lasts = [], []
    for seed in range(3):
        key = jax.random.key(seed)
        state, means = search.init(key), []
        for stage in range(20):
            ask, runs, tell = jax.random.split(jax.random.fold_in(key, stage), 3)
            state, proposals = search.ask(ask, state, 10)
            logs = jax.device_get(play(proposals[0]["params"], proposals[0]["explore"], jax.random.split(runs, 10)))
            rows = [{name: leaf[run] for name, leaf in logs._asdict().items()} for run in range(10)]
            outcomes = [Outcome(float(row["reward"].sum()), row) for row in rows]
            state = search.tell(tell, state, proposals, outcomes)
            means.append(np.mean([outcome.score for outcome in outcomes]))
        assert int(state.best_stage) >= 3  # stages that explore do not count
        assert float(state.best_score) == pytest.approx(max(means[3:]))
        gains.append(state.best_score - means[0])
        lasts.append(means[-1])
    low, _ = interval(np.asarray(gains), np.mean)
    assert low > 0
    assert min(gains) > 0
    assert np.mean(lasts) > 0.7 * ideal(config)


def ideal(config):
    """The hyper-return of a share that only rises and a fit in every fourth decision, which is the optimum."""
    setting, total = autombpo.start(config), 0.0
    for number in range(DECISIONS):
        taken = action(int(number % EVERY > 0), UP)
        _, setting = autombpo.apply(config, setting, taken, jnp.asarray(False))
        total += float(autombpo.fit_reward(config, taken))
        total += float(autombpo.epoch_reward(config, setting.real_ratio, jnp.float32(0.0)))
    return total


def test_it_is_found_at_its_door():
    assert "autombpo" in registry.members("search")
    assert {"hyper_mdp", "controller"}.isdisjoint(registry.members("search"))
