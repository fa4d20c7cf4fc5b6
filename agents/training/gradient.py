"""The one place that differentiates an agent's loss.

It joins the agent's loss with its auxiliaries', averages over devices, hands an optimiser the extras it may need,
and keeps a non-finite step from touching anything.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from agents.agent import Host
from agents.auxiliary import pipeline as hooks
from agents.auxiliary.pipeline import Pipeline
from envs.contract import PyTree

Terms = dict[str, jax.Array]


class Trained(NamedTuple):
    """What one gradient step moves: parameters, the optimiser's state, and the auxiliaries' states."""

    params: PyTree
    opt: PyTree
    auxiliaries: dict[str, PyTree]


def step(
    loss: Callable[[PyTree, jax.Array, Any], tuple[Terms, dict[str, jax.Array]]],
    optimizer: optax.GradientTransformation,
    pipeline: Pipeline,
    key: jax.Array,
    trained: Trained,
    batch: Any,
    host: Host,
    *,
    rollout: Callable[[Any], Any] = lambda batch: batch,
    records: Callable[[Any], Any] | None = None,
    axis: str | None = None,
) -> tuple[Trained, dict[str, jax.Array]]:
    """One gradient step: `params <- params - learning_rate * optimizer(grad(sum of terms))`.

    Args:
      loss: `(params, key, batch) -> (terms, metrics)`; the agent's terms by name, summed here. A term that an
        auxiliary replaces is left out.
      optimizer: a direction, not scaled by a learning rate; the knob `learning_rate` scales it. It is handed
        `value`, `grad_fn` (params to gradient on this batch), `local` (this device's gradient, before the mean) and,
        where `records` is given, `per_example(chunk)` (gradients of single records, `[N, ...]`).
      pipeline: the auxiliaries; their `reparam` and `loss` hooks run inside the gradient.
      key: for the losses.
      trained: what moves.
      batch: anything that `loss` takes.
      host: lent to the auxiliaries.
      rollout: the part of `batch` that auxiliaries see.
      records: `(batch) -> batches of one record each`, stacked on a leading axis.
      axis: name of the device axis to average over, if any.

    Returns:
      `trained` moved, or as it was where the loss or a gradient is not finite, and metrics, among them `nonfinite`
      (0 or 1) and `nonfinite_leaf` (index into `leaf_paths(params)`, -1 for none, the loss alone included).
    """
    params, opt, states = trained
    own = hooks.own_params(pipeline, states)

    def total(both, batch):
        live = hooks.reparam(pipeline, states, both[0])
        terms, metrics = loss(live, key, batch)
        extra, replaced, found = hooks.loss(pipeline, (live, both[1]), key, states, rollout(batch), host)
        kept = {name: term for name, term in terms.items() if name not in replaced}
        scalar = sum((kept | extra).values(), jnp.zeros(()))
        return scalar, {**{f"{name}_loss": term for name, term in kept.items()}, **metrics, **found}

    both = (params, own)
    if axis is not None:
        # Without the cast, differentiating replicated parameters would already sum over the devices.
        both = jax.tree.map(lambda leaf: jax.lax.pcast(leaf, axis, to="varying"), both)
    (value, metrics), local = jax.value_and_grad(total, has_aux=True)(both, batch)
    gradients = local if axis is None else jax.lax.pmean(local, axis)
    if axis is not None:
        value, metrics = jax.lax.pmean((value, metrics), axis)

    def grad_fn(at):
        found = jax.grad(lambda at: total((at, both[1]), batch)[0])(at)
        return found if axis is None else jax.lax.pmean(found, axis)

    def per_example(chunk: int = 32):
        if records is None:
            raise TypeError("this agent's batch does not split into records")
        single = jax.grad(lambda at, record: total((at, both[1]), record)[0])
        return jax.lax.map(lambda record: single(both[0], record), records(batch), batch_size=chunk)

    direction, moved_opt = optax.with_extra_args_support(optimizer).update(
        gradients[0], opt, params, value=value, grad_fn=grad_fn, per_example=per_example, local=local[0]
    )
    moved = optax.apply_updates(params, jax.tree.map(lambda d: -host.knobs["learning_rate"] * d, direction))

    def apply(own_optimizer, gradient, own_opt, own_param):
        updates, own_opt = own_optimizer.update(gradient, own_opt, own_param)
        return optax.apply_updates(own_param, updates), own_opt

    moved_states = hooks.move_own(pipeline, states, gradients[1], apply)

    broken = jnp.stack([~jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients)])
    finite = jnp.isfinite(value) & ~broken.any()
    trained = jax.tree.map(
        lambda new, old: jnp.where(finite, new, old), Trained(moved, moved_opt, moved_states), trained
    )
    metrics["loss"] = value
    metrics["gradient_norm"] = optax.global_norm(gradients[0])
    metrics["nonfinite"] = (~finite).astype(jnp.float32)
    metrics["nonfinite_leaf"] = jnp.where(broken.any(), jnp.argmax(broken), -1).astype(jnp.float32)
    return trained, metrics


def by_part(parts: dict[str, optax.GradientTransformation]) -> optax.GradientTransformationExtraArgs:
    """Each top-level part of the parameters with a transform of its own, its clip and its statistics included.

    What `optax.multi_transform` does, but the extras that `step` hands over are cut to the part as well.
    """
    own = {name: optax.with_extra_args_support(part) for name, part in parts.items()}

    def init(params):
        return {name: part.init(params[name]) for name, part in own.items()}

    def update(updates, state, params=None, *, grad_fn, per_example, local, **extra):
        moved, after = {}, {}
        for name, part in own.items():
            moved[name], after[name] = part.update(
                updates[name],
                state[name],
                params[name],
                grad_fn=lambda at, name=name: grad_fn({**params, name: at})[name],
                per_example=lambda *chunk, name=name, **named: per_example(*chunk, **named)[name],
                local=local[name],
                **extra,
            )
        return moved, after

    return optax.GradientTransformationExtraArgs(init, update)


def leaf_paths(params: PyTree, own: dict[str, PyTree] | None = None) -> list[str]:
    """Names of the leaves in the order that `nonfinite_leaf` counts them."""
    trees = (params, own or {})
    return [jax.tree_util.keystr(path) for tree in trees for path, _ in jax.tree_util.tree_leaves_with_path(tree)]


_WORST = ("nonfinite", "nonfinite_leaf")  # of what must not be missed the worst counts


def over_steps(metrics: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """One value of each metric for several gradient steps: their mean, but the worst of what must not be missed."""
    return {name: value.max() if name in _WORST else value.mean() for name, value in metrics.items()}


def joined(so_far: dict[str, jax.Array], metrics: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """`over_steps` one step at a time, for loops without a fixed length: the sum, or the worst, so far."""
    return {
        name: jnp.maximum(so_far[name], value) if name in _WORST else so_far[name] + value
        for name, value in metrics.items()
    }


def averaged(so_far: dict[str, jax.Array], count: jax.Array) -> dict[str, jax.Array]:
    """What `over_steps` gives of the `count` steps that were `joined`."""
    return {name: value if name in _WORST else value / count for name, value in so_far.items()}
