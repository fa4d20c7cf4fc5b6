"""A terminal's screen as text with ANSI colours and as a picture.

A screen is `chars` uint8 `[H, W]`, `colors` int8 `[H, W]` (0 to 15; 16 more is inverse video) and `cursor` `[2]`, its
row and column. This file imports NumPy only; a picture's letters are drawn once per process, with Pillow and a free
font that comes with matplotlib.
"""

import functools
import importlib.util
from pathlib import Path

import numpy as np

# The sixteen colours of a terminal, as RGB; black stands for "the usual colour", which is grey on black.
PALETTE = np.array(
    [
        *[(170, 170, 170), (170, 0, 0), (0, 170, 0), (170, 110, 0), (60, 90, 255), (190, 0, 190), (0, 170, 170)],
        *[(170, 170, 170), (110, 110, 110), (255, 95, 95), (95, 255, 95), (255, 255, 95), (135, 160, 255)],
        *[(255, 110, 255), (95, 255, 255), (255, 255, 255)],
    ],
    np.float32,
)
INVERSE = 16
CELL = (16, 8)  # height and width of a character in pixels
HOME, CLEAR, RESET = "\x1b[H", "\x1b[2J", "\x1b[0m"
_INVERTED = ";7"


def ansi(chars: np.ndarray, colors: np.ndarray, cursor: np.ndarray) -> str:
    """The screen as `H` lines, each ending with a reset; the character under the cursor is in inverse video."""
    return "\n".join(
        "".join(
            f"\x1b[{style}m{text}" for style, text in _runs(row, shade, int(cursor[1]) if cursor[0] == line else -1)
        )
        + RESET
        for line, (row, shade) in enumerate(zip(chars, colors, strict=True))
    )


def picture(chars: np.ndarray, colors: np.ndarray, cursor: np.ndarray) -> np.ndarray:
    """The screen as uint8 `[16 H, 8 W, 3]`."""
    ink = _letters()[chars & 127]
    inverse = (colors & INVERSE) > 0
    inverse[tuple(cursor)] ^= True
    ink = np.where(inverse[..., None, None], 1.0 - ink, ink)
    height, width = chars.shape
    # [H, W, rows, columns, 3] to [H, rows, W, columns, 3].
    shaded = (ink[..., None] * PALETTE[colors & 15][:, :, None, None]).transpose(0, 2, 1, 3, 4)
    return np.rint(shaded).astype(np.uint8).reshape(height * CELL[0], width * CELL[1], 3)


def _runs(row: np.ndarray, shade: np.ndarray, cursor: int) -> list[tuple[str, str]]:
    """Neighbouring characters of one style, as `(style, text)`; an empty place has any style that is not inverse."""
    found: list[tuple[str, str]] = []
    for column, (char, color) in enumerate(zip(row.tolist(), shade.tolist(), strict=True)):
        letter = chr(char) if 32 <= char < 127 else " "
        inverse = bool(color & INVERSE) != (column == cursor)
        style = _style(color & 15, inverse)
        blank = letter == " " and not inverse
        if found and (found[-1][0] == style or (blank and not found[-1][0].endswith(_INVERTED))):
            found[-1] = (found[-1][0], found[-1][1] + letter)
        else:
            found.append((style, letter))
    return found


def _style(color: int, inverse: bool) -> str:
    """The numbers of an ANSI sequence: everything off, the colour, inverse video."""
    ink = 39 if color == 0 else 30 + color if color < 8 else 82 + color
    return f"0;{ink}" + (_INVERTED if inverse else "")


@functools.cache
def _letters() -> np.ndarray:
    """How much ink each of the 128 characters has, in [0, 1], `[128, 16, 8]`."""
    from PIL import Image, ImageDraw, ImageFont

    place = importlib.util.find_spec("matplotlib")  # found, not imported: that takes longer than all drawing
    folder = Path(getattr(place, "origin", "")).parent / "mpl-data/fonts/ttf"
    font = ImageFont.truetype(folder / "DejaVuSansMono.ttf", 13)
    found = np.zeros((128, *CELL), np.float32)
    for code in range(33, 127):
        image = Image.new("L", (CELL[1], CELL[0]))
        ImageDraw.Draw(image).text((0, -1), chr(code), fill=255, font=font)
        found[code] = np.asarray(image, np.float32) / 255
    return found
