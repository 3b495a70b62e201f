"""A field: one source image with its truths and detections, which is what gets scored."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from converters.errors import InputError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


def _none() -> FloatArray:
    return np.empty((0, 2))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Field:
    """One source image: its truths, its detections and what they are grouped by.

    Parameters
    ----------
    image : str
        The source image's name, once in a list of fields.
    case : str
        The patient or slide.
    mpp : (float, float)
        µm per pixel along x and y.
    truth : (n, 2) float64
        Centroids x, y of the annotated mitoses, in pixels of the source image.
    detections : (m, 2) float64
        Centres x, y of the detections, in the same pixels.
    scores : (m,) float64
        Their scores, 0 to 1.
    truth_sizes, detection_sizes : (n, 2), (m, 2) float64, optional
        Widths and heights of their boxes, in the same pixels; needed by protocols that compare
        boxes. None: not known.
    truth_centres : (n, 2) float64, optional
        Centres of the truths' boxes. None: they are the centroids.
    imposters : (k, 2) float64, optional
        Centroids of the annotated look-alikes (hard negatives).
    imposter_detections, imposter_scores : (j, 2), (j,) float64, optional
        What was detected as a look-alike, by detectors that have this class.
    size : (int, int), optional
        Width and height of the image in pixels, as far as it is known.
    area_mm2 : float, optional
        The area that was searched, for counts per mm².
    domain : dict
        Groups to report separately, for example ``{"scanner": "Hamamatsu", "tumour": ""}``;
        empty means not known.

    Raises
    ------
    InputError
        A centre is not finite, a score outside 0 to 1, µm/px or area not positive, or the
        arrays do not fit together.
    """

    image: str
    case: str
    mpp: tuple[float, float]
    truth: FloatArray
    detections: FloatArray
    scores: FloatArray
    truth_sizes: FloatArray | None = None
    detection_sizes: FloatArray | None = None
    truth_centres: FloatArray | None = None
    imposters: FloatArray = dataclasses.field(default_factory=_none)
    imposter_detections: FloatArray = dataclasses.field(default_factory=_none)
    imposter_scores: FloatArray = dataclasses.field(default_factory=lambda: np.empty(0))
    size: tuple[int, int] | None = None
    area_mm2: float | None = None
    domain: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)  # frozen: only here, to bring arrays in form

        put("mpp", _positive_pair(self.mpp, self.image))
        put("truth", _points(self.truth, "truth", self.image))
        put("detections", _points(self.detections, "detection", self.image))
        put("scores", _scores(self.scores, len(self.detections), self.image))
        if self.truth_centres is not None:
            put("truth_centres", _points(self.truth_centres, "truth box", self.image))
            if len(self.truth_centres) != len(self.truth):
                raise InputError(
                    f"{len(self.truth_centres)} box centres for {len(self.truth)} truths",
                    where=self.image,
                )
        put("imposters", _points(self.imposters, "imposter", self.image))
        found = _points(self.imposter_detections, "imposter detection", self.image)
        put("imposter_detections", found)
        put("imposter_scores", _scores(self.imposter_scores, len(found), self.image))
        for name, of in (("truth_sizes", self.truth), ("detection_sizes", self.detections)):
            put(name, _sizes(getattr(self, name), len(of), self.image))
        if self.area_mm2 is not None and not 0 < self.area_mm2 < np.inf:
            raise InputError(f"area of {self.area_mm2} mm², expected more than 0", where=self.image)

    @property
    def truth_boxes(self) -> FloatArray | None:
        """Centre, width and height of each truth's box, (n, 4); None where sizes are not known."""
        return _boxes(
            self.truth if self.truth_centres is None else self.truth_centres, self.truth_sizes
        )

    @property
    def detection_boxes(self) -> FloatArray | None:
        """The same of the detections, (m, 4); None where sizes are not known."""
        return _boxes(self.detections, self.detection_sizes)


def _boxes(centres: FloatArray, sizes: FloatArray | None) -> FloatArray | None:
    if sizes is None and len(centres):
        return None
    return np.column_stack([centres, centres if sizes is None else sizes])


def _positive_pair(mpp: ArrayLike, image: str) -> tuple[float, float]:
    try:
        pair = np.asarray(mpp, dtype=np.float64)
    except (TypeError, ValueError):
        pair = np.empty(0)
    if pair.shape != (2,) or not (np.isfinite(pair).all() and (pair > 0).all()):
        raise InputError(
            f"µm/px of {mpp!r}, expected two numbers above 0",
            where=image,
            fix="state it with --mpp",
        )
    return float(pair[0]), float(pair[1])


