"""The command line as a whole: commands by name, every error one sentence, and the thin scripts."""

import subprocess
import sys
from pathlib import Path

import pytest

from agents import commands
from envs.errors import UsageError

ROOT = Path(commands.__file__).resolve().parents[2]


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_help_names_every_command(command, words):
    said = command(*words)
    assert said.code == 0
    assert all(name in said.out for name in commands.COMMANDS)


def test_unknown_command(command):
    assert command("trian").sentence == "there is no command 'trian': did you mean train?"


def test_benchmark_is_sent_to_its_script(command):
    assert "python scripts/benchmark.py" in command("benchmark", "--full").sentence


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_unknown_option_of_every_command(command, name):
    words = [name, "ppo"] if name == "train" else [name]
    assert "has no option --jsn: did you mean --json" in command(*words, "--jsn").sentence


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_every_command_has_help(command, name):
    said = command(name, "--help")
    assert said.code == 0
    assert "--json" in said.out


def test_a_mistake_found_deep_in_a_run_is_one_line(command, monkeypatch):
    def fail(*_):
        raise UsageError("the bonus needs\na grid key.")

    monkeypatch.setattr("agents.training.export.export_run", fail)
    assert command("export", "runs/x").sentence == "the bonus needs a grid key."


def test_interruption_exits_130_with_what_the_loop_says(command, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt("everything is saved")

    monkeypatch.setattr("agents.training.export.export_run", stop)
    said = command("export", "runs/x")
    assert said == (130, "", "auxin: everything is saved\n")


def test_a_bug_is_not_hidden(command, monkeypatch):
    def fail(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr("agents.training.export.export_run", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        command("export", "runs/x")


@pytest.mark.parametrize("name", commands.COMMANDS)
def test_scripts_work_from_anywhere_without_importing_jax_for_help(name, tmp_path):
    script = ROOT / "scripts" / f"{name}.py"
    # Run as a main module, then look at what it imported.
    code = (
        f"import runpy, sys; sys.argv = [{str(script)!r}, '--help']\n"
        f"try:\n    runpy.run_path({str(script)!r}, run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code\n"
        "assert 'jax' not in sys.modules and 'matplotlib' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"usage: auxin {name} " in done.stdout


def test_a_script_exits_with_2_and_one_sentence(tmp_path):
    script = ROOT / "scripts" / "train.py"
    words = [sys.executable, script, "impalla"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "auxin: there is no agent 'impalla': did you mean impala or pearl?\n"


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path):
    script = ROOT / "scripts" / "list.py"
    pipe = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    pipe.stdout.close()
    assert pipe.stderr.read() == ""
    pipe.stderr.close()
    assert pipe.wait() == 1
