"""MITOS-RCNN against its paper: sizes counted by hand, what reaches RPN_2, losses by hand."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import RoIHeads

from mitoyolo.detectors.mitos_rcnn import (
    FusedVgg,
    L2Norm,
    PaperHead,
    PaperRPN,
    RoIPool,
    SecondRPN,
    TwoRPNs,
)
from mitoyolo.detectors.rcnn_models import Architecture, build, set_input_side
from mitoyolo.detectors.vgg import CONV5_3, begin_new, vgg16_layers

SIDES = (16.0, 32.0, 64.0, 128.0)
RANDOM = torch.Generator().manual_seed(0)


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=RANDOM)


def boxes(*rows: tuple[float, float, float, float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def blank(side: int, images: int = 1) -> ImageList:
    """Images of which only the sizes matter."""
    return ImageList(torch.zeros(images, 3, side, side), [(side, side)] * images)


def zeroed(rpn: PaperRPN) -> None:
    """Let an RPN score all anchors alike and move none."""
    for parameter in rpn.head.parameters():
        nn.init.zeros_(parameter)


@pytest.fixture(scope="module")
def network() -> GeneralizedRCNN:
    torch.manual_seed(0)
    return build(
        Architecture(
            model="mitos-rcnn", classes=("mitosis", "imposter"), imgsz=64, anchors=SIDES,
            frozen=False,
        )
    )  # fmt: skip


# --- Fig. 2: sizes ----------------------------------------------------------------------------


def test_the_papers_sizes_at_299_px(
    network: GeneralizedRCNN, monkeypatch: pytest.MonkeyPatch
) -> None:
    anchors: dict[str, list[int]] = {}
    proposals: dict[str, int] = {}
    maps: dict[str, Tensor] = {}
    for name, rpn in network.rpn.named_children():

        def watch(*given: Any, name: str = name, of: Any = rpn.filter_proposals) -> Any:
            found = of(*given)
            anchors[name], proposals[name] = given[3], len(found[0][0])
            return found

        monkeypatch.setattr(rpn, "filter_proposals", watch)
    hook = network.backbone.register_forward_hook(lambda *given: maps.update(given[2]))
    try:
        set_input_side(network.eval(), 299)
        with torch.inference_mode():
            network([random(3, 344, 385)])  # a 16th of an Aperio frame
    finally:
        hook.remove()
        set_input_side(network, 64)
    assert {name: tuple(found.shape) for name, found in maps.items()} == {
        "conv4_3": (1, 512, 37, 37),
        "fused": (1, 256, 74, 74),
    }
    assert 0 < proposals["rpn_1"] <= 300 and 0 < proposals["rpn_2"] <= 300
    assert anchors["rpn_1"] == [16_428] == [37 * 37 * 4 * 3]
    assert anchors["rpn_2"] == [5_476 + proposals["rpn_1"]] == [74 * 74 + proposals["rpn_1"]]


def test_sides_of_any_remainder_are_fused(network: GeneralizedRCNN) -> None:
    with torch.inference_mode():
        for height in range(64, 72):
            maps = network.backbone(random(1, 3, height, 71))
            assert maps["conv4_3"].shape == (1, 512, height // 8, 71 // 8)
            assert maps["fused"].shape == (1, 256, height // 4, 71 // 4)


def test_the_fused_map_is_made_as_the_paper_says() -> None:
    """conv3_3 is 10 x 13 and conv4_3 5 x 6: the deconvolution goes one column further."""
    torch.manual_seed(0)
    backbone, image = FusedVgg(), random(1, 3, 40, 52)
    for norm in (backbone.norm3, backbone.norm4):
        nn.init.uniform_(norm.scale, 10, 30)
    with torch.inference_mode():
        conv3 = backbone.features[:16](image)
        conv4 = backbone.features[16:](conv3)
        up = nn.functional.conv_transpose2d(
            conv4, backbone.deconvolution.weight, backbone.deconvolution.bias, stride=2, padding=1,
            output_padding=(0, 1),
        )  # fmt: skip
        parts = [
            values * norm.scale.view(1, -1, 1, 1) / values.square().sum(1, keepdim=True).sqrt()
            for values, norm in ((conv3, backbone.norm3), (up, backbone.norm4))
        ]
        weight, bias = backbone.reduce.weight[:, :, 0, 0], backbone.reduce.bias
        by_hand = torch.einsum("oc,nchw->nohw", weight, torch.cat(parts, 1)) + bias[:, None, None]
        fused = backbone(image)["fused"]
    assert torch.allclose(fused, by_hand, rtol=1e-3, atol=1e-4)
    assert fused.std() > 0.1


def test_the_anchors_are_the_papers(network: GeneralizedRCNN) -> None:
    shapes = {}
    for rpn, places in ((network.rpn.rpn_1, 37), (network.rpn.rpn_2, 74)):
        (found,) = rpn.anchor_generator(blank(299), [torch.zeros(1, 1, places, places)])
        sides = found[:, 2:] - found[:, :2]
        kinds = len(found) // places**2
        shapes[places] = sides[:kinds]
        assert torch.equal(sides, shapes[places].repeat(places**2, 1))
        centres = ((found[:, :2] + found[:, 2:]) / 2)[::kinds]
        step = {37: 8, 74: 4}[places]
        assert centres.unique(dim=0).tolist() == [
            [x * step, y * step] for x in range(places) for y in range(places)
        ]
    assert shapes[74].tolist() == [[64, 64]]
    wanted = [(side, ratio) for ratio in (0.5, 1, 2) for side in SIDES]
    for (width, height), (side, ratio) in zip(shapes[37].tolist(), wanted, strict=True):
        assert width * height == pytest.approx(side**2, rel=0.1)  # whole halves of pixels
        assert height / width == pytest.approx(ratio, rel=0.1)


def test_l2_norm_in_numpy() -> None:
    norm, values = L2Norm(5), random(2, 5, 3, 4)
    begun = norm(values).detach().numpy()
    assert np.sqrt((begun**2).sum(axis=1)) == pytest.approx(20, rel=1e-5)
    with torch.no_grad():
        norm.scale.copy_(torch.arange(5) + 1)
    by_hand = np.empty((2, 5, 3, 4))
    for image, y, x in np.ndindex(2, 3, 4):
        column = values[image, :, y, x].numpy()
        by_hand[image, :, y, x] = column / np.sqrt((column**2).sum()) * [1, 2, 3, 4, 5]
    assert norm(values).detach().numpy() == pytest.approx(by_hand, rel=1e-5)
    assert torch.equal(norm(torch.zeros(1, 5, 1, 1)), torch.zeros(1, 5, 1, 1))


# --- Fig. 2: weights --------------------------------------------------------------------------


def test_new_layers_begin_at_a_deviation_of_a_hundredth(network: GeneralizedRCNN) -> None:
    new = {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)
        and not name.startswith("backbone.features.")
    }
    assert len(new) == 2 + 3 + 3 + 2  # deconvolution and reduction, two RPNs, the siblings
    for name, layer in new.items():
        weight = layer.weight.detach().double()
        spread = 5 / (2 * weight.numel()) ** 0.5  # five standard errors of a deviation
        assert float(weight.std()) == pytest.approx(0.01, rel=spread), name
        assert abs(float(weight.mean())) < 0.01 * 5 / weight.numel() ** 0.5, name
        assert layer.bias.abs().max() == 0, name


def test_vgg_begins_so_that_its_last_activation_neither_vanishes_nor_explodes() -> None:
    torch.manual_seed(0)
    layers, image = vgg16_layers(CONV5_3), random(1, 3, 64, 64)
    with torch.inference_mode():
        assert 0.02 < float(layers(image).std()) < 5
        begin_new(layers)
        assert float(layers(image).std()) < 1e-6  # why it does not begin as new layers do


# --- from RPN_1 to RPN_2 to the head ----------------------------------------------------------


def test_what_rpn_1_proposes_is_proposed_by_rpn_2() -> None:
    rpn = SecondRPN(8, stride=4, proposals=300).eval()
    zeroed(rpn)
    small = [boxes((8, 12, 23, 30)), boxes(), boxes((3, 4, 9, 11), (40, 40, 55, 60))]
    proposals, losses = rpn.propose(blank(64, 3), random(3, 8, 16, 16), small, None)
    assert losses == {}
    for found, earlier in zip(proposals, small, strict=True):
        kept = {tuple(box) for box in found.tolist()}
        assert {tuple(box) for box in earlier.tolist()} <= kept
        own = kept - {tuple(box) for box in earlier.tolist()}
        assert own  # of 64 px, clipped to the image
        assert all(right - left >= 32 <= bottom - top for left, top, right, bottom in own)


def test_rpn_2_moves_both_kinds_of_anchors() -> None:
    rpn = SecondRPN(8, stride=4, proposals=300).eval()
    zeroed(rpn)
    with torch.no_grad():
        rpn.head.bbox_pred.bias.copy_(torch.tensor([0.5, -0.25, 0, log(0.5)]))
        (found,), _ = rpn.propose(
            blank(128), torch.zeros(1, 8, 32, 32), [boxes((40, 40, 50, 60))], None
        )
    kept = {tuple(round(value) for value in box) for box in found.tolist()}
    assert (45, 40, 55, 50) in kept  # half a width right, a quarter up, half as high
    assert {(right - left, bottom - top) for left, top, right, bottom in kept} >= {(64, 32)}


def test_without_rpn_1s_proposals_the_detections_are_others(
    network: GeneralizedRCNN, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = random(3, 64, 64)
    network.eval()
    with torch.inference_mode():
        (whole,), (again,) = network([image]), network([image])
        monkeypatch.setattr(network.rpn.rpn_1, "forward", lambda *given: ([boxes()], {}))
        (cut,) = network([image])
    assert torch.equal(whole["boxes"], again["boxes"])
    assert whole["boxes"].shape != cut["boxes"].shape or not torch.allclose(
        whole["boxes"], cut["boxes"], atol=1
    )


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> tuple[SecondRPN, list[Any]]:
    """The model's RPN_2, and the arguments of its loss once it has been called."""
    torch.manual_seed(0)
    rpn, given = TwoRPNs(SIDES).rpn_2, list[Any]()

    def compute_loss(*arguments: Any) -> tuple[Tensor, Tensor]:
        given.extend(arguments)
        return torch.zeros(()), torch.zeros(())

    monkeypatch.setattr(rpn, "compute_loss", compute_loss)
    return rpn, given


