"""Weights files of the two-stage models: what a start takes over, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models import resnet50
from torchvision.models.detection import fasterrcnn_resnet50_fpn

from converters.errors import InputError
from mitoyolo.detectors.checkpoint import read_checkpoint
from mitoyolo.detectors.rcnn import load, start_network, write_weights
from mitoyolo.detectors.rcnn_recipe import read_recipe


def started(model: str, weights: Path | None, classes: tuple[str, ...] = ("mitosis",)) -> Any:
    recipe = read_recipe(model)
    return start_network(
        model, weights, classes, imgsz=64, recipe=recipe, median_side=lambda: 10.0, seed=0
    )


@pytest.fixture(scope="module")
def backbone() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return resnet50(weights=None).state_dict()


def test_anchors_follow_the_boxes_where_no_one_says() -> None:
    _, architecture = started("vgg16-conv4", None)
    assert (architecture.anchors, architecture.frozen) == ((5.0, 10.0, 20.0), False)
    assert started("mitos-rcnn", None)[1].anchors == (16.0, 32.0, 64.0, 128.0)


def test_the_seed_decides_the_random_tensors() -> None:
    first, second = (started("mitos-rcnn", None)[0].state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_deeper_backbone_is_refused(tmp_path: Path, backbone: dict[str, torch.Tensor]) -> None:
    """ResNet-101 has all tensors of ResNet-50, and more."""
    deeper = {**backbone, "layer3.6.conv1.weight": torch.zeros(256, 1024, 1, 1)}
    torch.save(deeper, tmp_path / "deeper.pth")
    with pytest.raises(InputError, match=r"deeper network.*layer3\.6\.conv1"):
        started("faster-rcnn", tmp_path / "deeper.pth")


def test_a_smaller_one_too(tmp_path: Path, backbone: dict[str, torch.Tensor]) -> None:
    shallow = {name: value for name, value in backbone.items() if "layer4.2" not in name}
    torch.save(shallow, tmp_path / "shallow.pth")
    with pytest.raises(InputError, match=r"not in it \(first: backbone\.body\.layer4\.2"):
        started("faster-rcnn", tmp_path / "shallow.pth")


def test_torchvisions_detector_gives_all_but_what_depends_on_classes_and_anchors(
    tmp_path: Path,
) -> None:
    torch.manual_seed(2)
    whole = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict()
    torch.save(whole, tmp_path / "coco.pth")
    network, architecture = started("faster-rcnn", tmp_path / "coco.pth")
    own = network.state_dict()
    new = {name for name in own if not torch.equal(own[name], whole.get(name, torch.empty(0)))}
    assert {name.rsplit(".", 1)[0] for name in new} == {
        "rpn.head.cls_logits", "rpn.head.bbox_pred",
        "roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred",
    }  # fmt: skip
    assert architecture.frozen


@pytest.mark.parametrize("classes", [("mitosis",), ("mitosis", "imposter")])
def test_weights_of_ones_own_bring_their_anchors_and_a_head_that_fits(
    tmp_path: Path, classes: tuple[str, ...]
) -> None:
    network, architecture = started("mitos-rcnn", None)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.01)
    write_weights(tmp_path / "own.pt", network, architecture)
    again, other = started("mitos-rcnn", tmp_path / "own.pt", classes)
    assert (other.anchors, other.classes, other.frozen) == (architecture.anchors, classes, False)
    before, after = network.state_dict(), again.state_dict()
    differ = {n for n in after if before[n].shape != after[n].shape}
    assert all(torch.equal(before[n], after[n]) for n in after if n not in differ)
    assert {n.split(".")[1] for n in differ} == ({"box_predictor"} if len(classes) > 1 else set())


def test_another_models_weights_are_refused(tmp_path: Path) -> None:
    write_weights(tmp_path / "own.pt", *started("mitos-rcnn", None))
    with pytest.raises(InputError, match=r"weights of mitos-rcnn, expected those of vgg16-conv4"):
        started("vgg16-conv4", tmp_path / "own.pt")


def test_tensors_that_do_not_fit_their_architecture_are_refused(tmp_path: Path) -> None:
    network, architecture = started("mitos-rcnn", None)
    write_weights(tmp_path / "own.pt", network, architecture)
    content = torch.load(tmp_path / "own.pt", weights_only=True)
    content["architecture"]["classes"] = ["a", "b", "c"]
    torch.save(content, tmp_path / "own.pt")
    with pytest.raises(InputError, match="its tensors do not fit mitos-rcnn"):
        load(read_checkpoint(tmp_path / "own.pt"))
