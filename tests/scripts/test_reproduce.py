"""`reproduce`: tiny plans run, killed, and run on; nothing twice; what claims need; the papers' own plans are sound."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import agents
import envs
from agents.training.provenance import plain
from envs import wrappers

ROOT = Path(agents.__file__).resolve().parents[1]
STEPS = 8192
TINY = {"envs": 8, "unroll": 16, "epochs": 1, "minibatches": 1, "encoder": "mlp", "hidden": (8,)}
EMPTY = {"success": [0, 0], "returns": [0.0, 0.0], "lengths": [2, 2], "steps_to_solved": None}


@pytest.fixture
def module(monkeypatch):
    """A module of `scripts.reproductions` by its name."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"scripts.reproductions.{name}")


@pytest.fixture
def tiny(module, monkeypatch):
    """The budget `tiny` of bebold: two agents, one seed each, in a toy; a further table shares the first of them."""
    made = module("plan")

    def trial(label, **options):
        options = {"agent": "ppo", "task": "PointMass-v0", "steps": STEPS, "preset": "", "options": TINY} | options
        return made.Trial(label, **options)

    def plan(*trials):
        first, second = trials or (trial("slow"), trial("fast", options={**TINY, "learning_rate": 1e-2}))
        tables = {
            "first": made.Table("two rates", (first, second), (made.Claim("fast wins", "fast", ("slow",)),)),
            "second": made.Table("the slow one alone", (first,), (made.Claim("slow is enough", "slow", least=0.5),)),
        }
        return made.Plan("a tiny plan", tables, seeds=1)

    def install(*trials):
        monkeypatch.setitem(module("bebold").BUDGETS, "tiny", lambda: plan(*trials))

    install()
    plan.trial, plan.install = trial, install
    return plan


