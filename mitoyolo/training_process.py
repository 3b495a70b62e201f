"""A training in a process of its own, whose time and memory are its own."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from converters.errors import MitoyoloError
from mitoyolo.stopping import end_with_parent


class TrainingError(MitoyoloError):
    """A training ended without what it was to leave."""


def run_training(command: list[str], record: Path, name: str) -> None:
    """Run a training to its end.

    Parameters
    ----------
    command : list of str
        The program and its arguments.
    record : Path
        The file that it writes last.
    name : str
        What the error calls it.

    Raises
    ------
    TrainingError
        It failed, or ended without that file.
    """
    code = run_program(command)
    if code or not record.exists():
        raise TrainingError(
            f"{name}: the training ended with exit code {code}, its reason stands above; the same "
            "call goes on"
        )


def seconds_of(record: Mapping[str, Any]) -> float:
    """What a training took, by what it left: to its last epoch, and to its end, in which a verifier
    is trained; other programs' records have no such end."""
    return float(record["training_s"] + record.get("concluding_s", 0.0))


def run_program(command: list[str]) -> int:
    """Exit code of a program, which is stopped when we are, and speaks on standard error alone."""
    with_us = partial(end_with_parent, signal.SIGTERM)  # were we killed
    process = subprocess.Popen(command, stdout=2, preexec_fn=with_us)
    try:
        return process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
