"""The benchmarks: what they print, what they refuse, and that small slices of them really measure."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import agents

ROOT = Path(agents.__file__).resolve().parents[1]
TINY = {
    "envs": 4,
    "unroll": 4,
    "epochs": 1,
    "minibatches": 1,
    "encoder": "mlp",
    "hidden": (8,),
    "bebold.hidden": (8,),
    "bebold.predictor": (8,),
    "bebold.target": (8,),
    "bebold.out": 8,
}


@pytest.fixture
def module(monkeypatch):
    """A module of `scripts` by its name, such as `benchmarks.command`."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"scripts.{name}")


@pytest.fixture
def benchmark(module, capsys):
    """`benchmark("update", "--json")` gives `(code, stdout, stderr)`."""

    def run(*words):
        code = module("benchmarks.command").main(words)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def fake(module, monkeypatch, tmp_path):
    """The benchmark `update` replaced by one of value 6 with a peer `half` of value 3; its amount is 1, in full 2."""
    made = module("benchmarks.benchmark")
    script = tmp_path / "half.py"
    script.write_text("import sys\nprint('warming up')\nprint(3 * float(sys.argv[2]) if sys.argv[1] == 'x' else 0)")
    peer = made.Peer("half as fast", "json", str(script), ("x",))
    entry = made.Benchmark(
        "a fake", "steps/s", (1, 2), "rounds", lambda n: made.Measured(6.0 * n, {"rounds": n}), {"half": peer}
    )
    monkeypatch.setattr(module("benchmarks.update"), "BENCHMARK", entry)
    return script


@pytest.fixture
def tiny(module, monkeypatch):
    monkeypatch.setattr(module("benchmarks.fast_bebold"), "options", lambda: dict(TINY))
    monkeypatch.setattr(module("benchmarks.fast_bebold"), "prepare", lambda config: None)


def test_without_a_name_all_are_listed(benchmark, module):
    code, out, _ = benchmark()
    assert code == 0
    assert all(name in out for name in module("benchmarks.command").NAMES)


def test_the_list_as_json(benchmark, module):
    code, out, _ = benchmark("--json")
    listed = json.loads(out)["benchmarks"]
    assert code == 0
    assert [one["name"] for one in listed] == list(module("benchmarks.command").NAMES)
    assert {"sb3", "envpool", "farama"} <= {peer for one in listed for peer in one["peers"]}


def test_json_has_the_promised_keys_and_the_ratio(benchmark, fake):
    code, out, err = benchmark("update", "--json")
    assert (code, err) == (0, "")
    (line,) = out.splitlines()
    result = json.loads(line)
    assert list(result) == ["name", "value", "unit", "others", "peers", "ratios", "config", "hardware", "commit"]
    assert (result["name"], result["value"], result["unit"]) == ("update", 6.0, "steps/s")
    assert (result["peers"], result["ratios"]) == ({"half": 3.0}, {"half": 2.0})
    assert result["config"] == {"amount": "1 rounds", "rounds": 1}
    assert result["hardware"]["cores"] >= 1


def test_full_measures_all_of_it_on_both_sides(benchmark, fake):
    result = json.loads(benchmark("update", "--full", "--json")[1])
    assert (result["value"], result["peers"], result["config"]["rounds"]) == (12.0, {"half": 6.0}, 2)


@pytest.mark.parametrize(("words", "peers"), [((), ["half"]), (("--peer", "none"), []), (("--peer", "half"), ["half"])])
def test_peers_are_chosen(benchmark, fake, words, peers):
    assert list(json.loads(benchmark("update", "--json", *words)[1])["peers"]) == peers


def test_people_see_slice_value_and_ratio(benchmark, fake):
    code, out, _ = benchmark("update")
    assert code == 0
    assert "a slice" in out
    assert "auxin / half = 2" in out
    assert "rounds: 1" in out


def test_where_less_is_better_the_ratio_is_turned_round(benchmark, fake, module, monkeypatch):
    update = module("benchmarks.update")
    monkeypatch.setattr(update, "BENCHMARK", update.BENCHMARK._replace(less=True))
    assert json.loads(benchmark("update", "--json")[1])["ratios"] == {"half": 0.5}
    assert "half / auxin = 0.5" in benchmark("update")[1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("startp",), "there is no benchmark 'startp': did you mean startup?"),
        (("minigrid_host", "--peer", "sb4"), "there is no peer 'sb4': did you mean sb3?"),
        (("startup", "--peer", "sb3"), "there is no peer 'sb3': this benchmark has no peers."),
        (("startup", "--pear", "sb3"), "benchmark has no option --pear: did you mean --peer or --help?"),
    ],
)
def test_mistakes_are_one_sentence(benchmark, words, sentence):
    assert benchmark(*words) == (2, "", f"auxin: {sentence}\n")


