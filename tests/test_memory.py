"""The memory that a process has held: its own."""

from __future__ import annotations

import subprocess
import sys

CHILD = "from mitoyolo.memory import peak_mib; print(peak_mib())"


def run(code: str) -> float:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def test_what_the_parent_held_does_not_count() -> None:
    parent = (
        "import subprocess, sys; held = b'x' * (400 << 20);"
        f"subprocess.run([sys.executable, '-c', {CHILD!r}], check=True)"
    )
    assert run(parent) < 300


def test_what_was_given_back_counts() -> None:
    assert run(f"held = b'x' * (400 << 20); del held; {CHILD}") > 400
