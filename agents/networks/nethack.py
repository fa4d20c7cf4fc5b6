"""What an agent reads of NetHack: the map, the surroundings of the hero, the hero's numbers, and the message.

The parts are those of the baseline of the NetHack Learning Environment (Küttler et al., 2020): glyphs are embedded and
convolved, once all over the map and once around the hero. Convolutions are matrix products (`patches`), and the map's
have a stride, so that the whole runs on a CPU.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from agents.networks import torsos
from agents.networks.patches import Patches
from envs.contract import Array, PyTree
from envs.errors import UsageError, nearest

ROWS, COLUMNS = 21, 79
STATS = 27
# Places of `blstats`: where the hero is, the health, and what the hero suffers from as a number, a kind, and bits.
X, Y, HEALTH, HEALTH_MAX, HUNGER, CONDITION = 0, 1, 10, 11, 21, 25
HUNGER_KINDS, CONDITIONS = 7, 13
STONE = 2359  # the glyph of what has not been seen
READ = ("glyphs", "blstats", "message", "inv_glyphs")
# The terminal's own view of the glyphs, and the letters of what is carried: nothing that the parts above do not tell.
REPEATED = ("chars", "colors", "inv_letters")


class NetHackTorso(nn.Module):
    """NetHack's observation to features: a dict of `[..., *]` to float32 `[..., hidden[-1]]`.

    Attributes:
      glyphs: how many glyphs there are, the one for "nothing" included.
      embed: width of a glyph's embedding; the places not yet seen are zeros.
      crop: side of the square around the hero that is read place by place, odd; 0 for none.
      channels: widths of the 3x3 convolutions over the map; none leaves the map out.
      stride: their stride.
      letters: how many letters of the message are read; the game's line has 80.
      width: features of the numbers, of the message, and of what is carried (where `inv_glyphs` is observed).
      hidden: widths of the dense layers behind all parts.
      activation: a name in `torsos.ACTIVATIONS`.
      ignore: parts of the observation that are not read. The place of the hero is known all the same.

    Raises `UsageError` for no embedding, an even crop, more convolutions than fit, or nothing left to read.
    """

    glyphs: int = 5977
    embed: int = 8
    crop: int = 9
    channels: tuple[int, ...] = (32, 64)
    stride: int = 2
    letters: int = 80
    width: int = 64
    hidden: tuple[int, ...] = (256,)
    activation: str = "relu"
    ignore: tuple[str, ...] = ()

    def __post_init__(self):
        if self.embed < 1:
            raise UsageError(f"NetHack has too many glyphs for one-hots: embed must be above 0, not {self.embed}.")
        if self.crop and self.crop % 2 == 0:
            raise UsageError(f"The hero is in the middle of the crop: its side must be odd, not {self.crop}.")
        if len(self.channels) > torsos.fitting(ROWS, self.stride):
            raise UsageError(f"The map has no room for {len(self.channels)} convolutions of stride {self.stride}.")
        super().__post_init__()

    @nn.compact
    def __call__(self, obs: PyTree) -> jax.Array:
        leading = obs["blstats"].shape[:-1]
        seen = {name: jnp.asarray(leaf).reshape(-1, *leaf.shape[len(leading) :]) for name, leaf in obs.items()}
        reads = [name for name in READ if name in seen and name not in self.ignore]
        parts = []
        if "glyphs" in reads or "inv_glyphs" in reads:
            # As wide as one-hots would be: a row of length one would be lost among the other parts.
            table = self.param("glyph_table", nn.initializers.normal(1.0), (self.glyphs, self.embed))
        if "glyphs" in reads and self.crop:
            around = surroundings(seen["glyphs"], seen["blstats"], self.crop, self.glyphs - 1)
            parts.append(lookup(table, around).reshape(len(around), -1))
        if "glyphs" in reads and self.channels:
            parts.append(self._map(lookup(table, seen["glyphs"])))
        if "blstats" in reads:
            parts.append(self._dense(numbers(seen["blstats"]), "numbers"))
        if "message" in reads and self.letters:
            parts.append(self._message(seen["message"][:, : self.letters]))
        if "inv_glyphs" in reads:
            parts.append(self._carried(table, seen["inv_glyphs"]))
        if not parts:
            raise UsageError("Every part of the observation is left out: nothing is left to act on.")
        features = jnp.concatenate(parts, -1).reshape(*leading, -1)
        return torsos.MLP(self.hidden, self.activation, name="together")(features)

    def _dense(self, x: jax.Array, name: str) -> jax.Array:
        return torsos.ACTIVATIONS[self.activation](torsos.dense(self.width, name=name)(x))

    def _map(self, x: jax.Array) -> jax.Array:
        """The embedded map `[N, 21, 79, E]` to `[N, D]`."""
        for index, width in enumerate(self.channels):
            x = torsos.ACTIVATIONS[self.activation](Patches(width, self.stride, name=f"map_{index}")(x))
        return x.reshape(len(x), -1)

    def _message(self, letters: jax.Array) -> jax.Array:
        """Letters `[N, L]` to `[N, width]`: what stands anywhere in the line (Kim, 2014), five letters at a time."""
        table = self.param("letter_table", nn.initializers.normal(1.0), (128, 8))
        known = jnp.where((letters > 0)[..., None], lookup(table, letters & 127), 0.0)
        padded = jnp.pad(known, ((0, 0), (2, 2), (0, 0)))
        windows = jnp.concatenate([padded[:, i : i + letters.shape[1]] for i in range(5)], -1)
        return self._dense(windows, "message").max(1)

    def _carried(self, table: jax.Array, glyphs: jax.Array) -> jax.Array:
        """Glyphs of what is carried `[N, 55]` to `[N, width]`, whatever their order."""
        there = (glyphs < self.glyphs - 1)[..., None]
        return jnp.where(there, self._dense(lookup(table, glyphs), "carried"), 0.0).max(1)


def lookup(table: jax.Array, index: jax.Array) -> jax.Array:
    """Rows of `table` `[K, E]` by `index` `[...]`, zeros for unseen places, `[..., E]`."""
    rows = jnp.take(table, index.astype(jnp.int32), axis=0, mode="clip")
    return jnp.where((index == STONE)[..., None], 0.0, rows)


def surroundings(glyphs: jax.Array, stats: jax.Array, side: int, nothing: int) -> jax.Array:
    """The square of glyphs around the hero, `[N, 21, 79]` to `[N, side, side]`; `nothing` is off the map."""
    far = side // 2
    padded = jnp.pad(glyphs, ((0, 0), (far, far), (far, far)), constant_values=nothing)
    steps = np.arange(side)
    rows = jnp.clip(stats[:, Y], 0, ROWS - 1)[:, None] + steps
    columns = jnp.clip(stats[:, X], 0, COLUMNS - 1)[:, None] + steps
    return padded[jnp.arange(len(glyphs))[:, None, None], rows[:, :, None], columns[:, None, :]]


def numbers(stats: jax.Array) -> jax.Array:
    """`blstats` `[N, 27]` as float32 of size 1, `[N, 47]`.

    The place is a share of the map's sides; the others are `symlog(x) / 4`, for they may be of any size (gold, turns);
    then the share of health that is left, and one-hots of hunger and of what the hero suffers from.
    """
    stats = stats.astype(jnp.int32)
    plain = stats.astype(jnp.float32)
    place = plain[:, [X, Y]] / jnp.asarray([COLUMNS, ROWS], jnp.float32)
    rest = plain[:, [i for i in range(STATS) if i not in (X, Y, CONDITION)]]
    sized = jnp.sign(rest) * jnp.log1p(jnp.abs(rest)) / 4
    health = plain[:, HEALTH] / jnp.maximum(plain[:, HEALTH_MAX], 1.0)
    hunger = stats[:, HUNGER, None] == jnp.arange(HUNGER_KINDS)
    suffers = (stats[:, CONDITION, None] >> jnp.arange(CONDITIONS)) & 1
    return jnp.concatenate([place, sized, health[:, None], hunger, suffers], -1, dtype=jnp.float32)


def fits(obs: PyTree) -> bool:
    """Whether a spec's observation is NetHack's, with nothing in it that the torso would leave unread."""
    if not isinstance(obs, dict) or not {"glyphs", "blstats"} <= obs.keys() <= {*READ, *REPEATED}:
        return False
    flat = all(isinstance(leaf, Array) for leaf in obs.values())
    return flat and obs["glyphs"].shape == (ROWS, COLUMNS) and obs["blstats"].shape == (STATS,)


def torso(obs: PyTree, **sizes) -> NetHackTorso:
    """The torso for the observations that a spec describes; `sizes` are its attributes.

    Raises `UsageError` where they are not NetHack's, or a name in `ignore` is not in them.
    """
    if not fits(obs):
        raise UsageError(
            "The encoder 'nethack' reads NetHack's glyphs and blstats, which are not what is observed here."
        )
    for name in sizes.get("ignore", ()):
        if name not in obs:
            raise UsageError(f"The observation has no part {name!r} to ignore: {nearest(name, obs)}")
    return NetHackTorso(glyphs=int(obs["glyphs"].high) + 1, **sizes)
