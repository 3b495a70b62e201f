"""SIGTERM as an exception, for the time of a block."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from mitoyolo.stopping import Stopped, stoppable


def test_sigterm_leaves_the_block_and_the_handler_before_comes_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped), stoppable():
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("unreachable")
    assert signal.getsignal(signal.SIGTERM) is before


HANGS = """
import os, signal
from mitoyolo.stopping import stoppable
with stoppable():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        print("tidying", flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        print("tidied", flush=True)
"""


def test_a_second_sigterm_ends_a_tidying_up_that_hangs() -> None:
    """In a process of its own: the signal is not caught."""
    done = subprocess.run(
        [sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "tidying\n")


def test_no_handler_of_errors_keeps_it() -> None:
    with pytest.raises(Stopped), stoppable():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except Exception:
            pytest.fail("kept")


def test_without_a_signal_nothing_happens() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stoppable():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_in_another_thread_the_block_runs_as_it_is() -> None:
    done = []

    def work() -> None:
        with stoppable():
            done.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert done == [before]
