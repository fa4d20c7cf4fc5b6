"""Properties of decisions as plain data: on a box of observations some actions are forbidden.

A file holds one object, or a list of them:

    {"name": "wall on the left and in front",
     "sentence": "With a wall close on the left and in front, do not turn left.",
     "inputs": {"0-5": 0.24, "6-8": 0.35, "9-14": [0.5, 1], "15": 1, "16": [-0.3, 0.3]},
     "forbidden": [5, 6]}

`inputs` bounds numbers of the observation by index or range of indices, the last included: one number, or a lower and
an upper bound. The others have the bounds in `default`, else those of the environment's observations. `forbidden` lists
choices by index or name, or for actions that are numbers `{"action": 0, "above": 0.5}` and `{"action": 0, "below":
-0.5}`: each forbids actions beyond it.
"""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from envs.contract import Array, Box, Discrete, EnvSpec
from envs.errors import UsageError, nearest

SHIPPED = Path(__file__).parent / "properties"
_KEYS = {"name", "sentence", "inputs", "default", "forbidden"}


class Limit(NamedTuple):
    """A number of an action may not be beyond `at`.

    Attributes:
      action: its index.
      side: `"above"` or `"below"`.
      at: the limit, float32.
    """

    action: int
    side: str
    at: float


class Property(NamedTuple):
    """What is forbidden where.

    Attributes:
      name: a short name.
      sentence: what it asks, for people.
      low: lower bounds of the observation, float32 `[D]`.
      high: upper bounds, float32 `[D]`; equal ones fix a number.
      forbidden: indices of choices, or limits of numbers.
    """

    name: str
    sentence: str
    low: np.ndarray
    high: np.ndarray
    forbidden: tuple[int, ...] | tuple[Limit, ...]


def read(name: str, spec: EnvSpec) -> list[Property]:
    """The properties in a file, or in one that comes with the project, by its name.

    Raises:
      UsageError: for a file that cannot be read, and for a property that does not fit the environment.
    """
    path = Path(name)
    shipped = {file.stem: file for file in SHIPPED.glob("*.json")}
    if not path.exists():
        if name not in shipped:
            raise UsageError(
                f"there is no file of properties {name}, nor do any of that name come with Auxin: "
                f"{nearest(path.stem, shipped)}"
            )
        path = shipped[name]
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read as JSON: {error}.") from error
    listed = found if isinstance(found, list) else [found]
    if not listed:
        raise UsageError(f"{path} holds no property.")
    properties = [of(each, spec) for each in listed]
    names = [each.name for each in properties]
    if len(set(names)) < len(names):
        raise UsageError(f"{path} gives two properties one name: {', '.join(names)}.")
    return properties


def of(given: Any, spec: EnvSpec) -> Property:
    """A property out of plain data.

    Raises:
      UsageError: where it says something else than a property does, or does not fit the environment.
    """
    if not isinstance(given, dict) or not isinstance(given.get("name"), str):
        raise UsageError('a property is an object with a "name", "inputs" and what is "forbidden".')
    title = f"the property {given['name']!r}"
    for key in given:
        if key not in _KEYS:
            raise UsageError(f"{title} has an unknown part {key!r}: {nearest(key, _KEYS)}")
    low, high = _box(title, given, vector(spec))
    forbidden = given.get("forbidden")
    if not isinstance(forbidden, list) or not forbidden:
        raise UsageError(f'{title} must list what is "forbidden".')
    match spec.action:
        case Discrete():
            what: Any = _choices(title, forbidden, spec.action)
        case Box():
            what = tuple(_limit(title, each, spec.action) for each in forbidden)
        case _:
            raise UsageError(f"{title} cannot be asked of {spec.id}, whose actions are several choices at once.")
    return Property(given["name"], str(given.get("sentence", "")), low, high, what)


def vector(spec: EnvSpec) -> Array:
    """The observation of an environment whose observations are one vector of numbers.

    Raises:
      UsageError: where they are something else.
    """
    obs = spec.obs
    if not isinstance(obs, Array) or len(obs.shape) != 1 or not np.issubdtype(np.dtype(obs.dtype), np.floating):
        raise UsageError(f"only observations that are one vector of numbers can be verified, not those of {spec.id}.")
    return obs


