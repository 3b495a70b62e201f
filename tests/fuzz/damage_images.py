"""Damage to an image: what its header says, what its pixels are, and files that are none."""

from __future__ import annotations

import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from fuzz.damage_bytes import damage_bytes

_PNG = b"\x89PNG\r\n\x1a\n"
_KINDS = {".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP"}


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, pixels: bytes, *, before: bytes = b"", depth: int = 8) -> bytes:
    """A PNG of RGB whose parts need not fit each other."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0))
    data = _chunk(b"IDAT", zlib.compress(pixels, 9))
    return _PNG + header + before + data + _chunk(b"IEND", b"")


def _huge_header(rng: random.Random) -> bytes:
    """A header of a picture that no memory holds, with a few of its pixels."""
    width, height = rng.choice(((60_000, 60_000), (20_000, 20_000), (2**31 - 1, 2**31 - 1),
                                (10**6, 1), (1, 10**6), (0, 0), (64, 0)))  # fmt: skip
    return _png(width, height, bytes(1000))


def _bomb(rng: random.Random) -> bytes:
    """Pixels that inflate far beyond what the header says."""
    return _png(64, 48, bytes(50_000_000))


def _text_bomb(rng: random.Random) -> bytes:
    """A comment, or a colour profile, that inflates to 50 MB."""
    packed = zlib.compress(bytes(50_000_000), 9)
    kind, data = rng.choice((
        (b"zTXt", b"x\0\0" + packed), (b"iCCP", b"x\0\0" + packed),
        (b"iTXt", b"x\0\1\0\0\0" + packed),
    ))  # fmt: skip
    return _png(64, 48, bytes(48 * 193), before=_chunk(kind, data))


def _few_pixels(rng: random.Random) -> bytes:
    return _png(64, 48, bytes(100))


def _tiff_header(rng: random.Random) -> bytes:
    """A TIFF that says 60,000 x 60,000 px in one strip, and holds nothing."""
    size = rng.choice((60_000, 30_000, 2**31))
    tags = [(256, size), (257, size), (258, 8), (259, 1), (262, 2), (273, 8), (277, 3),
            (278, size), (279, 100)]  # fmt: skip
    rows = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + rows + bytes(200)


def _saved(rng: random.Random, kind: str) -> bytes:
    """A true picture of an unusual sort."""
    size = rng.choice(((64, 48), (64, 48), (48, 64), (1, 1), (3, 500), (128, 96)))
    pixels = np.random.default_rng(rng.randrange(99)).integers(90, 255, (*size[::-1], 3), np.uint8)
    image = Image.fromarray(pixels)
    mode = rng.choice(("RGB", "RGB", "L", "1", "P", "RGBA", "CMYK", "I;16", "F", "LA"))
    more: dict[str, object] = {}
    if mode == "I;16":
        image = Image.fromarray(pixels[:, :, 0].astype(np.uint16) * 200)
    else:
        image = image.convert(mode)
    if rng.random() < 0.4:
        exif = Image.Exif()
        exif[274] = rng.choice((2, 3, 6, 8, 9, 0))
        more["exif"] = exif.tobytes()
    if rng.random() < 0.2:
        more |= {"save_all": True, "append_images": [image, image]}
    data = io.BytesIO()
    try:
        image.save(data, kind, **more)
    except (OSError, ValueError, KeyError):  # not of this kind
        image.convert("L").save(data, "GIF" if rng.random() < 0.3 else "PNG")
    return data.getvalue()


def _other_kind(rng: random.Random) -> bytes:
    return _saved(rng, rng.choice(("GIF", "WEBP", "PPM", "ICO", "TGA", "JPEG2000", "PDF", "BMP")))


def _no_image(rng: random.Random) -> bytes:
    return rng.choice((
        b"this is a text\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.4", b"PK\3\4",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%stderr)(w)file(boo)writestring\n",
        b"GIF89a", b"BM" + bytes(60), b"P6 99999999 99999999 255\n", b"\xff\xd8\xff", _PNG,
        b"II*\0", b"MM\0*\0\0\0\x08\xff\xff", b"\x00\x00\x00\x0cjP  \r\n\x87\n",
        b"RIFF\xff\xff\xff\xffWEBPVP8L",
    ))  # fmt: skip


_PICTURES: tuple[Callable[[random.Random], bytes], ...] = (
    *(_huge_header, _bomb, _text_bomb, _few_pixels, _tiff_header, _other_kind, _no_image),
)


def damage_image(rng: random.Random, path: Path) -> str:
    """Damage an image, or put another one or none in its place; what was done is returned."""
    draw = rng.random()
    if draw < 0.35:
        return damage_bytes(rng, path)
    if draw < 0.6:
        path.write_bytes(_saved(rng, _KINDS.get(path.suffix.lower(), "PNG")))
        return "another sort"
    make = rng.choice(_PICTURES)
    path.write_bytes(make(rng))
    return make.__name__.strip("_")
