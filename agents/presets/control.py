"""Options for continuous control."""

from typing import Any

MUJOCO: dict[str, Any] = {
    "encoder": "mlp",
    "hidden": (64, 64),
    "activation": "tanh",
    "separate": True,
    "entropy_cost": 0.0,
    "unroll": 256,
    "envs": 8,
    "epochs": 10,
    "minibatches": 32,
}


def _mbpo(
    horizon: tuple[int, int, int, int], entropy: float, actions: int, ratio: float = 20, **own: Any
) -> dict[str, Any]:
    """MBPO's own settings for a task: `horizon` as in its options, and the whole action's target entropy in nats."""
    common = {"horizon": horizon, "target_entropy": entropy / actions, "ratio": ratio}
    return {**common, "ensemble.scale_targets": False, **own}


# Janner et al., 2019, as their code has them; its version 2 of the tasks is version 5 here.
MBPO: dict[str, dict[str, Any]] = {
    "Ant-v5": _mbpo((1, 25, 20, 100), -4, 8),
    "HalfCheetah-v5": _mbpo((1, 1, 20, 150), -3, 6, ratio=40),
    "Hopper-v5": _mbpo((1, 15, 20, 150), -1, 3),
    "Humanoid-v5": {
        **_mbpo((1, 25, 20, 300), -2, 17, fit_every=1000, retain=5),
        "ensemble.hidden": (400, 400, 400, 400),
    },
    "InvertedPendulum-v5": _mbpo((1, 1, 1, 15), -0.05, 1, ratio=10, warmup=500, epoch=250),
    "Walker2d-v5": _mbpo((1, 1, 20, 150), -3, 6),
}
# Lai et al., 2021: what stays constant under their controller, and plain MBPO beside it.
AUTOMBPO: dict[str, dict[str, Any]] = {
    "Ant-v5": {**MBPO["Ant-v5"], "rollout_every": 125, "rollouts": 50_000},
    "Hopper-v5": {**MBPO["Hopper-v5"], "rollout_every": 125, "rollouts": 50_000},
    "Humanoid-v5": {**MBPO["Humanoid-v5"], "rollout_every": 250, "rollouts": 25_000},
}
# Networks and rollouts that make a thousand steps of a small task a matter of seconds on two cores.
MBPO_SMALL: dict[str, Any] = {
    "hidden": (64, 64),
    "ratio": 5.0,
    "warmup": 1000,
    "unroll": 5,
    "rollouts": 5000,
    "uniform.capacity": 20_000,
    "ensemble.hidden": (64, 64, 64),
}

# Rakelly et al., 2019, as their configurations have them, with two critics; on Meta-World those of Wang et al., 2021.
PEARL: dict[str, dict[str, Any]] = {
    "AntFwdBack-v5": {"meta_batch": 4, "context": 256},
    "AntGoal-v5": {"meta_batch": 10, "context": 256, "kl_cost": 1.0},
    "HalfCheetahDir-v5": {"meta_batch": 4, "context": 256},
    "HalfCheetahVel-v5": {"context": 100},
    "AntDir-v5": {"context": 256},
    "HumanoidDir-v5": {"context": 256},
    "*Params-v5": {"meta_batch": 10, "context": 100, "context_next_obs": True},
    "MetaWorld-*": {
        "latent": 7,
        "encoder_hidden": (400,) * 6,
        "hidden": (400, 400, 400),
        "context": 128,
        "prior_episodes": 4,
        "recent": 800,
        "reward_scale": 10.0,
        "ratio": 4000 / (15 * 1500),
    },
}
_POINT: dict[str, Any] = {
    "hidden": (64, 64),
    "encoder_hidden": (64, 64),
    "batch": 64,
    "context": 40,
    "recent": 40,
    "meta_batch": 8,
    "learning_rate": 1e-3,
    "tau": 0.01,
    "discount": 0.9,
    # Rewards of 0 to -1 a step: with PEARL's own scale its divergence would outweigh what the critics say of the task.
    "reward_scale": 50.0,
    "per_task.capacity": 4000,
    "tcl.window": 15,
}
_MUJOCO_META: dict[str, Any] = {
    "hidden": (128, 128),
    "encoder_hidden": (128, 128),
    "batch": 128,
    "meta_batch": 8,
    "ratio": 0.1,
    "learning_rate": 1e-3,
    "per_task.capacity": 5000,
    "tcl.window": 100,
}
# Small networks and updates for two cores.
PEARL_SMALL: dict[str, dict[str, Any]] = {
    "*PointRobot-v0": _POINT,
    "*Params-v5": {**_MUJOCO_META, "context_next_obs": True},
    "*-v5": _MUJOCO_META,
}
RL2_SMALL: dict[str, dict[str, Any]] = {
    "*PointRobot-v0": {
        "discount": 0.95,
        "reward_scale": 0.1,
        "entropy_cost": 0.0,
        "learning_rate": 1e-3,
        "hidden": (64,),
        "activation": "tanh",
        "core_width": 64,
        "tcl.coef": 0.1,
        "tcl.window": 15,
    },
}
