"""The benchmark of PEARL and its peer: the same work on both sides, and a peer that really infers tasks and learns."""

import importlib
from pathlib import Path

import pytest

import agents

ROOT = Path(agents.__file__).resolve().parents[1]
NETS = {"ENCODER": (16, 16), "HIDDEN": (16, 16), "THREADS": 1}
NARROW = {**NETS, "TASKS": 20, "RECORDS": 60, "CONTEXTS": 40, "BATCH": 8, "CONTEXT": 5}


@pytest.fixture
def module(monkeypatch):
    """A module of `scripts` by its name, such as `benchmarks.command`."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"scripts.{name}")


@pytest.fixture
def torch():
    found = pytest.importorskip("torch")
    found.manual_seed(0)
    precision, threads = found.get_float32_matmul_precision(), found.get_num_threads()
    found.set_num_threads(1)  # two wait for each other where the processor is busy
    yield found
    found.set_num_threads(threads)
    found.set_float32_matmul_precision(precision)


@pytest.fixture
def peer(torch, module):
    return module("peers.torch_pearl")


@pytest.fixture
def narrow(peer, monkeypatch):
    """The peer with small networks, buffers and batches."""
    for name, value in NARROW.items():
        monkeypatch.setattr(peer, name, value)
    return peer


def bandit(torch, pearl, number):
    """Records and contexts `[2, number, ...]` of two tasks that pay for actions near 0.5 and -0.5."""
    action = torch.rand(2, number, 1) * 2 - 1
    reward = 0.2 - (action - torch.tensor([0.5, -0.5])[:, None, None]).square()
    obs = torch.zeros(2, number, 1)
    return torch.cat((obs, action, reward, obs, obs), -1), torch.cat((obs, action, reward), -1)


def test_pearl_and_its_peer_do_the_same_work(module, peer):
    ours = module("benchmarks.pearl")
    sizes = (peer.META_BATCH, peer.BATCH, peer.CONTEXT, peer.LATENT, peer.ENCODER, peer.HIDDEN)
    assert tuple(ours.SIZES.values()) == sizes
    assert (ours.TASKS, ours.RECORDS, ours.CONTEXTS) == (peer.TASKS, peer.RECORDS, peer.CONTEXTS)
    assert list(ours.SIZES) == ["meta_batch", "batch", "context", "latent", "encoder_hidden", "hidden"]


def test_the_settings_of_the_peer_are_those_of_pearl(peer):
    from agents.pearl import Config

    config = Config()
    assert (config.reward_scale, config.discount, config.tau) == (peer.REWARD_SCALE, peer.GAMMA, peer.TAU)
    assert (config.kl_cost, config.policy_decay) == (peer.KL, peer.REGULARISER)
    assert (config.learning_rate, config.meta_batch) == (peer.LEARNING_RATE, peer.META_BATCH)


@pytest.mark.parametrize("library", ["default", "onednn"])
def test_a_narrow_peer_measures(narrow, library):
    assert narrow.main(library, 3, 2, 3) > 1


def test_the_product_of_gaussians_is_that_of_one_after_the_other(torch, peer):
    mean, variance = torch.randn(3, 7, 4), torch.rand(3, 7, 4) + 0.1
    middle, spread = mean[:, 0], variance[:, 0]
    for m, v in zip(mean.unbind(1)[1:], variance.unbind(1)[1:], strict=True):
        middle, spread = (middle * v + m * spread) / (spread + v), spread * v / (spread + v)
    torch.testing.assert_close(peer.product(mean, variance), (middle, spread))


def test_the_density_of_the_policy_is_that_of_a_squashed_gaussian(torch, narrow):
    pearl, seen, noise = narrow.PEARL(3, 2, 20), torch.randn(9, 8), torch.randn(9, 2)
    action, log_prob, mean, log_std = pearl.policy(seen, noise)
    base = torch.distributions.Normal(mean, log_std.exp())
    squashed = torch.distributions.TransformedDistribution(base, torch.distributions.TanhTransform(cache_size=1))
    assert torch.equal(action, (mean + log_std.exp() * noise).tanh())
    torch.testing.assert_close(log_prob[:, 0], squashed.log_prob(action).sum(-1), rtol=1e-3, atol=1e-3)


def test_records_are_drawn_of_the_tasks_that_are_asked_for(torch, peer):
    rows = torch.arange(60.0).view(5, 6, 2)
    tasks = torch.tensor([3, 0])
    found = peer.drawn(rows, tasks, 50)
    assert found.shape == (2, 50, 2)
    assert [sorted(set(task[:, 0].tolist())) for task in found] == [rows[3, :, 0].tolist(), rows[0, :, 0].tolist()]
    assert torch.equal(found[..., 1], found[..., 0] + 1)


def test_only_critics_and_divergence_teach_the_encoder(torch, narrow):
    pearl = narrow.PEARL(3, 2, 20)
    tasks = torch.tensor([4, 7])
    critic, divergence, actor, temperature = pearl.losses(torch.randn(2, 8, 10), torch.randn(2, 5, 6), tasks)

    def moved(loss, layers):
        weights = [w for w, _ in layers]
        grads = torch.autograd.grad(loss, weights, retain_graph=True, allow_unused=True)
        return any(grad is not None and bool(grad.any()) for grad in grads)

    taught = [[moved(loss, net) for net in (pearl.encoder, pearl.critic, pearl.actor)] for loss in (critic, actor)]
    assert taught == [[True, True, False], [False, False, True]]
    assert (moved(divergence, pearl.encoder), moved(divergence, pearl.critic)) == (True, False)
    (grad,) = torch.autograd.grad(temperature, pearl.log_alpha)
    assert grad.nonzero()[:, 0].tolist() == [4, 7]


def test_targets_follow_the_critics(torch, narrow):
    pearl = narrow.PEARL(3, 2, 20)
    first = pearl.goal.clone()
    pearl.update(narrow.made(60, 3, 2), narrow.made(40, 3, 2)[..., :6])
    torch.testing.assert_close(pearl.goal, first + narrow.TAU * (pearl.own - first))
    assert not torch.equal(pearl.goal, first)
    assert all(w.data_ptr() == f.data_ptr() for (w, _), (f, _) in zip(pearl.critic, pearl.frozen, strict=True))


def test_the_peer_infers_tasks_and_does_what_pays_in_each(torch, narrow, monkeypatch):
    for name, value in {"META_BATCH": 2, "BATCH": 64, "CONTEXT": 16, "LEARNING_RATE": 3e-3}.items():
        monkeypatch.setattr(narrow, name, value)
    pearl = narrow.PEARL(1, 1, 2)
    records, contexts = bandit(torch, pearl, 500)
    losses = torch.stack([pearl.update(records, contexts) for _ in range(400)])
    assert losses[-50:, 0].mean() < 0.2 * losses[:20, 0].mean()
    latent, _ = pearl.posterior(contexts[:, :100])
    _, _, mean, _ = pearl.policy(torch.cat((torch.zeros(2, 1), latent), -1), torch.zeros(2, 1))
    right, left = mean.tanh()[:, 0].tolist()
    assert right > 0.2
    assert left < -0.2


@pytest.mark.slow
def test_pearl_measures_updates(module, monkeypatch):
    pytest.importorskip("envpool")
    pearl = module("benchmarks.pearl")
    sizes = {"meta_batch": 4, "batch": 8, "context": 6, "encoder_hidden": (8,), "hidden": (8,)}
    for name, value in {"TASKS": 10, "RECORDS": 12, "CONTEXTS": 8, "SIZES": sizes}.items():
        monkeypatch.setattr(pearl, name, value)
    monkeypatch.setattr("agents.training.setup.prepare", lambda config: None)
    rate, config, _ = pearl.measure(30)
    assert rate > 1
    assert config["loss of the critics"] > 0


def test_the_buffers_of_the_benchmark_are_full(module, monkeypatch):
    pytest.importorskip("envpool")
    import envs

    pearl = module("benchmarks.pearl")
    for name, value in {"TASKS": 3, "RECORDS": 7, "CONTEXTS": 4}.items():
        monkeypatch.setattr(pearl, name, value)
    spec = envs.make(pearl.TASK, backend="host", tasks=3).spec
    options = {"encoder_hidden": (8,), "hidden": (8,), "recent": 4, "per_task.capacity": 7}
    agent = agents.make("pearl", spec, envs=3, **options)
    _, stored = pearl.filled(agent, spec)
    assert stored.all.size.tolist() == [7] * 3
    assert stored.recent.size.tolist() == [4] * 3
    assert stored.all.items.timestep.extras["task_id"].tolist() == [[task] * 7 for task in range(3)]
    assert float(stored.all.items.start.obs.std()) > 0.5