def test_rpn_2_lays_its_window_over_a_proposal(asked: tuple[SecondRPN, list[Any]]) -> None:
    """Three cells across and down are pooled as they are: the answer is that of the map's place."""
    rpn, given = asked
    cells = [[(2, 3), (10, 7)], [(5, 1)]]  # left and upper cell of 3 x 3, in two images of 16 x 16
    earlier = [
        boxes(*((4 * x, 4 * y, 4 * x + 8, 4 * y + 8) for x, y in of_image)) for of_image in cells
    ]
    targets = [{"boxes": boxes((4, 4, 20, 20))}] * 2
    rpn.propose(blank(64, 2), random(2, 256, 16, 16), earlier, targets)
    scores, deltas = given[0].split([256 + 2, 256 + 1]), given[1].split([256 + 2, 256 + 1])
    for score, delta, of_image in zip(scores, deltas, cells, strict=True):
        assert len(set(score.flatten().tolist())) > 200  # so that equal ones are the same
        for row, (x, y) in enumerate(of_image):
            place = (y + 1) * 16 + x + 1
            assert torch.allclose(score[256 + row], score[place], rtol=1e-4, atol=1e-7)
            assert torch.allclose(delta[256 + row], delta[place], rtol=1e-4, atol=1e-7)


def test_rpn_2s_loss_gets_labels_and_offsets_in_the_order_of_its_anchors(
    asked: tuple[SecondRPN, list[Any]],
) -> None:
    rpn, given = asked
    earlier = [boxes((40, 40, 56, 56), (8, 8, 24, 24)), boxes((10, 8, 26, 24))]
    target = boxes((10, 8, 26, 24))
    rpn.propose(blank(64, 2), random(2, 256, 16, 16), earlier, [{"boxes": target}] * 2)
    *_, labels, offsets = given
    assert [len(of_image) for of_image in labels] == [258, 257]
    assert labels[0].nonzero().flatten().tolist() == [257]  # IoU 224 / 288
    assert labels[1].nonzero().flatten().tolist() == [256]
    assert offsets[0][257].tolist() == pytest.approx([2 / 16, 0, 0, 0], abs=1e-6)
    assert offsets[1][256].tolist() == pytest.approx([0, 0, 0, 0], abs=1e-6)


