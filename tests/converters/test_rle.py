"""Run-length masks: the same as pycocotools', and safe with any text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask

from converters.errors import InputError
from converters.raster import runs_of
from converters.rle import decode, encode, from_text, to_text
from converters.shapes import Pixels

masks = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda size: st.lists(
        st.integers(0, 1), min_size=size[0] * size[1], max_size=size[0] * size[1]
    ).map(lambda bits: np.array(bits, np.uint8).reshape(size))
)


def pixels(dense: np.ndarray) -> Pixels:
    return Pixels(frozenset((int(x), int(y)) for y, x in zip(*np.nonzero(dense), strict=True)))


@given(masks)
def test_pycocotools_writes_and_reads_the_same(dense: np.ndarray) -> None:
    height, width = dense.shape
    theirs = mask.encode(np.asfortranarray(dense))
    theirs["counts"] = theirs["counts"].decode()
    if not dense.any():
        with pytest.raises(InputError, match="without a pixel"):
            decode(theirs, (width, height), "f", "w")
        return
    shape = pixels(dense)
    ours = encode(runs_of(shape, width, height).tolist(), width, height)
    assert ours == theirs
    np.testing.assert_array_equal(mask.decode(ours), dense)
    assert decode(theirs, (width, height), "f", "w") == shape
    assert decode({**ours, "counts": from_text(ours["counts"])}, None, "f", "w") == shape


@given(st.lists(st.integers(0, 2**60)))
def test_lengths_come_back(lengths: list[int]) -> None:
    assert from_text(to_text(lengths)) == lengths


def test_by_hand() -> None:
    # 5 columns of 4: pixels (1, 3), (2, 0) and (2, 1) follow each other down the columns
    assert encode([(1, 3, 4), (2, 0, 2)], 5, 4) == {"size": [4, 5], "counts": to_text([7, 3, 10])}
    assert encode([(0, 0, 4)], 1, 4)["counts"] == to_text([0, 4])
    assert encode([], 2, 2)["counts"] == to_text([4])
    # five bits a character, the fifth of the last one its sign, from the fourth on differences
    assert to_text([7, 3, 10]) == "73:"
    assert to_text([16, 1, 1, 1]) == "`0110"
    assert from_text(to_text([100_000, 5, 6, 4])) == [100_000, 5, 6, 4]
    # more pixels than 32 bits count
    assert decode(encode([(9, 5, 7)], 10**6, 10**6), None, "f", "w").indices == {(9, 5), (9, 6)}


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"size": [4, 5], "counts": [7, 3, 9]}, "counts of 19 px in all, expected 5 x 4"),
        ({"size": [4, 5], "counts": [10**15, 3, 9]}, "px in all"),
        ({"size": [4, 5], "counts": [20]}, "without a pixel"),
        ({"size": [4, 5], "counts": [7, -3, 16]}, "expected text or a list of lengths"),
        ({"size": [4, 5], "counts": [7.0, 13]}, "expected text or a list of lengths"),
        ({"size": [4, 5], "counts": [True, 19]}, "expected text or a list of lengths"),
        ({"size": [4, 5]}, "expected text or a list of lengths, found None"),
        ({"size": [4, 5], "counts": "ü"}, "is no part of a length"),
        ({"size": [4, 5], "counts": "7 "}, "is no part of a length"),
        ({"size": [4, 5], "counts": "P" * 99}, "is no part of a length"),
        ({"size": [4, 5], "counts": "7P"}, "ends within a length"),
        ({"size": [4, 5], "counts": "O"}, "a length of -1"),
        ({"size": [5, 4], "counts": [7, 3, 10]}, "a mask of 4 x 5 px, but its image has 5 x 4"),
        ({"size": [4], "counts": []}, r"size \[4\], expected"),
        ({"size": [4, 0], "counts": []}, "expected .height, width"),
        ({"size": [4, 5.0], "counts": []}, "expected .height, width"),
        ({"size": "4,5", "counts": []}, "expected .height, width"),
        ({"counts": []}, "size None"),
    ],
)
def test_what_is_no_mask_is_told(found: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=rf"^f, w: .*{message}"):
        decode(found, (5, 4), "f", "w")


def test_a_mask_that_would_fill_the_memory_is_no_cell() -> None:
    side = 10**6
    with pytest.raises(InputError, match="1000001 px is no cell"):
        decode({"size": [side, side], "counts": [5, 10**6 + 1, side**2 - side - 6]}, None, "f", "w")


@given(st.text() | st.text(alphabet=st.characters(min_codepoint=48, max_codepoint=111)))
def test_no_text_crashes(text: str) -> None:
    try:
        lengths = from_text(text)
    except ValueError:
        return
    assert all(length >= 0 for length in lengths)
