"""Config dataclasses: help from the strings under fields, values from text, sentences for mistakes."""

from dataclasses import MISSING, dataclass, field
from typing import Literal

import pytest

from agents.config import build, describe, fields, require
from envs.errors import UsageError


@dataclass(frozen=True)
class Parent:
    rate: float = 0.1
    """Step size,
    over two lines."""
    steps: int = 10
    """How many."""

    def __post_init__(self):
        require(self.rate > 0, "rate", self.rate, "above 0")


@dataclass(frozen=True)
class Child(Parent):
    steps: int = 20
    """How many of the child."""
    widths: tuple[int, ...] = (64, 64)
    """Widths."""
    pair: tuple[int, float] = (1, 0.5)
    loud: bool = False
    """Noise."""
    kind: Literal["a", "b"] = "a"
    """Which."""
    limit: float | None = None
    """A limit, or none."""
    names: tuple[str, ...] = field(default_factory=tuple)
    """Names."""


def test_fields_have_the_strings_under_them_through_inheritance():
    found = {f.name: f for f in fields(Child)}
    assert list(found) == ["rate", "steps", "widths", "pair", "loud", "kind", "limit", "names"]
    assert found["rate"].doc == "Step size, over two lines."
    assert found["steps"].doc == "How many of the child."
    assert found["steps"].default == 20
    assert found["pair"].doc == ""  # what follows it is a field, not a string
    assert found["kind"].choices == ("a", "b")
    assert found["names"].default == ()
    assert {f.name: f.doc for f in fields(Parent)}["steps"] == "How many."


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("steps", "2e6", 2_000_000),
        ("steps", "-3", -3),
        ("steps", str(2**60 + 1), 2**60 + 1),
        ("steps", 7.0, 7),
        ("rate", "1e-3", 1e-3),
        ("rate", 2, 2.0),
        ("widths", "64,32", (64, 32)),
        ("widths", "(64,)", (64,)),
        ("widths", "", ()),
        ("widths", [8, 4], (8, 4)),
        ("pair", "2,1.5", (2, 1.5)),
        ("loud", "True", True),
        ("loud", "false", False),
        ("loud", True, True),
        ("kind", "b", "b"),
        ("limit", "none", None),
        ("limit", "0.5", 0.5),
        ("limit", None, None),
        ("names", "a, b", ("a", "b")),
    ],
)
def test_build_converts(name, given, value):
    made = getattr(build(Child, {name: given}), name)
    assert made == value
    assert type(made) is type(value)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"stepz": 1}, "there is no option 'stepz': did you mean steps?"),
        ({"steps": "1.5"}, "steps must be a whole number, not '1.5'."),
        ({"steps": "inf"}, "steps must be a whole number, not 'inf'."),
        ({"steps": True}, "steps must be a whole number, not True."),
        ({"rate": "fast"}, "rate must be a number, not 'fast'."),
        ({"rate": "nan"}, "rate must be a number, not 'nan'."),
        ({"rate": "-1"}, "rate must be above 0, not -1.0."),
        ({"widths": "64,x"}, "widths must be whole numbers separated by commas, not '64,x'."),
        ({"pair": "1"}, "pair must be 2 values separated by commas, not '1'."),
        ({"loud": "maybe"}, "loud must be true or false, not 'maybe'."),
        ({"kind": "c"}, "kind must be a or b, not 'c'."),
        ({"limit": "soon"}, "limit must be a number or none, not 'soon'."),
        ({"names": 3}, "names must be words separated by commas, not 3."),
    ],
)
def test_mistakes_are_one_sentence(values, sentence):
    with pytest.raises(UsageError) as caught:
        build(Child, values)
    assert str(caught.value) == sentence


def test_a_field_without_default_must_be_given():
    @dataclass(frozen=True)
    class Needs:
        size: int
        """How large."""

    assert fields(Needs)[0].default is MISSING
    assert fields(Needs)[0].doc == "How large."
    assert build(Needs, {"size": "3"}).size == 3
    with pytest.raises(UsageError, match="size has no default"):
        build(Needs, {})


def test_types_are_described_in_words():
    assert describe(tuple[int, int]) == "2 whole numbers separated by commas"
    assert describe(int | float) == "a whole number or a number"
    assert describe(Literal["x"] | None) == "x or none"
