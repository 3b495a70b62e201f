"""Ultralytics, imported for the first time on a machine and again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
from mitoyolo.detectors import ultralytics_quiet
from ultralytics.utils import ONLINE, SETTINGS
assert not ONLINE and True not in SETTINGS.values()
"""


def test_nothing_is_said_and_the_shared_settings_are_written_once(tmp_path: Path) -> None:
    first = None
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "TMPDIR": str(tmp_path)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        (settings,) = tmp_path.rglob("settings.json")
        written = settings.stat().st_mtime_ns
        assert first in (None, written)
        first = written
