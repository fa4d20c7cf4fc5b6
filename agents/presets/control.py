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
