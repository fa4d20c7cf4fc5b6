"""Options for MiniGrid."""

from typing import Any

# The IMPALA that RIDE, BeBold and their peers share.
_TORCHBEAST: dict[str, Any] = {
    "envs": 32,
    "unroll": 100,
    "optimizer": "rmsprop",
    "learning_rate": 1e-4,
    "anneal": True,
    "max_grad_norm": 40.0,
    "trace": 1.0,
    "hidden": (1024, 1024),
    "core": "lstm",
    "core_width": 1024,
}

BEBOLD_PAPER: dict[str, Any] = {
    **_TORCHBEAST,
    "base": "impala",
    "entropy_cost": 5e-4,
    "bebold.coef": 0.05,
    "bebold.hidden": (1024, 1024),
    "bebold.predictor": (1024, 1024, 128, 128, 128),
    "bebold.target": (128, 128, 128),
}

# A wide one-hot network is the fastest on a CPU. Rewards are scaled so that values have size 1: with values of a
# hundredth, the noise of Adam's steps is larger than they are and the advantages are lost in it.
FAST: dict[str, Any] = {
    "envs": 128,
    "unroll": 64,
    "encoder": "mlp",
    "embed": 0,
    "hidden": (128, 128),
    "ignore": ("mission",),
    "epochs": 3,
    "minibatches": 4,
    "learning_rate": 5e-4,
    "entropy_cost": 0.01,
    "reward_clip": 1.0,
    "reward_scale": 20.0,
    "value_cost": 0.1,
}

# Many gradient steps on few steps of few environments: half the speed and a quarter of the steps.
_FRUGAL: dict[str, Any] = {"envs": 32, "unroll": 128, "epochs": 8, "minibatches": 8}

# A predictor that learns fast enough for what is known to stop paying: a bonus that stays high is collected for ever by
# an agent that never ends its episodes.
_PREDICTOR: dict[str, Any] = {
    "predictor": (128, 128),
    "squared": True,
    "minibatches": 4,
    "learning_rate": 1e-3,
    "terminal": "mask",
}

# An embedding that tells actions apart first of all: with the published weights it says little on MiniGrid.
_DYNAMICS: dict[str, Any] = {"forward_cost": 0.2, "inverse_cost": 0.8, "gain": 1.0, "learning_rate": 1e-3}

_SMALL_KERNELS: dict[str, Any] = {"channels": (32, 64, 64), "kernel": 2, "stride": 1}


def _of(part: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options of a part by their full names."""
    return {f"{part}.{name}": value for name, value in options.items()}


# The bonus of a whole episode stays below what the task pays.
_BEBOLD: dict[str, Any] = {"beta": 0.5, "coef": 0.001, **_PREDICTOR}
BONUSES: dict[str, Any] = {
    **_of("rnd", {"coef": 0.001, **_PREDICTOR}),
    **_of("count", {"coef": 0.005}),
    **_of("noveld", _BEBOLD),
    **_of("bebold", _BEBOLD),
    **_of("icm", {"coef": 0.0002, **_DYNAMICS}),
    **_of("ride", {"coef": 0.0003, **_DYNAMICS}),
    **_of("ngu", {"coef": 0.001}),
    **_of("e3b", {"coef": 0.003}),
    **_of("deir", _SMALL_KERNELS),
}

BEBOLD_FAST: dict[str, Any] = {**FAST, "base": "ppo", **BONUSES}
FRUGAL: dict[str, Any] = {**FAST, **_FRUGAL, **BONUSES}
BEBOLD_FRUGAL: dict[str, Any] = {**BEBOLD_FAST, **_FRUGAL}

# The TensorFlow code that the authors released. A 7x7 view has room for two of its three convolutions, and it sees
# one-hot cells where the authors' network saw numbers; their stack of four frames is `--wrap frame_stack`.
AGAC_PAPER: dict[str, Any] = {
    "envs": 1,
    "unroll": 2048,
    "epochs": 4,
    "minibatches": 8,
    "encoder": "cnn",
    "embed": 0,
    "channels": (32, 32),
    "hidden": (256,),
    "ignore": ("mission", "direction"),
    "learning_rate": 3e-4,
    "entropy_cost": 0.01,
    "value_cost": 0.5,
    "agac_c": 4e-4,
    "beta_adv": 4e-5,
    "adv_lr_scale": 0.3,
    "episodic_count.coef": 0.1,
}

# A limit on how far values may move would be in units of the scaled reward: it is left off.
AGAC_FAST: dict[str, Any] = {
    **FAST,
    "separate": False,
    "activation": "relu",
    "value_clip": 0.0,
    "agac_c": 4e-4,
    "episodic_count.coef": 0.1,
}
AGAC_FRUGAL: dict[str, Any] = {**AGAC_FAST, **_FRUGAL}

# The PPO of DEIR's released code. Layers are normalised where it has batch norm, and cells are embedded where its
# network reads the numbers themselves.
_DEIR_BASE: dict[str, Any] = {
    "envs": 16,
    "unroll": 512,
    "epochs": 4,
    "minibatches": 16,
    "backprop": "step",
    "standardise": "unroll",
    "momentum": 0.9,
    "learning_rate": 3e-4,
    "entropy_cost": 0.01,
    "value_cost": 0.5,
    "max_grad_norm": 0.5,
    "encoder": "cnn",
    **_SMALL_KERNELS,
    "norm": True,
    "hidden": (64,),
    "core": "gru",
    "core_width": 64,
    "heads": (256,),
    "ignore": ("mission", "direction"),
}
DEIR: dict[str, Any] = {**_DEIR_BASE, "bonus": "deir", **_of("deir", _SMALL_KERNELS)}
# Its weight is that of our novelty, a norm; the released code has 0.03 for the mean square of the same difference.
NOVELD: dict[str, Any] = {**_DEIR_BASE, "bonus": "noveld", **_of("noveld", _BEBOLD)}

# Small rooms and short ways, and all the others: the commands of RIDE's released code.
_RIDE: dict[str, Any] = {**_TORCHBEAST, "bonus": "ride", "reward_clip": 1.0}
_RIDE_NEAR: dict[str, Any] = {**_RIDE, "ride.coef": 0.1, "entropy_cost": 5e-4}
_RIDE_FAR: dict[str, Any] = {**_RIDE, "ride.coef": 0.5, "entropy_cost": 1e-3}
RIDE: dict[str, dict[str, Any]] = {
    "MiniGrid-MultiRoom-N*-S4-*": _RIDE_NEAR,
    "MiniGrid-KeyCorridor*": _RIDE_NEAR,
    "MiniGrid-*": _RIDE_FAR,
}
