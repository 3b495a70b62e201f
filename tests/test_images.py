"""Decoding that refuses what is damaged, and encoding."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from converters.errors import InputError
from converters.images import image_size
from mitoyolo.images import RGB, read_rgb, write_rgb

FORMATS = {
    "a.jpg": {"format": "JPEG"},
    "progressive.jpg": {"format": "JPEG", "progressive": True},
    "a.png": {"format": "PNG"},
    "a.tif": {"format": "TIFF"},
    "lzw.tif": {"format": "TIFF", "compression": "tiff_lzw"},
    "a.bmp": {"format": "BMP"},
}


def tissue() -> RGB:
    coarse = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (160, 120)), np.uint8)


def encoded(name: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(tissue()).save(buffer, **FORMATS[name])  # type: ignore[arg-type]
    return buffer.getvalue()


@pytest.mark.parametrize("name", FORMATS)
def test_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(encoded(name) + b"\0\0")  # some writers pad
    image = read_rgb(path)
    assert image.dtype == np.uint8 and image.flags.c_contiguous and image.flags.writeable
    worst = np.abs(image.astype(int) - tissue()).mean()
    assert worst < 8 if name.endswith("jpg") else worst == 0


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("share", [0.01, 0.5, 0.9])
@pytest.mark.parametrize("name", FORMATS)
def test_a_cut_image_is_one_error_and_no_other_word(
    tmp_path: Path, name: str, share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    data = encoded(name)
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=rf"{name}: not a readable image .*; export or download"):
        read_rgb(path)
    assert capfd.readouterr() == ("", "")


def test_a_cut_jpeg_with_a_whole_thumbnail_is_cut(tmp_path: Path) -> None:
    thumbnail, data = encoded("a.jpg"), encoded("a.jpg")
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    path = tmp_path / "a.jpg"
    path.write_bytes(data[:2] + segment + data[2:])
    assert read_rgb(path).shape == (120, 160, 3)
    path.write_bytes((data[:2] + segment + data[2:])[:-200])
    with pytest.raises(InputError, match="the JPEG is cut off"):
        read_rgb(path)


def test_an_altered_png_is_found_by_its_checksum(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(encoded("a.png"))
    data[len(data) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(InputError, match="wrong checksum in the PNG"):
        read_rgb(tmp_path / "a.png")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("kind", ["grey", "16-bit", "16-bit grey"])
def test_grey_and_16_bit_are_refused(tmp_path: Path, suffix: str, kind: str) -> None:
    image = tissue()[..., 0] if "grey" in kind else tissue()
    image = image.astype(np.uint16) * 257 if "16" in kind else image
    path = tmp_path / f"a{suffix}"
    if suffix == ".tif":
        tifffile.imwrite(path, image)
    else:
        cv2.imwrite(str(path), image)
    with pytest.raises(InputError, match="expected 8-bit RGB; convert it to 8-bit colour"):
        read_rgb(path)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_alpha_is_dropped(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(np.dstack([tissue(), tissue()[..., 0]])).save(path)
    assert np.array_equal(read_rgb(path), tissue())


@pytest.mark.parametrize("content", [None, b"", b"no image"])
def test_no_image(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.png: (cannot be read|not a readable image)"):
        read_rgb(path)


@pytest.mark.parametrize("name", ["a.bmp", "a.png", "a.tif"])
def test_a_header_that_says_more_pixels_than_the_file_can_hold(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    true, false = (160).to_bytes(4, "little"), (16_000_000).to_bytes(4, "little")
    data = encoded(name)
    if name == "a.png":
        header = data[12:29].replace(true[::-1], false[::-1], 1)
        data = data[:12] + header + zlib.crc32(header).to_bytes(4, "big") + data[33:]
    else:
        data = data.replace(true, false, 1)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"says 16000000 x 120 px, which \d+ bytes cannot hold"):
        read_rgb(path)
    with pytest.raises(InputError, match=r"not a readable image \(its header says 16000000 x 120"):
        image_size(path)


def test_a_large_picture_of_one_colour_is_no_lie(tmp_path: Path) -> None:
    write_rgb(tmp_path / "a.png", np.full((3000, 4000, 3), 240, np.uint8))
    assert read_rgb(tmp_path / "a.png").shape == (3000, 4000, 3)


@pytest.mark.parametrize(("suffix", "loss"), [(".png", 0), (".jpg", 2)])
def test_write_then_read(tmp_path: Path, suffix: str, loss: float) -> None:
    image = tissue()
    image[..., 0] = 200  # red stays red
    path = tmp_path / "deep" / f"a{suffix}"
    write_rgb(path, image)
    assert np.abs(read_rgb(path).astype(int) - image).mean() <= loss
    first = path.read_bytes()
    write_rgb(path, image)
    assert path.read_bytes() == first


def test_grey_with_alpha_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9, 2), dtype=np.uint8)).save(path)
    with pytest.raises(InputError, match="grey with alpha, expected 8-bit RGB"):
        read_rgb(path)
