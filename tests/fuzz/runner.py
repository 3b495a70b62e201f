"""Many cases in several processes; one that a case has ended is started again behind it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fuzz.cases import READERS
from fuzz.verdict import Outcome
from fuzz.worker import TOLD

TESTS = Path(__file__).parents[1]


def run_cases(numbers: range, folder: Path) -> list[Outcome]:
    """Run the cases of some numbers; findings leave their input in ``folder``."""
    workers = min(os.cpu_count() or 1, 16, len(numbers))
    shares = [numbers[i::workers] for i in range(workers)]
    with ThreadPoolExecutor(workers) as pool:
        found = pool.map(_run_share, shares, [folder / f"worker-{i}" for i in range(workers)])
        return sorted((one for share in found for one in share), key=lambda one: one.number)


def _run_share(numbers: range, folder: Path) -> list[Outcome]:
    found: list[Outcome] = []
    while rest := numbers[len(found) :]:
        folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "fuzz.worker", folder, rest.start, rest.stop, rest.step]
        done = subprocess.run(
            list(map(str, command)),
            env={**os.environ, "PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent)))},
            capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        lines = done.stdout.splitlines()
        found += _outcomes(lines)
        if done.returncode and (rest := numbers[len(found) :]):
            last = "\n".join(line for line in lines if not line.startswith("{"))
            found.append(_ended(rest.start, folder, f"{last[:3000]}{done.stderr[-3000:]}"))
    return found


def _outcomes(lines: list[str]) -> Iterator[Outcome]:
    return (Outcome(**json.loads(line)) for line in lines if line.startswith("{"))


def _ended(number: int, folder: Path, last: str) -> Outcome:
    """The outcome of a case that has ended its process."""
    left = folder.with_name(f"finding-{number}")
    (folder / f"case-{number}").rename(left)
    done = (left / TOLD).read_text().splitlines() if (left / TOLD).exists() else []
    name = READERS[number % len(READERS)]
    return Outcome(number, name, done, finding=f"the process has ended: {last}")
