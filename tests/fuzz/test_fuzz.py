"""Damaged input of every format: each case converts with a full account or is refused in one line.

``MITOYOLO_FUZZ=10000`` runs as many cases (``make fuzz``), ``MITOYOLO_FUZZ_FIRST=20000`` begins at
another, ``MITOYOLO_FUZZ_SEED=123`` runs that one alone.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from conftest import Cli

from converters.registry import FORMATS
from fuzz.account import check_account
from fuzz.cases import READERS
from fuzz.options import WRITERS
from fuzz.runner import run_cases
from fuzz.seeds import SEEDS, Seed
from fuzz.verdict import Outcome

CASES = 500


def _numbers() -> range:
    if alone := os.environ.get("MITOYOLO_FUZZ_SEED"):
        return range(int(alone), int(alone) + 1)
    first = int(os.environ.get("MITOYOLO_FUZZ_FIRST", "0"))
    return range(first, first + int(os.environ.get("MITOYOLO_FUZZ", CASES)))


def test_every_format_has_a_seed() -> None:
    assert {name for name, entry in FORMATS.items() if entry.read} == {s.format for s in SEEDS}


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"{seed.format}, {seed.name}")
def test_a_seed_is_whole(seed: Seed, tmp_path: Path, cli: Cli) -> None:
    if not seed.there:
        pytest.skip(f"no real data: {seed.real} is absent")
    src, out = tmp_path / "src", tmp_path / "out"
    src.mkdir()
    seed.build(src)
    to = "yolo" if seed.images else "dsa"
    options = ["--labels", "mitosis,imposter", "--unlabelled", "skip", "--to", to, *seed.options]
    result = cli("convert", src, out, "--from", seed.format, *options)
    assert result.code == 0, result.err
    report = check_account(out, to, options)
    assert report["read"] == seed.read
    assert set(report["dropped"]) <= {"label", "shape", "deleted", "augmented"}


def test_damaged_input(tmp_path: Path) -> None:
    numbers = _numbers()
    outcomes = run_cases(numbers, tmp_path)
    assert [outcome.number for outcome in outcomes] == list(numbers)
    findings = [_told(outcome, tmp_path) for outcome in outcomes if outcome.finding]
    print(_summary(outcomes))
    if findings:
        pytest.fail(f"{len(findings)} findings\n" + "\n".join(findings), pytrace=False)
    if len(numbers) >= CASES:
        _check_spread(outcomes)


def _told(outcome: Outcome, folder: Path) -> str:
    return "\n    ".join((
        f"\n{outcome.finding:.2000}",
        *outcome.done,
        f"exit code {outcome.code}: {outcome.error.strip():.500}",
        f"MITOYOLO_FUZZ_SEED={outcome.number} repeats it; input: {folder}/finding-{outcome.number}",
    ))  # fmt: skip


def _summary(outcomes: list[Outcome]) -> str:
    ended = Counter(outcome.code for outcome in outcomes)
    dropped = sum(outcome.dropped for outcome in outcomes)
    return (
        f"{len(outcomes)} cases: {ended[0]} converted ({dropped} with drops), "
        f"{ended[1] + ended[2]} refused, {sum(bool(one.finding) for one in outcomes)} findings"
    )


_WAYS = ("converts", "drops", "refuses")


def _check_spread(outcomes: list[Outcome]) -> None:
    """The damage is neither harmless nor fatal: each format converts and refuses, and some of what
    converts drops."""
    ways: dict[str, set[str]] = defaultdict(set)
    for outcome in outcomes:
        if outcome.code == 0:
            ways[outcome.format].add("drops" if outcome.dropped else "converts")
        else:
            ways[outcome.format].add("refuses")
    assert set(ways) == set(READERS)
    assert all("refuses" in found and len(found) > 1 for found in ways.values()), ways
    assert all(sum(way in found for found in ways.values()) > len(READERS) / 2 for way in _WAYS)
    said = "\n".join(line for outcome in outcomes for line in outcome.done)
    missing = [name for name in WRITERS if f"--to {name}" not in said]
    assert not missing
