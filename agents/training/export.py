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
    it; `carry` is a flat dict of arrays that begins as zeros, its entry `fresh` as True (also where an episode begins).

    Raises:
      UsageError: if there is no run, or the file cannot be written.
    """
    opened = saved.open_run(run, checkpoint)
    policy = saved.policy(opened)
    (n,) = export.symbolic_shape("n")
    obs = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((n, *leaf.shape), leaf.dtype), policy.spec.obs)
    one = jax.eval_shape(lambda: policy.begin(1))
    carry = {name: jax.ShapeDtypeStruct((n, *leaf.shape[1:]), leaf.dtype) for name, leaf in _named(one)}

    def call(obs, carry):
        # Whoever runs the file need not know the classes that hold the memory here.
        memory = jax.tree.unflatten(jax.tree.structure(one), [carry[name] for name, _ in _named(one)])
        action, after = policy.call(obs, memory)
        return action, dict(_named(after))

    exported = export.export(jax.jit(call), platforms=("cpu", "cuda"))(obs, carry)
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
        "carry": {name: f"{leaf.dtype} {leaf.shape}" for name, leaf in carry.items()},
        "platforms": list(exported.platforms),
    }


def _named(tree: Any) -> list[tuple[str, Any]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf) for path, leaf in leaves]
