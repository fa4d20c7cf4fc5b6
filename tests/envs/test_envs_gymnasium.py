"""Registered Gymnasium ids: every kind of space, options, limits, drawing, and what is refused."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from timestep_rules import check_rules

import envs
from envs.contract import Array, Box, Discrete, MultiDiscrete
from envs.errors import UsageError
from envs.spaces import acted, action_of, array_of


class Everything(gymnasium.Env):
    """A nested observation of every kind, random; the reward tells which action arrived."""

    action_space = spaces.MultiDiscrete([[3, 2], [4, 4]], start=[[1, 0], [0, -1]])

    def __init__(self):  # A space has a generator of its own: two environments must not share one.
        self.observation_space = spaces.Dict(
            {
                "pixels": spaces.Box(0, 255, (2, 3), np.uint8),
                "parts": spaces.Tuple((spaces.Discrete(3, start=-1), spaces.MultiBinary(4))),
                "inner": spaces.Dict({"wide": spaces.Box(-np.inf, 1.0, (), np.float64)}),
                "choices": spaces.MultiDiscrete([2, 5]),
            }
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        reward = float(np.sum(action * [[1, 10], [100, 1000]]))
        return self.observation_space.sample(), reward, bool(self.np_random.random() < 0.1), False, {}


class Loose(Everything):
    """Actions without bounds."""

    action_space = spaces.Box(-np.inf, np.inf, (2,))


class Wordy(Everything):
    """Observations without a shape."""

    def __init__(self):
        self.observation_space = spaces.Text(5)


class Shifted(gymnasium.Env):
    """Actions from -1 to 1, and a constructor with one option."""

    observation_space, action_space = spaces.Box(0, 1, (1,)), spaces.Discrete(3, start=-1)

    def __init__(self, scale: float = 1.0, render_mode: str | None = None):
        self.scale = scale

    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), self.scale * action, False, False, {}


for _cls in (Everything, Loose, Wordy, Shifted):
    gymnasium.register(f"Test{_cls.__name__}-v0", _cls, max_episode_steps=30)


@pytest.mark.parametrize(
    ("id", "options"),
    [
        ("CartPole-v1", {}),
        ("FrozenLake-v1", {"map_name": "8x8", "is_slippery": True}),
        ("Pendulum-v1", {"max_steps": 15}),
        ("Blackjack-v1", {}),
        ("MountainCarContinuous-v0", {"max_steps": 9, "repeat": 2}),
        ("TestEverything-v0", {}),
    ],
)
def test_keeps_the_rules(id, options):
    check_rules(envs.make(id, **options), steps=60, strict_seed=not id.startswith("FrozenLake"))


def test_spec_tells_spaces_limit_and_version():
    spec = envs.make("CartPole-v1").spec
    assert spec.action == Discrete(2)
    assert (spec.obs.shape, spec.obs.dtype, spec.max_steps) == ((4,), "float32", 500)
    assert spec.version == f"gymnasium {gymnasium.__version__}"
    assert envs.make("CartPole-v1", repeat=3).spec.max_steps == 167
    assert envs.make("CartPole-v1", max_steps=900).spec.max_steps == 900
    assert envs.make("FrozenLake-v1").spec.obs == Array((), "int32", 0, 15)
    assert envs.make("Pendulum-v1").spec.action == Box((-2.0,), (2.0,))


def test_a_longer_limit_replaces_the_registered_one():
    env = envs.make("Pendulum-v1", max_steps=250).open(0, 1)
    env.reset()
    last = [bool(env.step(np.zeros((1, 1)))[3][0]) for _ in range(251)]
    assert last.index(True) == 249
    assert sum(last) == 1


def test_nested_spaces_keep_their_tree():
    spec = envs.make("TestEverything-v0").spec
    assert spec.obs == {
        "pixels": Array((2, 3), "uint8", 0, 255),
        "parts": (Array((), "int32", -1, 1), Array((4,), "int8", 0, 1)),
        "inner": {"wide": Array((), "float32", None, 1.0)},
        "choices": Array((2,), "int32", 0, 4),
    }
    assert spec.action == MultiDiscrete((3, 2, 4, 4))


def test_several_discretes_arrive_in_shape_and_numbering():
    env = envs.make("TestEverything-v0").open(0, 1)
    env.reset()
    assert env.step(np.array([[2, 1, 3, 0]])).reward == 3 + 10 + 300 - 1000


def test_discretes_that_start_elsewhere_arrive_shifted():
    env = envs.make("TestShifted-v0", scale=2.0).open(0, 3)
    env.reset()
    assert env.step(np.arange(3)).reward.tolist() == [-2, 0, 2]


def test_actions_of_spaces():
    box = spaces.Box(np.array([[0.0], [-1.0]]), np.array([[1.0], [2.0]]), dtype=np.float64)
    assert action_of(box) == Box((0.0, -1.0), (1.0, 2.0))
    assert acted(box, np.array([0.5, 1.5], np.float32)).tolist() == [[0.5], [1.5]]
    assert acted(box, np.array([0.5, 1.5], np.float32)).dtype == np.float64
    assert action_of(spaces.MultiBinary(3)) == MultiDiscrete((2, 2, 2))
    assert array_of(spaces.Box(-1, 1, (2,), np.float64)).dtype == "float32"


@pytest.mark.parametrize(
    ("id", "options", "sentence"),
    [
        ("TestLoose-v0", {}, "TestLoose-v0 cannot be used: .*without bounds"),
        ("TestWordy-v0", {}, "Text have no fixed shape"),
        ("TestShifted-v0", {"scael": 2.0}, "no option 'scael': did you mean scale?"),
        ("TestShifted-v0", {"repeats": 2}, "did you mean repeat?"),
        ("no_such_package:Thing-v0", {}, "Gymnasium cannot make no_such_package:Thing-v0"),
        ("CartPole-v1", {"max_steps": -1}, "max_steps must be"),
        ("CartPole-v1", {"repeat": 0}, "repeat must be"),
        ("Blackjack-v1", {"backend": "device"}, "choose from host"),
    ],
)
def test_what_cannot_be_is_one_sentence(id, options, sentence):
    with pytest.raises(UsageError, match=sentence):
        envs.make(id, **options)


def test_a_module_before_the_name_is_imported():
    assert envs.make("gymnasium:CartPole-v1").spec.action == Discrete(2)


def test_drawing():
    env = envs.make("CartPole-v1").open(0, 2, render=True)
    env.reset()
    assert [frame.shape for frame in env.render()] == [(400, 600, 3)] * 2
    with pytest.raises(UsageError, match="cannot draw"):
        envs.make("TestShifted-v0").open(0, 1, render=True)
