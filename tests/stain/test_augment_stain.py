"""Stain augmentation: within its range, glass untouched, the same each time."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import real

from converters.errors import InputError
from mitoyolo.images import RGB, read_rgb
from mitoyolo.stain import macenko, reinhard
from mitoyolo.stain.augment import DEFAULT_STRENGTH, JITTERS, KNEE, MAX_STRENGTH, StainJitter
from mitoyolo.stain.tissue import tissue_mask

EOSIN, HAEMATOXYLIN = (222, 140, 190), (96, 62, 140)

methods = pytest.mark.parametrize("method", JITTERS)


def labels(rgb: RGB) -> dict[str, Any]:
    return {"img": cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)}


def jittered(method: str, rgb: RGB, seed: int, strength: float = DEFAULT_STRENGTH) -> RGB:
    return JITTERS[method](rgb, strength, np.random.default_rng(seed))


@methods
def test_strength_0_changes_nothing(tissue, method: str) -> None:
    tile = tissue(1, glass=0.3)
    # the way to LAB and back costs Reinhard a few levels
    assert np.abs(jittered(method, tile, 0, 0.0).astype(int) - tile).max() <= 5


@methods
def test_the_tile_is_changed_not_written_to(tissue, method: str) -> None:
    tile = tissue(1)
    before = tile.copy()
    one, again, other = (jittered(method, tile, seed) for seed in (1, 1, 2))
    assert np.array_equal(tile, before)
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert not np.array_equal(one, tile)
    assert (one.shape, one.dtype) == (tile.shape, np.uint8)


def test_reinhards_statistics_move_within_the_range(tissue) -> None:
    """Over many draws every channel's mean and deviation fill the range and do not leave it."""
    tile = tissue(3, shift=(-20, 0, 0))
    lab = reinhard.to_lab(tile).reshape(-1, 3).astype(float)
    mean, deviation = lab.mean(axis=0), lab.std(axis=0)
    moves, scales = [], []
    for seed in range(80):
        got = reinhard.to_lab(jittered("reinhard", tile, seed)).reshape(-1, 3).astype(float)
        moves.append((got.mean(axis=0) - mean) / deviation)
        scales.append(got.std(axis=0) / deviation)
    for found, middle in ((moves, 0), (scales, 1)):
        # levels are whole numbers, the sample is a sixteenth, and towards glass all is less
        assert np.abs(np.array(found) - middle).max() < DEFAULT_STRENGTH + 0.15
        assert np.ptp(found, axis=0).min() > DEFAULT_STRENGTH
        assert np.abs(np.mean(found, axis=0) - middle).max() < 0.1
        channels = np.corrcoef(np.transpose(found))
        assert np.abs(channels - np.eye(3)).max() < 0.5  # each for itself


def with_b(levels: list[int]) -> RGB:
    """A tile with bands of purple colours of one L and a, whose b has these levels."""
    grid = np.stack(np.meshgrid(*[np.arange(60, 230, 2)] * 3), axis=-1).astype(np.uint8)
    lab = reinhard.to_lab(grid.reshape(-1, 1, 3))[:, 0]
    chosen = [
        np.flatnonzero(
            (abs(lab[:, 0].astype(int) - 130) < 9) & (lab[:, 2] == b) & (lab[:, 1] > 165)
        )
        for b in levels
    ]
    bands = [np.resize(grid.reshape(-1, 3)[found[:40]], (8, 120, 3)) for found in chosen]
    return np.concatenate(bands)


@pytest.mark.parametrize("middle", [125, 128, 131])
def test_a_mean_as_of_glass_makes_no_jump(middle: int) -> None:
    """Where b is around that of glass, it can neither be divided by the way there nor cross it."""
    levels = list(range(middle - 10, middle + 11, 2))
    tile = with_b(levels)
    assert reinhard.to_lab(tile)[..., 2].mean() == middle
    for seed in range(20):
        got = reinhard.to_lab(jittered("reinhard", tile, seed, MAX_STRENGTH))[..., 2]
        b = got.reshape(len(levels), -1).astype(float).mean(axis=1)
        assert np.diff(b).min() > -0.5
        assert np.diff(b).max() < 8


