"""Images as RGB arrays: decoded strictly, since a damaged file must not pass as tissue."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from converters.errors import InputError
from converters.files import write_bytes
from converters.images import SLIDE_SUFFIXES, header_lies, image_size, open_image, open_slide

RGB = NDArray[np.uint8]
"""An image of shape (height, width, 3), 8 bits a channel, red first."""

JPEG_QUALITY = 95

# OpenCV logs what it cannot read on stderr; our own error says it in one line.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def read_rgb(path: Path) -> RGB:
    """Decode an 8-bit colour image; an alpha channel is dropped. A slide is read whole, at level 0.

    Raises
    ------
    InputError
        The file is missing, damaged or cut off, grey or of more than 8 bits: stained tissue is
        8-bit colour, and anything else here is a mask or the wrong file. A slide of more than
        :data:`LARGEST_SLIDE` pixels.
    """
    if path.suffix.lower() in SLIDE_SUFFIXES:
        return _read_slide(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", file=path) from None
    try:
        _check_whole(data)
        _check_header(data)
        image = _decode_tiff(data) if data[:4] in _TIFF else _decode(data)
    except _Damaged as error:
        raise InputError(
            f"not a readable image ({error})", file=path, fix="export or download it again"
        ) from None
    except _NotColour as error:
        raise InputError(
            f"{error}, expected 8-bit RGB", file=path, fix="convert it to 8-bit colour"
        ) from None
    return image


LARGEST_SLIDE = 400_000_000
"""Pixels of a slide that are read at once: 1.2 GB."""


def _read_slide(path: Path) -> RGB:
    width, height = image_size(path)
    if width * height > LARGEST_SLIDE:
        raise InputError(
            f"a slide of {width} x {height} px is too large to be read whole",
            file=path,
            fix="cut out the region that is annotated",
        )
    with open_slide(path) as slide:
        try:
            region = slide.read_region((0, 0), 0, (width, height))
        except Exception:  # OpenSlide's own errors, for damaged strips
            raise InputError(
                "not a readable slide (damaged or cut off)",
                file=path,
                fix="export or download it again",
            ) from None
    return over_white(np.asarray(region))


def over_white(rgba: RGB, *, premultiplied: bool = False) -> RGB:
    """Colours of (height, width, 4) laid over white glass: what is transparent was not scanned.

    Parameters
    ----------
    premultiplied : bool
        The colours are multiplied by alpha already.
    """
    alpha = rgba[..., 3:]
    if (alpha == 255).all():
        return np.ascontiguousarray(rgba[..., :3])
    clear = alpha.astype(np.float32) / 255
    colours = rgba[..., :3] * (np.float32(1) if premultiplied else clear)
    return np.asarray(np.minimum(colours + 255 * (1 - clear) + 0.5, 255), np.uint8)


class _Damaged(Exception):
    """The file is no image, or not whole."""


class _NotColour(Exception):
    """Grey, or more than 8 bits."""


_PNG, _JPEG_START = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def _check_whole(data: bytes) -> None:
    """Find a cut or altered file by its container: decoders may fill what is missing with grey."""
    if data.startswith(_JPEG_START):
        # start of scan and end of image: neither code occurs within the coded pixels
        if data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
            raise _Damaged("the JPEG is cut off")
    elif data.startswith(_PNG):
        at, kind = len(_PNG), b""
        while kind != b"IEND":
            length = int.from_bytes(data[at : at + 4], "big")
            kind, end = data[at + 4 : at + 8], at + 8 + length
            if end + 4 > len(data):
                raise _Damaged("the PNG is cut off")
            if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
                raise _Damaged(f"wrong checksum in the PNG at byte {at}")
            at = end + 4


def _check_header(data: bytes) -> None:
    """Find a header of grey, or of far more pixels than the file can hold, before it is decoded."""
    try:
        with open_image(io.BytesIO(data)) as image:
            size, mode = image.size, image.mode
    except Exception:  # of a kind that Pillow does not know: the decoder will tell
        return
    if problem := header_lies(size, lambda: len(data)):
        raise _Damaged(problem)
    if mode == "LA":  # which the decoder would give out as colour
        raise _NotColour("grey with alpha")


def _decode(data: bytes) -> RGB:
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    except cv2.error as error:
        raise _Damaged(error.err) from None
    if image is None:
        raise _Damaged("damaged, or not an image")
    channels = 1 if image.ndim == 2 else image.shape[2]
    if image.dtype != np.uint8 or channels < 3:
        raise _NotColour(f"{image.dtype} with {channels} channel(s)")
    return np.asarray(cv2.cvtColor(image[:, :, :3], cv2.COLOR_BGR2RGB), np.uint8)


def _decode_tiff(data: bytes) -> RGB:
    """The first page, by Pillow: OpenCV goes on past a damaged strip."""
    try:
        with open_image(io.BytesIO(data)) as image:
            bits = max(np.atleast_1d(getattr(image, "tag_v2", {}).get(258, 8)))
            if bits > 8 or image.mode not in ("RGB", "RGBA", "RGBX", "YCbCr", "P"):
                raise _NotColour(f"{bits} bits, mode {image.mode}")
            return np.array(image.convert("RGB"))
    except _NotColour:
        raise
    except Exception:  # Pillow raises many kinds for damaged files
        raise _Damaged("the TIFF is damaged or cut off") from None


def one_value(rgb: RGB) -> NDArray[np.uint32]:
    """Each pixel as one number, R + 256 G + 65536 B + 255 * 2^24, of shape (height, width)."""
    return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2RGBA).view("<u4")[..., 0])


def write_rgb(path: Path, image: RGB) -> None:
    """Write ``image`` atomically, as :func:`encode_rgb` does by the suffix of ``path``."""
    write_bytes(path, encode_rgb(image, path.suffix))


def encode_rgb(image: RGB, suffix: str) -> bytes:
    """``image`` as the bytes of a file.

    PNG is compressed as OpenCV does unasked: any stated level takes twice the time to write and to
    read, for a tenth less. JPEG has quality 95 without chroma subsampling, since haematoxylin and
    eosin differ in chroma.
    """
    return _encoded(image, suffix, {".jpg": _JPEG, ".jpeg": _JPEG}.get(suffix.lower(), []))


def encode_jpeg(image: RGB, quality: int) -> bytes:
    """``image`` as a small JPEG, to look at: chroma is subsampled."""
    return _encoded(image, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality])


def _encoded(image: RGB, suffix: str, parameters: list[int]) -> bytes:
    done, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), parameters)
    if not done:
        raise InputError(f"cannot encode an image as {suffix}")
    return data.tobytes()


_JPEG = [
    cv2.IMWRITE_JPEG_QUALITY,
    JPEG_QUALITY,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
]


def resize(image: RGB, width: int, height: int) -> RGB:
    """Resample to ``width`` x ``height`` pixels: by area where it shrinks, else by cubic."""
    shrinks = width * height < image.shape[0] * image.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=how), np.uint8)