def test_each_rpn_thins_out_at_an_overlap_of_0_7(network: GeneralizedRCNN) -> None:
    network.eval()
    for rpn in network.rpn.children():
        for shift, left in ((1.5, 1), (2, 2)):  # IoU 8.5/11.5 = 0.739 and 8/12 = 0.667
            pair = boxes((20, 20, 30, 30), (20 + shift, 20, 30 + shift, 30))
            (kept,), _ = rpn.filter_proposals(pair[None], torch.tensor([2.0, 1.0]), [(64, 64)], [2])
            assert len(kept) == left


def test_rois_are_pooled_from_the_fused_map_at_stride_4() -> None:
    cells = torch.arange(256.0).reshape(1, 1, 16, 16)
    pooled = RoIPool("fused", 4)(
        {"conv4_3": -cells, "fused": cells}, [boxes((8, 12, 8 + 6 * 4, 12 + 6 * 4))], [(64, 64)]
    )
    assert torch.equal(pooled, cells[:, :, 3:10, 2:9])
    assert pooled.shape == (1, 1, 7, 7)


def test_a_head_of_its_own_scores_the_background_too(network: GeneralizedRCNN) -> None:
    head = network.roi_heads
    scores, moves = head.box_predictor(head.box_head(torch.zeros(2, 256, 7, 7)))
    assert (scores.shape, moves.shape) == ((2, 3), (2, 12))


