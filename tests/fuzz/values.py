"""What takes the place of a true value: numbers, words and names that nobody means."""

from __future__ import annotations

import random
from typing import Any

NUMBERS: tuple[Any, ...] = (
    *(float("nan"), float("inf"), -float("inf"), -1, 0, -0.0, 1, 0.5, 63.5, 64, 1000, 100_000),
    *(1e308, 1e-308, 1e12, 1e13, -1e12, 2**31, 2**53, 2**63, 2**64, 10**400, 10**4200),
)

OTHERS: tuple[Any, ...] = ("", "5", "1_0", "0x10", "1,5", " 7 ", "x" * 200_000, True, False, None)

STRUCTURES: tuple[Any, ...] = (
    *([], {}, [[]], [5], [[5, 6]], [None], [1, 2, 3, 4], ["x"] * 3),
    *({"x": {}}, {"name": None}, {"type": "point", "center": [5, 5]}, {"points": [[1]]}),
)

WORDS = (
    *("mitosis", "Hard-negative", "imposter", "ellipse", "point", "Polygon", "polyline", "None"),
    *("", " ", "\t", "nan", "null", "true", "mitosis\nimposter", "\ufeffmitosis", "é" * 90),
    *("%s{0}", "=1+1", "a,b"),
)

NAMES = (
    *("../../x", "../../../../../../../../tmp/x", "..", ".", "/", "//x", "../cell_1.png", "~/x"),
    *("/etc/passwd", "C:\\x", "\\\\server\\x", "C:", "file:///etc/passwd", "http://[x"),
    *("a/../../b", "images/../cell_1.png", "%2e%2e%2fx", "$HOME", "-rf", "*", "?", "CON"),
    *("a\0b", "n" * 300, "\ud800", "a\ud800.png", "a\nb", "a\rb\tc", "\x1b[31mred", "\u202eb.png"),
    *("🧬.png", "é" * 150, "", " ", ".png", "cell_1", "cell_1.PNG", "cell_2.png", "a,b;\"c'.png"),
    *("<b>&amp;.png", "a:.png", ".hidden.png"),
)
"""Names of images, as an annotation file may say them."""

FILE_NAMES = (
    *(
        "🧬",
        "é",
        "e\u0301",
        "a b",
        " ",
        "-rf",
        "a.b.c",
        "x.png",
        "$HOME",
        "%s",
        "a,b",
        '"',
        "<b>&amp;",
    ),
    *("a\nb", "\x1b[31m", "n" * 230, "é" * 90, "\udcff", "cell_2", "Cell_1", "cell_1 (1)"),
    *("\u202ea", "a\\b", "a:", "C:x", ".", "..a", "images", "x1y2", "01", "A00_01", "#"),
    *("cell_1_fliph", "x0y0_x0_y0"),
)
"""Names, without suffix, that a file system takes."""


def any_value(rng: random.Random) -> Any:
    """A value of any type."""
    return rng.choice(rng.choice((NUMBERS, OTHERS, STRUCTURES, WORDS, NAMES)))