def test_reinhards_map_beyond_the_mean_is_the_line_of_the_paper(tissue) -> None:
    tile = tissue(3, shift=(-20, 0, 0))
    lab = reinhard.to_lab(tile)
    pixels = lab[tissue_mask(tile)].astype(float)
    mean, deviation = pixels.mean(axis=0), pixels.std(axis=0)
    beyond = ((lab - mean) * (-1, 1, -1) > 0).all(axis=2)
    assert beyond.mean() > 0.1
    for seed in range(10):
        shift, scale = np.random.default_rng(seed).uniform(-0.2, 0.2, (2, 3))
        line = (lab - mean) * (1 + scale) + mean + shift * deviation
        expected = cv2.cvtColor(np.rint(line).astype(np.uint8), cv2.COLOR_LAB2RGB)
        got = jittered("reinhard", tile, seed, 0.2)
        assert np.array_equal(got[beyond], expected[beyond])


def alpha_c_plus_beta(tile: RGB, strength: float, seed: int) -> Any:
    """The definition, pixel by pixel in double precision, before rounding."""
    own = macenko.measure(tile[tissue_mask(tile)][None])
    assert own is not None
    haematoxylin, eosin = map(np.array, own.stains)
    rest = np.cross(haematoxylin, eosin)
    light = np.maximum(tile.reshape(-1, 3) + 1.0, 240)
    density = -np.log((tile.reshape(-1, 3) + 1.0) / light)
    amounts = np.linalg.solve(np.transpose([haematoxylin, eosin, rest]), density.T)
    (a, b) = np.random.default_rng(seed).uniform(-strength, strength, (2, 2))
    total = amounts[2][:, None] * rest
    for i, stain in enumerate((haematoxylin, eosin)):
        most = own.concentrations[i]
        share = np.minimum(amounts[i] / (KNEE * most), 1)  # beta fades towards glass
        total += ((1 + a[i]) * amounts[i] + b[i] / 4 * most * share)[:, None] * stain
    return np.clip(light * np.exp(-total) - 1, 0, 255).reshape(tile.shape)


def test_macenkos_map_is_alpha_c_plus_beta(tissue) -> None:
    tile = tissue(3, shift=(-20, 0, 0), glass=0.2)
    for seed in range(10):
        off = jittered("macenko", tile, seed, 0.3) - alpha_c_plus_beta(tile, 0.3, seed)
        assert np.abs(off).max() < 0.6
        assert abs(off.mean()) < 0.05


def test_macenkos_concentrations_move_within_the_range(tissue) -> None:
    tile = tissue(3, shift=(-20, 0, 0))
    own = macenko.measure(tile)
    assert own is not None
    ratios = []
    for seed in range(80):
        got = macenko.measure(jittered("macenko", tile, seed))
        assert got is not None
        ratios.append(np.divide(got.concentrations, own.concentrations))
    most = 1.25 * DEFAULT_STRENGTH  # alpha and beta
    assert np.abs(np.array(ratios) - 1).max() < most + 0.08
    assert np.ptp(ratios, axis=0).min() > DEFAULT_STRENGTH
    assert np.abs(np.mean(ratios, axis=0) - 1).max() < 0.1


def test_macenko_moves_the_stains_apart_and_keeps_their_colour(tissue) -> None:
    """One stain's concentration rises where the other's falls; the stain vectors stay."""
    tile = tissue(3)
    own = macenko.measure(tile)
    assert own is not None
    apart = 0
    for seed in range(40):
        got = macenko.measure(jittered("macenko", tile, seed))
        assert got is not None
        more = np.array(got.concentrations) > own.concentrations
        apart += more[0] != more[1]
        for stain, before in zip(got.stains, own.stains, strict=True):
            assert np.dot(stain, before) > 0.985
    assert 10 < apart < 30


