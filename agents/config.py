"""Config dataclasses as a user sees them: their fields with help, building one from text, and range checks.

A config is a frozen dataclass with one string under each field. That string is the help of the command line, and
`__post_init__` holds the range checks, written with `require`. This file imports nothing heavy.
"""

import ast
import builtins
import contextlib
import dataclasses
import functools
import inspect
import itertools
import math
import textwrap
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, TypeVar

from envs.errors import UsageError, nearest

T = TypeVar("T")


class Field(NamedTuple):
    """One field of a config.

    Attributes:
      name: its name.
      type: its annotation, resolved.
      default: its default value, `dataclasses.MISSING` where there is none.
      doc: the string under the field, on one line.
      choices: the values of a `Literal`, else `()`.
    """

    name: str
    type: Any
    default: Any
    doc: str
    choices: tuple[Any, ...]


def require(condition: bool, field: str, value: object, rule: str) -> None:
    """Raises `UsageError` unless `condition`: `require(x > 0, "x", x, "above 0")` says "x must be above 0, not -1."."""
    if not condition:
        raise UsageError(f"{field} must be {rule}, not {value}.")


def fields(config: type) -> list[Field]:
    """The fields of a config class in order, inherited ones included, each with the string under it."""
    return list(_fields(config))


@functools.cache
def _fields(config: Any) -> tuple[Field, ...]:
    hints = typing.get_type_hints(config)
    docs: dict[str, str] = {}
    for base in reversed(config.__mro__):
        if dataclasses.is_dataclass(base):
            docs |= _strings_under_fields(base)
    found = []
    for field in dataclasses.fields(config):
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        kind = hints[field.name]
        choices = typing.get_args(kind) if typing.get_origin(kind) is Literal else ()
        found.append(Field(field.name, kind, default, docs.get(field.name, ""), choices))
    return tuple(found)


def build(config: type[T], values: Mapping[str, Any]) -> T:
    """An instance of `config` from `values`, where text is converted to the annotated types (`"2e6"` is an int).

    Raises:
      UsageError: for an unknown field, a value of the wrong type, or whatever `__post_init__` refuses.
    """
    known = {field.name: field for field in fields(config)}
    for name in values:
        if name not in known:
            raise UsageError(f"there is no option {name!r}: {nearest(name, known)}")
    for field in known.values():
        if field.default is dataclasses.MISSING and field.name not in values:
            raise UsageError(f"{field.name} has no default and must be given.")
    return config(**{name: _converted(known[name], value) for name, value in values.items()})


def describe(kind: Any) -> str:
    """What the values of a type are, in words that fit after "must be"."""
    *rest, last = _words(kind)
    return f"{', '.join(rest)} or {last}" if rest else last


def _words(kind: Any) -> list[str]:
    arguments = typing.get_args(kind)
    match typing.get_origin(kind):
        case typing.Literal:
            return [str(choice) for choice in arguments]
        case typing.Union | types.UnionType:
            return [word for part in arguments for word in _words(part)]
        case builtins.tuple:
            kinds = {*arguments} - {...}
            plural = {int: "whole numbers", float: "numbers", str: "words"}
            many = plural.get(arguments[0], "values") if len(kinds) == 1 else "values"
            count = "" if ... in arguments else f"{len(arguments)} "
            return [f"{count}{many} separated by commas"]
    named = {bool: "true or false", int: "a whole number", float: "a number", str: "text", types.NoneType: "none"}
    return [named.get(kind, str(getattr(kind, "__name__", kind)))]


def _converted(field: Field, value: Any) -> Any:
    try:
        return _convert(field.type, value)
    except (ValueError, TypeError, OverflowError):
        raise UsageError(f"{field.name} must be {describe(field.type)}, not {value!r}.") from None


def _convert(kind: Any, value: Any) -> Any:
    """`value` as `kind`; raises ValueError, TypeError or OverflowError where it is not one."""
    arguments = typing.get_args(kind)
    match typing.get_origin(kind):
        case typing.Literal:
            return _one_of({str(choice): choice for choice in arguments}, str(value))
        case typing.Union | types.UnionType:
            return _first_that_fits(arguments, value)
        case builtins.tuple:
            return _tuple(arguments, value)
    if kind is bool:
        return _one_of({"true": True, "false": False}, str(value).lower())
    if kind is int or kind is float:
        return _number(kind, value)
    if kind is str and not isinstance(value, str):
        raise TypeError
    return value


def _one_of(choices: Mapping[str, Any], word: str) -> Any:
    if word not in choices:
        raise ValueError
    return choices[word]


def _number(kind: type, value: Any) -> Any:
    if isinstance(value, bool):
        raise TypeError
    if kind is int and isinstance(value, str) and value.lstrip("+-").isdecimal():
        return int(value)  # exact where a float would round
    number = float(value)
    if math.isnan(number) or (kind is int and not number.is_integer()):
        raise ValueError
    return kind(number)


def _first_that_fits(kinds: tuple[Any, ...], value: Any) -> Any:
    if types.NoneType in kinds and (value is None or str(value).lower() == "none"):
        return None
    for kind in kinds:
        if kind is not types.NoneType:
            with contextlib.suppress(ValueError, TypeError, OverflowError):
                return _convert(kind, value)
    raise ValueError


def _tuple(kinds: tuple[Any, ...], value: Any) -> tuple[Any, ...]:
    if isinstance(value, str):
        parts: list[Any] = [part.strip() for part in value.strip("()[] ").split(",")]
        parts = parts[:-1] if parts[-1] == "" else parts  # "" is empty, and "64," has one part
    else:
        parts = list(value)
    inner = [kinds[0]] * len(parts) if ... in kinds else list(kinds)
    return tuple(_convert(kind, part) for kind, part in zip(inner, parts, strict=True))


def _strings_under_fields(config: Any) -> dict[str, str]:
    """The string constant that follows each annotated field in the class's source, on one line."""
    try:
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(config))).body
    except (OSError, TypeError):  # made without a source file, in an interpreter say: its fields have no help
        return {}
    assert isinstance(node, ast.ClassDef)
    docs = {}
    for pair in itertools.pairwise(node.body):
        match pair:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(doc))):
                docs[name] = " ".join(doc.split())
    return docs
