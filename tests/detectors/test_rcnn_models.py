"""The five networks: parameters and strides counted by hand, boxes there and back, any batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.ops.misc import FrozenBatchNorm2d

from mitoyolo.detectors.families import RCNN
from mitoyolo.detectors.mitos_rcnn import PaperRPN
from mitoyolo.detectors.rcnn_models import (
    BUILDERS,
    Architecture,
    architecture_from_dict,
    build,
    set_input_side,
)
from mitoyolo.detectors.rcnn_train import in_float32

ON_PYRAMID = ("faster-rcnn", "faster-rcnn-x101")
ON_VGG = ("vgg16", "vgg16-conv4", "mitos-rcnn")
SIDE = 64


def architecture(model: str, **changes: Any) -> Architecture:
    facts: dict[str, Any] = {
        "model": model, "classes": ("mitosis", "imposter"), "imgsz": SIDE,
        "anchors": (8.0, 16.0, 32.0), "proposals": 20, "frozen": False,
    }  # fmt: skip
    return Architecture(**{**facts, **changes})


def outline(model: str, **changes: Any) -> GeneralizedRCNN:
    """A network whose tensors have shapes and no values."""
    with torch.device("meta"):
        return build(architecture(model, **changes))


# --- counted by hand --------------------------------------------------------------------------


def conv(kernel: int, inside: int, outside: int) -> int:
    return kernel * kernel * inside * outside + outside


def linear(inside: int, outside: int) -> int:
    return inside * outside + outside


CONV4_3 = (
    conv(3, 3, 64) + conv(3, 64, 64)
    + conv(3, 64, 128) + conv(3, 128, 128)
    + conv(3, 128, 256) + 2 * conv(3, 256, 256)
    + conv(3, 256, 512) + 2 * conv(3, 512, 512)
)  # fmt: skip
CONV5_3 = CONV4_3 + 3 * conv(3, 512, 512)


def rpn(channels: int, anchors: int) -> int:
    return conv(3, channels, channels) + conv(1, channels, anchors) + conv(1, channels, 4 * anchors)


def siblings(inside: int, classes: int) -> int:
    return linear(inside, classes + 1) + linear(inside, 4 * (classes + 1))


def residual(groups: int, width: int) -> int:
    """ResNet-50's or ResNeXt-101's layers: convolutions without biases, two numbers a channel of
    BatchNorm; ``width`` of the 3 x 3 ones in the first stage."""
    depths = (3, 4, 6, 3) if groups == 1 else (3, 4, 23, 3)
    total, inside = 7 * 7 * 3 * 64 + 2 * 64, 64
    for stage, depth in enumerate(depths):
        middle, outside = width * 2**stage, 256 * 2**stage
        for block in range(depth):
            total += inside * middle + 9 * middle * middle // groups + middle * outside
            total += 2 * (middle + middle + outside)
            if block == 0:  # the shortcut
                total += inside * outside + 2 * outside
            inside = outside
    return total


def on_pyramid(body: int, classes: int) -> int:
    pyramid = sum(conv(1, 256 * 2**i, 256) + conv(3, 256, 256) for i in range(4))
    head = linear(256 * 7 * 7, 1024) + linear(1024, 1024) + siblings(1024, classes)
    return body + pyramid + rpn(256, 3 * 3) + head


def on_vgg(body: int, classes: int) -> int:
    head = linear(512 * 7 * 7, 4096) + linear(4096, 4096) + siblings(4096, classes)
    return body + rpn(512, 3 * 3) + head


def mitos(classes: int) -> int:
    fusing = conv(4, 512, 512) + 256 + 512 + conv(1, 256 + 512, 256)
    return CONV4_3 + fusing + rpn(512, 3 * 3) + rpn(256, 1) + siblings(256 * 7 * 7, classes)


BY_HAND = {
    "faster-rcnn": lambda classes: on_pyramid(residual(1, 64), classes),
    "faster-rcnn-x101": lambda classes: on_pyramid(residual(32, 256), classes),
    "vgg16": lambda classes: on_vgg(CONV5_3, classes),
    "vgg16-conv4": lambda classes: on_vgg(CONV4_3, classes),
    "mitos-rcnn": mitos,
}


def test_every_model_of_the_command_is_built_here() -> None:
    assert BUILDERS.keys() == RCNN.keys() == BY_HAND.keys()


@pytest.mark.parametrize("model", BUILDERS)
def test_the_parameters_are_those_counted_by_hand(model: str) -> None:
    assert residual(1, 64) == 25_557_032 - linear(2048, 1000)  # torchvision's documented figure
    for classes in (("mitosis",), ("mitosis", "imposter")):
        network = outline(model, classes=classes)
        found = sum(parameter.numel() for parameter in network.parameters())
        assert found == BY_HAND[model](len(classes))


@pytest.mark.parametrize("model", ON_PYRAMID)
@pytest.mark.parametrize("frozen", [True, False])
def test_batch_norm_learns_unless_its_statistics_are_pretrained(model: str, frozen: bool) -> None:
    network = outline(model, frozen=frozen)
    kinds = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d | FrozenBatchNorm2d)]
    assert len(kinds) == {"faster-rcnn": 53, "faster-rcnn-x101": 104}[model]
    assert {type(kind) for kind in kinds} == {FrozenBatchNorm2d if frozen else nn.BatchNorm2d}
    kept = {name for name, p in network.named_parameters() if not p.requires_grad}
    first = ("backbone.body.conv1.", "backbone.body.layer1.")
    stem = {name for name, _ in network.named_parameters() if name.startswith(first)}
    assert len(stem) >= 1 + 3 * 3 + 1
    assert kept == (stem if frozen else set())


@pytest.mark.parametrize("model", ON_VGG)
def test_pretrained_conv1_and_conv2_stay(model: str) -> None:
    kept = {n for n, p in outline(model, frozen=True).named_parameters() if not p.requires_grad}
    assert kept == {
        f"backbone.features.{layer}.{kind}" for layer in (0, 2, 5, 7) for kind in ("weight", "bias")
    }
    assert all(parameter.requires_grad for parameter in outline(model).parameters())


# --- one network after the other --------------------------------------------------------------


@pytest.fixture(scope="module", params=list(BUILDERS))
def model(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def network(model: str) -> Iterator[GeneralizedRCNN]:
    """A network that samples few RoIs, for speed."""
    torch.manual_seed(0)
    found = build(architecture(model))
    yield found


def few_rois(network: GeneralizedRCNN, patch: pytest.MonkeyPatch) -> GeneralizedRCNN:
    patch.setattr(network.roi_heads.fg_bg_sampler, "batch_size_per_image", 16)
    return network


def target(*rows: tuple[float, float, float, float], label: int = 1) -> dict[str, Tensor]:
    return {
        "boxes": torch.tensor(rows, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.full((len(rows),), label, dtype=torch.int64),
    }


STRIDES = {
    **{name: {"0": 4, "1": 8, "2": 16, "3": 32, "pool": 64} for name in ON_PYRAMID},
    "vgg16": {"map": 16},
    "vgg16-conv4": {"map": 8},
    "mitos-rcnn": {"conv4_3": 8, "fused": 4},
}
CHANNELS = {"map": 512, "conv4_3": 512}
"""Of a map; 256 of all others."""


def test_the_maps_have_the_strides_and_channels_of_their_names(
    model: str, network: GeneralizedRCNN
) -> None:
    with torch.inference_mode():
        maps = network.eval().backbone(torch.rand(1, 3, 64, 128))
    assert {name: tuple(found.shape) for name, found in maps.items()} == {
        name: (1, CHANNELS.get(name, 256), 64 // stride, 128 // stride)
        for name, stride in STRIDES[model].items()
    }


def test_rois_come_from_their_place_on_the_map(model: str, network: GeneralizedRCNN) -> None:
    """Of a map that is bright in its right lower quarter alone, a RoI there is bright."""
    maps = {}
    for name, stride in STRIDES[model].items():
        side = SIDE // stride
        maps[name] = torch.zeros(1, CHANNELS.get(name, 256), side, side)
        maps[name][:, :, side // 2 :, side // 2 :] = 1
    places = torch.tensor([[32.0, 32, 48, 48], [0, 0, 16, 16], [0, 32, 16, 48]])
    pooled = network.roi_heads.box_roi_pool(maps, [places], [(SIDE, SIDE)])
    assert pooled.shape[2:] == (7, 7)
    assert pooled.mean(dim=(1, 2, 3)).tolist() == pytest.approx([1, 0, 0], abs=0.15)


def test_the_anchors_are_the_architectures_at_every_place(
    model: str, network: GeneralizedRCNN
) -> None:
    first = network.rpn.rpn_1 if model == "mitos-rcnn" else network.rpn
    strides = [s for name, s in STRIDES[model].items() if name != "fused"]
    images = ImageList(torch.zeros(1, 3, SIDE, SIDE), [(SIDE, SIDE)])
    maps = [torch.zeros(1, 1, SIDE // stride, SIDE // stride) for stride in strides]
    (anchors,) = first.anchor_generator(images, maps)
    assert len(anchors) == sum((SIDE // stride) ** 2 for stride in strides) * 9
    sides = anchors[:, 2:] - anchors[:, :2]
    seen = {(round(float(a) ** 0.5), round(float(r), 1)) for a, r in
            zip(sides.prod(dim=1), sides[:, 1] / sides[:, 0], strict=True)}  # fmt: skip
    wanted = [(side, ratio) for side in (8, 16, 32) for ratio in (0.5, 1.0, 2.0)]
    assert len(seen) == 9
    for side, ratio in wanted:
        assert any(abs(a - side) <= 1 and abs(r / ratio - 1) < 0.25 for a, r in seen), (side, ratio)
    centres = ((anchors[:, :2] + anchors[:, 2:]) / 2).unique(dim=0)
    finest = SIDE // strides[0]
    assert len(centres) == finest**2
    assert centres[1].tolist() == [0, strides[0]]


def rpns(network: GeneralizedRCNN) -> list[Any]:
    return list(network.rpn.children()) if hasattr(network.rpn, "rpn_1") else [network.rpn]


def test_anchors_are_right_from_an_overlap_of_0_7_and_wrong_below_0_3(
    network: GeneralizedRCNN,
) -> None:
    anchors = torch.tensor(
        [[0.0, 0, 10, 10], [0, 0, 10, 7.2], [0, 0, 10, 6.8], [0, 0, 10, 3.2], [0, 0, 10, 2.8]]
    )
    for rpn in rpns(network):
        (labels,), _ = rpn.assign_targets_to_anchors([anchors], [target((0, 0, 10, 10))])
        assert labels.tolist() == [1, 1, -1, -1, 0]


def test_proposals_that_overlap_by_more_than_0_7_are_one(network: GeneralizedRCNN) -> None:
    for rpn in rpns(network.eval()):
        for shift, left in ((1.5, 1), (2.0, 2)):  # IoU 8.5 / 11.5 = 0.739 and 8 / 12 = 0.667
            pair = torch.tensor([[[20.0, 20, 30, 30], [20 + shift, 20, 30 + shift, 30]]])
            (kept,), _ = rpn.filter_proposals(pair, torch.tensor([2.0, 1.0]), [(64, 64)], [2])
            assert len(kept) == left


def test_a_quarter_of_the_rois_is_positive(model: str, network: GeneralizedRCNN) -> None:
    labels = torch.tensor([1, 2] * 1000 + [0] * 2000)
    (drawn,) = network.roi_heads.subsample([labels])
    of_image = 512 if model in ON_PYRAMID else 128
    assert len(drawn) == of_image
    assert int((labels[drawn] > 0).sum()) == of_image // 4


def test_boxes_come_back_in_the_images_own_pixels(
    model: str, network: GeneralizedRCNN, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image of 96 x 48 px: one side is resized to 64 px, or both are."""
    network.eval()
    inside = target((16, 8, 32, 24), (0, 0, 64, 32))
    seen: list[Any] = []

    def forward(maps: Any, proposals: Any, sizes: Any, targets: Any = None) -> Any:
        seen.extend(sizes)
        return [{**inside, "scores": torch.tensor([0.9, 0.8])}], {}

    monkeypatch.setattr(network.roi_heads, "forward", forward)
    with torch.inference_mode():
        (found,) = network([torch.rand(3, 48, 96)])
    down = 48 / 64 if model in ON_VGG else 96 / 64
    assert [tuple(size) for size in seen] == [(64, 64) if model in ON_VGG else (32, 64)]
    assert found["boxes"].tolist() == [
        [16 * 1.5, 8 * down, 32 * 1.5, 24 * down], [0, 0, 96, 32 * down]
    ]  # fmt: skip


