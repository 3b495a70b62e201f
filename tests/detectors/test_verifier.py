"""The verifier: what it looks at, how scores change, and that it learns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from rendered import Cell, Source, card, write_dataset

from converters.errors import InputError
from mitoyolo.dataset import open_dataset
from mitoyolo.detectors import verifier_train
from mitoyolo.detectors.card import Card
from mitoyolo.detectors.checkpoint import Checkpoint
from mitoyolo.detectors.verifier import (
    FAINT,
    SIDE,
    SIDE_UM,
    Verified,
    Verifier,
    as_input,
    crop,
    fused,
    load_verified,
    verifier_of,
    write_verifier,
)
from mitoyolo.detectors.verifier_train import augmented, marks, train_verifier
from mitoyolo.detectors.yolo import start_model
from mitoyolo.images import RGB
from mitoyolo.inference.merge import Detections

UM = SIDE_UM / SIDE
"""µm a pixel of a crop."""


class Fixed:
    """A detector that finds the same on every tile."""

    classes: tuple[str, ...] = ("mitosis", "imposter")
    imgsz = 64
    device = "cpu"
    least = 0.3

    def __init__(self, *rows: tuple[float, ...], card: Card | None = None) -> None:
        self.rows = np.array(rows, float).reshape(-1, 6)
        self.card = card

    def predict(self, tiles: Sequence[RGB], imgsz: int | None = None) -> list[Detections]:
        return [self.rows.copy() for _ in tiles]


class Red(torch.nn.Module):
    """Stands for a verifier: the logit is +4 where the crop's middle is red, else -4."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        self.seen.append(crops)
        middle = crops[:, :, SIDE // 2 - 2 : SIDE // 2 + 2, SIDE // 2 - 2 : SIDE // 2 + 2]
        red = middle.mean((2, 3))
        return torch.where(red[:, 0] > red[:, 1] + 0.3, 4.0, -4.0)


def grey_with(x: int, y: int, colour: tuple[int, int, int], side: int = 64) -> RGB:
    tile = np.full((side, side, 3), 180, np.uint8)
    tile[y - 4 : y + 4, x - 4 : x + 4] = colour
    return tile


# --- what it looks at -------------------------------------------------------------------------


def test_a_crop_of_its_own_scale_is_the_tile_itself() -> None:
    tile = np.random.default_rng(0).integers(0, 255, (200, 220, 3), dtype=np.uint8)
    np.testing.assert_array_equal(
        crop(tile, 100.0, 110.0, (UM, UM)),
        tile[110 - SIDE // 2 : 110 + SIDE // 2, 100 - SIDE // 2 : 100 + SIDE // 2],
    )


@pytest.mark.parametrize("mpp", [(UM, UM), (2 * UM, 2 * UM), (UM, 2 * UM), (UM / 1.5, UM)])
def test_the_place_is_in_the_middle_at_any_scale_and_turn(mpp: tuple[float, float]) -> None:
    yy, xx = np.mgrid[:300, :300] + 0.5
    distance = np.hypot((xx - 131.3) * mpp[0], (yy - 160.8) * mpp[1])
    tile = np.repeat((255 * np.exp(-((distance / 2) ** 2))).astype(np.uint8)[..., None], 3, 2)
    for degrees in (0.0, 90.0, 33.0):
        seen = crop(tile, 131.3, 160.8, mpp, degrees).astype(float)[..., 0]
        at = np.arange(SIDE) + 0.5
        centre = (seen.sum(0) @ at / seen.sum(), seen.sum(1) @ at / seen.sum())
        assert centre == pytest.approx((SIDE / 2, SIDE / 2), abs=0.2)
        spread = np.sqrt((seen.sum(0) @ (at - SIDE / 2) ** 2) / seen.sum()) * UM
        assert spread == pytest.approx(2**0.5, abs=0.08)  # in µm, whatever the pixels are


def test_beyond_the_tile_is_its_mirror_image() -> None:
    tile = np.random.default_rng(0).integers(0, 255, (200, 200, 3), dtype=np.uint8)
    seen = crop(tile, 0.0, 100.0, (UM, UM))
    half = SIDE // 2
    np.testing.assert_array_equal(seen[:, half:], tile[100 - half : 100 + half, :half])
    np.testing.assert_array_equal(seen[:, half - 1], tile[100 - half : 100 + half, 1])


# --- how scores change ------------------------------------------------------------------------


def verified(*rows: tuple[float, ...]) -> tuple[Verified, Red]:
    inner, red = Fixed(*rows), Red()
    mine = card(mpp=(UM, UM), classes=inner.classes)
    return Verified(inner, mine, red), red  # type: ignore[arg-type]


def test_a_score_becomes_the_mean_of_both_looks() -> None:
    high, low = 1 / (1 + np.exp(-4.0)), 1 / (1 + np.exp(4.0))
    seen, red = verified(
        (20, 20, 8, 8, 0.6, 0),  # on the red cell
        (45, 50, 8, 8, 0.8, 0),  # on nothing
        (45, 10, 8, 8, FAINT / 2, 0),  # too faint to be looked at
        (20, 20, 8, 8, 0.7, 1),  # a look-alike stays as it is
    )
    (rows,) = seen.predict([grey_with(20, 20, (255, 20, 20))])
    expected = [
        (20, 20, 8, 8, (0.6 + high) / 2, 0),
        (20, 20, 8, 8, 0.7, 1),
        (45, 50, 8, 8, (0.8 + low) / 2, 0),
        (45, 10, 8, 8, FAINT / 4, 0),
    ]
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    assert [len(crops) for crops in red.seen] == [2, 7]


def test_each_tile_is_looked_at_apart_and_nothing_is_nothing() -> None:
    seen, red = verified((20, 20, 8, 8, 0.6, 0))
    first, second = seen.predict([grey_with(20, 20, (255, 20, 20)), grey_with(20, 20, (0, 0, 0))])
    assert first[0, 4] > 0.7 > 0.4 > second[0, 4]
    nothing, red = verified()
    (rows,) = nothing.predict([grey_with(20, 20, (0, 0, 0))])
    assert rows.shape == (0, 6)
    assert red.seen == []


def test_a_likely_crop_is_seen_turned_and_mirrored() -> None:
    seen, red = verified((20, 30, 8, 8, 0.6, 0))
    tile = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    seen.predict([tile])
    assert [len(crops) for crops in red.seen] == [1]  # no mitosis by the first look
    red.seen.clear()
    tile[26:34, 16:24] = (255, 20, 20)
    seen.predict([tile])
    assert [len(crops) for crops in red.seen] == [1, 7]
    assert len({crop.numpy().tobytes() for crops in red.seen for crop in crops}) == 8


def test_of_all_positions_the_mean_counts() -> None:
    class Brighter(torch.nn.Module):
        """The logit is how much brighter the left half is than the right."""

        def forward(self, crops: torch.Tensor) -> torch.Tensor:
            half = crops.shape[-1] // 2
            return (crops[..., :half].mean((1, 2, 3)) - crops[..., half:].mean((1, 2, 3))) * 9

    tile = np.zeros((96, 96, 3), np.uint8)
    tile[:, :48] = 255
    rows = [(48, 48, 8, 8, 0.6, 0), (20, 48, 8, 8, 0.5, 0)]
    mine = card(mpp=(UM, UM), classes=Fixed.classes)
    seen = Verified(Fixed(*rows), mine, Brighter())  # type: ignore[arg-type]
    (found,) = seen.predict([tile])
    # whatever is brighter, seen from all sides it is as bright as what is opposite
    np.testing.assert_allclose(found[:, 4], [(0.6 + 0.5) / 2, (0.5 + 0.5) / 2], atol=0.01)


def test_a_merged_verifier_is_the_same() -> None:
    verifier = Verifier(start_model("yolov5n", None, ("mitosis",), 0))
    crops = torch.rand(4, 3, SIDE, SIDE)
    verifier.train()(crops)  # so that BatchNorm has statistics
    with torch.no_grad():
        before = verifier.eval()(crops)
        torch.testing.assert_close(fused(verifier)(crops), before, rtol=1e-3, atol=1e-4)
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in verifier.modules())


def test_coarser_tiles_are_cropped_in_their_own_micrometres() -> None:
    """A tile of 32 px enlarged as one of 64 px was: a crop of it has half as many pixels."""
    seen, red = verified((16, 16, 8, 8, 0.6, 0))
    tile = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    seen.predict([tile])
    expected = crop(tile, 16, 16, (2 * UM, 2 * UM))
    assert torch.equal(red.seen[0], as_input([expected]))


def test_the_detector_is_asked_for_doubtful_ones_too() -> None:
    inner = Fixed()
    seen = Verified(inner, card(mpp=(UM, UM)), Red())  # type: ignore[arg-type]
    assert inner.least == 0.0
    seen.least = 0.5
    assert inner.least == FAINT
    seen.least = FAINT / 4  # which a faint one reaches, halved
    assert inner.least == 0.0


def test_building_one_leaves_its_backbone_as_it_is() -> None:
    model = start_model("yolov5n", None, ("mitosis",), 0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Verifier(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# --- training ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mitoses are darker than look-alikes, which are annotated on half of the images."""
    rng = np.random.default_rng(0)
    sources = []
    for i in range(6):
        places = rng.permutation([(15, 15), (45, 15), (15, 45), (45, 45)])
        cells = [Cell(*map(int, places[0])), Cell(*map(int, places[1]))]
        if i % 2:
            cells.append(Cell(*map(int, places[2]), 0.4, "imposter"))
        sources.append(Source(f"s{i}", "train" if i < 4 else "val", tuple(cells)))
    return write_dataset(
        tmp_path_factory.mktemp("verifier") / "data", sources, labels=("mitosis", "imposter")
    )


def test_it_learns_from_truths_look_alikes_and_false_detections(data: Path) -> None:
    dataset = open_dataset(data)
    detector = Fixed(
        (32, 32, 8, 8, 0.5, 0),  # nothing is there
        (32, 20, 8, 8, verifier_train.LEAST / 2, 0),  # too faint
        (32, 10, 8, 8, 0.5, 1),  # of the other class
        card=card(classes=Fixed.classes),
    )
    mitoses, others = marks(dataset, detector)
    train = [truth for truth in dataset.truths if truth.source in {"s0", "s1", "s2", "s3"}]
    said = {(t.source, t.x, t.y) for t in train if t.label == "mitosis"}
    assert {(m.tile.source, m.tile.x + m.x, m.tile.y + m.y) for m in mitoses} == said
    assert len(mitoses) == len(said)  # once, though tiles overlap
    alike = {(t.source, t.x, t.y) for t in train if t.label == "imposter"}
    found = {(o.tile.source, o.tile.x + o.x, o.tile.y + o.y): (o.x, o.y) for o in others}
    assert alike < found.keys()
    assert {at for place, at in found.items() if place not in alike} == {(32.0, 32.0)}


def test_a_detection_of_a_mitosis_is_no_look_alike(data: Path) -> None:
    dataset = open_dataset(data)
    (truth, *_) = [t for t in dataset.truths if t.source == "s0" and t.label == "mitosis"]
    tile = next(t for t in dataset.of_split("train") if t.source == "s0")
    near = (truth.x - tile.x + 4.0, truth.y - tile.y, 8, 8, 0.9, 0)  # 2 µm away
    detector = Fixed(near, card=card(classes=Fixed.classes))
    _, others = marks(dataset, detector)
    assert not [o for o in others if o.tile == tile and abs(o.x - near[0]) < 1]


def test_without_look_alikes_there_is_no_verifier(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_dataset(
        tmp_path / "data", [Source(n, n, (Cell(20, 20),)) for n in ("train", "val")]
    )
    detector = Fixed(card=card())
    detector.classes = ("mitosis",)
    assert train_verifier(open_dataset(data), detector, "yolov5n", None, 0) is None
    assert "no verifier" in capsys.readouterr().err


def test_it_learns_to_tell_them_apart_alike_from_a_seed(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifier_train, "PASSES", 160)
    dataset = open_dataset(data)
    detector = Fixed((32, 32, 8, 8, 0.5, 0), card=card(classes=Fixed.classes))
    first = train_verifier(dataset, detector, "yolov5n", None, 0)
    assert first is not None
    verifier = Verifier(start_model("yolov5n", None, ("mitosis",), 0))
    verifier.load_state_dict(first)
    mitoses, others = marks(dataset, detector)
    from mitoyolo.images import read_rgb

    def scores(each: Sequence[verifier_train.Mark]) -> np.ndarray:
        crops = [crop(read_rgb(dataset.image_path(m.tile)), m.x, m.y, m.tile.mpp) for m in each]
        with torch.inference_mode():
            return np.asarray(verifier.eval()(as_input(crops)))

    assert scores(mitoses).min() > scores(others).max()


def test_the_same_seed_gives_the_same_verifier(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier_train, "PASSES", 4)
    dataset = open_dataset(data)
    detector = Fixed((32, 32, 8, 8, 0.5, 0), card=card(classes=Fixed.classes))
    one, two, other = (
        train_verifier(dataset, detector, "yolov5n", None, seed) for seed in (1, 1, 2)
    )
    assert one and two and other
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["head.weight"], other["head.weight"])


def test_a_patch_is_wide_enough_to_be_turned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is drawn, a crop of a patch is the crop of the whole tile."""
    monkeypatch.setattr(verifier_train, "jitter_reinhard", lambda seen, *_: seen)
    rng = np.random.default_rng(0)
    tile = np.kron(rng.integers(0, 255, (30, 30, 3), dtype=np.uint8), np.ones((8, 8, 1), np.uint8))
    mpp = (0.5, 0.5)
    reach = int(np.ceil(SIDE_UM / 0.5))
    part = tile[120 - reach : 120 + reach, 120 - reach : 120 + reach]
    small = verifier_train.Patch(part, reach + 0.25, reach + 0.25, mpp)
    whole = verifier_train.Patch(tile, 120.25, 120.25, mpp)
    for seed in range(50):
        seen = [augmented(each, np.random.default_rng(seed)) for each in (small, whole)]
        np.testing.assert_allclose(seen[0].astype(int), seen[1].astype(int), atol=4)


def test_what_it_learns_from_is_stained_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(60, 200, (96, 96, 3), dtype=np.uint8)
    patch = verifier_train.Patch(noise, 48.0, 48.0, (UM, UM))
    stained = augmented(patch, np.random.default_rng(0))
    assert np.array_equal(stained, augmented(patch, np.random.default_rng(0)))
    monkeypatch.setattr(verifier_train, "jitter_reinhard", lambda seen, *_: seen)
    plain = augmented(patch, np.random.default_rng(0))
    assert abs(stained.mean((0, 1)) - plain.mean((0, 1))).max() > 2


# --- files ------------------------------------------------------------------------------------


def test_a_verifier_is_read_as_it_was_written(tmp_path: Path) -> None:
    state = Verifier(start_model("yolov5n", None, ("mitosis",), 3)).state_dict()
    write_verifier(tmp_path / "verifier.pt", state)
    back = verifier_of(tmp_path / "verifier.pt")
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], state[name]) for name in state)


def test_a_verifier_that_lacks_or_does_not_fit_is_one_line(tmp_path: Path) -> None:
    inner, mine = Fixed(), card(verifier="yolov5n", mpp=(UM, UM))
    source = Checkpoint(tmp_path / "best.pt", {}, None, (), None)
    with pytest.raises(InputError, match="verifier is missing"):
        load_verified(inner, mine, source)
    other = Checkpoint(tmp_path / "best.pt", {}, None, (), None, {"x": torch.zeros(1)})
    with pytest.raises(InputError, match="do not fit yolov5n"):
        load_verified(inner, mine, other)