def test_what_is_neither_stain_stays(tissue) -> None:
    """A blue pen mark among pink tissue is not pulled into the plane of the two stains."""
    tile = tissue(1, size=(120, 120))
    tile[:6, :6] = pen = (20, 120, 60)
    for seed in range(20):
        got = jittered("macenko", tile, seed)[:6, :6].reshape(-1, 3).mean(axis=0)
        assert got[1] - max(got[0], got[2]) > 0.4 * (pen[1] - pen[2])  # still green


@methods
@pytest.mark.parametrize("strength", [DEFAULT_STRENGTH, MAX_STRENGTH])
def test_glass_stays_and_has_no_seam(tissue, method: str, strength: float) -> None:
    tile = tissue(2, size=(96, 160), glass=0.5)
    tile[:10, :40] = 255
    tile[:, 76:80] = np.linspace(244, EOSIN, 4)  # an edge of tissue
    glass = np.s_[:, :70]
    for seed in range(30):
        got = jittered(method, tile, seed, strength)
        assert (got[:10, :40] == 255).all()
        assert np.abs(got[glass].astype(int) - tile[glass]).max() <= 4


@methods
def test_a_ramp_from_glass_to_stain_stays_a_ramp(tissue, method: str) -> None:
    """No contour where glass begins: what is darker stays darker."""
    tile = tissue(2, size=(96, 160))
    ramp = np.linspace((250, 250, 250), HAEMATOXYLIN, 64).astype(np.uint8)
    tile[:2, :64] = ramp
    for seed in range(30):
        got = jittered(method, tile, seed, MAX_STRENGTH)[1, :64].astype(int).sum(axis=1)
        assert np.diff(got).max() <= 6  # rounding, thrice


def hue(rgb: Any) -> float:
    """The angle of a colour in LAB, in degrees."""
    _, a, b = reinhard.to_lab(np.uint8([[rgb]]))[0, 0].astype(float) - (0, 128, 128)
    return float(np.degrees(np.arctan2(b, a)))


@methods
def test_eosin_is_not_turned_into_haematoxylin(tissue, method: str) -> None:
    tile = tissue(4, size=(128, 128))
    tile[:8, :8], tile[:8, 8:16] = EOSIN, HAEMATOXYLIN
    between = (hue(EOSIN) + hue(HAEMATOXYLIN)) / 2
    assert hue(HAEMATOXYLIN) < between < hue(EOSIN)
    for seed in range(100):
        got = jittered(method, tile, seed)
        assert hue(got[4, 12]) < between < hue(got[4, 4])
        assert int(got[4, 12].sum()) < int(got[4, 4].sum())  # the nucleus stays the darker


@methods
def test_eosin_stays_eosin_in_real_tiles(method: str) -> None:
    """Pixels that are mostly eosin are nearer in hue to the tile's eosin than to its nuclei."""
    for path in sorted(real("mitos_atypia_14").glob("H0[34]/frames/x40/*.jpg"))[::40]:
        tile = read_rgb(path)[:512, :512]
        found = macenko.measure(tile)
        assert found is not None
        optical = macenko.density(tile).reshape(-1, 3)
        amount = optical @ np.linalg.pinv(np.transpose(found.stains)).T / found.concentrations
        dark = amount.sum(axis=1) > 0.5
        groups = [dark & (amount[:, i] > 2 * amount[:, 1 - i]) for i in (0, 1)]
        nuclei, eosin = (tile.reshape(-1, 3)[group].mean(axis=0) for group in groups)
        between = (hue(eosin) + hue(nuclei)) / 2
        for seed in range(10):
            got = jittered(method, tile, seed).reshape(-1, 3)
            assert hue(got[groups[0]].mean(axis=0)) < between < hue(got[groups[1]].mean(axis=0))


