"""What C libraries print on standard error, and what we do."""

from __future__ import annotations

import subprocess
import sys

import pytest

CALL = """
import os, sys
from mitoyolo.own_stderr import own_stderr
{before}
with own_stderr():
    os.write(2, b"libpng error")
    print("one \u00b5", file=sys.stderr)
    os.write(2, b"libtiff warning")
os.write(2, b"two\\n")
print("three", file=sys.stderr)
"""


def run(before: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-c", CALL.format(before=before)], capture_output=True, check=True
    )
    return done.stderr.decode().replace("\r\n", "\n")


def test_ours_is_printed_and_no_other_word() -> None:
    assert run() == "one µ\ntwo\nthree\n"


def test_an_error_restores_it() -> None:
    raising = """
try:
    with own_stderr():
        raise KeyError
except KeyError:
    os.write(2, b"zero\\n")
"""
    assert run(raising) == "zero\none µ\ntwo\nthree\n"


@pytest.mark.parametrize("before", ["sys.stderr = None", "import io; sys.stderr = io.StringIO()"])
def test_another_stderr_is_left_alone(before: str) -> None:
    assert run(before) == "libpng errorlibtiff warningtwo\n"
