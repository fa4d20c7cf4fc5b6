"""The terminal's screen: its ANSI text by hand, and the picture cell by cell."""

import re

import numpy as np

from envs import terminal


def screen(lines: list[str], color: int = 7) -> tuple[np.ndarray, np.ndarray]:
    chars = np.array([list(line.encode()) for line in lines], np.uint8)
    return chars, np.where(chars == ord(" "), 0, color).astype(np.int8)


def test_text_by_hand():
    chars, colors = screen(["ab c", "@ d "])
    colors[1, 0] = 15
    colors[0, 3] = 1
    assert terminal.ansi(chars, colors, np.array([1, 3])).split("\n") == [
        "\x1b[0;37mab \x1b[0;31mc\x1b[0m",
        "\x1b[0;97m@ \x1b[0;37md\x1b[0;39;7m \x1b[0m",
    ]


def test_inverse_video_and_the_cursor_cancel():
    chars, colors = screen(["xyz"])
    colors[0, :2] += terminal.INVERSE
    text = terminal.ansi(chars, colors, np.array([0, 1]))
    assert text == "\x1b[0;37;7mx\x1b[0;37myz\x1b[0m"


def test_control_characters_do_not_reach_the_terminal():
    chars = np.array([[27, ord("["), 0, 200, 127]], np.uint8)
    text = terminal.ansi(chars, np.full((1, 5), 7, np.int8), np.array([9, 9]))
    assert re.sub(r"\x1b\[[0-9;]*m", "", text) == " [   "


def test_a_picture_has_each_letter_in_its_cell_and_colour():
    chars, colors = screen(["a a", " b "])
    colors[0, 2] = 10
    image = terminal.picture(chars, colors, np.array([1, 2]))
    assert image.shape == (32, 24, 3)
    assert image.dtype == np.uint8
    cell = lambda row, column: image[16 * row : 16 * row + 16, 8 * column : 8 * column + 8]  # noqa: E731
    assert not cell(0, 1).any()
    assert not cell(1, 0).any()
    grey, green, b = cell(0, 0), cell(0, 2), cell(1, 1)
    assert grey.any()
    assert (grey[..., 0] == grey[..., 2]).all()
    assert green[..., 1].max() > green[..., 0].max()
    np.testing.assert_array_equal(green[..., 1] > 0, grey[..., 1] > 0)  # one letter, two colours
    assert ((grey > 0) != (b > 0)).any()
    assert (cell(1, 2) == 170).all()  # the cursor on an empty place


def test_every_letter_fits_and_is_its_own():
    letters = terminal._letters()
    printed = [letters[code].tobytes() for code in range(33, 127)]
    assert len(set(printed)) == 94
    assert not letters[32].any()
