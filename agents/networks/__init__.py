"""Torsos, cores, heads and distributions that the agents share."""

from agents.networks.actor_critic import ActorCritic, Trunk, build, count
from agents.networks.cores import Core
from agents.networks.distributions import (
    Categorical,
    Distribution,
    MultiCategorical,
    Normal,
    SquashedNormal,
    for_action,
)
from agents.networks.torsos import MLP, GridTorso, ImageTorso, Torso, TorsoEncoder, auto

__all__ = [
    "MLP",
    "ActorCritic",
    "Categorical",
    "Core",
    "Distribution",
    "GridTorso",
    "ImageTorso",
    "MultiCategorical",
    "Normal",
    "SquashedNormal",
    "Torso",
    "TorsoEncoder",
    "Trunk",
    "auto",
    "build",
    "count",
    "for_action",
]
