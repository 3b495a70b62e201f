"""Whole inputs of every format, small: what the damage is done to.

Two images of 64 x 48 px with eight marks where the format can hold all shapes. What our own
writers write is a seed of each format that has one; ``real`` ones are cut from the real data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from conftest import REAL, document, ellipse, picture, table

from converters.files import write_text
from converters.model import LABELS, Annotation, AnnotationSet, ImageInfo
from converters.prepare import Selection
from converters.registry import FORMATS
from converters.shapes import Ellipse, Pixels, Polygon
from fuzz import seeds_real, seeds_text
from mitoyolo.convert import ConvertOptions, convert
from mitoyolo.progress import set_quiet

NAMES = ("cell_1", "cell_2")
SIZE = (64, 48)


@dataclass(frozen=True, slots=True)
class Seed:
    """An input that converts.

    Attributes
    ----------
    format, name : str
        Its reader, and what is special about it.
    build : callable
        Writes it into an empty folder.
    read : int
        Marks in it, of both classes and of none.
    options : tuple of str
        What its conversion needs.
    real : str
        What of the real data it is cut from; empty: nothing.
    """

    format: str
    name: str
    build: Callable[[Path], None]
    read: int
    options: tuple[str, ...] = ("--mpp", "0.25")
    real: str = ""

    @property
    def images(self) -> bool:
        """Whether its images are there."""
        return "--annotations-only" not in self.options

    @property
    def there(self) -> bool:
        """Whether it can be built here."""
        return not self.real or (REAL / self.real).exists()


def marks() -> AnnotationSet:
    """One mark of each shape on two images."""
    star = ((10.0, 30.0), (22.0, 30.0), (22.0, 44.0), (10.0, 44.0))
    hole = ((14.0, 34.0), (18.0, 34.0), (16.0, 38.0))
    isle = ((40.0, 30.0), (50.0, 30.0), (50.0, 40.0))
    square = frozenset((x, y) for x in range(40, 46) for y in range(8, 13))
    shapes = (
        ("cell_1", "mitosis", "ellipse", Ellipse(20.5, 15.25, 12, 8, 0.5), 0.8),
        ("cell_1", "imposter", "ellipse", Ellipse(48, 30, 10, 6), None),
        ("cell_2", "mitosis", "polygon", Polygon((star,), (hole,)), 0.25),
        ("cell_2", "imposter", "pixels", Pixels(square), None),
        ("cell_2", "imposter", "polygon", Polygon((star, isle), (hole,)), None),
    )
    items = [
        Annotation(
            source=source, label=label, kind=kind, x=shape.centroid[0], y=shape.centroid[1],
            box=shape.box, shape=shape, area=shape.area, confidence=confidence, file="f", where="w",
        )
        for source, label, kind, shape, confidence in shapes
    ]  # fmt: skip
    for source, label, kind, x, y, side in (
        ("cell_1", "mitosis", "box", 55, 8, 6),
        ("cell_2", "mitosis", "point", 30.5, 20, 16),
        ("cell_2", "mitosis", "box", 61, 45, 6),
    ):
        box = (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
        items.append(
            Annotation(source=source, label=label, kind=kind, x=x, y=y, box=box, area=None
                       if kind == "point" else side**2, file="f", where="w")
        )  # fmt: skip
    return AnnotationSet(
        images=[
            ImageInfo(source=name, path=None, width=SIZE[0], height=SIZE[1], case=name,
                      mpp=(0.25, 0.25), named=f"{name}.png")
            for name in NAMES
        ],
        annotations=items,
    )  # fmt: skip


def pictures(folder: Path, *names: str) -> None:
    """Write an image for each name, which has its suffix."""
    for i, name in enumerate(names):
        picture(folder / name, *SIZE, seed=i)


def _written(name: str) -> Seed:
    def build(folder: Path) -> None:
        writer = FORMATS[name].write
        assert writer is not None
        for file, text in writer(marks(), lambda line: None):
            write_text(folder / file, text)
        below = folder / "images" if name == "yolo" else folder
        pictures(below, *(f"{image}.png" for image in NAMES))

    return Seed(name, "as we write it", build, 8)


def _folder_of_ours(name: str, read: int) -> Seed:
    """A dataset folder as ``convert`` writes it, with copies, masks and an unlabelled image."""

    def build(folder: Path) -> None:
        src = folder.with_name(f"{folder.name}-src")
        _written("dsa").build(src)
        options = ConvertOptions(
            format="dsa", mpp=(0.25, 0.25), selection=Selection(labels=LABELS), tile=40,
            augment=("flips",), masks=True, shares=(0.5, 0.5, 0.0),
        )  # fmt: skip
        set_quiet(True)
        try:
            convert(src, folder, options)
        finally:
            set_quiet(False)

    return Seed(name, "a dataset folder", build, read, options=())


def _cadd4mbc(folder: Path) -> None:
    pictures(folder / "tiles", "T1x0y7.png", "t2_x1y7.jpg")
    document(folder / "T_1" / "Batch-1" / "0_7.json", ellipse(15, 20.5), ellipse(48, 30, group="x"))
    shape = {"type": "polyline", "points": [[5, 5, 0], [20, 6, 0], [9, 19, 0]], "closed": True}
    document(
        folder / "T_2" / "Batch-1" / "1_7.json",
        ellipse(40, 20, rotation=0.7, label={"value": "Mitosis"}),
        shape,
        {"type": "point", "center": [50, 40, 0]},
        {"type": "arrow", "points": [[0, 0, 0], [1, 1, 0]]},
    )


def _icpr12(folder: Path) -> None:
    for name in ("A00_01", "H01_02"):
        pictures(folder / f"{name[:3]}_v2", f"{name}.bmp", f"{name}.jpg")
        rows = ("10,20,11,20,10,21,11,21", "50,5,51,5,52,5,")
        table(folder / f"{name[:3]}_v2" / f"{name}.csv", *rows)


def _atypia14(folder: Path) -> None:
    for i, (slide, suffix) in enumerate((("A03", "png"), ("H04", "tiff"))):
        name = f"{slide}_00Aa"
        picture(folder / slide / "frames" / "x40" / f"{name}.{suffix}", *SIZE, seed=i)
        table(folder / slide / "mitosis" / f"{name}_mitosis.csv", "20,30,1.0 ", "40.5,20,0.65")
        table(folder / slide / "mitosis" / f"{name}_not_mitosis.csv", "60,40,0.2")


def _amida13(folder: Path) -> None:
    for i, frame in enumerate(("01/01", "01/02", "02/01")):
        picture(folder / "mitoses_image_data_part_1" / f"{frame}.tif", *SIZE, seed=i)
    table(folder / "mitoses_ground_truth" / "01" / "01.csv", "20,30", "5,6")
    table(folder / "mitoses_ground_truth" / "02" / "01.csv", "40.5,60,")


def _tupac16(folder: Path) -> None:
    _amida13(folder)
    table(folder / "nonmitoses_ground_truth" / "01" / "02.csv", "30,50", "41,10")


def _in_one_folder(files: dict[str, str | bytes], *names: str) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        pictures(folder, *(names or (f"{name}.png" for name in NAMES)))
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)

    return build


def _sliderunner(folder: Path) -> None:
    pictures(folder, *(f"{name}.png" for name in NAMES))
    seeds_text.slide_runner(folder / "marks.sqlite")


def _slide(folder: Path) -> None:
    """QuPath's file of a slide that OpenSlide reads."""
    _written("qupath").build(folder)
    (folder / "cell_1.png").unlink()
    seeds_text.slide(folder / "cell_1.svs")