# --- losses -----------------------------------------------------------------------------------


def smooth_l1(x: Any) -> Any:
    """Ren et al. 2015 and their code: a parabola up to 1/9."""
    x = np.abs(x)
    return np.where(x < 1 / 9, 0.5 * x**2 * 9, x - 0.5 / 9)


def test_an_rpns_loss_by_hand() -> None:
    """Two images of two places with three anchors each; labels -1 count for nothing."""
    rpn = PaperRPN(4, (16.0,), (0.5, 1.0, 2.0), 300)
    scores, deltas, wanted = random(12), random(12, 4) / 4, random(12, 4) / 4
    labels = torch.tensor([1.0, 0, -1, 0, 0, 1, -1, -1, 0, 0, 1, 0])
    log_loss, offsets = rpn.compute_loss(
        scores[:, None], deltas, list(labels.split(6)), list(wanted.split(6))
    )
    chance = 1 / (1 + np.exp(-scores.double().numpy()))
    sampled, positive = labels.numpy() >= 0, labels.numpy() == 1
    truth = labels.numpy()
    each = -(truth * np.log(chance) + (1 - truth) * np.log(1 - chance))
    assert log_loss.item() == pytest.approx(each[sampled].sum() / 9, rel=1e-5)
    moved = smooth_l1((deltas - wanted).double().numpy()[positive])
    assert {*(np.abs((deltas - wanted).numpy()[positive]) < 1 / 9).flatten()} == {True, False}
    assert offsets.item() == pytest.approx(10 * moved.sum() / (2 * 2), rel=1e-5)


def test_rpn_2s_loss_by_hand() -> None:
    """A proposal 2 px beside its mitosis, and the 2 x 2 places of the map, which see none."""
    rpn = SecondRPN(8, stride=4, proposals=300)
    zeroed(rpn)
    _, losses = rpn.propose(
        blank(8),
        random(1, 8, 2, 2),
        [boxes((8, 8, 24, 24))],
        [{"boxes": boxes((10, 8, 26, 24))}],
    )
    assert losses["loss_objectness"].item() == pytest.approx(log(2))
    assert losses["loss_rpn_box_reg"].item() == pytest.approx(10 * (2 / 16 - 1 / 18) / 5)


