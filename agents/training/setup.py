"""What must be set before JAX starts computing: the compilation cache, matrix precision, determinism."""

import os

import jax

from agents.training.config import TrainConfig
from envs.cache import cache_folder


def prepare(config: TrainConfig) -> None:
    """Applies a run's settings of JAX.

    The persistent compilation cache lives in `envs.cache.cache_folder`. `deterministic` forbids GPU kernels whose sums
    depend on timing; a CPU needs no setting.
    """
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
    if config.matmul_precision != "default":
        jax.config.update("jax_default_matmul_precision", config.matmul_precision)
    if config.deterministic:
        flags = os.environ.get("XLA_FLAGS", "")
        if "xla_gpu_deterministic_ops" not in flags:
            os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