@methods
@pytest.mark.parametrize(
    "tile",
    [
        np.full((64, 48, 3), 255, np.uint8),
        np.zeros((64, 48, 3), np.uint8),
        np.full((64, 48, 3), 114, np.uint8),
        np.full((64, 48, 3), EOSIN, np.uint8),
        np.full((1, 1, 3), EOSIN, np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
    ids=["white", "black", "padding", "one colour", "one pixel", "no pixel"],
)
def test_tiles_without_stain_stay(method: str, tile: RGB) -> None:
    assert np.array_equal(jittered(method, tile, 1, MAX_STRENGTH), tile)


@methods
def test_under_5_percent_tissue_stays(tissue, method: str) -> None:
    for share, changes in ((0.04, False), (0.08, True)):
        tile = np.full((200, 200, 3), 244, np.uint8)
        rows = int(200 * share)
        tile[:rows] = tissue(2, size=(rows, 200), shift=(-20, -20, 0))
        assert np.array_equal(jittered(method, tile, 1), tile) != changes


@methods
def test_noise_gives_an_image(method: str) -> None:
    rng = np.random.default_rng(0)
    for i in range(60):
        low, high = np.sort(rng.integers(0, 256, 2))
        tile = rng.integers(low, high + 1, (*rng.integers(1, 70, 2), 3)).astype(np.uint8)
        tile[..., i % 3] //= 1 + i % 4
        got = jittered(method, tile, i, MAX_STRENGTH)
        assert (got.shape, got.dtype) == (tile.shape, np.uint8)
        bright = tile.min(axis=2) > 245
        assert got[bright].min(initial=255) > 200  # nothing wraps round to black


def test_the_dark_do_not_wrap_round_to_white(tissue) -> None:
    tile = tissue(3)
    tile[:3, :6] = (20, 0, 30)
    for seed in range(20):
        assert jittered("reinhard", tile, seed, MAX_STRENGTH)[:3, :6].max() < 110


def alike(red: float) -> RGB:
    """A tile of two stains that differ in red by little, with a few pixels that are neither."""
    eosin = np.array([red, 0.80, 0.42])
    stains = np.array([(0.50, 0.75, 0.43), eosin / np.linalg.norm(eosin)])
    amount = np.random.default_rng(0).uniform(0, 1.5, (96 * 96, 2))
    tile = np.rint(240 * np.exp(-amount @ stains)).astype(np.uint8).reshape(96, 96, 3)
    tile[0, :3], tile[0, 3:6] = (255, 0, 255), (0, 255, 255)
    assert macenko.measure(tile) is not None
    return tile


def test_stains_that_cannot_be_told_apart_stay() -> None:
    tile = alike(0.40)
    assert np.array_equal(jittered("macenko", tile, 1), tile)


def test_the_bright_do_not_wrap_round_to_black() -> None:
    """What is neither stain is a huge amount of one less a huge amount of the other."""
    tile = alike(0.34)
    for seed in range(40):
        off = jittered("macenko", tile, seed, 0.5) - alpha_c_plus_beta(tile, 0.5, seed)
        assert np.abs(off).max() <= 1


def test_a_frame_of_ultralytics_keeps_everything_else(tissue) -> None:
    from ultralytics.data.augment import Compose, Format, RandomFlip
    from ultralytics.utils.instance import Instances

    boxes = np.array([[10, 12, 30, 32]], np.float32)
    frame = labels(tissue(1)) | {
        "im_file": "a.png",
        "ori_shape": (96, 112),
        "resized_shape": (96, 112),
        "cls": np.array([[0.0]]),
        "instances": Instances(boxes, np.zeros((0, 1000, 2), np.float32), bbox_format="xyxy"),
    }
    before = frame["img"].copy()
    np.random.seed(3)
    only = StainJitter("macenko", 0.1)(copy.deepcopy(frame))
    assert {key for key in frame if key != "img"} == {key for key in only if key != "img"}
    assert np.array_equal(only["instances"].bboxes, boxes)
    assert only["img"].flags["C_CONTIGUOUS"]
    np.random.seed(3)
    done = Compose([StainJitter("macenko", 0.1), RandomFlip(p=0.0), Format(bgr=1.0)])(frame)
    assert tuple(done["img"].shape) == (3, 96, 112)
    assert np.array_equal(np.moveaxis(done["img"].numpy(), 0, -1), only["img"])
    assert not np.array_equal(only["img"], before)
    np.random.seed(3)
    rng = np.random.default_rng([0, np.random.randint(2**31)])
    rng.random()
    expected = JITTERS["macenko"](tissue(1), 0.1, rng)
    assert np.array_equal(cv2.cvtColor(only["img"], cv2.COLOR_BGR2RGB), expected)  # BGR in and out


def test_other_images_stay(tissue) -> None:
    for image in (np.zeros((9, 9, 1), np.uint8), np.zeros((9, 9, 4), np.uint8)):
        assert StainJitter()({"img": image})["img"] is image


def test_the_image_given_is_not_written_to(tissue) -> None:
    """It may be Ultralytics' cached one."""
    given = labels(tissue(1))
    image, before = given["img"], given["img"].copy()
    assert StainJitter()(given)["img"] is not image
    assert np.array_equal(image, before)


def test_probability(tissue) -> None:
    tile = labels(tissue(1))["img"]
    for probability, low, high in ((0.0, 0, 0), (0.3, 10, 55), (1.0, 100, 100)):
        np.random.seed(5)
        jitter = StainJitter(probability=probability)
        changed = sum(jitter({"img": tile})["img"] is not tile for _ in range(100))
        assert low <= changed <= high


def test_seeds_decide_and_others_draws_do_not_depend_on_the_tile(tissue) -> None:
    def run(jitter: StainJitter, seed: int, *tiles: RGB) -> tuple[list[Any], float]:
        np.random.seed(seed)
        return [jitter(labels(tile))["img"] for tile in tiles], np.random.random()

    tile, white = tissue(1), np.full((96, 112, 3), 255, np.uint8)
    (first, second), next_draw = run(StainJitter(), 1, tile, tile)
    assert not np.array_equal(first, second)
    sent = pickle.loads(pickle.dumps(StainJitter()))
    (again, _), _ = run(sent, 1, tile, tile)
    assert np.array_equal(first, again)
    for jitter, seed in ((StainJitter(seed=1), 1), (StainJitter(), 2)):
        assert not np.array_equal(run(jitter, seed, tile)[0][0], first)
    for jitter, tiles in (
        (StainJitter(), (white, tile)),
        (StainJitter(probability=0), (tile,) * 2),
    ):
        assert run(jitter, 1, *tiles)[1] == next_draw


class Tiles:
    """A map-style data set of one tile, eight times."""

    def __init__(self, tile: RGB) -> None:
        self.tile, self.jitter = tile, StainJitter()

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Any:
        return self.jitter(labels(self.tile))["img"]


def test_workers_draw_apart_and_a_repeated_training_draws_alike(tissue) -> None:
    from ultralytics.data.build import build_dataloader

    tiles = Tiles(tissue(1, size=(40, 40)))
    tiles.jitter(labels(tiles.tile))  # used before the workers are forked

    def epoch() -> list[bytes]:
        loader = build_dataloader(tiles, batch=1, workers=2, shuffle=False)
        return [image.numpy().tobytes() for image in loader]

    one = epoch()
    assert len(set(one)) == len(tiles)  # no worker repeats another's draws
    assert epoch() == one


@pytest.mark.parametrize(
    "options",
    [
        {"method": "vahadane"},
        {"strength": -0.1},
        {"strength": MAX_STRENGTH + 0.01},
        {"strength": float("nan")},
        {"probability": 1.1},
        {"probability": float("nan")},
        {"seed": -1},
    ],
)
def test_values_that_are_no_jitter(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(options)).replace("method", "reinhard")):
        StainJitter(**options)


def test_neither_torch_nor_ultralytics_is_imported() -> None:
    code = "import sys, mitoyolo.stain.augment; print({'torch', 'ultralytics'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
