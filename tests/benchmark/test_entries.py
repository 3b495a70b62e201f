"""Which models a benchmark can compare."""

from __future__ import annotations

from mitoyolo.benchmark.entries import ENTRIES, USUAL
from mitoyolo.detectors.families import MODELS


def test_every_model_that_can_be_trained_can_be_compared() -> None:
    assert {entry.model for entry in ENTRIES.values() if not entry.is_peer} == set(MODELS)
    assert set(USUAL) <= set(ENTRIES)
