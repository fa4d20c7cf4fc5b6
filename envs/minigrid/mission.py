"""Missions as token ids over the fixed vocabulary of MiniGrid's own sentences."""

from functools import cache

import numpy as np

LENGTH = 20
_VOCABULARY = (
    "a and at avoid ball blue box door end fetch find from get go goal green grey hallway key lava matching must near "
    "object of open opening pick purple put reach red room rooms square the then to traverse unlock up use yellow you"
)
WORDS = tuple(_VOCABULARY.split())
_NUMBER = {word: number for number, word in enumerate(WORDS, start=1)}


@cache
def tokens(text: str) -> np.ndarray:
    """The words of a mission as int32 `[LENGTH]`, `1 + index in WORDS`, 0 after the last word; read-only.

    Raises:
      KeyError: a word that MiniGrid's missions do not use.
    """
    ids = [_NUMBER[word] for word in text.replace(",", " ").split()]
    padded = np.array(ids + [0] * (LENGTH - len(ids)), np.int32)
    padded.flags.writeable = False
    return padded


def words(ids: np.ndarray) -> str:
    """The sentence behind token ids, without its punctuation."""
    return " ".join(WORDS[i - 1] for i in ids if i)
