"""The order of the training tiles: of seed and epoch alone, shared out among processes."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mitoyolo.detectors.sampler import EpochSampler
from mitoyolo.distributed import Process


def orders(tiles: int, world: int, epochs: int, **more: Any) -> list[list[list[int]]]:
    """For each process, its numbers in each epoch."""
    samplers = [
        EpochSampler(tiles, seed=3, process=Process(rank=rank, world=world), **more)
        for rank in range(world)
    ]
    return [[list(sampler) for _ in range(epochs)] for sampler in samplers]


@given(tiles=st.integers(1, 40), world=st.integers(1, 6), batch=st.integers(1, 5))
def test_the_processes_share_the_order_of_one(tiles: int, world: int, batch: int) -> None:
    (alone,) = orders(tiles, 1, 3)
    shares = orders(tiles, world, 3)
    for epoch in range(3):
        assert sorted(alone[epoch]) == list(range(epoch * tiles, (epoch + 1) * tiles))
        length = -(-tiles // world)
        assert {len(share[epoch]) for share in shares} == {length}
        whole = [
            number for step in zip(*(s[epoch] for s in shares), strict=True) for number in step
        ]
        expected = (alone[epoch] * world)[: length * world]  # the first ones again
        assert whole == expected
        for first in range(0, length, batch):
            step = [n for share in shares for n in share[epoch][first : first + batch]]
            of_one = expected[first * world : (first + batch) * world]
            assert sorted(step) == sorted(of_one)


def test_epochs_and_seeds_have_their_own_order() -> None:
    (epochs,) = orders(30, 1, 3)
    drawn = [[number % 30 for number in epoch] for epoch in epochs]
    drawn.append(list(EpochSampler(30, seed=4, process=Process())))
    drawn.append(list(range(30)))
    assert len({tuple(order) for order in drawn}) == 5
    (straight,) = orders(30, 1, 1, shuffle=False)
    assert straight == [list(range(30))]


def test_a_resumed_sampler_goes_on() -> None:
    (epochs,) = orders(30, 1, 4)
    sampler = EpochSampler(30, seed=3, process=Process())
    sampler.epoch = 2
    sampler.set_epoch(0)  # as Ultralytics says too late
    assert [list(sampler), list(sampler)] == epochs[2:]
    assert len(sampler) == 30
