"""The program called in this process, with what any library in it writes to the descriptors."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from conftest import Result


class Program:
    """``mitoyolo`` in this process, whose standard output and error it takes for itself."""

    def __init__(self) -> None:
        from mitoyolo.cli import main

        self._main = main
        self._out, self._err = (tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115 - as long as the process
        os.dup2(self._out.fileno(), 1)
        os.dup2(self._err.fileno(), 2)

    def __call__(self, *arguments: object, inside: Path) -> Result:
        """Call it in a folder of its own, which holds its temporary files too."""
        from mitoyolo.progress import set_quiet

        for descriptor in (1, 2):
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, os.SEEK_SET)
        sys.argv = ["mitoyolo", *map(str, arguments)]
        tempfile.tempdir = str(inside)
        os.chdir(inside)
        code = 0
        try:
            self._main()
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else int(left.code is not None)
        finally:
            set_quiet(False)
            tempfile.tempdir = None
        return Result(code, _written(1), _written(2))


def _written(descriptor: int) -> str:
    (sys.stdout if descriptor == 1 else sys.stderr).flush()
    size = os.lseek(descriptor, 0, os.SEEK_END)
    return os.pread(descriptor, size, 0).decode("utf-8", "replace")


def lines(text: str) -> Sequence[str]:
    """The lines of what was written."""
    return [line for line in text.split("\n") if line]