def test_the_heads_loss_by_hand() -> None:
    """One mitosis among two RoIs, a logit for each class, no box moved."""
    predictor = FastRCNNPredictor(49, 3)
    for layer in (predictor.cls_score, predictor.bbox_pred):
        nn.init.zeros_(layer.weight)
    with torch.no_grad():
        predictor.cls_score.bias.copy_(torch.tensor([0.0, 1.0, 2.0]))
    settings: Any = {
        "fg_iou_thresh": 0.5, "bg_iou_thresh": 0.5, "batch_size_per_image": 8,
        "positive_fraction": 0.75, "bbox_reg_weights": None, "score_thresh": 0.0,
        "nms_thresh": 0.5, "detections_per_img": 5,
    }  # fmt: skip
    with torch.no_grad():
        predictor.bbox_pred.bias.zero_()
    parts = (RoIPool("fused", 4), nn.Flatten(), predictor)
    given = (
        {"fused": random(1, 1, 16, 16)},
        [boxes((8, 8, 24, 24), (40, 40, 50, 50))],
        [(64, 64)],
        [{"boxes": boxes((10, 8, 26, 24)), "labels": torch.tensor([1])}],
    )
    _, losses = PaperHead(*parts, **settings)(*given)
    _, plain = RoIHeads(*parts, **settings)(*given)
    # sampled: both RoIs, and the mitosis itself, as torchvision adds it
    weights = np.exp([0, 1, 2])
    positive, background = -np.log(weights[1] / weights.sum()), -np.log(weights[0] / weights.sum())
    assert losses["loss_classifier"].item() == pytest.approx((2 * positive + background) / 3)
    shift = 10 * 2 / 16  # the coder's weight of x
    assert losses["loss_box_reg"].item() == pytest.approx(10 * (shift - 1 / 18) / 3)
    assert losses["loss_box_reg"].item() == pytest.approx(10 * plain["loss_box_reg"].item())
    assert losses["loss_classifier"] == plain["loss_classifier"]


def test_a_batch_has_the_losses_of_both_rpns_in_training_alone(network: GeneralizedRCNN) -> None:
    targets = [{"boxes": boxes((20, 20, 40, 42)), "labels": torch.tensor([2])}]
    losses = network.train()([random(3, 64, 64)], targets)
    assert losses.keys() == {
        "loss_classifier", "loss_box_reg", "loss_objectness_1", "loss_rpn_box_reg_1",
        "loss_objectness_2", "loss_rpn_box_reg_2",
    }  # fmt: skip
    images, maps = blank(64), network.backbone(random(1, 3, 64, 64))
    assert network.rpn.eval()(images, maps, targets)[1] == {}


def test_gradients_reach_every_part(network: GeneralizedRCNN) -> None:
    torch.manual_seed(0)
    network.train().zero_grad()
    targets = [{"boxes": boxes((20, 20, 40, 42)), "labels": torch.tensor([1])}]
    losses = network([random(3, 64, 64)], targets)

    def reached(*names: str) -> set[str]:
        network.zero_grad()
        sum(losses[name] for name in names).backward(retain_graph=True)  # type: ignore[union-attr]
        return {
            name
            for name, parameter in network.named_parameters()
            if parameter.grad is not None and parameter.grad.abs().max() > 0
        }

    everything = {name for name, _ in network.named_parameters()}
    assert reached(*losses) == everything
    fusing = {
        *("backbone.deconvolution.weight", "backbone.norm3.scale", "backbone.norm4.scale"),
        *("backbone.reduce.weight", "backbone.features.0.weight"),
    }
    first = {name for name in everything if name.startswith("rpn.rpn_1.")}
    second = {name for name in everything if name.startswith("rpn.rpn_2.")}
    of_first = reached("loss_objectness_1", "loss_rpn_box_reg_1")
    assert first < of_first and not of_first & (second | fusing - {"backbone.features.0.weight"})
    of_second = reached("loss_objectness_2", "loss_rpn_box_reg_2")
    assert second | fusing < of_second and not of_second & first
    of_head = reached("loss_classifier", "loss_box_reg")
    assert fusing < of_head and not of_head & (first | second)


def test_other_sides_are_rpn_1s_alone() -> None:
    rpns = TwoRPNs((20.0, 40.0))
    anchors = [
        rpn.anchor_generator(blank(64), [torch.zeros(1, 1, 1, 1)])[0]
        for rpn in (rpns.rpn_1, rpns.rpn_2)
    ]
    first, second = ((found[:, 2:] - found[:, :2]).prod(dim=1).sqrt() for found in anchors)
    assert first.tolist() == pytest.approx([20, 40] * 3, rel=0.05)
    assert second.tolist() == [64]
