"""Seeds cut from the real data that lies beside the repository; nothing of it is kept here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from conftest import REAL

from converters.files import write_json

_IMAGES_OF_MIDOG = 50


def _copied(*names: str) -> Callable[[Path], None]:
    """Files below the real data, each with its folders but the first."""

    def build(folder: Path) -> None:
        for name in names:
            target = folder.joinpath(*Path(name).parts[1:])
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REAL / name, target)

    return build


def _midog(folder: Path) -> None:
    """The first images of MIDOG++ with what is on them."""
    whole = json.loads((REAL / "midog" / "MIDOG++.json").read_text())
    images = whole["images"][:_IMAGES_OF_MIDOG]
    known = {image["id"] for image in images}
    marks = [item for item in whole["annotations"] if item["image_id"] in known][:300]
    write_json(folder / "MIDOG.json", whole | {"images": images, "annotations": marks})


_APERIO = "mitos_atypia_14_aperio_labels"
_HAMAMATSU = "mitos_atypia_14"
_TRUTH = "tupac16_al/mitoses_ground_truth"

BUILD: dict[tuple[str, str], Callable[[Path], None]] = {
    ("cadd4mbc", "cadd4mbc"): _copied("cadd4mbc/T98/Batch-100/87_88.json"),
    ("icpr12", "icpr12"): _copied("icpr12/A00_v2/A00_01.csv"),
    ("atypia14", _APERIO): _copied(
        *(f"{_APERIO}/A03_{frame}_{kind}.csv" for frame in ("00Aa", "00Ab", "01Aa")
          for kind in ("mitosis", "not_mitosis"))
    ),
    ("atypia14", _HAMAMATSU): _copied(
        f"{_HAMAMATSU}/H18/frames/x40/H18_00Bb.jpg",
        f"{_HAMAMATSU}/H18/mitosis/H18_00Bb_mitosis.csv",
        f"{_HAMAMATSU}/H18/mitosis/H18_00Bb_not_mitosis.csv",
    ),
    ("tupac16", "tupac16_al"): _copied(
        f"{_TRUTH}/01/01.csv", f"{_TRUTH}/01/02.csv", f"{_TRUTH}/01/19.csv", f"{_TRUTH}/02/01.csv"
    ),
    ("midog", "midog"): _midog,
    ("sliderunner", "midog"): _copied("midog/MIDOG_AperioCS2.sqlite"),
    ("sliderunner", "tupac16_al"): _copied("tupac16_al/TUPAC_stitched.sqlite"),
}  # fmt: skip
"""Format and folder of the real data -> what writes a small input of it."""