@pytest.fixture
def reproduce(module, tmp_path, capsys):
    """`reproduce(...)` runs bebold's tiny plan in `tmp_path` and gives `(code, stdout, stderr)`."""

    def run(*words):
        code = module("command").main(["bebold", "--budget", "tiny", "--out", str(tmp_path), *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def played(module, monkeypatch):
    """Seeds are finished at once, without being trained; the list of their labels."""
    runs, labels = module("runs"), []

    def finish(seed, trial, asked, quiet):
        labels.append(trial.label)
        notes = {"trial": trial._asdict(), "seed": seed.number, "steps": trial.steps, "options": {}, "commit": "abc"}
        notes |= {"hardware": {}, "packages": {}, "rate": {"steps": trial.steps, "seconds": 2.0}}
        seed.folder.mkdir(parents=True)
        (seed.folder / "metrics.jsonl").write_text("")
        (seed.folder / "score.json").write_text(json.dumps(EMPTY | notes))

    monkeypatch.setattr(runs, "finish", finish)
    return labels


def rows(folder):
    """A run's metrics without what depends on time."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "clock"} for row in found]


def test_a_plan_is_run_once(reproduce, tiny, module, tmp_path, monkeypatch):
    code, out, err = reproduce("--json")
    assert (code, err) == (0, "")
    (line,) = out.splitlines()
    result = json.loads(line)
    assert {"seeds", "steps", "interval", "commit", "hardware", "measure", "share", "tables"} <= result.keys()
    assert (result["name"], result["seeds"], result["steps"]) == ("bebold_tiny", [0], 2 * STEPS)
    fast = result["tables"]["first"]["trials"]["fast"]
    assert (fast["agent"], fast["task"], fast["steps"], fast["seeds"]) == ("ppo", "PointMass-v0", STEPS, [0])
    assert fast["options"]["learning_rate"] == 0.01
    low, high = fast["success"]["interval"]
    assert 0 <= low <= fast["success"]["mean"] <= high <= 1
    assert low < high  # Wilson's, for a single seed
    assert result["command"] == "python scripts/reproduce.py bebold --budget tiny"
    assert result["tables"]["first"]["claims"][0]["verdict"] in ("held", "not reproduced")
    # The second table has no run of its own: its trial is the first's.
    assert (
        result["tables"]["second"]["trials"]["slow"]["success"]
        == result["tables"]["first"]["trials"]["slow"]["success"]
    )
    assert not (tmp_path / "second").exists()
    assert result["pictures"] == ["first.png", "second.png"]
    assert json.loads((tmp_path / "RESULT.json").read_text()) == result

    monkeypatch.setattr(agents, "train", None)  # would be called for anything that is left
    assert json.loads(reproduce("--json")[1])["tables"] == result["tables"]
    code, out, _ = reproduce()
    assert code == 0
    assert "first/slow   1 of 1" in out
    assert "nothing is left to run." in out
    assert "slow is enough" in out

    where = tmp_path / "public"
    module("result").publish(result, tmp_path, where)
    assert sorted(path.name for path in where.iterdir()) == [
        "bebold_tiny.json",
        "bebold_tiny_first.png",
        "bebold_tiny_second.png",
    ]


def test_a_study_is_done_once_and_kept(reproduce, tiny, module, monkeypatch, tmp_path):
    asked = []

    def experiment(seeds):
        asked.append(seeds)
        rows = [{"size": 100, "loss": 0.125, "interval": [0.1, 0.15]}]
        return {"rows": rows, "claims": [{"claim": "it falls", "verdict": "held", "grounds": "by 0.1"}]}

    def draw(found, path):
        path.write_text(str(found["rows"]))
        return path

    study = module("plan").Study("losses", experiment, 7, draw)
    monkeypatch.setitem(
        module("bebold").BUDGETS, "tiny", lambda: module("plan").Plan("one", {}, studies={"losses": study})
    )
    code, out, err = reproduce("--table", "losses")
    assert (code, err) == (0, "")
    assert "0.1 to 0.15" in out
    assert "it falls" in out
    result = json.loads(reproduce("--json")[1])
    assert asked == [7]
    assert result["studies"]["losses"]["claims"][0]["verdict"] == "held"
    assert {"commit", "hardware", "seconds", "seeds"} <= result["studies"]["losses"].keys()
    assert result["pictures"] == ["losses.png"]
    assert reproduce("--table", "lossses")[0] == 2


def test_the_share_of_real_data_that_is_best_rises_with_the_data(module):
    study = module("real_share")
    chances, counts = study.transitions(np.random.default_rng(0)), np.zeros((20, 4, 20))
    counts[0, 0, 3] = 2
    np.testing.assert_allclose(study.mixed(0.0, counts, chances), chances)
    assert study.mixed(1.0, counts, chances)[0, 0, 3] == 1
    assert study.mixed(1.0, counts, chances).sum() == 1  # nothing is known of the others
    # In between by mass: a real share of all records there against the model's of 1 in 80.
    share = 0.5 / (0.5 + 0.5 / 80)
    np.testing.assert_allclose(
        study.mixed(0.5, counts, chances)[0, 0, 3], share + (1 - share) * chances[0, 0, 3], rtol=1e-12
    )
    found = study.run(6)
    best = [row["best share"] for row in found["rows"]]
    assert best[0] < 0.3 < best[-1]
    assert found["claims"][0]["verdict"] == "held"


def test_a_table_with_none_but_shared_runs_has_not_begun(module, tmp_path):
    made, result, runs = module("plan"), module("result"), module("runs")
    shared, own = (made.Trial(label, "ppo", "Chain-v0", steps) for label, steps in (("shared", 1), ("own", 2)))
    plan = made.Plan("", {"a": made.Table("", (shared,), ()), "b": made.Table("", (shared, own), ())})
    done, waiting = runs.Seed(tmp_path, 0, 1, {"steps": 1}), runs.Seed(tmp_path, 0, 0, None)
    seen = {"a": {"shared": [done]}, "b": {"shared": [done], "own": [waiting]}}
    assert result.begun(plan, "a", seen)
    assert not result.begun(plan, "b", seen)
    assert result.begun(plan, "b", {**seen, "b": {"shared": [done], "own": [done]}})
    assert result.begun(plan, "b", {**seen, "b": {"shared": [waiting], "own": [done, waiting]}})


def test_ctrl_c_between_two_runs(reproduce, tiny, played, module, tmp_path, monkeypatch):
    runs = module("runs")
    finish = runs.finish

    def once(seed, trial, *rest):
        if played:
            raise KeyboardInterrupt
        finish(seed, trial, *rest)

    monkeypatch.setattr(runs, "finish", once)
    code, out, err = reproduce()
    assert (code, played) == (130, ["slow"])
    assert err == "auxin: stopped; what was done is kept, and the same command goes on.\n"
    assert f"{STEPS:,} steps are left, about 1 min at the {STEPS // 2:,} steps/s seen so far." in out
    kept = (tmp_path / "first/slow/seed-0/score.json").read_bytes()
    assert json.loads((tmp_path / "RESULT.json").read_text())["tables"]["first"]["claims"][0]["missing"] == ["fast"]

    monkeypatch.setattr(runs, "finish", finish)
    assert reproduce("--json")[0] == 0
    assert played == ["slow", "fast"]
    assert (tmp_path / "first/slow/seed-0/score.json").read_bytes() == kept


def test_first_seeds_come_first(reproduce, tiny, played):
    assert reproduce("--seeds", "2", "--json")[0] == 0
    assert played == ["slow", "fast", "slow", "fast"]


def test_a_run_that_was_killed_goes_on_exactly(reproduce, tiny, module, tmp_path, monkeypatch):
    from agents.training import checkpoints

    assert reproduce("--trials", "slow", "--out", str(tmp_path / "whole"), "--json")[0] == 0
    save, saved = checkpoints.save, []

    def killed(folder, step, *rest):
        if len(saved) == 3:
            raise OSError("killed")
        saved.append(step)
        return save(folder, step, *rest)

    monkeypatch.setattr(checkpoints, "save", killed)
    with pytest.raises(OSError, match="killed"):
        reproduce("--trials", "slow", "--json")
    monkeypatch.setattr(checkpoints, "save", save)
    assert 0 < saved[-1] < STEPS
    _, out, _ = reproduce("--list", "--trials", "slow")
    assert f"running: seed 0 at step {saved[-1]:,}" in out.replace("\n", " ")
    assert f"{STEPS - saved[-1]:,} steps are left" in out

    assert reproduce("--trials", "slow", "--json")[0] == 0
    folders = [root / "first/slow/seed-0" for root in (tmp_path, tmp_path / "whole")]
    assert rows(folders[0]) == rows(folders[1])
    scores = [json.loads((folder / "score.json").read_text()) for folder in folders]
    assert [score.pop("rate")["steps"] for score in scores] == [STEPS - saved[-1], STEPS]
    assert scores[0] == scores[1]


def test_list_runs_nothing(reproduce, tiny, tmp_path):
    code, out, err = reproduce("--list", "--seeds", "2")
    assert (code, err, list(tmp_path.iterdir())) == (0, "", [])
    assert out.count("0 of 2") == 3
    assert f"{4 * STEPS:,} steps are left; the first finished run tells how long they take." in out
    listed = json.loads(reproduce("--list", "--json")[1])
    assert [trial["trial"] for trial in listed["trials"]] == ["first/slow", "first/fast", "second/slow"]
    assert all(trial["state"] == "waiting" for trial in listed["trials"])


def test_a_share_of_the_steps_is_another_folder(module, tiny):
    command = module("command")
    job = command.ask("bebold", command.Config(budget="tiny", share=0.25))
    assert str(job.out) == "runs/reproduce/bebold-tiny-0.25"
    assert {trial.steps for table in job.plan.tables.values() for trial in table.trials} == {STEPS // 4}


def test_what_is_missing_is_said_and_the_rest_is_run(reproduce, tiny, played):
    tiny.install(tiny.trial("slow"), tiny.trial("fast", agent="impalla"))
    code, out, err = reproduce()
    assert code == 2
    assert err.endswith(
        "auxin: some trials could not be run: first/fast, for there is no agent 'impalla': "
        "did you mean impala or pearl?\n"
    )
    assert "missing: there is no agent 'impalla'" in out
    assert "waits for fast" in out
    assert played == ["slow"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"options": {"bonus": "cuont"}}, "there is no intrinsic reward 'cuont': did you mean count?"),
        ({"preset": "fest"}, "ppo has no preset 'fest': did you mean fast?"),
        ({"task": "PointMess-v0"}, "there is no environment PointMess-v0 on the backend device."),
    ],
)
def test_what_a_trial_lacks(module, tiny, options, sentence):
    assert module("plan").lacking(tiny.trial("one", **options)) == sentence


def test_a_bank_that_is_not_there(module, tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("AUXIN_CACHE", str(tmp_path))
    found = module("plan").lacking(tiny.trial("one", task="MiniGrid-DoorKey-8x8-v0"))
    assert found.startswith("MiniGrid-DoorKey-8x8-v0 has no bank of levels yet: ")


def test_a_score_of_another_plan_is_refused(reproduce, tiny, played):
    assert reproduce("--trials", "slow", "--json")[0] == 0
    tiny.install(tiny.trial("slow", steps=2 * STEPS), tiny.trial("fast"))
    code, _, err = reproduce("--trials", "slow", "--json")
    assert code == 2
    assert f"was scored with steps {STEPS}, and the plan has {2 * STEPS}" in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("bebald",), "there is no reproduction 'bebald': did you mean bebold?"),
        (("bebold", "--budget", "smal"), "bebold has no budget 'smal': did you mean small?"),
        (("bebold", "--table", "ablation"), "there is no table 'ablation': did you mean ablations?"),
        (("bebold", "--table", "first", "--trials", "nune"), "there is no trial 'nune': did you mean none?"),
        (("bebold", "--share", "2"), "share must be above 0 and at most 1, not 2.0."),
        (("bebold", "--publsh"), "reproduce has no option --publsh: did you mean --publish or --no-publish or --list?"),
    ],
)
def test_mistakes_are_one_sentence(module, capsys, words, sentence):
    assert module("command").main(words) == 2
    assert capsys.readouterr() == ("", f"auxin: {sentence}\n")


def test_without_a_name_all_are_listed(module, capsys):
    assert module("command").main([]) == 0
    out = capsys.readouterr().out
    assert "bebold --budget small" in out
    assert "agac --budget full" in out


def seeds(module, *rates):
    """Finished seeds of 100 episodes each with these success rates; None is one that is not finished."""
    made = module("runs").Seed
    return [
        made(Path(), number, 5, None if rate is None else EMPTY | {"success": [1] * rate + [0] * (100 - rate)})
        for number, rate in enumerate(rates)
    ]


@pytest.mark.parametrize(
    ("mine", "theirs", "least", "verdict"),
    [
        ((95, 97, 96), (10, 12, 11), None, "held"),
        ((95, 97, 96), (10, 12, 11), 0.8, "held"),
        ((95, 97, 96), (10, 12, 11), 0.96, "not reproduced"),  # the mean is 0.96, the lower end is not
        ((50, 52, 51), (49, 51, 50), None, "not reproduced"),
        ((95, 97, 0), (10, 12, 11), None, "not reproduced"),  # one seed of three makes the interval wide
        ((10, 12, 11), (95, 97, 96), None, "not reproduced"),
        ((95, 97, None), (10, 12, 11), None, "not run yet"),
        ((95, 97, 96), (10, None, None), None, "not run yet"),
    ],
)
def test_a_claim_holds_if_intervals_are_apart(module, mine, theirs, least, verdict):
    claim, table = module("plan").Claim("a is better", "a", ("b",), least), module("plan").Table("", (), ())
    found = module("result").judged(claim, table, {"a": seeds(module, *mine), "b": seeds(module, *theirs)})
    assert found["verdict"] == verdict
    assert found["missing"] == [label for label, rates in (("a", mine), ("b", theirs)) if None in rates]


def test_the_time_left_is_that_of_each_trials_own_rate(module, tiny, tmp_path):
    status, made = module("status"), module("runs").Seed
    plan = tiny()
    job = status.Job("bebold", "tiny", plan, ["first"], [], 2, 1.0, tmp_path)

    def score(seconds):
        return {"rate": {"steps": STEPS, "seconds": seconds}}

    half = made(tmp_path / "b", 1, STEPS // 2, None)
    first = {"slow": [made(tmp_path / "a", 0, STEPS, score(1200)), half]}
    first |= {"fast": [made(tmp_path / "c", 0, STEPS, score(60)), made(tmp_path / "d", 1, 0, None)]}
    assert status.rest(job, {"first": first}, {}).startswith(f"{STEPS * 3 // 2:,} steps are left, about 11 min")
    assert status.rest(job, {"first": first}, {"first/slow": "no"}).startswith(f"{STEPS:,} steps are left, about 1 min")
    assert status.state(first["slow"]) == f"running: seed 1 at step {STEPS // 2:,}"


def test_means_may_be_compared_instead(module):
    made = module("plan")
    claim, table = made.Claim("a is as good", "a", ("b",), means=True), made.Table("", (), ())
    wide, even = seeds(module, 0, 100), seeds(module, 50, 50)
    assert module("result").judged(claim, table, {"a": wide, "b": even})["verdict"] == "held"
    assert module("result").judged(claim, table, {"a": seeds(module, 0, 99), "b": even})["verdict"] == "not reproduced"


def test_what_is_above_a_constraint_is_taken_off_the_return_of_each_seed(module):
    made, scores = module("plan"), module("scores")
    # Of expectations: an episode far above the limit is made up for by one below it.
    done = [EMPTY | {"returns": [10.0, 20.0], "costs": costs} for costs in ([0.0, 0.2], [0.2, 0.4])]
    found = scores.summary(done, made.Constraint(beta=0.1, kappa=50.0))
    assert found["cost"]["per_seed"] == pytest.approx([0.1, 0.3])
    assert found["overshoot"]["per_seed"] == pytest.approx([0.0, 0.2])
    assert found["penalised"]["per_seed"] == pytest.approx([15.0, 5.0])
    assert "penalised" not in scores.summary(done)
    assert "penalised" not in scores.summary([EMPTY], made.Constraint(0.1, 50.0))


def test_runs_of_another_paper_serve_where_trials_are_the_same(module, tmp_path):
    made, runs = module("plan"), module("runs")
    lent, own = made.Trial("a", "ppo", "Chain-v0", 1), made.Trial("b", "ppo", "Chain-v0", 2)
    lender = made.Plan("", {"first": made.Table("", (lent,), ())})
    plan = made.Plan("", {"mine": made.Table("", (lent._replace(label="other"), own), ())}, lenders={"bebold": lender})
    out = tmp_path / "agac-tiny-0.5"
    (seed,) = runs.look(plan, out, lent._replace(label="other"), 1)
    assert seed.folder == tmp_path / "bebold-tiny-0.5/first/a/seed-0"
    assert runs.look(plan, out, own, 1)[0].folder == out / "mine/b/seed-0"
    assert made.shortened(plan._replace(lenders={"bebold": lender}), 0.5).home(lent).paper == "bebold"


def test_a_peer_is_trained_in_its_own_process_and_scored_alike(reproduce, tiny, module, monkeypatch, tmp_path):
    peers = module("peers")
    monkeypatch.setitem(peers.PACKAGES, "fake.py", "json")
    (tmp_path / "scripts/peers").mkdir(parents=True)
    (tmp_path / "scripts/peers/fake.py").write_text(
        "import json, sys\n"
        "task, *numbers = sys.argv[1:]\n"
        "found = {'returns': [float(n) for n in numbers], 'lengths': [1] * 3}\n"
        "print(json.dumps(found | {'options': {'of': task}, 'packages': {}}))\n"
    )
    monkeypatch.setattr(peers, "ROOT", tmp_path)
    tiny.install(tiny.trial("slow", peer="fake.py"), tiny.trial("fast", peer="fake.py"))
    result = json.loads(reproduce("--json")[1])
    slow = result["tables"]["first"]["trials"]["slow"]
    assert slow["return_mean"]["per_seed"] == [pytest.approx((STEPS + 0 + 100) / 3)]
    assert slow["options"] == {"of": "PointMass-v0"}
    assert "success" not in slow
    monkeypatch.setitem(peers.PACKAGES, "fake.py", "no_such_package")
    assert peers.missing("fake.py") == "it needs no_such_package, which is not installed: make bench brings it."


NAMES = ("agac", "autombpo", "bebold", "control", "genetic_soft_updates", "meta_d4pg", "repb_sde", "tcl")
PLANS = [(name, budget) for name in NAMES for budget in ("small", "full")]


@pytest.mark.parametrize(("name", "budget"), PLANS)
def test_the_papers_plans_are_sound(module, name, budget):
    made, plan = module("plan"), module(name).BUDGETS[budget]()
    for table in plan.tables.values():
        labels = [trial.label for trial in table.trials]
        assert len(set(labels)) == len(labels)
        for claim in table.claims:
            assert {claim.of, *claim.over} <= set(labels)
            assert claim.measure in module("scores").MEASURES
            assert claim.measure not in module("coverage").MEASURES or table.coverage
            assert claim.measure not in ("overshoot", "penalised") or table.constraint
        for trial in table.trials:
            lacking = made.lacking(trial)
            # What a command makes or brings is no fault of the plan's.
            assert lacking == "" or lacking.endswith(("makes it.", "brings it."))
            wrappers.parse(trial.wrap, **trial.wrap_options)
    if (name, budget) == ("bebold", "full"):
        assert len(plan.tables) == 12
        assert max(trial.steps for table in plan.tables.values() for trial in table.trials) == 120_000_000


def test_every_trial_of_the_papers_plans_is_an_agent(module):
    pytest.importorskip("envpool")
    made, spec = module("plan"), envs.make("MiniGrid-KeyCorridorS3R3-v0").spec
    plans = [make() for name in ("bebold", "agac") for make in module(name).BUDGETS.values()]
    trials = [trial for plan in plans for table in plan.tables.values() for trial in table.trials]
    # Many differ in task and steps alone.
    for trial in {str((t.agent, t.options, t.preset, t.wrap)): t for t in trials}.values():
        seen = wrappers.parse(trial.wrap, **trial.wrap_options).spec(spec)
        agent = agents.make(trial.agent, seen, **made.resolved(trial))
        assert plain(trial.options).items() <= plain(agent.config).items()


def test_a_presets_options_for_an_exchanged_part_are_dropped(module):
    made = module("plan")
    trial = made.Trial("x", "bebold", "MiniGrid-Empty-5x5-v0", 1, {"bonus": "rnd", "rnd.coef": 0.1})
    options = made.resolved(trial)
    assert options["rnd.coef"] == 0.1
    assert options["base"] == "ppo"
    assert not any(name.startswith("bebold.") for name in options)


@pytest.mark.slow
def test_coverage_is_measured_where_a_table_asks_for_it(reproduce, tiny, module, monkeypatch):
    pytest.importorskip("minigrid")
    made = module("plan")
    free = module("bebold").FREE
    trial = tiny.trial("free", task="MiniGrid-MultiRoom-N2-S4-v0", env_options={"count": 1000}, **free)
    table = made.Table("two rooms without reward", (trial,), (made.Claim("far", "free", least=1, measure="rooms"),))
    monkeypatch.setitem(
        module("bebold").BUDGETS, "tiny", lambda: made.Plan("", {"first": table._replace(coverage=True)}, 1)
    )
    code, out, _ = reproduce("--json")
    (free,) = json.loads(out)["tables"]["first"]["trials"].values()
    assert code == 0
    assert 1 <= free["rooms"]["mean"] <= 2
    assert 1 <= free["cells"]["mean"] <= 8
    assert 0 < free["entropy"]["mean"] <= 2.1
    assert free["wrap_options"] == {"multiply_reward.factor": 0.0}


def test_the_script_runs_from_anywhere(tmp_path):
    script = str(ROOT / "scripts" / "reproduce.py")
    done = subprocess.run([sys.executable, script, "nothing"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("auxin: there is no reproduction 'nothing'")