def test_a_missing_peer_is_found_before_anything_is_measured(benchmark, module, monkeypatch):
    measured = []
    entry = module("benchmarks.minigrid_host").BENCHMARK._replace(measure=measured.append)
    monkeypatch.setattr(module("benchmarks.minigrid_host"), "BENCHMARK", entry)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, out, err = benchmark("minigrid_host", "--peer", "sb3")
    assert (code, out, measured) == (2, "", [])
    assert err == "auxin: the peer sb3 needs stable_baselines3, which is not installed: make bench brings it.\n"


def test_a_peer_that_fails_says_why(benchmark, fake):
    fake.write_text("raise SystemExit('no display')")
    with pytest.raises(RuntimeError, match="no display"):
        benchmark("update", "--json")


def test_minigrid_host_counts_steps_and_waiting(module, tiny):
    pytest.importorskip("envpool")
    value, config, _ = module("benchmarks.minigrid_host").measure(1)
    shares = [value for name, value in config.items() if "waited" in name]
    assert config["parameters"] > 0
    assert config["steps"] % 16 == 0
    assert 0 < value <= config["steps"]  # at least one second was measured
    assert len(shares) == 2
    assert all(0 <= share <= 1 for share in shares)


@pytest.fixture
def paused(module, tiny, monkeypatch):
    """The benchmark `nethack` on a task that steps and compiles within seconds."""
    pytest.importorskip("envpool")
    nethack = module("benchmarks.nethack")
    monkeypatch.setattr(nethack, "TASK", "MiniGrid-Empty-5x5-v0")
    monkeypatch.setattr(nethack, "options", lambda: dict(TINY))
    monkeypatch.setattr("agents.training.setup.prepare", lambda config: None)
    return nethack


def test_nethack_compares_its_parts_and_says_who_waited(paused):
    value, config, others = paused.measure(0.2)
    assert list(others) == [paused.RANDOM, paused.INSTANT, paused.WHOLE]
    assert config[f"{paused.ASLEEP} / {paused.RANDOM}"] == value / others[paused.RANDOM]
    assert 0 < value <= config["steps of an update"] / config["an update alone (s)"]  # it slept
    shares = [share for name, share in config.items() if "waited" in name]
    assert len(shares) == 4
    assert all(0 <= share <= 1 for share in shares)


def test_a_paused_learner_learns_nothing_and_one_at_work_does(paused):
    loop = paused.paused_loop()
    try:
        loop.start()
        learned = []
        for pause in (0.0, None):
            loop.advance_paused(pause)
            learned.append(int(loop.learner.state.updates))
    finally:
        loop.close()
    assert learned == [0, 1]


@pytest.mark.slow
def test_train_device_measures_every_part(module, tiny):
    _, config, _ = module("benchmarks.train_device").measure(1)
    assert config["cold compile (s)"] > 0
    assert config["8 seeds take, times one"] > 1
    assert config["acting and learning alone on stored observations (steps/s)"] > 0


@pytest.mark.slow
def test_minigrid_device_measures_every_task(module, monkeypatch, tmp_path):
    pytest.importorskip("minigrid")
    monkeypatch.setenv("AUXIN_CACHE", str(tmp_path))
    device = module("benchmarks.minigrid_device")
    monkeypatch.setattr(device, "BATCHES", (16, 32))
    value, config, others = device.measure(1)
    assert set(others) == {device.DOORS, device.CORRIDOR, device.ROOMS}
    assert value == others[device.CORRIDOR] > 1000
    assert config[f"batch of {device.ROOMS}"] in (16, 32)


@pytest.mark.slow
def test_update_is_the_sum_of_its_parts(module, tiny):
    pytest.importorskip("envpool")
    value, config, _ = module("benchmarks.update").measure(1)
    parts = [time for name, time in config.items() if name.endswith("(ms)")]
    assert value > 0
    assert sum(parts) == pytest.approx(value)


@pytest.mark.parametrize(("package", "script"), [("envpool", "envpool_steps"), ("minigrid", "farama_steps")])
def test_peers_that_only_step(module, package, script):
    pytest.importorskip(package)
    assert module(f"peers.{script}").main("MiniGrid-Empty-5x5-v0", 0.05) > 100


@pytest.fixture
def torch_mbpo(module, monkeypatch):
    """The peer with few rows and short rollouts."""
    pytest.importorskip("torch")
    pytest.importorskip("mujoco")
    peer = module("peers.torch_mbpo")
    for name, value in {"ROWS": 320, "FIT_EPOCHS": 2, "STARTS": 100}.items():
        monkeypatch.setattr(peer, name, value)
    return peer


