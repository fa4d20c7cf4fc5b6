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
