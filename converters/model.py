"""Three nouns, one inner form: an annotation, the image it lies on, and a set of both.

Coordinates are absolute pixels of the source image, floats, origin at the upper-left corner of
the upper-left pixel, x right, y down: a box over pixel 0 spans 0 to 1. Nothing is rounded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from converters.geometry import Box
from converters.shapes import Shape

LABELS = ("mitosis", "imposter")
"""Class names in YOLO order (0, 1); COCO's category ids are one more."""

SPLITS = ("train", "val", "test")

KINDS = ("ellipse", "circle", "rectangle", "polyline", "polygon", "pixels", "box", "point")
"""What an annotation can be in its file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A file that holds a rectangle of an image: a tile of a slide.

    Attributes
    ----------
    name : str
        The name by which the file's own annotations and predictions refer to it; unique in a set.
    path : Path
        The file.
    x, y, width, height : int
        The rectangle, in pixels of the image.
    """

    name: str
    path: Path
    x: int
    y: int
    width: int
    height: int

    def holds(self, x: float, y: float) -> bool:
        """Whether a point of the image is inside."""
        return self.x <= x < self.x + self.width and self.y <= y < self.y + self.height


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """Level 0 of a slide: width and height in pixels, µm per pixel across and down."""

    width: int
    height: int
    mpp: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageInfo:
    """One source image: a frame, a tile as exported, or a slide.

    Attributes
    ----------
    source : str
        The name by which annotations, tables and predictions refer to it; unique in a set.
    path : Path or None
        The image file; None where only annotations were read.
    width, height : int
        Size in pixels; 0 where only annotations were read and nothing says it.
    mpp : (float, float) or None
        µm per pixel across and down; None until the chain of :mod:`converters.mpp` has run.
    case : str
        The patient or slide; two scans of one tissue are one case.
    scanner, tumour : str
        Domain, empty where unknown.
    said : (int, int) or None
        Width and height as the annotations say them.
    labelled : bool
        Whether anyone looked for mitoses on it; one that is not labelled is never scored.
    named : str
        The image's file name as the annotations say it, where they do and no file is at hand.
    parts : tuple of Part
        The files that hold it, row by row, where it is there only in tiles; then ``path`` is None.
    scan : Scan or None
        The slide of which it is a resampled view, where it is one in ``parts``.
    """

    source: str
    path: Path | None
    width: int
    height: int
    case: str
    mpp: tuple[float, float] | None = None
    scanner: str = ""
    tumour: str = ""
    labelled: bool = True
    said: tuple[int, int] | None = None
    named: str = ""
    parts: tuple[Part, ...] = ()
    scan: Scan | None = None

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height in pixels, None where unknown."""
        return (self.width, self.height) if self.width and self.height else None

    @property
    def file_stem(self) -> str:
        """The source as a file name without suffix: it stays in its folder."""
        return self.source.replace("/", "_")

    @property
    def file_name(self) -> str:
        """The name of the image's file, for formats that state it."""
        return self.path.name if self.path else self.named or self.file_stem


@dataclass(slots=True, kw_only=True)  # frozen, it would take three times as long to make
class Annotation:
    """One annotated cell; nothing changes it once it is made.

    Attributes
    ----------
    source : str
        The image, see :class:`ImageInfo`.
    label : str
        One of :data:`LABELS`, or the file's own word, which then is dropped with reason `label`.
    x, y : float
        Centroid in pixels.
    box : (left, top, right, bottom) or None
        Exact bounding box in pixels; None for a point, which has no extent of its own.
    shape : Shape or None
        The exact shape, where the file holds more than a point or an upright box.
    area : float or None
        Area of the true shape in px² (an ellipse's, not its box's); None for a point.
    confidence : float or None
        The annotators' confidence that it is a mitosis, where the file has one.
    kind : str
        The shape in the file: `ellipse`, `circle`, `rectangle`, `polyline`, `polygon`, `pixels`,
        `box` or `point`.
    file, where : str
        Where it was read, for reports.
    part : Part or None
        The tile that it was marked on, where its image is there in parts.
    """

    source: str
    label: str
    x: float
    y: float
    kind: str
    file: str
    where: str
    box: Box | None = None
    area: float | None = None
    shape: Shape | None = None
    confidence: float | None = None
    part: Part | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """An annotation that was read and not used, and why."""

    file: str
    where: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An image that is no part of the set, and why."""

    file: str
    reason: str
    detail: str


@dataclass(slots=True)
class AnnotationSet:
    """What a reader found: images, annotations, and what it could not use.

    ``read`` counts every annotation met in the files, so that
    ``read == len(annotations) + len(dropped)`` holds after every step. A file that cannot be read
    at all counts as one, since nobody knows how many it holds.
    """

    images: list[ImageInfo] = field(default_factory=list)
    annotations: list[Annotation] = field(default_factory=list)
    dropped: list[Drop] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    @property
    def read(self) -> int:
        """Number of annotations met in the files."""
        return len(self.annotations) + len(self.dropped)

    def by_image(self) -> Iterator[tuple[ImageInfo, list[Annotation]]]:
        """Each image with what is on it, in their order; images without annotation too."""
        of_source: dict[str, list[Annotation]] = {image.source: [] for image in self.images}
        for item in self.annotations:
            of_source[item.source].append(item)
        for image in self.images:
            yield image, of_source[image.source]

    def reasons(self) -> dict[str, int]:
        """Number of dropped annotations by reason, sorted by name."""
        return dict(sorted(Counter(drop.reason for drop in self.dropped).items()))
