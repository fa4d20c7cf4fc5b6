"""Wrappers by name: `parse("normalize_obs+scale_reward", **{"scale_reward.gamma": 0.999})`."""

import inspect
from collections.abc import Callable
from typing import Any

from envs.errors import UsageError, nearest
from envs.wrappers.actions import clip_action, rescale_action, sticky_actions
from envs.wrappers.delays import delay_action, delay_obs, delay_reward
from envs.wrappers.noise import drop_obs, noise_action, noise_obs, stick_obs
from envs.wrappers.observations import frame_stack, one_hot_obs
from envs.wrappers.perturb import perturb_action
from envs.wrappers.reward import multiply_reward
from envs.wrappers.statistics import normalize_obs, scale_reward
from envs.wrappers.wrapper import Chain, Wrapper, chain

WRAPPERS: dict[str, Callable[..., Wrapper]] = {
    factory.__name__: factory
    for factory in (
        clip_action,
        delay_action,
        delay_obs,
        delay_reward,
        drop_obs,
        frame_stack,
        multiply_reward,
        noise_action,
        noise_obs,
        normalize_obs,
        one_hot_obs,
        perturb_action,
        rescale_action,
        scale_reward,
        stick_obs,
        sticky_actions,
    )
}


def parse(names: str, **options: Any) -> Chain:
    """The chain of wrappers named in `names`, joined by `+`, the first nearest to the environment.

    Args:
      names: such as `"normalize_obs+scale_reward"`; `""` gives the chain that changes nothing.
      options: `NAME.OPTION` to value, such as `{"frame_stack.k": 4}`.

    Raises:
      UsageError: at an unknown wrapper or option, an option of a wrapper that is not in `names`, a value out of range.
    """
    wanted = [name.strip() for name in names.split("+")] if names.strip() else []
    for name in wanted:
        if name not in WRAPPERS:
            raise UsageError(f"There is no wrapper {name!r}: {nearest(name, WRAPPERS)}")
    known = {f"{name}.{option}" for name in wanted for option in inspect.signature(WRAPPERS[name]).parameters}
    for key in options:
        if key not in known:
            raise UsageError(f"The wrappers {names!r} have no option {key!r}: {nearest(key, known)}")

    def made(name: str) -> Wrapper:
        prefix = f"{name}."
        return WRAPPERS[name](**{k.removeprefix(prefix): v for k, v in options.items() if k.startswith(prefix)})

    return chain(*map(made, wanted))
