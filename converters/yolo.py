"""YOLO label files: a text file an image, a row an object, in shares of the image's size.

`class xc yc w h` is a box, a sixth value its confidence; `class x1 y1 x2 y2 x3 y3 ...` is an
outline. An empty file is an image without objects. The last folder `images` in an image's path is
`labels` in its label file's; or both lie in one folder. Class names are in a YAML (`names`),
`classes.txt` or `obj.names`.

Source: Ultralytics' documentation of detection and segmentation data sets; Darknet's file layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from converters.checked import number
from converters.dataset_tiles import Tiles, read_tiles
from converters.errors import InputError
from converters.files import read_text
from converters.geometry import Box
from converters.images import PICTURE_SUFFIXES, all_files
from converters.labels import canonical_label
from converters.left_out import Problem
from converters.model import LABELS, Annotation, AnnotationSet
from converters.pictures import stem
from converters.read_options import ReadOptions, Size
from converters.reading import Reading
from converters.rings import opened
from converters.shapes import Polygon
from converters.writing import Note, needed_size

_YAMLS = ("data.yaml", "dataset.yaml")
_LISTS = ("classes.txt", "predefined_classes.txt", "obj.names")
_BESIDE = ("train", "val", "valid", "test", "notes", "readme")
"""How the names of `.txt` files begin that lie beside label files and hold no rows: lists of
images, and what tools tell the reader."""

_PLAIN = 1e6  # shares that add up to less need no closer look

Object = tuple[int, Box]
"""Class number, and (left, top, right, bottom) in px."""

# --- reading ----------------------------------------------------------------------------------


def read(src: Path, options: ReadOptions) -> AnnotationSet:
    """Read a folder of label files (or one) with their images.

    Parameters
    ----------
    src : Path
        A data set's folder, or its folder of label files; a dataset folder of ours too.
    options : ReadOptions

    Raises
    ------
    InputError
        No label file is found; a row is malformed or its class unknown; a label file has no image
        or an image no label file (each unless ``options`` allow it); an image's size is not known.
    """
    tiles = read_tiles(src)
    reading = Reading(src, tiles.options(src, options))
    files = all_files(reading.root)
    names = _names(files)
    paths = _label_files(files, reading.root) if src.is_dir() else [src]
    if not paths:
        raise InputError("no .txt label file below this folder", file=src)
    taken: dict[str, Path] = {}
    strangers: set[str] = set()
    for path in paths:
        source = text = None
        with reading.lenient("no_image"):
            source = _image(path, reading, tiles, taken, strangers)
        if source is None:
            continue
        with reading.lenient("unreadable_file"):
            text = read_text(path)
        if text is None:
            reading.unreadable(source, path)
        else:
            _add_rows(text, reading, names, source, str(path))
    for source in strangers - set(taken):
        reading.problems[source] = Problem("unlabelled", "no label file (a .txt of the same name)")
    tiles.add_unlabelled(reading)
    return reading.finish("a .txt of the same name")


def _label_files(files: list[Path], root: Path) -> list[Path]:
    """Those below a folder `labels`, where there is one; else all but what lies beside them."""
    texts = [path for path in files if path.suffix.lower() == ".txt" and path.name not in _LISTS]
    depth = len(root.parts)
    if inner := [path for path in texts if "labels" in path.parts[depth:-1]]:
        return inner
    pictures = {path.with_suffix("") for path in files if path.suffix.lower() in PICTURE_SUFFIXES}
    return [
        path
        for path in texts
        if not path.stem.lower().startswith(_BESIDE) or path.with_suffix("") in pictures
    ]


def _image(
    path: Path, reading: Reading, tiles: Tiles, taken: dict[str, Path], strangers: set[str]
) -> str:
    """Put the image of a label file into the set."""
    own = (*path.parts[len(reading.root.parts) : -1], path.stem)
    head, tail = _parted(own, "labels")
    middle = ("images",) if len(own) > len(tail) and not reading.options.annotations_only else ()
    name = "/".join((*head, *middle, *tail))
    source = tiles.image(reading, name, path.stem, file=path)
    other_head, other_tail = _parted(tuple(source.split("/")), "images")
    alike = _end_alike((*tail[:-1], stem(path.stem)), other_tail)
    if not (alike and _end_alike(head, other_head)):
        strangers.add(source)
        raise InputError(
            f"no image for this label file ({source} is of another folder)",
            file=path,
            fix="put it at the same place below `images`, or leave such out by --bad drop",
        )
    if taken.setdefault(source, path) != path:
        reading.problems[source] = Problem("malformed", "it has two label files")
        raise InputError(f"the image {source} has another label file, {taken[source]}", file=path)
    return source


def _parted(parts: tuple[str, ...], folder: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What stands before and after the last folder of this name; all after it where it has none."""
    folders = parts[:-1]
    if folder not in folders:
        return (), parts
    last = len(folders) - 1 - folders[::-1].index(folder)
    return parts[:last], parts[last + 1 :]


def _end_alike(a: tuple[str, ...], b: tuple[str, ...]) -> bool:
    n = min(len(a), len(b))
    return a[len(a) - n :] == b[len(b) - n :]


def _add_rows(
    text: str, reading: Reading, names: Mapping[str, str], source: str, file: str
) -> None:
    size, problem = reading.size(source), reading.problems.get(source)
    for n, line in enumerate(text.split("\n"), 1):
        if not line or line.isspace():
            continue
        if problem:
            reading.drop(problem.reason, problem.detail, file=file, where=f"line {n}")
            continue
        with reading.lenient():
            reading.add(_row(line, names, size, source, file, f"line {n}"))


