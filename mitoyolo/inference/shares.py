"""How several processes share the slides of one call: who begins where."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from converters.errors import OptionError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Share:
    """One of ``of`` processes that do a call together, in one output folder.

    Attributes
    ----------
    number : int
        From 0.
    of : int
    local : int
        Its number on its machine, by which it takes a GPU.
    """

    number: int = 0
    of: int = 1
    local: int = 0

    @property
    def is_alone(self) -> bool:
        """Whether nobody else is at work."""
        return self.of == 1

    def order(self, items: Sequence[T]) -> list[T]:
        """All items, from the process's own beginning on: whoever comes later helps or goes on."""
        first = self.number * len(items) // self.of
        return [*items[first:], *items[:first]]

    def device(self, devices: str) -> str:
        """This process's own of the GPUs that a call names, ``0,1``.

        Raises
        ------
        OptionError
            Several GPUs for one process.
        """
        names = devices.split(",")
        if self.is_alone and len(names) > 1:
            raise OptionError(
                f"--device {devices}: one process uses one GPU",
                fix=f"start {len(names)} of them: torchrun --nproc-per-node {len(names)} "
                "-m mitoyolo detect ...",
            )
        return names[self.local % len(names)]


ALONE = Share()


def share_of(shard: str | None, environment: Mapping[str, str]) -> Share:
    """The process's share, by ``--shard i/n`` (from 1 to n), else by torchrun's variables.

    Raises
    ------
    OptionError
        The option does not read i/n.
    """
    if shard is None:
        number, of, local = (
            int(environment.get(name, default))
            for name, default in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0))
        )
        return Share(number, of, local)
    found = re.fullmatch(r"(\d+)/(\d+)", shard)
    number, of = map(int, found.groups()) if found else (0, 0)
    if not 1 <= number <= of:
        raise OptionError(f"--shard {shard}: expected i/n, as 1/4 for the first of four processes")
    return Share(number - 1, of, number - 1)
