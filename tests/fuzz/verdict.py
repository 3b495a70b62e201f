"""Whether a call behaves: a full account, or one line, and not a byte anywhere else."""

from __future__ import annotations

import os
import resource
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path

from conftest import Result

from converters.files import PART
from fuzz.account import Wrong, check_account, check_that, outputs
from fuzz.cases import WORD, Case
from fuzz.program import Program, lines

CPU_S = 20.0
"""Seconds of computing after which a case of some milliseconds has run away."""

MEMORY_MB = 1000
"""What a case may take beyond what the process had before."""

LONGEST_LINE = 2000
"""Characters of an error."""


@dataclass(slots=True)
class Outcome:
    """How a case ended.

    Attributes
    ----------
    number, format : int, str
        Which case it was.
    done : list of str
        What was damaged, and the arguments of the call.
    code : int
        The program's.
    dropped : bool
        Whether it converted and left something out.
    finding : str
        What is wrong with it; empty where nothing is.
    error : str
        What the program wrote on stderr.
    """

    number: int
    format: str
    done: list[str] = field(default_factory=list)
    code: int = -1
    dropped: bool = False
    finding: str = ""
    error: str = ""


def judge(number: int, case: Case, program: Program) -> Outcome:
    """Run a case and say how it ended."""
    outcome = Outcome(number, case.format, [*case.done, " ".join(case.arguments)])
    folder = case.out.parent
    try:
        before = _state(folder)
        result = _bounded(case, program)
        outcome.code, outcome.error = result.code, result.err
        check_that(_state(folder, case.out) == before, f"changed: {_changed(before, case)}")
        if result.code:
            _check_refusal(result, case)
        else:
            outcome.dropped = _check_success(result, case)
        if case.again:
            _check_again(result, case, program)
    except Wrong as wrong:
        outcome.finding = str(wrong)
    except Exception as error:
        outcome.finding = f"the output cannot be checked: {type(error).__name__}: {error}"
    return outcome


def _bounded(case: Case, program: Program) -> Result:
    """Call it, and see that it computes and holds no more than a small input can need."""
    memory, cpu = _peak_mb(), time.process_time()
    result = program(*case.arguments, inside=case.inside)
    cpu, memory = time.process_time() - cpu, _peak_mb() - memory
    check_that(cpu < CPU_S, f"{cpu:.0f} s of computing")
    check_that(memory < MEMORY_MB, f"{memory:.0f} MB of memory")
    return result


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _check_success(result: Result, case: Case) -> bool:
    """A full account; whether it left something out."""
    said = lines(result.err)
    check_that("--quiet" not in case.options or not said, "words on stderr")
    check_that(not any(line.startswith("mitoyolo: ") for line in said), "an error, but code 0")
    to = case.options[case.options.index("--to") + 1]
    report = check_account(case.out, to, case.options)
    if case.marks is not None and "unreadable_file" not in report["dropped"]:
        lost = f"{report['read']} read of {case.marks}: {report['dropped']}"
        check_that(report["read"] == case.marks, lost)
    check_that(all(WORD.encode() not in data for data in outputs(case.out)), "a secret written")
    return bool(report["dropped"])


def _check_refusal(result: Result, case: Case) -> None:
    """One line, and nothing that looks finished."""
    said = lines(result.err)
    errors = [line for line in said if line.startswith("mitoyolo: ")]
    check_that("Traceback" not in result.err, "a traceback")
    check_that("an error of mitoyolo itself" not in result.err, "an error of mitoyolo itself")
    check_that(result.code in (1, 2), f"exit code {result.code}")
    check_that(len(errors) == 1, f"{len(errors)} lines of error")
    check_that("--quiet" not in case.options or said == errors, "more words on stderr")
    check_that(len(errors[0]) < LONGEST_LINE, "an endless line")
    check_that(errors[0].isprintable(), "control characters")
    check_that(not result.out, "words on stdout")
    check_that(WORD not in errors[0], "a secret in the error")
    index = "dataset.yaml" if "yolo" in case.options else "report.json"
    check_that(not (case.out / index).exists(), f"failed, but there is {index}")
    left = [path for path in case.out.rglob("*") if path.name.startswith(PART)]
    check_that(not left, f"left over: {left}")


def _check_again(first: Result, case: Case, program: Program) -> None:
    """The same call says the same, and a finished folder stays as it is."""
    before = _state(case.out)
    result = program(*case.arguments, inside=case.inside)
    check_that(result.code == first.code, f"again: exit code {result.code}, {result.err}")
    if first.code:
        check_that(lines(result.err)[-1:] == lines(first.err)[-1:], f"again: {result.err}")
    check_that(_state(case.out) == before, "again: another output")


_State = dict[str, object]


def _state(folder: Path, but: Path | None = None) -> _State:
    """What is in a folder: of files their bytes, of links their goals, of others their kind."""
    found: _State = {}
    for place, folders, files in os.walk(folder):
        if but and Path(place) == but.parent and but.name in folders:
            folders.remove(but.name)
        for path in (Path(place, name) for name in (*folders, *files)):
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                found[str(path)] = path.read_bytes()
            else:
                found[str(path)] = path.readlink() if stat.S_ISLNK(mode) else stat.S_IFMT(mode)
    return found


def _changed(before: _State, case: Case) -> str:
    after = _state(case.out.parent, case.out)
    names = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    return ", ".join(sorted(names))
