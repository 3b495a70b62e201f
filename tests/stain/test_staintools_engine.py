"""``--engine staintools``: the package's own pixels, the same each time; bad tiles stay."""

from __future__ import annotations

import json
import pickle
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import Cli, real, tree

from converters.errors import InputError
from mitoyolo.images import RGB, read_rgb, write_rgb
from mitoyolo.stain import macenko, staintools_engine
from mitoyolo.stain.folder import fit_target, normalize_folder
from mitoyolo.stain.methods import ENGINES, METHODS, full_name
from mitoyolo.stain.normaliser import LITTLE_TISSUE, Normaliser
from mitoyolo.stain.staintools_engine import MACENKO, VAHADANE
from mitoyolo.stain.target import Target, default_target, read_target

staintools = pytest.importorskip(
    "staintools", reason="the extra `staintools` is not installed, and these tests run it"
)
spams = pytest.importorskip("spams", reason="staintools' own requirement is not installed")

OURS = [full_name("staintools", method) for method in ENGINES["staintools"]]
STAINS = ["macenko", "vahadane"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dictionary that is learned for a moment only, in this process."""
    monkeypatch.setattr(staintools_engine, "DICTIONARY_STEPS", 50)


def reference(method: str, target: RGB, tile: RGB) -> RGB:
    """What a user of staintools gets, but for Vahadane's clock."""
    if method == "reinhard":
        normaliser = staintools.ReinhardColorNormalizer()
    else:
        normaliser = staintools.StainNormalizer(method)
    learn = partial(spams.trainDL, iter=staintools_engine.DICTIONARY_STEPS, numThreads=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spams, "trainDL", learn)
        normaliser.fit(target.copy())
        return normaliser.transform(tile.copy())


def normalise(method: str, target: Path, tile: RGB) -> RGB:
    name = full_name("staintools", method)
    image, changed = Normaliser(name, "tile", read_target(target, name, "tile")).fit(()).apply(tile)
    assert changed
    return image


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("method", ENGINES["staintools"])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_pixels_are_staintools(tissue, tmp_path: Path, method: str, seed: int) -> None:
    target = tissue(7 + seed, shift=(-10, -20, 5), glass=0.2)
    tile = tissue(seed, shift=(10, -30, 10), size=(93, 121), glass=0.1 * seed)
    tile[:3, :3] = 0  # staintools writes over zeros
    before = tile.copy()
    write_rgb(tmp_path / "target.png", target)
    got = normalise(method, tmp_path / "target.png", tile)
    assert np.array_equal(got, reference(method, target, tile))
    assert np.array_equal(tile, before)
    assert not np.array_equal(got, tile)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("method", ENGINES["staintools"])
def test_the_pixels_are_staintools_on_real_frames(tmp_path: Path, method: str) -> None:
    frames = real("mitos_atypia_14")
    target = read_rgb(frames / "H04/frames/x40/H04_00Ac.jpg")[200:500, 300:650]
    tile = read_rgb(frames / "H03/frames/x40/H03_00Aa.jpg")[600:900, 500:850]
    write_rgb(tmp_path / "target.png", target)
    got = normalise(method, tmp_path / "target.png", tile)
    assert np.array_equal(got, reference(method, target, tile))


def test_it_is_staintools_that_runs(tissue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Reinhard cannot be told from ours by its pixels."""
    marked = np.zeros((96, 112, 3), np.uint8)
    monkeypatch.setattr(staintools.ReinhardColorNormalizer, "transform", lambda *_: marked)
    assert Normaliser("staintools-reinhard", "tile").fit(()).apply(tissue(1))[0] is marked


def test_reinhard_is_ours_bit_for_bit(tissue, tmp_path: Path) -> None:
    tiles = [tissue(i, shift=(-20 * i, 5 * i, -10 * i), glass=0.1 * i) for i in range(4)]
    write_rgb(tmp_path / "target.png", tissue(9))
    for target in (None, tmp_path / "target.png"):
        one, other = (
            Normaliser(name, "tile", read_target(target, name, "tile") if target else None).fit(())
            for name in ("reinhard", "staintools-reinhard")
        )
        for tile in tiles:
            assert np.array_equal(one.apply(tile)[0], other.apply(tile)[0])


def test_reinhard_is_ours_bit_for_bit_on_real_frames() -> None:
    paths = sorted(real("mitos_atypia_14").glob("H*/frames/x40/*.jpg"))[::60]
    assert len(paths) > 2
    for path in paths:
        tile = read_rgb(path)[:512, :512]
        one, other = (
            Normaliser(name, "tile").fit(()).apply(tile)
            for name in ("reinhard", "staintools-reinhard")
        )
        assert np.array_equal(one[0], other[0])
        assert one[1] == other[1]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", OURS)
def test_bad_tiles_pass_through_with_a_reason(tissue, name: str, recwarn) -> None:
    fitted = Normaliser(name, "tile").fit(())
    rng = np.random.default_rng(0)
    pale = np.full((64, 64, 3), (250, 215, 235), np.uint8) + rng.integers(0, 5, (64, 64, 3))
    one_pixel, one_stain = pale.copy(), pale.copy()
    one_pixel[5, 5] = (90, 50, 130)
    one_stain[:20] = (222, 110, 190)
    nearly = np.full((64, 64, 3), (222, 140, 190))
    nearly[::4, ::4] += (4, -3, -4)
    bad = {
        "white": np.full((64, 64, 3), 255),
        "black": np.zeros((64, 64, 3)),
        "pink": np.full((64, 64, 3), (222, 140, 190)),
        "nearly one colour": nearly,
        "one pixel": np.full((1, 1, 3), (222, 140, 190)),
        "none": np.zeros((0, 8, 3)),
    }
    stains = {"pale": pale, "one pixel stained": one_pixel, "one stain": one_stain}
    if name != "staintools-reinhard":  # which has no stains to tell apart
        bad |= stains
    for what, tile in bad.items():
        tile = tile.astype(np.uint8)
        got, reason = fitted.apply_or_reason(tile)
        assert got is tile, what
        assert reason is not None
        expected = LITTLE_TISSUE if what in ("white", "black", "none") else "one colour"
        assert reason.startswith(expected), what
    assert not recwarn.list  # what numpy says of them is nobody's business
    assert fitted.apply(tissue(1))[1]


def test_noise_never_raises(tissue) -> None:
    """Whatever the pixels, staintools' failures stay inside, and what comes out is an image."""
    rng = np.random.default_rng(3)
    for name in ("staintools-reinhard", "staintools-macenko"):
        fitted = Normaliser(name, "tile").fit(())
        for i in range(60):
            height, width = rng.integers(1, 9, 2)
            low, high = np.sort(rng.integers(0, 256, 2))
            tile = rng.integers(low, high + 1, (height, width, 3)).astype(np.uint8)
            tile[:, :, 1] //= 1 + i % 3
            got, changed = fitted.apply(tile)
            assert got.shape == tile.shape
            assert got.dtype == np.uint8
            assert changed or got is tile


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", OURS)
def test_a_fit_of_several_images_is_a_target(tissue, tmp_path: Path, name: str) -> None:
    for i in range(2):
        write_rgb(tmp_path / "images" / f"{i}.png", tissue(i))
    fit = fit_target(tmp_path / "images", tmp_path / "stats.json", name)
    assert fit["method"] == name
    assert fit["images"] == 2
    target = read_target(tmp_path / "stats.json", name, "tile")
    both = np.concatenate([tissue(0), tissue(1)])
    write_rgb(tmp_path / "both.png", both)
    joined = read_target(tmp_path / "both.png", name, "tile")
    for key, value in target.statistics.to_dict().items():
        assert value == pytest.approx(np.array(joined.statistics.to_dict()[key]), abs=1e-4)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", OURS)
def test_into_json_and_to_another_process(tissue, name: str) -> None:
    normaliser = Normaliser(name, "tile")
    stored = json.loads(json.dumps(normaliser.to_dict()))
    assert set(stored) == {"method", "mode", "target"}
    assert Normaliser.from_dict(stored) == normaliser
    fitted = normaliser.fit(())
    sent = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(sent.apply(tissue(2))[0], fitted.apply(tissue(2))[0])


@pytest.mark.parametrize("name", OURS)
def test_nothing_to_fit(tmp_path: Path, name: str) -> None:
    write_rgb(tmp_path / "white.png", np.full((30, 30, 3), 250, np.uint8))
    with pytest.raises(InputError, match="no stained tissue"):
        fit_target(tmp_path / "white.png", tmp_path / "stats.json", name)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("mode", ["case", "target"])
def test_it_knows_no_case(name: str, mode: str) -> None:
    with pytest.raises(InputError, match="use mode `tile`"):
        Normaliser(name, mode, default_target(name))


def test_targets_that_cannot_serve(tissue, tmp_path: Path) -> None:
    pale = np.full((64, 64, 3), (250, 215, 235), np.uint8)
    pale[::2] -= 4
    write_rgb(tmp_path / "pale.png", pale)
    odd = np.full((64, 64, 3), (120, 60, 240))  # its stains would have to shine
    odd[::2] = (240, 60, 60)
    odd += np.random.default_rng(0).integers(-15, 15, odd.shape)
    write_rgb(tmp_path / "odd.png", odd.astype(np.uint8))
    good = {"method": "staintools-macenko", **MACENKO.to_dict()}
    negative = [[-0.0999, 0.9, 0.4243], *good["stains"][1:]]
    files = {
        "negative.json": good | {"stains": negative},
        "zero.json": good | {"concentrations": [0, 1]},
        "short.json": good | {"stains": [[1, 0, 0]]},
        "ours.json": good | {"method": "macenko"},
    }
    for file, value in files.items():
        (tmp_path / file).write_text(json.dumps(value))
    for file in ("pale.png", "odd.png", *files):
        with pytest.raises(InputError, match=file.replace(".", r"\.")) as caught:
            read_target(tmp_path / file, "staintools-macenko", "tile")
        assert "\n" not in str(caught.value)
        if file == "ours.json":
            assert "--engine mitoyolo --method macenko" in str(caught.value)
    with pytest.raises(InputError, match="--engine staintools --method macenko"):
        write = tmp_path / "theirs.json"
        write.write_text(json.dumps(good))
        read_target(write, "macenko", "case")


def test_the_default_targets_are_what_staintools_finds_in_the_frames() -> None:
    """In a thinner sample than they were measured from: near, not equal."""
    paths = sorted(real("mitos_atypia_14").glob("H0[34]/frames/x40/*.jpg"))[::12]
    pixels = np.concatenate([read_rgb(path)[::10, ::10].reshape(-1, 3) for path in paths])
    for method, default in zip(STAINS, (MACENKO, VAHADANE), strict=True):
        entry = METHODS[full_name("staintools", method)]
        assert entry.default is entry.default_whole is default
        gauge = entry.gauge()
        gauge.add(pixels.reshape(-1, 1, 3))
        found = gauge.whole()
        assert isinstance(found, macenko.Stats)
        assert np.abs(np.subtract(found.stains, default.stains)).max() < 0.06
        assert found.concentrations == pytest.approx(default.concentrations, rel=0.1)


STAINED = (2, 3, 9)


@pytest.fixture
def frames(tissue, tmp_path: Path) -> Path:
    """More tiles than one task takes, stained ones in the first and in the last."""
    for i in range(10):
        tile = tissue(i, size=(40, 48), shift=(-20, 0, 0))
        write_rgb(tmp_path / "src" / "A" / f"{i}.png", tile if i in STAINED else tile // 40 + 242)
    return tmp_path / "src"


@pytest.mark.parametrize("method", ["reinhard", "macenko"])
def test_the_command(cli: Cli, frames: Path, tmp_path: Path, method: str) -> None:
    out = tmp_path / "out"
    call = ("normalize", frames, out, "--engine", "staintools", "--method", method)
    assert cli(*call, "--workers", 1).code == 0
    summary = json.loads((out / "summary.json").read_text())
    name = full_name("staintools", method)
    assert (summary["method"], summary["mode"]) == (name, "tile")
    assert summary["target"] == Normaliser(name, "tile").to_dict()["target"]
    assert summary["reasons"] == {LITTLE_TISSUE: 10 - len(STAINED)}
    written = read_rgb(out / "A" / "3.png")
    tile = read_rgb(frames / "A" / "3.png")
    assert np.array_equal(written, Normaliser(name, "tile").fit(()).apply(tile)[0])
    assert not np.array_equal(written, tile)


def test_stopped_continued_and_any_number_of_workers(frames: Path, tmp_path: Path) -> None:
    """Vahadane too gives the same bytes: in other processes, and after other tiles."""
    out, other = tmp_path / "one", tmp_path / "two"
    options = {"method": "staintools-vahadane", "mode": "tile"}
    normalize_folder(frames, out, workers=1, **options)
    normalize_folder(frames, other, workers=2, **options)
    whole = tree(out)
    assert tree(other) == whole
    for name in ("summary.json", "A/9.png", "A/2.png"):
        (out / name).unlink()
    normalize_folder(frames, out, workers=1, **options)
    assert tree(out) == whole


def test_calls_that_cannot_be_answered(cli: Cli, frames: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    staintools_case = ("--engine", "staintools", "--mode", "case")
    assert "use mode `tile`" in cli("normalize", frames, out, *staintools_case).error
    for options, named in (
        (("--method", "vahadane"), "reinhard, macenko"),
        (("--method", "staintools-macenko"), "reinhard, macenko"),
        (("--engine", "torchstain"), "mitoyolo, staintools"),
    ):
        result = cli("normalize", frames, out, *options)
        assert result.code == 2
        assert named in result.err
    assert not out.exists()


def test_without_the_extra_one_line_names_it(
    cli: Cli, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "staintools", None)
    out = tmp_path / "out"
    for options in ((), ("--fit",)):
        result = cli("normalize", frames, out, "--engine", "staintools", *options)
        assert result.code == 1
        assert "pip install '.[staintools]' in mitoyolo's folder" in result.error
        assert not out.exists()
    assert cli("normalize", frames, out).code == 0  # ours needs it not


def test_a_saved_fit_travels_through_the_command(cli: Cli, frames: Path, tmp_path: Path) -> None:
    stats = tmp_path / "stats.json"
    choice = ("--engine", "staintools", "--method", "macenko")
    assert cli("normalize", frames, stats, "--fit", *choice).code == 0
    assert cli("normalize", frames, tmp_path / "out", *choice, "--target", stats).code == 0
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    target = read_target(stats, "staintools-macenko", "tile")
    assert isinstance(target, Target)
    assert found["target"] == target.to_dict()
    assert found["target"] != Normaliser("staintools-macenko", "tile").to_dict()["target"]
