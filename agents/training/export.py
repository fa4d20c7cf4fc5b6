"""Export: a trained policy as one self-contained StableHLO file that runs without this project."""

from pathlib import Path
from typing import Any

import jax
from jax import export

from agents.training import saved
from envs.errors import UsageError


def export_run(run: str | Path, out: str | Path = "policy.stablehlo", checkpoint: str = "best") -> dict[str, Any]:
    """Writes the greedy policy of a run: `(obs, carry) -> (action, carry)`, any batch size, CPU and GPU.

    Parameters and the wrappers' statistics are constants inside the file. `jax.export.deserialize(bytes).call` runs
    it; `carry` begins as the zeros of its shape, with the entry `fresh` set to True (also wherever an episode begins).

    Raises:
      UsageError: if there is no run, or the file cannot be written.
    """
    opened = saved.open_run(run, checkpoint)
    policy = saved.policy(opened)
    (n,) = export.symbolic_shape("n")
    obs = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((n, *leaf.shape), leaf.dtype), policy.spec.obs)
    one = jax.eval_shape(lambda: policy.begin(1))
    carry = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((n, *leaf.shape[1:]), leaf.dtype), one)
    exported = export.export(jax.jit(policy.call), platforms=("cpu", "cuda"))(obs, carry)
    path = Path(out)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(exported.serialize())
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}.") from error
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "agent": opened.agent.name,
        "env": opened.env.spec.id,
        "step": opened.step,
        "obs": {name: f"{leaf.dtype} {leaf.shape}" for name, leaf in _named(obs)},
        "carry": {name: f"{leaf.dtype} {leaf.shape}" for name, leaf in _named(carry)},
        "platforms": list(exported.platforms),
    }


def _named(tree: Any) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]