def _points(values: ArrayLike, noun: str, image: str) -> FloatArray:
    points = np.asarray(values, dtype=np.float64)
    if points.size == 0:
        return np.empty((0, 2))
    if points.ndim != 2 or points.shape[1] != 2:
        raise InputError(f"{noun} centres of shape {points.shape}, expected (n, 2)", where=image)
    bad = ~np.isfinite(points).all(axis=1)
    if bad.any():
        row = int(np.argmax(bad))
        x, y = points[row].tolist()
        raise InputError(f"{noun} {row + 1} is at ({x}, {y}), not a finite place", where=image)
    return points


def _sizes(values: ArrayLike | None, expected: int, image: str) -> FloatArray | None:
    if values is None:
        return None
    sizes = np.asarray(values, dtype=np.float64).reshape(-1, 2)
    if len(sizes) != expected:
        raise InputError(f"{len(sizes)} box sizes for {expected} boxes", where=image)
    if not (np.isfinite(sizes).all() and (sizes >= 0).all()):
        raise InputError("a box with a width or height that is no number of 0 or more", where=image)
    return sizes


def _scores(values: ArrayLike, expected: int, image: str) -> FloatArray:
    scores = np.asarray(values, dtype=np.float64).reshape(-1)
    if len(scores) != expected:
        raise InputError(f"{len(scores)} scores for {expected} detections", where=image)
    bad = ~((scores >= 0) & (scores <= 1))  # NaN fails both
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"detection {row + 1} has score {float(scores[row])}, expected 0 to 1", where=image
        )
    return scores


def check_fields(fields: Sequence[Field]) -> None:
    """Refuse a list of fields that names an image twice.

    Raises
    ------
    InputError
        Two fields are of the same image: its truths would be counted twice.
    """
    seen: set[str] = set()
    for field in fields:
        if field.image in seen:
            raise InputError("image given twice, expected one field an image", where=field.image)
        seen.add(field.image)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pool:
    """All fields in one set of arrays, in µm, so that one call serves thousands of images.

    Points stand sorted by place within their image (detections by falling score first), which
    makes every later tie-break independent of the order in which they were given. For rules in
    which that order matters, and for what else is known of a point, it is kept beside them.
    """

    truth: FloatArray  # (n, 2) µm
    truth_image: IntArray  # (n,) index of the field
    truth_order: IntArray  # (n,) place among the truths of all fields as given
    detections: FloatArray  # (m, 2) µm
    detection_image: IntArray  # (m,)
    detection_order: IntArray  # (m,)
    scores: FloatArray  # (m,)
    images: int


def pool(fields: Sequence[Field]) -> Pool:
    """Put fields together; images are told apart by their place in ``fields``."""
    check_fields(fields)
    truth, truth_image = in_um(fields, "truth")
    detections, detection_image = in_um(fields, "detections")
    scores = np.concatenate([np.empty(0), *(f.scores for f in fields)])
    by_place = _sorted([f.truth for f in fields])
    by_score = _sorted([np.column_stack([-f.scores, f.detections]) for f in fields])
    return Pool(
        truth=truth[by_place],
        truth_image=truth_image[by_place],
        truth_order=by_place,
        detections=detections[by_score],
        detection_image=detection_image[by_score],
        detection_order=by_score,
        scores=scores[by_score],
        images=len(fields),
    )


def _sorted(tables: list[FloatArray]) -> IntArray:
    """The order of all rows, table after table, each by its columns from the first on."""
    orders, before = [np.empty(0, dtype=np.int64)], 0
    for table in tables:
        order = np.argsort(table[:, 0])
        if not np.diff(table[order, 0]).all():  # equal ones: the other columns are needed
            order = np.lexsort(table.T[::-1])
        orders.append(order + before)
        before += len(table)
    return np.concatenate(orders)


def in_um(fields: Sequence[Field], name: str) -> tuple[FloatArray, IntArray]:
    """Put the points of one name together.

    Parameters
    ----------
    name : str
        ``"truth"``, ``"detections"``, ``"imposters"`` or ``"imposter_detections"``.

    Returns
    -------
    points : (n, 2) float64
        In µm, in the order given.
    image : (n,) int
        The place in ``fields`` of the field each is from.
    """
    points: list[FloatArray] = [getattr(field, name) for field in fields]
    mpp = np.array([field.mpp for field in fields]).reshape(-1, 2)
    image = np.repeat(np.arange(len(fields), dtype=np.int64), [len(p) for p in points])
    return np.concatenate([np.empty((0, 2)), *points]) * mpp[image], image
