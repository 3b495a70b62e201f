"""Worker processes: order, look-ahead, errors."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from converters.errors import InputError
from mitoyolo.pool import Pool


def work(task: int) -> int:
    """Later tasks are quicker; 13 is bad."""
    time.sleep(0.01 * (20 - task) / 20)
    if task == 13:
        raise InputError("bad", file="x.png")
    return 2 * task


@pytest.mark.parametrize("workers", [1, 2])
def test_results_in_order_and_few_drawn_ahead(workers: int) -> None:
    drawn = []

    def tasks() -> Iterator[int]:
        for i in range(20):
            drawn.append(i)
            yield i

    got = []
    with Pool(workers) as pool, pytest.raises(InputError, match=r"^x\.png: bad$"):
        for result in pool.map(work, tasks()):
            got.append(result)
            assert len(drawn) - len(got) < 2 * workers
    assert got == [2 * i for i in range(13)]