def _row(
    line: str, names: Mapping[str, str], size: Size | None, source: str, file: str, where: str
) -> Annotation:
    word, *cells = line.split()
    label = names.get(word) or _class(word, names, file, where)
    values = _numbers(cells, file, where)
    if size is None:
        raise InputError(
            f"the size of the image {source} is not known, and the rows are shares of it",
            file=file,
            fix="name the images' folder by --images, or a --preset that knows the size",
        )
    width, height = size
    if len(values) in (4, 5):
        x, y = values[0] * width, values[1] * height
        across, down = values[2] * width / 2, values[3] * height / 2
        if across < 0 or down < 0:
            raise InputError(f"a box of {cells[2]} x {cells[3]}", file=file, where=where)
        return Annotation(
            source=source, label=label, x=x, y=y, kind="box", file=file, where=where,
            box=(x - across, y - down, x + across, y + down), area=4 * across * down,
            confidence=values[4] if len(values) == 5 else None,
        )  # fmt: skip
    if len(values) < 6 or len(values) % 2:
        raise InputError(
            f"{len(values) + 1} values, expected 5 (class, xc, yc, w, h), 6 with a confidence, or "
            "a class and x, y of three points or more",
            file=file,
            where=where,
        )
    points = [(x * width, y * height) for x, y in zip(values[::2], values[1::2], strict=True)]
    shape = Polygon((opened(points),))
    x, y = shape.centroid
    return Annotation(
        source=source, label=label, x=x, y=y, kind="polygon", file=file, where=where,
        box=shape.box, area=shape.area, shape=shape,
    )  # fmt: skip


def _numbers(cells: list[str], file: str, where: str) -> list[float]:
    try:
        values = list(map(float, cells))
        if sum(map(abs, values)) < _PLAIN and "_" not in "".join(cells):
            return values
    except ValueError:
        pass
    return [number(cell, file, where) for cell in cells]  # which says what is wrong


def _class(cell: str, names: Mapping[str, str], file: str, where: str) -> str:
    value = number(cell, file, where)
    label = names.get(str(int(value))) if value == int(value) else None
    if label is None:
        known = ", ".join(f"{key} {name}" for key, name in names.items())
        raise InputError(
            f"class {cell:.40}, expected one of: {known:.200}",
            file=file,
            where=where,
            fix="name the classes in data.yaml (`names`) or classes.txt",
        )
    return label


# --- class names ------------------------------------------------------------------------------


def _names(files: list[Path]) -> dict[str, str]:
    """Class number as text -> class, from the files below the folder.

    Raises
    ------
    InputError
        A list is damaged, or two lists differ.
    """
    yamls = [path for path in files if path.suffix.lower() in (".yaml", ".yml")]
    first = [path for path in yamls if path.name in _YAMLS]
    lists = [path for path in files if path.name in _LISTS or path.suffix == ".names"]
    for paths, parse in ((first, _yaml_names), (yamls, _yaml_names), (lists, _list_names)):
        found: dict[Path, dict[str, str]] = {}
        for path in paths:
            if names := parse(path):
                found[path] = names
        if found:
            (path, names), *others = found.items()
            for other, different in others:
                if different != names:
                    raise InputError(f"other class names than in {other}", file=path)
            return {key: canonical_label(name) for key, name in names.items()}
    return {str(i): name for i, name in enumerate(LABELS)}


def _list_names(path: Path) -> dict[str, str]:
    lines = [line.strip() for line in read_text(path).split("\n")]
    return {str(i): name for i, name in enumerate(lines) if name}


def _yaml_names(path: Path) -> dict[str, str]:
    import yaml

    try:
        content = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = (str(error).splitlines() or ["nested too deeply"])[0]
        raise InputError(f"not valid YAML ({reason:.80})", file=path) from None
    names = content.get("names") if isinstance(content, dict) else None
    if names is None:
        return {}
    if "kpt_shape" in content:
        raise InputError("rows with keypoints are not read", file=path, where="key `kpt_shape`")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict):
        raise InputError(
            f"expected a list of class names, found {names!r:.40}", file=path, where="key `names`"
        )
    for key, name in names.items():
        if not str(key).isdecimal() or not isinstance(name, str | int | float):
            raise InputError(
                f"expected a number and a name, found {key!r:.40}: {name!r:.40}",
                file=path,
                where="key `names`",
            )
    return {str(int(key)): str(name) for key, name in names.items()}


# --- writing ----------------------------------------------------------------------------------


def write(found: AnnotationSet, note: Note) -> Iterator[tuple[str, str]]:
    """A label file an image that somebody annotated, and ``classes.txt``.

    Raises
    ------
    InputError
        The size of an image is not known.
    """
    for image, items in found.by_image():
        if image.labelled:
            objects = [(LABELS.index(item.label), item.box) for item in items if item.box]
            text = rows(objects, *needed_size(image, "YOLO")) if objects else ""
            yield f"labels/{image.source}.txt", text
    used = {item.label for item in found.annotations}
    yield "classes.txt", "".join(f"{name}\n" for name in LABELS[: 2 if LABELS[1] in used else 1])


def rows(objects: Iterable[Object], width: int, height: int) -> str:
    """Rows ``class xc yc w h``, shares of the image with ten decimals (1e-7 px on 1,000 px).

    Parameters
    ----------
    objects : iterable of (class number, (left, top, right, bottom))
        In px of the image.
    width, height : int
        The image's size in px.
    """
    return "".join(
        [
            "%d %.10f %.10f %.10f %.10f\n"  # noqa: UP031 - two thirds of an f-string's time
            % (label, (left + right) / 2 / width, (top + bottom) / 2 / height,
               (right - left) / width, (bottom - top) / height)
            for label, (left, top, right, bottom) in objects
        ]
    )  # fmt: skip
