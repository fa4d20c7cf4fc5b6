"""PEARL's meta-update in PyTorch: `torch_pearl.py LIBRARY OBS ACTION UPDATES` prints meta-updates per second.

The variant that builds on SAC with two critics, their targets and a temperature for each training task; one update is
16 tasks, 100 records of context and 256 records to learn from for each, drawn from full buffers of 100 tasks. All
tasks are one batch; the two critics are one stack of matrices; parameters lie side by side, so that fused Adam moves
one tensor; encoder, policy, critics and temperatures share one backward pass; freed memory is kept. `torch.compile` was
tried: updates took a sixth to a half longer. Nine tenths of the time are products of matrices, and `LIBRARY` says what
makes them on a CPU: `default`, which is MKL, or `onednn`, which is twice as fast where MKL does not use all of an AMD
processor. A CUDA device is used where there is one, the whole update as one graph.
"""

import ctypes
import itertools
import math
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

THREADS = 2
TASKS, RECORDS, CONTEXTS = 100, 2_000, 400  # training tasks, and what the two buffers hold of each
META_BATCH, BATCH, CONTEXT = 16, 256, 100  # tasks of an update, and records of each: to learn from, and as context
LATENT, ENCODER, HIDDEN = 5, (200, 200, 200), (300, 300, 300)
REWARD_SCALE, GAMMA, TAU, LEARNING_RATE = 5.0, 0.99, 0.005, 3e-4
KL, REGULARISER = 0.1, 1e-3  # weights: of the posterior's divergence, of the policy's means and deviations
WARM_UP = 10  # updates before the clock starts

Layers = list[tuple[Tensor, Tensor]]

# ----------------------------------------------------------------------------------------------------- NETWORKS


def dense(nets: int, *sizes: int) -> Layers:
    """Weights `[nets, in, out]` and biases `[nets, 1, out]` of every layer."""

    def uniform(inside: int, *shape: int) -> Tensor:
        return torch.empty(nets, *shape).uniform_(-(inside**-0.5), inside**-0.5)

    return [(uniform(n, n, m), uniform(n, 1, m)) for n, m in itertools.pairwise(sizes)]


def forward(layers: Layers, x: Tensor) -> Tensor:
    """`[nets, B, in]` to `[nets, B, out]`."""
    *hidden, (weight, bias) = layers
    for w, b in hidden:
        x = torch.relu_(torch.baddbmm(b, x, w))
    return torch.baddbmm(bias, x, weight)


class Flat:
    """Parameters and gradients side by side in two vectors, of which tensors are views: Adam moves one tensor."""

    def __init__(self, tensors: list[Tensor]):
        self.sizes = [tensor.numel() for tensor in tensors]
        self.vector = torch.cat([tensor.flatten() for tensor in tensors])
        self.grad = self.vector.grad = torch.zeros_like(self.vector)
        parts = (self.vector.split(self.sizes), self.grad.split(self.sizes))
        for tensor, own, grad in zip(tensors, *parts, strict=True):
            tensor.data = own.view(tensor.shape)
            tensor.requires_grad_().grad = grad.view(tensor.shape)
        self.adam = torch.optim.Adam([self.vector], lr=LEARNING_RATE, fused=True, capturable=self.vector.is_cuda)

    def step(self, loss: Tensor) -> None:
        self.grad.zero_()
        loss.backward()
        self.adam.step()


# ------------------------------------------------------------------------------------------------------ BUFFERS


def drawn(rows: Tensor, tasks: Tensor, number: int) -> Tensor:
    """So many records of each of the tasks: of `[T, capacity, width]`, at `[M]`, they are `[M, number, width]`."""
    capacity, width = rows.shape[1:]
    places = tasks[:, None] * capacity + torch.randint(capacity, (len(tasks), number))
    return rows.view(-1, width)[places.view(-1)].view(*places.shape, width)


# -------------------------------------------------------------------------------------------------------- PEARL