def test_a_bright_place_stays_in_its_box_when_it_is_resized(
    model: str, network: GeneralizedRCNN
) -> None:
    image = torch.zeros(3, 32, 128)
    image[:, 8:16, 32:64] = 1
    given = target((32, 8, 64, 16))
    images, (moved,) = network.transform([image], [given])
    height = 64 if model in ON_VGG else 16
    assert images.image_sizes == [(height, 64)]
    mean, deviation = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
    values = images.tensors[0, :, :height, :64] * deviation[:, None, None] + mean[:, None, None]
    left, top, right, bottom = (int(value) for value in moved["boxes"][0])
    assert moved["boxes"].tolist() == [[16, height // 4, 32, height // 2]]
    mask = torch.zeros(height, 64, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    assert all(torch.equal(channel > 0.5, mask) for channel in values)
    assert given["boxes"].tolist() == [[32, 8, 64, 16]]  # the caller's own
    (back,) = network.eval().transform.postprocess(
        [{"boxes": moved["boxes"]}], images.image_sizes, [(32, 128)]
    )
    assert torch.allclose(back["boxes"], given["boxes"], atol=1e-4)


def test_the_side_of_the_input_can_be_changed(model: str, network: GeneralizedRCNN) -> None:
    image = [torch.rand(3, 40, 80)]
    try:
        for side in (32, 96):
            set_input_side(network, side)
            sizes = network.transform(image)[0].image_sizes
            assert sizes == [(side, side) if model in ON_VGG else (side // 2, side)]
    finally:
        set_input_side(network, SIDE)
    assert max(network.transform(image)[0].image_sizes[0]) == SIDE


BATCHES = {
    "sizes and one without a box": (
        [(64, 64), (48, 80), (33, 64)],
        [target((10, 12, 34, 30)), target(), target((0, 0, 12, 12), (40, 5, 64, 33), label=2)],
    ),
    "no box at all": ([(64, 64), (48, 64)], [target(), target()]),
}


@pytest.mark.parametrize("batch", BATCHES)
def test_any_batch_has_finite_losses_and_moves_every_parameter(
    network: GeneralizedRCNN, batch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    sizes, targets = BATCHES[batch]
    few_rois(network, monkeypatch).train().zero_grad()
    losses = network([torch.rand(3, *size) for size in sizes], targets)
    sum(losses.values()).backward()  # type: ignore[union-attr]
    values = {name: loss.item() for name, loss in losses.items()}
    assert all(0 <= value < 20 for value in values.values()), values
    gradients = {name: p.grad for name, p in network.named_parameters() if p.requires_grad}
    assert not [name for name, gradient in gradients.items() if gradient is None]
    assert all(bool(gradient.isfinite().all()) for gradient in gradients.values())
    still = {name for name, gradient in gradients.items() if not gradient.any()}
    none = batch == "no box at all"
    assert {name.rsplit(".", 2)[1] for name in still} == ({"bbox_pred"} if none else set())
    offsets = [value for name, value in values.items() if "box_reg" in name]
    assert all(value == 0 for value in offsets) if none else all(value > 0 for value in offsets)
    network.zero_grad(set_to_none=True)


def test_a_network_that_has_seen_nothing_finds_boxes_of_its_classes_in_the_image(
    network: GeneralizedRCNN,
) -> None:
    looked_at: list[int] = []
    hook = network.roi_heads.box_predictor.register_forward_hook(
        lambda *given: looked_at.append(len(given[2][0]))
    )
    with torch.inference_mode():
        found = network.eval()([torch.rand(3, 48, 80), torch.rand(3, 64, 64)])
    hook.remove()
    assert looked_at == [2 * 20]  # the architecture's number of proposals
    for item, (width, height) in zip(found, [(80, 48), (64, 64)], strict=True):
        assert 0 < len(item["boxes"]) <= 2 * 20  # a box a class
        assert set(item["labels"].tolist()) <= {1, 2}
        assert item["scores"].min() > 0.001
        assert item["boxes"].min() >= 0
        assert item["boxes"][:, 2].max() <= width + 1e-3
        assert item["boxes"][:, 3].max() <= height + 1e-3


def detected(network: GeneralizedRCNN, places: Tensor, chances: list[float]) -> Tensor:
    """What the second stage keeps where it moves nothing and sees a mitosis with these chances."""
    mitosis = torch.tensor(chances)
    logits = torch.stack([1 - mitosis, mitosis, torch.full_like(mitosis, 1e-9)], dim=1).log()
    size = (SIDE, SIDE)
    (boxes,), _, (labels,) = network.roi_heads.postprocess_detections(
        logits, torch.zeros(len(places), 12), [places], [size]
    )
    assert set(labels.tolist()) <= {1}
    return torch.as_tensor(boxes)


def test_a_hundred_detections_from_a_chance_of_a_thousandth_that_overlap_by_half_at_most(
    network: GeneralizedRCNN,
) -> None:
    grid = torch.arange(0, SIDE, 4.0)
    cells = torch.cartesian_prod(grid, grid).repeat(1, 2) + torch.tensor([0, 0, 3, 3])
    assert len(detected(network, cells, [0.5] * len(cells))) == 100
    two = detected(network, cells[:3], [0.0011, 0.0009, 0.5])
    assert two.tolist() == [cells[2].tolist(), cells[0].tolist()]
    for shift, left in ((3.0, 1), (4.0, 2)):  # IoU 7 / 13 = 0.54 and 6 / 14 = 0.43
        pair = torch.tensor([[20.0, 20, 30, 30], [20 + shift, 20, 30 + shift, 30]])
        assert len(detected(network, pair, [0.9, 0.8])) == left


def test_new_layers_begin_small_and_vggs_own_so_that_nothing_vanishes(
    model: str, network: GeneralizedRCNN
) -> None:
    for rpn in rpns(network):
        assert rpn.head.conv[0][0].weight.std().item() == pytest.approx(0.01, rel=0.02)
    if model in ON_PYRAMID:  # whose second stage begins as torchvision has it
        return
    predictor = network.roi_heads.box_predictor
    for layer in (predictor.cls_score, predictor.bbox_pred):
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert not layer.bias.any()
    if model == "mitos-rcnn":
        return
    head, pooled = network.roi_heads.box_head, torch.randn(4, 512, 7, 7)
    with torch.inference_mode():
        first, again = head.eval()(pooled), head(pooled)
        dropped = head.train()(pooled)
    assert 0.2 < first.std().item() < 5 and torch.equal(first, again)
    assert (dropped == 0).float().mean() > (first == 0).float().mean() + 0.1


# --- in a weights file ------------------------------------------------------------------------


def test_an_architecture_comes_back_from_plain_types() -> None:
    for model in BUILDERS:
        whole = architecture(model, frozen=True, anchors=(8.5, 17.0))
        values = whole.to_dict()
        assert values["anchors"] == [8.5, 17.0] and values["classes"] == ["mitosis", "imposter"]
        assert architecture_from_dict({**values, "more": 1}) == whole


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("model", value) for value in ("yolov5n", None, 3, ["vgg16"], {})),
        *(("classes", value) for value in ([], None, 3)),
        *(("proposals", value) for value in (0, -1, "many", None, float("inf"))),
        *(("imgsz", value) for value in (0, -1, "wide", None, [], float("inf"), float("nan"))),
        *(("anchors", value) for value in ([], None, [0], [-8.0], ["wide"], 8, [None])),
        *(("anchors", [8.0, value]) for value in (float("nan"), float("inf"))),
    ],
)
def test_a_damaged_architecture_is_a_value_error(key: str, value: Any) -> None:
    values = architecture("vgg16").to_dict()
    with pytest.raises(ValueError):
        architecture_from_dict({**values, key: value})
    del values[key]
    with pytest.raises(ValueError):
        architecture_from_dict(values)


# --- half precision ---------------------------------------------------------------------------


def test_proposals_of_a_network_in_half_precision_are_not() -> None:
    """As on a GPU; else truths, which take on their precision, would be rounded to pixels."""
    rpn = PaperRPN(512, (16.0,), (1.0,), 20).eval()
    images = ImageList(torch.rand(1, 3, 64, 64), [(64, 64)])
    maps = {"map": torch.rand(1, 512, 8, 8)}
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        (rounded,), _ = rpn(images, maps)
        rpn.head.register_forward_hook(in_float32)
        (proposals,), _ = rpn(images, maps)
    assert (rounded.dtype, proposals.dtype) == (torch.bfloat16, torch.float32)
    with torch.no_grad():
        assert rpn.double()(images, {"map": maps["map"].double()})[0][0].dtype == torch.float64
