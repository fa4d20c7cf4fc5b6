"""MBPO in PyTorch: `torch_mbpo.py TASK UPDATES` prints its parts as JSON, and seconds per 1,000 environment steps.

Seven networks are one stack of matrices, so are the two critics; parameters lie side by side, so that fused Adam moves
one tensor; policy, critics and temperature share one backward pass; the batches of an environment step are gathered at
once; freed memory is kept. `torch.compile` was tried: updates became slower, fits 1% faster. The parts are timed one by
one at the published sizes for Hopper: so many updates, one fit of a fixed number of epochs, one rollout, and steps of
the environment.

`torch_mbpo.py TASK STEPS learn [SEED]` trains, a fit ending as published, and prints a line of JSON for each epoch.
"""

import ctypes
import itertools
import json
import math
import sys
import time
from collections.abc import Callable, Iterator

import gymnasium
import numpy as np
import torch
import torch.nn.functional as F
from gymnasium.wrappers import RescaleAction
from torch import Tensor

THREADS = 2
RATIO, EVERY, STARTS = 20, 250, 100_000  # updates for each step; steps between rollouts (and fits), and their starts
BATCH, REAL_RATIO, WARM_UP, EPOCH = 256, 0.05, 5_000, 1_000
MEMBERS, ELITES = 7, 5
DECAY = (2.5e-5, 5e-5, 7.5e-5, 7.5e-5, 1e-4)  # of the weights, layer by layer
ROWS, FIT_EPOCHS = 10_240, 20  # of the fit that is timed: 32 whole batches in each epoch
CHUNK = 1_024  # states of each elite at once in a rollout: they stay in the cache

Layers = list[tuple[Tensor, Tensor]]

# ----------------------------------------------------------------------------------------------------- NETWORKS


def dense(nets: int, *sizes: int) -> Layers:
    """Weights `[nets, in, out]` and biases `[nets, 1, out]` of every layer."""

    def uniform(inside: int, *shape: int) -> Tensor:
        return torch.empty(nets, *shape).uniform_(-(inside**-0.5), inside**-0.5)

    return [(uniform(n, n, m), uniform(n, 1, m)) for n, m in itertools.pairwise(sizes)]


class Flat:
    """Parameters and gradients side by side in two vectors, of which tensors are views: Adam moves one tensor."""

    def __init__(self, tensors: list[Tensor], learning_rate: float):
        self.sizes = [tensor.numel() for tensor in tensors]
        self.vector = torch.cat([tensor.flatten() for tensor in tensors])
        self.vector.grad = torch.zeros_like(self.vector)
        parts = (self.vector.split(self.sizes), self.vector.grad.split(self.sizes))
        for tensor, own, grad in zip(tensors, *parts, strict=True):
            tensor.data = own.view(tensor.shape)
            tensor.requires_grad_().grad = grad.view(tensor.shape)
        self.adam = torch.optim.Adam([self.vector], lr=learning_rate, fused=True)

    def step(self, loss: Tensor, decay: Tensor | None = None) -> None:
        """One step down the loss and, where given, half the squares weighted by `decay`."""
        assert self.vector.grad is not None
        if decay is None:
            self.vector.grad.zero_()
        else:
            torch.mul(self.vector, decay, out=self.vector.grad)
        loss.backward()
        self.adam.step()


