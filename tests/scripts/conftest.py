"""Runs a command as the console script does, in this process, and hands back what it printed."""

import json
from typing import NamedTuple

import pytest

from agents.commands import main


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def result(self):
        """The JSON object in the last line of stdout."""
        return json.loads(self.out.splitlines()[-1])

    @property
    def sentence(self):
        """The one sentence of a mistake: a single line on stderr, exit code 2, nothing on stdout."""
        assert self.code == 2
        assert self.out == ""
        assert self.err.count("\n") == 1
        assert "Traceback" not in self.err
        assert self.err.startswith("auxin: ")
        return self.err.removeprefix("auxin: ").rstrip("\n")


@pytest.fixture
def command(capsys):
    """`command("train", "ppo", ...)` gives `Said(code, out, err)`."""

    def run(*words):
        capsys.readouterr()
        try:
            code = main([str(word) for word in words])
        except SystemExit as end:
            code = end.code
        return Said(code, *capsys.readouterr())

    return run
