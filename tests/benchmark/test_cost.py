"""What a model costs: counted here a second time, layer by layer."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rendered import card
from torch import nn

from mitoyolo.benchmark import cost as module
from mitoyolo.benchmark.cost import cost, median_ms
from mitoyolo.detectors.base import load_detector
from mitoyolo.detectors.rcnn import write_weights
from mitoyolo.detectors.rcnn_models import Architecture, build
from mitoyolo.detectors.yolo import open_model, start_model, write_start
from mitoyolo.images import RGB

from ultralytics.utils.torch_utils import get_flops

SIDE = 64
TILES = list(np.random.default_rng(0).integers(90, 255, (2, SIDE, SIDE, 3), dtype=np.uint8))


def yolo(path: Path, name: str = "yolov5n") -> Path:
    """Random weights as Ultralytics keeps them, without a card."""
    write_start(path, start_model(name, None, ("mitosis", "imposter"), seed=0))
    return path


def rcnn(path: Path, model: str) -> Path:
    torch.manual_seed(0)
    architecture = Architecture(
        model=model, classes=("mitosis",), imgsz=SIDE, anchors=(16.0,), proposals=10
    )
    write_weights(path, build(architecture), architecture, card(family=model, imgsz=SIDE))
    return path


@contextmanager
def counting() -> Iterator[list[int]]:
    """Twice the multiply-adds of every convolution and linear layer that runs, by their shapes."""
    counts: list[int] = []

    def count(layer: nn.Module, given: Any, found: Any) -> None:
        if isinstance(layer, nn.Conv2d):
            counts.append(2 * found.numel() * layer.weight[0].numel())
        elif isinstance(layer, nn.ConvTranspose2d):
            counts.append(2 * given[0].numel() * layer.weight[0].numel())
        elif isinstance(layer, nn.Linear):
            counts.append(2 * found.numel() * layer.in_features)

    handle = torch.nn.modules.module.register_module_forward_hook(count)
    yield counts
    handle.remove()


@pytest.mark.parametrize("model", ["yolov5n", "yolo26n", "faster-rcnn", "mitos-rcnn"])
def test_size_and_operations_are_those_of_the_layers(tmp_path: Path, model: str) -> None:
    write = yolo if model.startswith("yolo") else rcnn
    detector = load_detector(write(tmp_path / "best.pt", model), imgsz=SIDE)
    found = cost(detector, TILES[:1], repeats=1)
    with counting() as counts:
        detector.predict(TILES[:1])
    # of no layer of these are the products of attention, and a convolution in the second RPN
    more = {"yolo26n": 0.02, "mitos-rcnn": 0.01}.get(model, 1e-9)
    assert sum(counts) / 1e9 == pytest.approx(found["gflops"], rel=more)
    network: nn.Module = detector._network  # type: ignore[attr-defined]
    assert found["parameters"] == sum(p.numel() for p in network.parameters())
    assert found["ms_tile"]["torch"] > 0
    assert found["ms_tile"]["openvino"] is None
    assert (found["imgsz"], found["device"]) == (SIDE, "cpu")
    assert found["threads"] == torch.get_num_threads()


def test_ultralytics_own_counter_finds_as_much(tmp_path: Path) -> None:
    """The 7.7 GFLOPs and 2.6 million parameters of YOLOv5n on COCO are of the fused network."""
    path = tmp_path / "coco.pt"
    write_start(path, start_model("yolov5n", None, [str(i) for i in range(80)], seed=0))
    detector = load_detector(path, imgsz=608)  # 640 px with the padding of a validation
    found = cost(detector, [np.full((608, 608, 3), 200, np.uint8)], repeats=1)
    model, _ = open_model(path)
    assert found["gflops"] == pytest.approx(get_flops(model, 640), rel=0.01)
    assert (found["parameters"], round(found["gflops"], 1)) == (2_649_200, 7.7)


def test_openvino_is_timed_where_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = yolo(tmp_path / "best.pt")
    detector = load_detector(weights, imgsz=50)  # an export has whole cells of 32 px
    opened = []

    def watched(path: Path, **more: Any) -> Any:
        opened.append((path, load_detector(path, **more)))
        return opened[-1][1]

    monkeypatch.setattr(module, "load_detector", watched)
    both = cost(detector, TILES, weights=weights, repeats=2)["ms_tile"]
    assert both["torch"] > 0
    assert both["openvino"] > 0
    ((folder, exported),) = opened
    assert exported.imgsz == 50
    assert not folder.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["best.pt"]
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert cost(detector, TILES, weights=weights, repeats=1)["ms_tile"]["openvino"] is None


def test_engines_take_turns_and_are_warm() -> None:
    seconds, calls, settled = [0.0], [], []
    wide = np.zeros((8, 16, 3), np.uint8)
    tiles = [np.zeros((8, 8, 3), np.uint8), wide, wide]
    lasts = {"quick": iter([9, 9, 1, 2, 3, 4, 5, 6]), "slow": iter([9, 9, *[10] * 5, 1000])}

    def engine(name: str) -> Any:
        def run(batch: Sequence[RGB]) -> None:
            (tile,) = batch
            calls.append((name, tile.shape[1]))
            seconds[0] += next(lasts[name]) / 1e3

        return run

    found = median_ms(
        {name: engine(name) for name in lasts}, tiles, repeats=2,
        settle=lambda: settled.append(len(calls)), clock=lambda: seconds[0],
    )  # fmt: skip
    warm = [("quick", 8), ("slow", 8), ("quick", 16), ("slow", 16)]
    turn = [(name, width) for name in lasts for width in (8, 16, 16)]
    assert calls == warm + turn * 2
    assert found == pytest.approx({"quick": 3.5, "slow": 10.0})
    before_and_after = [n for k in range(4, 16) for n in (k, k + 1)]
    assert settled == before_and_after  # a GPU is waited for on both sides of each timed call
