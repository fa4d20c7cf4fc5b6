"""Options generated from config dataclasses: argparse with one-sentence errors.

Only what was given is returned, as text under the option's own name (`entropy_cost`, `rnd.coef`), so that a command
knows what was said and what was left to a preset; `agents.config.build` makes values of it.
"""

import argparse
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NoReturn, TypeVar

from agents.config import build, fields
from envs.errors import UsageError, nearest

T = TypeVar("T")


class Parser(argparse.ArgumentParser):
    """The parser of one command.

    Args:
      command: such as `"train ppo"`.
      usage: what follows the command in the usage line.
      doc: what the command does.
      epilog: text below the options.
    """

    def __init__(self, command: str, usage: str, doc: str, epilog: str = ""):
        super().__init__(
            prog=command,
            usage=f"auxin {command} {usage}",
            description=doc,
            epilog=epilog,
            argument_default=argparse.SUPPRESS,
            allow_abbrev=False,
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=30),
        )
        self._opposite: dict[str, str] = {}  # of every option that is true or false
        self.add_argument("--json", action="store_true", default=False, help="end with the result as one line of JSON")

    def add(
        self,
        title: str,
        config: type,
        prefix: str = "",
        shown: Mapping[str, Any] | None = None,
        notes: Mapping[str, str] | None = None,
        leave_out: Sequence[str] = (),
    ) -> None:
        """Adds an option for every field of a config.

        `prefix` goes before the names; `shown` are values to show for defaults, `notes` are added to the help, both by
        full name; fields in `leave_out` get no option.
        """
        group = self.add_argument_group(title)
        for field in fields(config):
            if field.name in leave_out:
                continue
            name = prefix + field.name
            default = (shown or {}).get(name, field.default)
            parts = [field.doc, (notes or {}).get(name, ""), _bracketed(default)]
            help = " ".join(filter(None, parts)).replace("%", "%%")
            flag = "--" + name.replace("_", "-")
            if field.type is bool:
                negated = f"--{prefix}no-{field.name}".replace("_", "-")
                self._opposite |= {flag: negated, negated: flag}
                # Help names the one of the two that changes something.
                yes, no = (argparse.SUPPRESS, f"turn off: {help}") if default else (help, argparse.SUPPRESS)
                group.add_argument(flag, dest=name, action="store_const", const="true", help=yes)
                group.add_argument(negated, dest=name, action="store_const", const="false", help=no)
            else:
                group.add_argument(flag, dest=name, metavar=_symbol(field.type), help=help)

    def parse(self, argv: Sequence[str], words: str = "", least: int = 1, most: int | None = None) -> dict[str, Any]:
        """What was given, by name; `json` is always there, and `words` are those that belong to no option.

        `words` says what they are, in a phrase such as "the folder of a run" (if empty, there must be none); `least`
        and `most` say how many.

        Raises:
          UsageError: for an unknown option, a missing value, or a word too many or too few.
        """
        options, alone = self._spelled(argv)
        found, rest = self.parse_known_args(options)
        if rest:
            name = rest[0].partition("=")[0]
            raise UsageError(f"{self.prog} has no option {name}: {nearest(name, self._flags())}")
        most = most if words else 0
        if most is not None and len(alone) > most:
            raise UsageError(f"{self.prog} cannot use the word {alone[most]!r}: options begin with two dashes.")
        if words and len(alone) < least:
            raise UsageError(f"{self.prog} needs {words}.")
        return {**vars(found), "words": alone}

    def glance(self, argv: Sequence[str]) -> dict[str, Any]:
        """What was given of the options known so far; the rest is left for later."""
        options, _ = self._spelled(word for word in argv if word not in ("-h", "--help"))
        return vars(self.parse_known_args(options)[0])

    def error(self, message: str) -> NoReturn:
        """What argparse calls where it cannot go on."""
        raise UsageError(message.removeprefix("argument ").replace(": expected one argument", " needs a value") + ".")

    def _flags(self) -> list[str]:
        return [flag for flag in self._option_string_actions if flag.startswith("--")]

    def _spelled(self, argv: Iterable[str]) -> tuple[list[str], list[str]]:
        """Options as argparse takes them, and the words between them.

        `--a_b` is `--a-b`, `--flag false` is `--no-flag`, and a value is joined to its option, lest argparse take -1e3
        for an option.
        """
        queue, options, words = list(argv), [], []
        while queue:
            word = queue.pop(0)
            if not word.startswith("-"):
                words.append(word)
                continue
            name, equals, value = word.partition("=")
            name = name.replace("_", "-")
            action = self._option_string_actions.get(name)
            follows = bool(queue) and not equals
            if name in self._opposite:
                if follows and queue[0].lower() in _BOOLEANS:
                    equals, value = "=", queue.pop(0)
                if value.lower() in _BOOLEANS:
                    name, equals, value = name if _BOOLEANS[value.lower()] else self._opposite[name], "", ""
            elif action and action.nargs is None and follows and not queue[0].startswith("--"):
                equals, value = "=", queue.pop(0)
            options.append(name + equals + value)
        return options, words


_BOOLEANS = {"true": True, "false": False}


def configured(config: type[T], found: Mapping[str, Any], prefix: str = "") -> T:
    """The config made of those options in `found` that are its own.

    Raises:
      UsageError: where a value has the wrong type or is out of range.
    """
    names = [field.name for field in fields(config)]
    try:
        return build(config, {name: found[prefix + name] for name in names if prefix + name in found})
    except UsageError as error:
        if not prefix:
            raise
        raise UsageError(f"{prefix[:-1]}: {error}") from error


def text(value: Any) -> str:
    """A value as one would write it on the command line."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ",".join(map(text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _bracketed(default: Any) -> str:
    return "" if default in ("", None, ()) or isinstance(default, bool) else f"[{text(default)}]"


def _symbol(kind: Any) -> str:
    arguments = typing.get_args(kind)
    origin = typing.get_origin(kind)
    if origin is Literal:
        return "|".join(map(str, arguments))
    if origin in (typing.Union, types.UnionType):
        return "|".join(_symbol(part) for part in arguments if part is not types.NoneType)
    if origin is tuple:
        return ",".join([_symbol(arguments[0]), "..."] if ... in arguments else map(_symbol, arguments))
    return {int: "N", float: "X"}.get(kind, "TEXT")
