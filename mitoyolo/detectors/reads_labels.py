"""What Ultralytics reads of a dataset folder: asked of its own code, the one that training uses."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from converters.errors import InputError
from mitoyolo.detectors import ultralytics_quiet  # noqa: F401 - before anything of ultralytics

from ultralytics.data.utils import check_det_dataset, img2label_paths, verify_image_label

_CORRUPT = "ignoring corrupt image/label: "


@dataclass(frozen=True, slots=True)
class Index:
    """``dataset.yaml`` as Ultralytics understands it: a split's image folder, and its classes."""

    images: Path
    names: dict[int, str]


@dataclass(frozen=True, slots=True)
class Seen:
    """One image and its label file as Ultralytics reads them.

    Attributes
    ----------
    image, labels : Path
        The files that it takes.
    size : (int, int)
        Width and height, px.
    rows : array of shape (n, 5), float32
        Class, then centre and size as shares of the image.
    """

    image: Path
    labels: Path
    size: tuple[int, int]
    rows: NDArray[np.float32]


def read_index(index: Path, split: str) -> Index:
    """How Ultralytics understands ``dataset.yaml`` when it trains or validates on ``split``.

    Raises
    ------
    InputError
        It refuses the file, or finds no such folder.
    """
    try:
        data = check_det_dataset(str(index), autodownload=False, split=split)
        return Index(Path(data[split]), dict(data["names"]))
    except Exception as error:  # whatever its reading of a strange file ends in
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"Ultralytics cannot use it ({reason})", file=index) from None


def read_pairs(images: Sequence[Path], classes: int) -> Iterator[Seen]:
    """Ultralytics' reading of each image with its label file, in the order of ``images``.

    Parameters
    ----------
    images : sequence of Path
        Absolute, below a folder ``images``.
    classes : int
        How many there are.

    Raises
    ------
    InputError
        It would leave the image out, change it, or find no label file.
    """

    def read(image: Path) -> Seen:
        return _read(image, classes)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            yield from pool.map(read, images)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _read(image: Path, classes: int) -> Seen:
    if _unended(image):
        raise InputError(
            "a JPEG with bytes missing or added at its end; Ultralytics would write it anew",
            file=image,
            fix="save the source image again, as PNG, then convert again with --overwrite",
        )
    (labels,) = img2label_paths([str(image)])
    _, rows, shape, _, _, missing, _, _, corrupt, message = verify_image_label(
        (str(image), labels, "", False, classes, 0, 0, False)
    )
    if corrupt:
        reason = message.partition(_CORRUPT)[2] or message or "no reason given"
        raise InputError(f"Ultralytics leaves it out ({reason.splitlines()[0]})", file=image)
    if missing:
        raise InputError(f"Ultralytics finds no label file (looked for {labels})", file=image)
    return Seen(image, Path(labels), (shape[1], shape[0]), rows)


def _unended(image: Path) -> bool:
    """Whether Ultralytics would take it for a damaged JPEG, which it rewrites in place."""
    with image.open("rb") as file:
        if file.read(2) != b"\xff\xd8":
            return False
        file.seek(-2, os.SEEK_END)
        return file.read(2) != b"\xff\xd9"
