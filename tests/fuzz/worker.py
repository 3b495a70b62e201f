"""A process of its own that runs cases and tells of each in a line of JSON.

    python -m fuzz.worker FOLDER FIRST END STEP

A process of its own, since a case may end it: by a crash of a library, or by no end at all.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import shutil
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from fuzz.cases import draw_case
from fuzz.program import Program
from fuzz.seeds import SEEDS, Seed
from fuzz.verdict import judge

TOLD = "case.txt"
"""Where a case says what it is, before it runs."""

HANGS_S = 60.0
"""After this time a case is told to hang; a case takes some hundredths of a second."""

_MOST_BYTES = 16 << 30


def main(root: Path, numbers: range, say: TextIO) -> None:
    """Run the cases of some numbers in a folder, and write of each to ``say``."""
    program = Program()
    limit = min(_MOST_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1] & (2**63 - 1))
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    seeds = _Seeds(root / "seeds")
    for number in numbers:
        faulthandler.dump_traceback_later(HANGS_S, exit=True, file=say)
        folder = root / f"case-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        case = draw_case(number, seeds, folder)
        told = "\n".join((*case.done, " ".join(case.arguments)))
        (folder / TOLD).write_text(told, errors="backslashreplace")
        outcome = judge(number, case, program)
        faulthandler.cancel_dump_traceback_later()
        os.chdir(root)
        strangers = {path.name for path in root.iterdir()} - {"seeds", folder.name}
        if strangers and not outcome.finding:
            outcome.finding = f"beside the output folder: {strangers}"
        if not outcome.finding:
            shutil.rmtree(folder)
        else:
            folder.rename(root.parent / f"finding-{number}")
        say.write(json.dumps(asdict(outcome)) + "\n")


class _Seeds:
    """The undamaged inputs, each built when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __call__(self, seed: Seed) -> Path:
        folder = self.root / str(SEEDS.index(seed))
        if not folder.exists():
            folder.mkdir(parents=True)
            seed.build(folder)
        return folder


if __name__ == "__main__":
    out = os.fdopen(os.dup(1), "w", buffering=1)
    try:
        main(Path(sys.argv[1]), range(*map(int, sys.argv[2:5])), out)
    except Exception:  # of the fuzz itself: its own stderr is the program's by now
        traceback.print_exc(file=out)
        sys.exit(1)
