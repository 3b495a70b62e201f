"""Which runtime a detection gets, and the export that is made for it once."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from rendered import card

from converters.errors import InputError, OptionError
from mitoyolo.detectors import engines as module
from mitoyolo.detectors.base import load_detector
from mitoyolo.detectors.card import Card
from mitoyolo.detectors.engines import REPAID_FROM, choose_engine
from mitoyolo.detectors.yolo import YoloDetector
from mitoyolo.export import export

from .test_exported import write_weights

CARD = card(classes=("mitosis",), imgsz=64)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_weights(tmp_path / "best.pt", CARD)


def choose(
    weights: Path,
    engine: str = "auto",
    *,
    of: Card | None = CARD,
    device: str = "cpu",
    tiles: int = REPAID_FROM,
) -> Path:
    return choose_engine(weights, engine, card=of, device=device, tiles=tiles, trust=False)


def test_many_tiles_on_a_cpu_are_openvinos(
    weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = choose(weights)
    assert folder == weights.with_name("best_openvino_cache")
    assert load_detector(folder).card == CARD
    assert capsys.readouterr().err == (f"exporting best.pt for openvino, once, into {folder}\n")
    made = (folder / "best.xml").stat().st_mtime_ns
    assert choose(weights) == folder
    assert (folder / "best.xml").stat().st_mtime_ns == made
    assert capsys.readouterr().err == ""


def test_other_weights_of_that_name_are_exported_again(weights: Path) -> None:
    folder = choose(weights, "onnx")
    made = (folder / "best.onnx").stat().st_mtime_ns
    os.utime(weights, ns=(1, 1))
    assert choose(weights, "onnx") == folder
    assert (folder / "best.onnx").stat().st_mtime_ns > made


@pytest.mark.parametrize(
    "how",
    [
        {"tiles": REPAID_FROM - 1},
        {"device": "0"},
        {"of": card(family="mitos-rcnn")},
        {"engine": "torch"},
    ],
    ids=str,
)
def test_where_the_weights_are_run_by_torch(weights: Path, how: dict[str, object]) -> None:
    assert choose(weights, **how) == weights  # type: ignore[arg-type]
    assert list(weights.parent.iterdir()) == [weights]


def test_without_openvino_torch_runs_them(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert choose(weights) == weights


def test_where_the_export_fails_torch_runs_them_and_it_is_said(
    weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights.with_name("best_openvino_cache").write_text("a file in the way")
    assert choose(weights) == weights
    assert "no export for OpenVINO" in capsys.readouterr().err
    with pytest.raises(InputError, match="is a file"):
        choose(weights, "openvino")


def test_an_export_is_its_own_engine(weights: Path, tmp_path: Path) -> None:
    folder = export(weights, "onnx", out=tmp_path / "mine", tell=lambda said: None)
    assert choose(folder) == choose(folder, "onnx") == folder
    with pytest.raises(OptionError, match=r"is an export for onnx; give the \.pt file"):
        choose(folder, "openvino")


def test_an_engine_that_is_not_known(weights: Path) -> None:
    with pytest.raises(OptionError, match="--engine tpu: expected one of auto, torch, openvino"):
        choose(weights, "tpu")


def test_scores_that_are_not_wanted_change_no_other() -> None:
    """Of 200 places with boxes that overlap and scores that all differ."""
    random = torch.Generator().manual_seed(0)
    boxes = torch.rand(1, 4, 200, generator=random) * 40 + 10
    scores = (torch.randperm(200, generator=random) + 1).view(1, 1, 200) / 201
    detector = YoloDetector(
        lambda images: torch.cat([boxes, scores], dim=1),
        classes=("mitosis",), card=CARD, imgsz=64, device="cpu",
    )  # fmt: skip
    tile = np.zeros((64, 64, 3), np.uint8)
    (everything,) = detector.predict([tile])
    detector.least = float(np.median(everything[:, 4]))
    (some,) = detector.predict([tile])
    assert 5 < len(some) < len(everything) < 200
    assert np.array_equal(some, everything[everything[:, 4] > detector.least])
