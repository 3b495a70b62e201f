"""The card of plain types in a weights file."""

from __future__ import annotations

import json
from typing import Any

import pytest
from rendered import card

from converters.errors import InputError
from mitoyolo.detectors.card import card_from_dict


def test_a_card_survives_the_weights_file() -> None:
    given = card(normalisation={"method": "reinhard", "mode": "case", "target": {"source": "x"}})
    plain = given.to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert card_from_dict(plain, "best.pt") == given


def test_the_card_holds_what_inference_needs() -> None:
    assert set(card().to_dict()) == {
        "family", "classes", "mpp", "tile", "overlap", "imgsz", "normalisation", "radius_um",
        "protocol", "threshold", "threshold_from", "versions", "verifier",
    }  # fmt: skip


def test_a_card_without_scale_or_threshold_is_one_too() -> None:
    given = card(mpp=None, threshold=None)
    assert card_from_dict(given.to_dict(), "best.pt") == given


def test_missing_keys_are_named() -> None:
    values = card().to_dict()
    del values["mpp"], values["tile"]
    with pytest.raises(InputError, match=r"best\.pt.*no mpp, tile"):
        card_from_dict(values, "best.pt")


@pytest.mark.parametrize(
    "change",
    [
        {"mpp": [0.25]}, {"mpp": 0.25}, {"tile": "x"}, {"classes": 3}, {"threshold": "high"},
        {"radius_um": None}, {"normalisation": "reinhard"}, {"imgsz": 0}, {"tile": -1},
        {"overlap": -1}, {"mpp": [0.25, 0.0]}, {"mpp": [0.25, float("nan")]},
        {"imgsz": float("inf")},
    ],
)  # fmt: skip
def test_damaged_values_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="damaged"):
        card_from_dict({**card().to_dict(), **change}, "best.pt")


@pytest.mark.parametrize("verifier", ["/tmp/x", "yolov5n.yaml", 5])
def test_a_verifier_is_a_model_by_name(verifier: object) -> None:
    """Else Ultralytics would open such a file."""
    with pytest.raises(InputError, match="a verifier that there is not"):
        card_from_dict({**card().to_dict(), "verifier": verifier}, "x.pt")


def test_a_verifier_needs_a_scale() -> None:
    values = {**card().to_dict(), "verifier": "yolov5n"}
    assert card_from_dict(values, "x.pt").verifier == "yolov5n"
    with pytest.raises(InputError, match="a verifier of tiles of unknown µm/px"):
        card_from_dict({**values, "mpp": None}, "x.pt")


def test_a_card_of_before_there_were_verifiers_has_none() -> None:
    values = card().to_dict()
    del values["verifier"]
    assert card_from_dict(values, "x.pt").verifier is None
