"""Class names."""

from __future__ import annotations

import pytest

from converters.labels import canonical_label


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("Mitosis", "mitosis"),
        ("mitotic figure", "mitosis"),
        ("MITOSE", "mitosis"),
        ("Hard Negative", "imposter"),
        ("Non-mitosis", "imposter"),
        ("non_mitotic  figure", "imposter"),
        ("not mitotic figure", "imposter"),
        ("mitosis-like", "imposter"),
        ("Tumour", "Tumour"),
        ("", ""),
    ],
)
def test_canonical_label(name: str, label: str) -> None:
    assert canonical_label(name) == label