def product(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of the product of `N` Gaussians: `[M, N, L]` to `[M, L]`."""
    precision = variance.clamp_min(1e-7).reciprocal()
    whole = precision.sum(1).reciprocal()
    return whole * (precision * mean).sum(1), whole


class PEARL:
    """A context encoder, and SAC whose policy and two critics see the task that it infers."""

    def __init__(self, obs: int, action: int, tasks: int):
        self.widths, self.entropy = (obs, action, 1, 1, obs), -float(action)
        self.encoder = dense(1, obs + action + 1, *ENCODER, 2 * LATENT)
        self.actor = dense(1, obs + LATENT, *HIDDEN, 2 * action)
        self.critic = dense(2, obs + action + LATENT, *HIDDEN, 1)
        self.log_alpha = torch.zeros(tasks)
        networks = (self.critic, self.actor, self.encoder)
        self.flat = Flat([*itertools.chain(*itertools.chain(*networks)), self.log_alpha])
        # The critics once more without gradients, in the same memory, and their targets, one vector each.
        self.frozen = [(w.detach(), b.detach()) for w, b in self.critic]
        sizes = self.flat.sizes[: 2 * len(self.critic)]
        self.own = self.flat.vector[: sum(sizes)]
        self.goal = self.own.clone()
        views = iter(self.goal.split(sizes))
        self.target = [(next(views).view(w.shape), next(views).view(b.shape)) for w, b in self.critic]

    def posterior(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance `[M, L]` of the task, by records `obs, action, reward` `[M, N, width]`."""
        heads = forward(self.encoder, context.flatten(0, 1)[None]).view(*context.shape[:2], -1)
        mean, raw = heads.chunk(2, -1)
        return product(mean, F.softplus(raw))

    def policy(self, seen: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Actions `[R, A]` in (-1, 1), their log-probabilities `[R, 1]`, the means and log-deviations before tanh."""
        mean, log_std = forward(self.actor, seen[None])[0].chunk(2, -1)
        log_std = log_std.clamp(-20, 2)
        raw = mean + log_std.exp() * noise
        squashed = 2 * (math.log(2) - raw - F.softplus(-2 * raw))
        log_prob = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi) - squashed
        return raw.tanh(), log_prob.sum(-1, keepdim=True), mean, log_std

    def values(self, layers: Layers, *seen: Tensor) -> Tensor:
        """`[2, R, 1]`."""
        both = torch.cat(seen, -1)
        return forward(layers, both.expand(2, *both.shape))

    def losses(self, records: Tensor, context: Tensor, tasks: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of critics, posterior, policy and temperatures, on `[M, B, record]`, `[M, N, width]` and `[M]`."""
        number = records.shape[1]
        obs, action, reward, discount, next_obs = records.flatten(0, 1).split(self.widths, -1)
        mean, variance = self.posterior(context)
        inferred = mean + variance.sqrt() * torch.randn_like(mean)
        latent = inferred.repeat_interleave(number, 0, output_size=len(obs))
        known = latent.detach()
        log_alpha = self.log_alpha[tasks]
        alpha = log_alpha.detach().exp().repeat_interleave(number, output_size=len(obs))[:, None]
        noise = torch.randn(2, *action.shape)

        with torch.inference_mode():
            next_action, next_log_prob, *_ = self.policy(torch.cat((next_obs, known), -1), noise[0])
            value = self.values(self.target, next_obs, next_action, known).amin(0) - alpha * next_log_prob
            goal = REWARD_SCALE * reward + GAMMA * discount * value
        critic = (self.values(self.critic, obs, action, latent) - goal).square().mean(1).sum()
        divergence = 0.5 * (mean.square() + variance - 1 - variance.log()).sum()

        chosen, log_prob, middle, log_std = self.policy(torch.cat((obs, known), -1), noise[1])
        actor = (alpha * log_prob - self.values(self.frozen, obs, chosen, known).amin(0)).mean()
        actor = actor + REGULARISER * (middle.square().mean() + log_std.square().mean())
        excess = log_prob.detach().view(len(tasks), number).mean(1) + self.entropy
        return critic, KL * divergence, actor, -(log_alpha.exp() * excess).mean()

    def update(self, records: Tensor, contexts: Tensor) -> Tensor:
        """One meta-update on tasks drawn out of `[T, capacity, ...]`, each at most once; the losses `[4]`."""
        tasks = torch.rand(len(records)).topk(META_BATCH).indices
        losses = torch.stack(self.losses(drawn(records, tasks, BATCH), drawn(contexts, tasks, CONTEXT), tasks))
        self.flat.step(losses.sum())
        self.goal.lerp_(self.own, TAU)
        return losses.detach()


# ----------------------------------------------------------------------------------------------------- MEASURING


def main(library: str, obs: int, action: int, updates: int) -> float:
    """Meta-updates per second, their sampling counted, after the first ones."""
    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    cuda = torch.cuda.is_available()
    torch.set_default_device("cuda" if cuda else "cpu")
    multiply(library)
    pearl = PEARL(obs, action, TASKS)
    records, contexts = made(RECORDS, obs, action), made(CONTEXTS, obs, action)[..., : obs + action + 1].contiguous()

    def update() -> object:
        return pearl.update(records, contexts)

    if cuda:
        update = graph(update)
    for _ in range(WARM_UP):
        update()
    wait = torch.cuda.synchronize if cuda else lambda: None
    wait()
    began = time.perf_counter()
    for _ in range(updates):
        update()
    wait()
    return updates / (time.perf_counter() - began)


def multiply(library: str) -> None:
    """Chooses what makes products.

    A CUDA device rounds as it does for JAX. On a CPU oneDNN is only asked where less than single precision would do,
    and reduces it only where there are units for that.

    Raises:
      RuntimeError: where this processor has such units, so that the work would not be the same.
    """
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")
    elif library == "onednn":
        torch.set_float32_matmul_precision("medium")
        left, right = torch.randn(1, 512, 300), torch.randn(1, 300, 300)
        if (left @ right - left.double() @ right.double()).abs().max() > 1e-3:
            raise RuntimeError("oneDNN multiplies in less than single precision on this processor: take default.")


def made(capacity: int, obs: int, action: int) -> Tensor:
    """A full buffer of random records `obs, action, reward, discount, next_obs` of every task."""
    shape = TASKS, capacity
    acted, going = torch.rand(*shape, action) * 2 - 1, torch.ones(*shape, 1)
    return torch.cat((torch.randn(*shape, obs), acted, torch.randn(*shape, 1), going, torch.randn(*shape, obs)), -1)


def graph(work: Callable[[], object]) -> Callable[[], object]:
    """The same work as one CUDA graph, for launching its kernels one by one takes longer than they do."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        work()
    return recorded.replay


def keep_memory() -> None:
    """Freed memory stays with the process: touching fresh pages would cost as much as what is done with them."""
    for trim_or_map in (-1, -3):
        ctypes.CDLL(None).mallopt(trim_or_map, 2**31 - 1)


if __name__ == "__main__":
    keep_memory()
    print(main(sys.argv[1], *map(int, sys.argv[2:5])))
