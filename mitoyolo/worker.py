"""``python -m mitoyolo.worker CALL``: one of the processes that :mod:`mitoyolo.launch` starts.

CALL is the call of :func:`mitoyolo.train.train` as JSON.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mitoyolo.cli.ending import INTERRUPTED, one_line
from mitoyolo.distributed import LostProcessError
from mitoyolo.launch import LOST, die_with_launcher, report
from mitoyolo.progress import is_quiet, set_quiet
from mitoyolo.train import TrainOptions, train

GRACE = 5.0
"""Seconds in which the launcher finds the process that failed before those that then lost it."""


def encode(data: Path, run: Path, options: TrainOptions, resume: bool) -> str:
    """A call of ``train`` as text."""
    return json.dumps(
        {
            "data": str(data),
            "run": str(run),
            "options": asdict(options),
            "resume": resume,
            "quiet": is_quiet(),
        }
    )


def main(text: str) -> int:
    """Run the call; the exit code, with what went wrong told to the launcher."""
    die_with_launcher()
    call: dict[str, Any] = json.loads(text)
    set_quiet(call["quiet"])
    try:
        train(
            Path(call["data"]),
            Path(call["run"]),
            TrainOptions(**call["options"]),
            resume=call["resume"],
        )
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        code = LOST if isinstance(error, LostProcessError) else getattr(error, "exit_code", 1)
        report(one_line(error), code, traceback.format_exc())
        if code == LOST:
            time.sleep(GRACE)
        return code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
