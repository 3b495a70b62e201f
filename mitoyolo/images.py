"""Images as RGB arrays, decoded and encoded by OpenCV."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from converters.errors import InputError
from converters.files import write_bytes

RGB = NDArray[np.uint8]
"""An image of shape (height, width, 3), 8 bits a channel, red first."""

JPEG_QUALITY = 95


def read_rgb(path: Path) -> RGB:
    """Decode an 8-bit colour image; an alpha channel is dropped.

    Raises
    ------
    InputError
        The file is missing, damaged, grey or of more than 8 bits: stained tissue is 8-bit
        colour, and anything else here is a mask or the wrong file.
    """
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", file=path) from None
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if image is None:
        raise InputError(
            "not a readable image (damaged, or not an image)",
            file=path,
            fix="export or download it again",
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] < 3:
        channels = 1 if image.ndim == 2 else image.shape[2]
        raise InputError(
            f"{image.dtype} with {channels} channel(s), expected 8-bit RGB",
            file=path,
            fix="convert it to 8-bit colour",
        )
    return cv2.cvtColor(image[:, :, :3], cv2.COLOR_BGR2RGB)


def write_rgb(path: Path, image: RGB) -> None:
    """Encode ``image`` by the suffix of ``path`` and write it atomically.

    PNG uses the fastest compression (level 1); JPEG quality 95 without chroma subsampling, since
    haematoxylin and eosin differ in chroma.
    """
    parameters = {
        ".png": [cv2.IMWRITE_PNG_COMPRESSION, 1],
        ".jpg": _JPEG,
        ".jpeg": _JPEG,
    }.get(path.suffix.lower(), [])
    done, data = cv2.imencode(path.suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), parameters)
    if not done:
        raise InputError(f"cannot encode an image as {path.suffix}", file=path)
    write_bytes(path, data.tobytes())


_JPEG = [
    cv2.IMWRITE_JPEG_QUALITY,
    JPEG_QUALITY,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
]