def forward(layers: Layers, x: Tensor, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """`[nets, B, in]` to `[nets, B, out]`."""
    *hidden, (weight, bias) = layers
    for w, b in hidden:
        x = activation(torch.baddbmm(b, x, w))
    return torch.baddbmm(bias, x, weight)


# ------------------------------------------------------------------------------------------------------ REPLAY


class Ring:
    """Rows `obs, action, reward, discount, next_obs` side by side, so that a batch is one gather."""

    def __init__(self, capacity: int, obs: int, action: int):
        self.widths = (obs, action, 1, 1, obs)
        self.rows = torch.zeros(capacity, sum(self.widths))
        self.size = self.at = 0

    def add(self, rows: Tensor) -> None:
        capacity = len(self.rows)
        first = min(len(rows), capacity - self.at)
        self.rows[self.at : self.at + first] = rows[:first]
        self.rows[: len(rows) - first] = rows[first:]
        self.at = (self.at + len(rows)) % capacity
        self.size = min(self.size + len(rows), capacity)

    def sample(self, *shape: int) -> Tensor:
        return self.rows[torch.randint(self.size, shape)]


# --------------------------------------------------------------------------------------------------------- SAC


class SAC:
    """Two critics and a policy of 256x256; critics, policy and temperature move together in one step of Adam."""

    def __init__(self, obs: int, action: int, entropy: float):
        self.widths, self.entropy = (obs, action, 1, 1, obs), entropy
        self.actor = dense(1, obs, 256, 256, 2 * action)
        self.critic = dense(2, obs + action, 256, 256, 1)
        self.log_alpha = torch.zeros(())
        self.flat = Flat([*itertools.chain(*self.critic, *self.actor), self.log_alpha], 3e-4)
        # The critics once more without gradients, in the same memory, and their targets, one vector each.
        self.frozen = [(w.detach(), b.detach()) for w, b in self.critic]
        sizes = self.flat.sizes[: 2 * len(self.critic)]
        self.own = self.flat.vector[: sum(sizes)]
        self.goal = self.own.clone()
        views = iter(self.goal.split(sizes))
        self.target = [(next(views).view(w.shape), next(views).view(b.shape)) for w, b in self.critic]

    def head(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = forward(self.actor, obs[None], torch.relu_)[0].chunk(2, -1)
        return mean, log_std.clamp(-20, 2)

    def policy(self, obs: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions `[B, A]` in (-1, 1) and their log-probabilities `[B, 1]`."""
        mean, log_std = self.head(obs)
        raw = mean + log_std.exp() * noise
        squashed = 2 * (math.log(2) - raw - F.softplus(-2 * raw))
        log_prob = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi) - squashed
        return raw.tanh(), log_prob.sum(-1, keepdim=True)

    def values(self, layers: Layers, obs: Tensor, action: Tensor) -> Tensor:
        both = torch.cat((obs, action), -1)
        return forward(layers, both.expand(2, *both.shape), torch.relu_)

    def update(self, rows: Tensor, noise: Tensor) -> None:
        """One step on `[B, row]`, with noise `[2, B, A]`."""
        obs, action, reward, discount, next_obs = rows.split(self.widths, -1)
        with torch.no_grad():
            alpha = self.log_alpha.exp()
            next_action, next_log_prob = self.policy(next_obs, noise[0])
            value = self.values(self.target, next_obs, next_action).amin(0) - alpha * next_log_prob
            goal = reward + 0.99 * discount * value
        drawn, log_prob = self.policy(obs, noise[1])
        critic = 0.5 * (self.values(self.critic, obs, action) - goal).square().mean(1).sum()
        actor = (alpha * log_prob - self.values(self.frozen, obs, drawn).amin(0)).mean()
        temperature = -self.log_alpha * (log_prob.detach().mean() + self.entropy)
        self.flat.step(critic + actor + temperature)
        self.goal.lerp_(self.own, 0.005)

    def updates(self, real: Ring, model: Ring, number: int = RATIO) -> None:
        """Updates on batches of which a share is real."""
        share = int(BATCH * REAL_RATIO)
        batches = torch.cat((real.sample(number, share), model.sample(number, BATCH - share)), 1)
        noise = torch.randn(number, 2, BATCH, self.widths[1])
        for rows, own in zip(batches, noise, strict=True):
            self.update(rows, own)


# ----------------------------------------------------------------------------------------------------- ENSEMBLE


class Ensemble:
    """Gaussian networks 4x200 of reward and change of state, on bootstrapped rows."""

    def __init__(self, obs: int, action: int):
        self.widths, out = (obs, action, 1, 1, obs), 1 + obs
        self.layers = dense(MEMBERS, obs + action, 200, 200, 200, 200, 2 * out)
        self.bounds = [torch.full((out,), value) for value in (-10.0, 0.5)]
        self.mean, self.std = torch.zeros(obs + action), torch.ones(obs + action)
        self.elites = torch.arange(ELITES)
        self.flat = Flat([*self.tensors(), *self.bounds], 1e-3)
        decays = torch.zeros(len(self.flat.sizes))
        decays[: 2 * len(DECAY) : 2] = torch.tensor(DECAY)
        self.decay = decays.repeat_interleave(torch.tensor(self.flat.sizes))

    def heads(self, layers: Layers, inputs: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_var = forward(layers, inputs, F.silu).chunk(2, -1)
        least, most = self.bounds
        log_var = most - F.softplus(most - log_var)
        return mean, least + F.softplus(log_var - least)

    def update(self, inputs: Tensor, targets: Tensor) -> None:
        """One step on `[nets, B, in]` and `[nets, B, out]`."""
        mean, log_var = self.heads(self.layers, inputs)
        likelihood = ((mean - targets).square() * (-log_var).exp() + log_var).mean((1, 2)).sum()
        self.flat.step(likelihood + 0.01 * (self.bounds[1] - self.bounds[0]).sum(), self.decay)

    def fit(self, rows: Tensor, epochs: int | None = None) -> int:
        """Fits, keeps each member's best weights and chooses the elites; returns the epochs made.

        Without a number of epochs it ends as published.
        """
        obs, action, reward, _, next_obs = rows[torch.randperm(len(rows))].split(self.widths, -1)
        inputs, targets = torch.cat((obs, action), -1), torch.cat((reward, next_obs - obs), -1)
        held = min(len(rows) // 5, 5_000)
        self.mean = inputs[held:].mean(0)
        self.std = inputs[held:].std(0).clamp_min(1e-6)
        inputs = (inputs - self.mean) / self.std
        both = torch.cat((inputs, targets), -1)[held:]
        bootstrap = torch.randint(len(both), (MEMBERS, len(both)))
        best, kept, stale = torch.full((MEMBERS,), math.inf), [w.detach().clone() for w in self.tensors()], 0
        for epoch in itertools.count(1):
            order = bootstrap.gather(1, torch.rand(bootstrap.shape).argsort(1))
            for index in order.split(BATCH, 1):
                self.update(*both[index].split((inputs.shape[1], targets.shape[1]), -1))
            with torch.no_grad():
                mean, _ = self.heads(self.layers, inputs[:held].expand(MEMBERS, -1, -1))
                error = (mean - targets[:held]).square().mean((1, 2))
                better = error < 0.99 * best
                stale = 0 if better.any() else stale + 1
                best = torch.where(better, error, best)
                for old, new in zip(kept, self.tensors(), strict=True):
                    old[better] = new[better]
            if epoch == epochs or (epochs is None and stale == 5):
                break
        with torch.no_grad():
            for old, new in zip(kept, self.tensors(), strict=True):
                new.copy_(old)
        self.elites = best.argsort()[:ELITES]
        return epoch

    def tensors(self) -> list[Tensor]:
        """The weights and biases, member by member."""
        return list(itertools.chain(*self.layers))

    @torch.inference_mode()
    def step(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Rewards and next states; every elite takes an equal share of the rows, which are in random order."""
        n, share = len(obs), -(-len(obs) // ELITES)
        inputs = F.pad((torch.cat((obs, action), -1) - self.mean) / self.std, (0, 0, 0, share * ELITES - n))
        layers = [(w[self.elites], b[self.elites]) for w, b in self.layers]
        drawn = []
        for chunk in inputs.view(ELITES, share, -1).split(CHUNK, 1):
            mean, log_var = self.heads(layers, chunk)
            drawn.append(mean.addcmul_(log_var.mul_(0.5).exp_(), torch.randn_like(mean)))
        reward, change = torch.cat(drawn, 1).flatten(0, 1)[:n].split((1, obs.shape[1]), -1)
        return reward, obs + change


@torch.inference_mode()
def rollout(model: Ensemble, sac: SAC, real: Ring, into: Ring, starts: int, horizon: int) -> None:
    """Branches from real states, by the policy, until they end."""
    obs = real.sample(starts)[:, : real.widths[0]]
    for at in range(horizon):
        if at:
            obs = obs[torch.randperm(len(obs))]
        action = torch.cat(
            [sac.policy(part, torch.randn(len(part), sac.widths[1]))[0] for part in obs.split(4 * CHUNK)]
        )
        reward, next_obs = model.step(obs, action)
        discount = hopper_healthy(next_obs)
        into.add(torch.cat((obs, action, reward, discount[:, None].float(), next_obs), -1))
        obs = next_obs[discount]


def hopper_healthy(obs: Tensor) -> Tensor:
    """Where Hopper goes on: finite, within bounds, high enough and upright."""
    return (obs[:, 1:].abs() < 100).all(1) & (obs[:, 0] > 0.7) & (obs[:, 1].abs() < 0.2)


# ----------------------------------------------------------------------------------------------------- TRAINING


def made(task: str) -> gymnasium.Env:
    """The environment, its actions between -1 and 1."""
    return RescaleAction(gymnasium.make(task), np.float32(-1), np.float32(1))


class Run:
    """An environment, its buffers, and what learns from them."""

    def __init__(self, task: str, seed: int = 0):
        torch.set_num_threads(THREADS)
        torch.manual_seed(seed)
        self.task, self.env = task, made(task)
        obs, action = self.env.observation_space.shape[0], self.env.action_space.shape[0]  # type: ignore[index]
        self.env.action_space.seed(seed)
        self.obs, _ = self.env.reset(seed=seed)
        self.sac, self.model = SAC(obs, action, entropy=-1.0), Ensemble(obs, action)
        self.sizes = obs, action
        self.real, self.imagined = Ring(1_000_000, obs, action), Ring(EPOCH // EVERY * STARTS, obs, action)

    @torch.inference_mode()
    def act(self, obs, noise: float = 1.0):
        mean, log_std = self.sac.head(torch.as_tensor(obs, dtype=torch.float32)[None])
        return (mean + noise * log_std.exp() * torch.randn_like(mean)).tanh()[0].numpy()

    def step(self, random: bool) -> None:
        action = self.env.action_space.sample() if random else self.act(self.obs)
        next_obs, reward, ended, cut, _ = self.env.step(action)
        row = itertools.chain(self.obs, action, (reward, not ended), next_obs)
        self.real.add(torch.tensor([list(map(float, row))]))
        self.obs = self.env.reset()[0] if ended or cut else next_obs

    def imagine(self, horizon: int = 1) -> None:
        rollout(self.model, self.sac, self.real, self.imagined, STARTS, horizon)

    def learn(self, steps: int) -> Iterator[dict]:
        """Trains, and tells of every epoch."""
        horizon, epochs, began = 1, 0, time.perf_counter()
        for at in range(WARM_UP + steps):
            learning = at - WARM_UP
            if learning >= 0 and learning % EVERY == 0:
                epochs = self.model.fit(self.real.rows[: self.real.size])
                now = int(min(max(1 + 14 * (at / EPOCH - 20) / 130, 1), 15))
                if now != horizon:
                    horizon, kept = now, self.imagined
                    self.imagined = Ring(EPOCH // EVERY * STARTS * now, *self.sizes)
                    self.imagined.add(kept.rows[: kept.size])
                self.imagine(horizon)
            self.step(random=learning < 0)
            if learning >= 0:
                self.sac.updates(self.real, self.imagined)
            if learning >= 0 and (learning + 1) % EPOCH == 0:
                seconds = time.perf_counter() - began
                told = {"epochs": epochs, "horizon": horizon, "seconds": seconds}
                yield {"steps": at + 1, "return": self.evaluate(), "alpha": self.sac.log_alpha.exp().item(), **told}

    def evaluate(self, episodes: int = 3) -> float:
        env, total = made(self.task), 0.0
        for seed in range(episodes):
            (obs, _), done = env.reset(seed=1_000 + seed), False
            while not done:
                obs, reward, ended, cut, _ = env.step(self.act(obs, noise=0.0))
                total, done = total + float(reward), ended or cut
        return total / episodes


# ----------------------------------------------------------------------------------------------------- MEASURING


def main(task: str, updates: int) -> tuple[dict[str, float], float]:
    """Seconds of every part, and per 1,000 environment steps."""
    run = Run(task)
    for _ in range(ROWS):
        run.step(random=True)
    rows = run.real.rows[:ROWS]

    def seconds(work: Callable[[], object], number: int = 1) -> float:
        began = time.perf_counter()
        for _ in range(number):
            work()
        return (time.perf_counter() - began) / number

    run.model.fit(rows, 1)  # Adam's first step makes its memory
    run.imagine()
    run.sac.updates(run.real, run.imagined)
    parts = {
        "a fit (s)": seconds(lambda: run.model.fit(rows, FIT_EPOCHS)),
        "a rollout (s)": seconds(run.imagine),
        "an update (ms)": 1e3 * seconds(lambda: run.sac.updates(run.real, run.imagined), updates // RATIO) / RATIO,
        "a step of the environment (ms)": 1e3 * seconds(lambda: run.step(random=False), 1_000),
    }
    fit, imagined, update, step = parts.values()
    return parts, RATIO * update + 1_000 / EVERY * (fit + imagined) + step


def keep_memory() -> None:
    """Freed memory stays with the process: touching fresh pages would cost as much as what is done with them."""
    for trim_or_map in (-1, -3):
        ctypes.CDLL(None).mallopt(trim_or_map, 2**31 - 1)


if __name__ == "__main__":
    keep_memory()
    if sys.argv[3:4] == ["learn"]:
        for told in Run(sys.argv[1], *map(int, sys.argv[4:])).learn(int(sys.argv[2])):
            print(json.dumps(told), flush=True)
    else:
        parts, total = main(sys.argv[1], int(sys.argv[2]))
        print(json.dumps(parts))
        print(total)