def _box(title: str, given: dict[str, Any], obs: Array) -> tuple[np.ndarray, np.ndarray]:
    (count,) = obs.shape
    least, most = (-math.inf if obs.low is None else obs.low), (math.inf if obs.high is None else obs.high)
    default = _pair(title, "default", given["default"]) if "default" in given else (least, most)
    low, high = np.full(count, default[0]), np.full(count, default[1])
    inputs = given.get("inputs", {})
    if not isinstance(inputs, dict):
        raise UsageError(f'{title} must give "inputs" as an object, such as {{"0-5": 0.24}}.')
    taken = np.zeros(count, bool)
    for key, bounds in inputs.items():
        where = _range(title, key, count)
        if taken[where].any():
            raise UsageError(f"{title} bounds some inputs of {key!r} twice.")
        taken[where] = True
        low[where], high[where] = _pair(title, key, bounds)
    for index in range(count):
        if not np.isfinite([low[index], high[index]]).all():
            raise UsageError(
                f"{title} leaves input {index} unbounded, as {obs.shape[0]} inputs have no bounds of their "
                'own here: bound it in "inputs", or all that are left in "default".'
            )
        if low[index] < least or high[index] > most:
            raise UsageError(f"{title} goes beyond the observations, {least:g} to {most:g}, in input {index}.")
    return low.astype(np.float32), high.astype(np.float32)


def _range(title: str, key: str, count: int) -> slice:
    first, _, last = key.partition("-")
    if not first.strip().isdecimal() or (last and not last.strip().isdecimal()):
        raise UsageError(f"{title} names inputs {key!r}: give an index, or a range of them such as 0-5.")
    start, end = int(first), int(last or first)
    if not start <= end < count:
        raise UsageError(f"{title} names inputs {key!r}, and there are 0 to {count - 1}.")
    return slice(start, end + 1)


def _pair(title: str, key: str, bounds: Any) -> tuple[float, float]:
    pair = bounds if isinstance(bounds, list) else [bounds, bounds]
    if len(pair) != 2 or not all(isinstance(each, int | float) and math.isfinite(each) for each in pair):
        raise UsageError(f"{title} must bound {key!r} by one number or by [lower, upper], not {bounds!r}.")
    if pair[0] > pair[1]:
        raise UsageError(f"{title} bounds {key!r} from below by {pair[0]:g}, which is above {pair[1]:g}.")
    return float(pair[0]), float(pair[1])


def _choices(title: str, forbidden: list[Any], action: Discrete) -> tuple[int, ...]:
    found = set()
    for each in forbidden:
        if isinstance(each, str):
            if each not in action.names:
                raise UsageError(f"{title} forbids {each!r}, which is no action: {nearest(each, action.names)}")
            found.add(action.names.index(each))
        elif isinstance(each, int) and not isinstance(each, bool) and 0 <= each < action.n:
            found.add(each)
        else:
            raise UsageError(f"{title} forbids {each!r}: actions are choices here, 0 to {action.n - 1}.")
    if len(found) == action.n:
        raise UsageError(f"{title} forbids every action: leave one to choose.")
    return tuple(sorted(found))


def _limit(title: str, given: Any, action: Box) -> Limit:
    sides = [side for side in ("above", "below") if isinstance(given, dict) and side in given]
    if len(sides) != 1 or len(given) != 2 or "action" not in given:
        raise UsageError(f'{title} must forbid numbers of actions as {{"action": 0, "above": 0.5}} or "below".')
    index, (side,) = given["action"], sides
    at = given[side]
    if not isinstance(index, int) or not 0 <= index < len(action.low):
        raise UsageError(f"{title} limits action {index!r}, and there are 0 to {len(action.low) - 1}.")
    low, high = action.low[index], action.high[index]
    if not isinstance(at, int | float) or not low < at < high:
        raise UsageError(f"{title} must limit action {index} between its bounds, {low:g} and {high:g}, not by {at!r}.")
    return Limit(index, side, float(np.float32(at)))