def _of_real(name: str, real: str, read: int, *options: str) -> Seed:
    return Seed(name, f"real, {real}", seeds_real.BUILD[name, real], read, options, real)


SEEDS: tuple[Seed, ...] = (
    *(_written(name) for name, entry in FORMATS.items() if entry.read and entry.write),
    _folder_of_ours("yolo", 39),
    _folder_of_ours("coco", 39),
    Seed("cadd4mbc", "two tiles", _cadd4mbc, 6),
    Seed("icpr12", "two frames", _icpr12, 4),
    Seed("atypia14", "two frames", _atypia14, 6),
    Seed("amida13", "three frames", _amida13, 3),
    Seed("tupac16", "three frames", _tupac16, 5),
    Seed("midog", "a data set", _in_one_folder({"MIDOG.json": seeds_text.MIDOG}), 4),
    Seed("sliderunner", "a database", _sliderunner, 6),
    Seed("coco", "masks and outlines", _in_one_folder({"instances.json": seeds_text.COCO}), 4),
    Seed("yolo", "Darknet's layout", _in_one_folder(seeds_text.DARKNET), 4),
    Seed("voc", "of labelImg", _in_one_folder(seeds_text.VOC), 4),
    Seed("qupath", "a slide", _slide, 8),
    Seed("asap", "two slides", _in_one_folder(seeds_text.ASAP), 7),
    Seed("imagescope", "two slides", _in_one_folder(seeds_text.IMAGESCOPE), 5, options=()),
    Seed("via", "version 2", _in_one_folder({"via.json": seeds_text.VIA}), 5),
    Seed("cvat", "for images", _in_one_folder({"annotations.xml": seeds_text.CVAT}), 7),
    Seed("labelme", "two images", _in_one_folder(seeds_text.LABELME), 5),
    Seed("labelstudio", "an export", _in_one_folder({"export.json": seeds_text.LABELSTUDIO}), 5),
    _of_real("cadd4mbc", "cadd4mbc", 2, "--annotations-only", "--preset", "kmit"),
    _of_real("icpr12", "icpr12", 5, "--annotations-only"),
    _of_real("atypia14", "mitos_atypia_14_aperio_labels", 23, "--annotations-only"),
    _of_real("atypia14", "mitos_atypia_14", 1),
    _of_real("tupac16", "tupac16_al", 10, "--annotations-only"),
    _of_real("midog", "midog", 300, "--annotations-only"),
    _of_real("sliderunner", "midog", 1612, "--annotations-only", "--mpp", "0.25"),
    _of_real("sliderunner", "tupac16_al", 1552, "--annotations-only", "--mpp", "0.25"),
)
