"""Wrappers between environment and agent: pure state, statistics shared and frozen in evaluation (`wrapper.py`)."""

from envs.wrappers.actions import clip_action, rescale_action, sticky_actions
from envs.wrappers.observations import frame_stack, one_hot_obs
from envs.wrappers.registry import WRAPPERS, parse
from envs.wrappers.reward import multiply_reward
from envs.wrappers.statistics import normalize_obs, scale_reward
from envs.wrappers.time import action_repeat, time_limit
from envs.wrappers.wrapper import Chain, Wrapper, WrapperState, chain

__all__ = [
    "WRAPPERS",
    "Chain",
    "Wrapper",
    "WrapperState",
    "action_repeat",
    "chain",
    "clip_action",
    "frame_stack",
    "multiply_reward",
    "normalize_obs",
    "one_hot_obs",
    "parse",
    "rescale_action",
    "scale_reward",
    "sticky_actions",
    "time_limit",
]
