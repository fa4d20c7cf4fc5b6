"""TCL: two windows of one trajectory belong to one task, and an encoder of contexts must tell (Wang et al., 2021)."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

import losses
from agents.agent import Host, State, Windows
from agents.auxiliary.auxiliary import Auxiliary
from agents.config import require
from envs.contract import EnvSpec, PyTree
from envs.errors import UsageError

# ------------------------------------------------------------------------------------------------------- CONFIG


@dataclass(frozen=True)
class Config:
    """Options of trajectory contrastive learning."""

    coef: float = 1.0
    """Weight of the contrastive loss."""
    window: int = 128
    """Steps of a window."""
    similarity: Literal["wasserstein", "mahalanobis", "bilinear"] = "wasserstein"
    """How alike two embeddings are: as Gaussians, in units of their deviations, or under a learned product."""
    embed: Literal["window", "transition"] = "window"
    """What is embedded: a window as a whole, or each of its steps alone, whose positive is the step at its place."""
    ema_tau: float = 0.005
    """How far the encoder of keys moves towards the agent's at each update."""
    learning_rate: float = 3e-4
    """Step size of what the bilinear product learns."""

    def __post_init__(self):
        require(self.window > 0, "window", self.window, "above 0")
        require(0 < self.ema_tau <= 1, "ema_tau", self.ema_tau, "above 0 and at most 1")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "above 0")


# --------------------------------------------------------------------------------------------------------- STATE


class TCLState(NamedTuple):
    """The encoder of keys, and the weight `[D, D]` of a bilinear product with its optimiser, `()` without one."""

    key: PyTree
    params: PyTree
    opt: PyTree


# ---------------------------------------------------------------------------------------------------------- MAKE


def make(spec: EnvSpec, **options: Any) -> Auxiliary:
    """Trajectory contrastive learning over an agent's encoder of contexts.

    `loss = mean_i -log (exp s(q_i, k_i) / sum_j exp s(q_i, k_j))`, `q_i` and `k_i` the embeddings of two windows of
    the same trajectory, drawn apart, `q` by the agent's encoder and `k` by its moving average,
    `k <- (1 - tau) k + tau q`. `s` is minus the squared 2-Wasserstein distance between the embeddings, which are
    Gaussians; an encoder that gives vectors has Gaussians of deviation 0. Keys of trajectories that are known to be of
    the query's task do not count against it.

    The paper's equations embed windows; its released code embeds single transitions, shares the trunk of both encoders
    and moves the head of keys alone. `embed="transition"` is that with a key encoder that moves as a whole.

    Metrics: `accuracy`, how often the positive is the nearest key; `known`, the share of trajectories that had windows.

    Raises:
      UsageError: where a window is longer than an episode, or all trajectories are of one task.
    """
    config = Config(**options)
    if 0 < spec.max_steps < config.window:
        longest = f"no episode of {spec.id} has more than {spec.max_steps} steps"
        raise UsageError(f"tcl.window is {config.window}, and {longest}: take a shorter one.")
    if "task_id" in spec.extras and not spec.extras["task_id"].high:
        raise UsageError(f"tcl tells tasks apart, and {spec.id} has only one.")
    bilinear = config.similarity == "bilinear"
    optimizer = optax.adam(config.learning_rate) if bilinear else None

    def init(key: jax.Array, host: Host) -> TCLState:
        own = jax.tree.map(jnp.copy, lent(host).part(host.params))
        if optimizer is None:
            return TCLState(own, (), ())
        size = lent(host).width
        weight = jax.random.normal(key, (size, size)) / size**0.5
        return TCLState(own, weight, optimizer.init(weight))

    def loss(params: tuple[PyTree, PyTree], key: jax.Array, state: TCLState, batch: Any, host: Host):
        windows = lent(host)
        first, second = jax.random.split(key)
        (query, known), (other, also) = (windows.draw(part, batch, config.window) for part in (first, second))
        embed = windows.embed if config.embed == "window" else _flat(windows)
        mean_q, deviation_q = embed(windows.part(params[0]), query)
        mean_k, deviation_k = embed(state.key, other)
        if bilinear:
            similarity = losses.bilinear_similarity(mean_q, params[1], mean_k)
        elif config.similarity == "wasserstein":
            similarity = losses.wasserstein_similarity(mean_q, deviation_q, mean_k, deviation_k)
        else:
            similarity = losses.mahalanobis_similarity(mean_q, deviation_q, mean_k, deviation_k)
        times = len(mean_q) // len(known)
        counts = jnp.repeat(known & also, times)
        # Of steps alone those of the same window count too, as in the released code.
        apart = ~windows.same(batch) if times == 1 else jnp.ones_like(similarity, bool)
        allowed = apart & counts[None]
        found = losses.info_nce(similarity, allowed)
        nearest = jnp.where(allowed | jnp.eye(len(similarity), dtype=bool), similarity, -jnp.inf).argmax(1)
        mean = lambda values: jnp.where(counts, values, 0.0).sum() / jnp.maximum(counts.sum(), 1)  # noqa: E731
        accuracy = mean((nearest == jnp.arange(len(similarity))).astype(jnp.float32))
        return mean(found), {"accuracy": accuracy, "known": counts.mean(dtype=jnp.float32)}

    def after(key: jax.Array, state: TCLState, agent: State, host: Host) -> tuple[TCLState, State]:
        new = lent(host).part(agent.params)
        tau = config.ema_tau
        return state._replace(key=jax.tree.map(lambda old, new: (1 - tau) * old + tau * new, state.key, new)), agent

    def lent(host: Host) -> Windows:
        assert host.windows is not None
        if config.embed == "transition" and host.windows.each is None:
            raise UsageError(
                "tcl.embed transition needs an agent that embeds single steps, as pearl does: take window."
            )
        return host.windows

    return Auxiliary(
        name="tcl",
        needs=("windows",),
        init=init,
        loss=loss,
        after=after,
        coef=config.coef,
        optimizer=optimizer,
    )


def _flat(windows: Windows):
    """Every step of every window as an embedding of its own, `[N * W, D]`."""

    def embed(params: PyTree, steps: PyTree) -> tuple[jax.Array, jax.Array]:
        assert windows.each is not None
        mean, deviation = windows.each(params, steps)
        return mean.reshape(-1, mean.shape[-1]), deviation.reshape(-1, deviation.shape[-1])

    return embed
