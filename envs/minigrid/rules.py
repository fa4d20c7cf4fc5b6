"""What each family of tasks adds to the world: when an episode is won or lost.

A rule is `(before, action, after, outcome, width) -> Outcome` of one environment, `outcome` what the world itself says
(goal and lava). `state.target` holds two numbers, of which a rule reads

    goal        none                                   the goal ends an episode, nothing else
    pick        the packed cell of the object          pick it up
    unlock      the place of the door                  toggle it open
    memory      the right place, the wrong place       stand there; picking up toggles instead
    fetch       the packed cell of the object          carry it; to carry another one loses
    go_to       the place                              be done beside it; to toggle loses
    put_near    the packed cell to carry, a place      drop it within one step of the place; picking up another loses
    two_doors   the places of the red and blue door    open the red one first, the blue one then; else lose
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from envs.minigrid.cells import NAMED, OPEN, state
from envs.minigrid.world import DONE, DROP, PICKUP, TOGGLE, Outcome, State, ahead

Rule = Callable[[State, jax.Array, State, Outcome, int], Outcome]


def goal(before: State, action: jax.Array, after: State, outcome: Outcome, width: int) -> Outcome:
    """Nothing beside goal and lava."""
    return outcome


def pick(before: State, action: jax.Array, after: State, outcome: Outcome, width: int) -> Outcome:
    """Won once the object is picked up."""
    return _either(outcome, (action == PICKUP) & (after.carrying == after.target[0]))


def unlock(before: State, action: jax.Array, after: State, outcome: Outcome, width: int) -> Outcome:
    """Won once the door is open after a toggle."""
    return _either(outcome, (action == TOGGLE) & (state(after.cells[after.target[0]]) == OPEN))


def memory(before: State, action: jax.Array, after: State, outcome: Outcome, width: int) -> Outcome:
    """Won at the one end of the hall, lost at the other."""
    right, wrong = (after.position == after.target[end] for end in (0, 1))
    return Outcome((outcome.rewarded | right) & ~wrong, outcome.terminated | right | wrong)


def fetch(before: State, action: jax.Array, after: State, outcome: Outcome, width: int) -> Outcome:
    """Over once anything is carried, won if it is the object."""
    carries, right = after.carrying > 0, after.carrying & NAMED == after.target[0]
    return Outcome(jnp.where(carries, right, outcome.rewarded), outcome.terminated | carries)


def go_to(before: State, action: jax.Array, after: State, outcome: Outcome, width: int) -> Outcome:
    """Over once done or toggled, won if done beside the place."""
    done = action == DONE
    near = sum(_distance(after.position, after.target[0], width)) == 1
    return Outcome(outcome.rewarded | (done & near), outcome.terminated | done | (action == TOGGLE))


def put_near(before: State, action: jax.Array, after: State, outcome: Outcome, width: int) -> Outcome:
    """Over once something is dropped or the wrong object picked up, won if it was dropped near the place."""
    wrong = (action == PICKUP) & (after.carrying > 0) & (after.carrying & NAMED != after.target[0])
    tried = (action == DROP) & (before.carrying > 0)
    across, down = _distance(ahead(after.position, after.direction, width), after.target[1], width)
    hit = tried & (after.carrying == 0) & (across <= 1) & (down <= 1)
    return Outcome(outcome.rewarded | hit, outcome.terminated | wrong | tried)


def two_doors(before: State, action: jax.Array, after: State, outcome: Outcome, width: int) -> Outcome:
    """Over once the second door opens or the blue one does, won if the red one was open before."""
    red, blue = after.target[0], after.target[1]

    def is_open(of: State, door: jax.Array) -> jax.Array:
        return state(of.cells[door]) == OPEN

    late = ~is_open(after, blue) & is_open(after, red) & is_open(before, blue)
    over = is_open(after, blue)
    rewarded = jnp.where(over, is_open(before, red), outcome.rewarded & ~late)
    return Outcome(rewarded, outcome.terminated | over | late)


def rewritten(rule: str, action: jax.Array) -> jax.Array:
    """The action that the world is given: Memory's tasks let nothing be picked up and toggle instead."""
    return jnp.where(action == PICKUP, TOGGLE, action) if rule == "memory" else action


def _either(outcome: Outcome, hit: jax.Array) -> Outcome:
    return Outcome(outcome.rewarded | hit, outcome.terminated | hit)


def _distance(place: jax.Array, other: jax.Array, width: int) -> tuple[jax.Array, jax.Array]:
    """Columns and rows between two places."""
    other = other.astype(jnp.int32)
    return jnp.abs(place % width - other % width), jnp.abs(place // width - other // width)


RULES: dict[str, Rule] = {
    rule.__name__: rule for rule in (goal, pick, unlock, memory, fetch, go_to, put_near, two_doors)
}
