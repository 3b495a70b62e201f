"""Several files in one call: one that fails is left out, and the others are done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from converters.errors import InputError, MitoyoloError
from converters.mpp import Mpp, differ
from mitoyolo.jobs import HeldError
from mitoyolo.progress import note

NAMED = 5
"""Errors that the last line repeats; a note tells each as it happens."""


class LeftOut:
    """What fails in a call over several files.

    Parameters
    ----------
    kind : str
        What the files are, in the plural.
    total : int
        How many there are; the error of a lone one is raised at once.
    error : class
        What leaves a file out.

    Attributes
    ----------
    errors : list of str
        What has failed.
    """

    def __init__(self, kind: str, total: int, error: type[MitoyoloError] = InputError) -> None:
        self._kind, self._total, self._error = kind, total, error
        self.errors: list[str] = []

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Leave a file out if it cannot be read; one that another process has ends the call."""
        try:
            yield
        except HeldError:
            raise
        except self._error as error:
            if self._total == 1:
                raise
            self.errors.append(str(error))
            note(f"left out: {error}")

    def check(self) -> None:
        """End the call with what was left out, if anything was.

        Raises
        ------
        InputError
            It names the first.
        """
        if not self.errors:
            return
        named = "; ".join(self.errors[:NAMED]) + ("; ..." if len(self.errors) > NAMED else "")
        raise InputError(
            f"{len(self.errors)} of {self._total} {self._kind} left out ({named})",
            fix="the others are done; mend these and repeat the call",
        )


def tell_stated(kind: str, stated: Mpp | None, own: Sequence[tuple[str, Mpp | None]]) -> None:
    """Say once that ``--mpp`` wins over what files say.

    Parameters
    ----------
    kind : str
        What the files are, in the plural.
    stated : (float, float) or None
        The option.
    own : sequence of (str, (float, float) or None)
        Name of each file, and the µm/px that it says.
    """
    if stated is None:
        return
    other = [(name, mpp) for name, mpp in own if mpp and differ(stated, mpp)]
    if other:
        name, mpp = other[0]
        note(
            f"--mpp {stated[0]:g} is used; {len(other)} of {len(own)} {kind} say otherwise "
            f"({name}: {mpp[0]:g})"
        )