def test_mbpo_and_its_peer_do_the_same_work(module):
    pytest.importorskip("torch")
    ours, theirs = module("benchmarks.mbpo"), module("peers.torch_mbpo")
    for name in ("RATIO", "EVERY", "STARTS", "ROWS", "FIT_EPOCHS"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert theirs.ROWS * 4 // 5 % theirs.BATCH == 0


def test_the_parts_of_torch_mbpo_make_its_total(torch_mbpo):
    parts, total = torch_mbpo.main("Hopper-v5", 20)
    fit, rollout, update, step = parts.values()
    assert min(parts.values()) > 0
    assert total == pytest.approx(20 * update + 4 * (fit + rollout) + step)


def test_the_ensemble_of_torch_mbpo_fits_and_predicts(torch_mbpo):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    obs, action = torch.randn(1_000, 3), torch.rand(1_000, 1) * 2 - 1
    after = obs + 0.5 * action + 0.1 * obs.flip(1)
    model = torch_mbpo.Ensemble(3, 1)
    rows = torch.cat((obs, action, obs.sum(1, keepdim=True), torch.ones(1_000, 1), after), 1)
    assert model.fit(rows, 30) == 30
    reward, next_obs = model.step(obs[:502], action[:502])  # no multiple of the elites
    assert (next_obs - after[:502]).square().mean() < 0.03  # 0.2 where nothing changes
    assert (reward[:, 0] - obs[:502].sum(1)).square().mean() < 0.1


def test_sac_of_torch_mbpo_prefers_what_pays(torch_mbpo):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    sac, obs = torch_mbpo.SAC(2, 1, entropy=-1.0), torch.randn(256, 2)
    first = sac.goal.clone()
    for _ in range(750):
        action = torch.rand(256, 1) * 2 - 1
        rows = torch.cat((obs, action, -10 * (action - 0.6).square(), torch.zeros(256, 1), obs), 1)
        sac.update(rows, torch.randn(2, 256, 1))
    mean, _ = sac.head(obs)
    assert abs(mean.tanh().mean().item() - 0.6) < 0.1
    assert not torch.equal(first, sac.goal)
    assert all(w.data_ptr() == f.data_ptr() for (w, _), (f, _) in zip(sac.critic, sac.frozen, strict=True))


def test_the_ring_of_torch_mbpo_wraps(torch_mbpo):
    torch = pytest.importorskip("torch")
    ring = torch_mbpo.Ring(5, 1, 1)
    for start in (0, 4):
        ring.add(torch.arange(start, start + 4.0)[:, None].expand(4, 5))
    assert ring.rows[:, 0].tolist() == [5.0, 6.0, 7.0, 3.0, 4.0]
    assert (ring.size, ring.at) == (5, 3)


@pytest.mark.slow
def test_mbpo_tells_a_fit_a_rollout_and_updates_apart(module, monkeypatch):
    pytest.importorskip("envpool")
    mbpo = module("benchmarks.mbpo")
    sizes = {"ROWS": 300, "FIT_EPOCHS": 2, "STARTS": 20, "SIZES": {"hidden": (8,), "ensemble.hidden": (8, 8)}}
    for name, value in sizes.items():
        monkeypatch.setattr(mbpo, name, value)
    monkeypatch.setattr("agents.training.setup.prepare", lambda config: None)
    value, config, _ = mbpo.measure(40)
    update = config["an update, the environment's step in it (ms)"]
    parts = config["a fit (s)"] + config["a rollout (s)"]
    assert update > 0
    assert value == pytest.approx(20 * update + 4 * parts)


def test_startup_tells_why_a_process_failed(module, monkeypatch, tmp_path):
    startup = module("benchmarks.startup")
    monkeypatch.setattr(startup, "TASK", "MiniGrid-Nowhere-v0")
    with pytest.raises(RuntimeError, match="MiniGrid-Nowhere-v0"):
        startup.first_update(tmp_path / "run", tmp_path / "cache")


@pytest.mark.slow
def test_startup_is_faster_with_a_warm_cache(module):
    pytest.importorskip("envpool")
    cold, config, _ = module("benchmarks.startup").measure(1)
    assert 0 < config["warm (s)"] < cold


@pytest.mark.slow
def test_sb3_learns_a_whole_iteration(module):
    pytest.importorskip("stable_baselines3")
    assert module("peers.sb3_ppo").main("MiniGrid-Empty-5x5-v0", 0.05) > 10


def test_the_script_runs_from_anywhere(tmp_path):
    script = str(ROOT / "scripts" / "benchmark.py")
    done = subprocess.run([sys.executable, script, "nothing"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("auxin: there is no benchmark 'nothing'")
