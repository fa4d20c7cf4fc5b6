"""Wrappers between environment and agent: pure state, statistics shared and frozen in evaluation (`wrapper.py`)."""

from envs.wrappers.actions import clip_action, rescale_action, sticky_actions
from envs.wrappers.delays import delay_action, delay_obs, delay_reward
from envs.wrappers.noise import drop_obs, noise_action, noise_obs, stick_obs
from envs.wrappers.observations import frame_stack, one_hot_obs
from envs.wrappers.perturb import perturb_action
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
    "delay_action",
    "delay_obs",
    "delay_reward",
    "drop_obs",
    "frame_stack",
    "multiply_reward",
    "noise_action",
    "noise_obs",
    "normalize_obs",
    "one_hot_obs",
    "parse",
    "perturb_action",
    "rescale_action",
    "scale_reward",
    "stick_obs",
    "sticky_actions",
    "time_limit",
]
