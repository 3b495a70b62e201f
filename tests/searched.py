"""One image searched as ``detect`` searches a slide, without its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from converters.mpp import Mpp
from mitoyolo.detectors.base import Detector
from mitoyolo.images import RGB, write_rgb
from mitoyolo.inference.apply import Cut
from mitoyolo.inference.merge import Detections
from mitoyolo.inference.slide import slide_search


def search_image(
    detector: Detector,
    image: RGB,
    mpp: Mpp,
    cut: Cut,
    step: Callable[[int], None] = lambda count: None,
    threshold: float = 0.0,
) -> Detections:
    """All detections on an image, in its own pixels."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "image.png"
        write_rgb(path, image)
        with slide_search(
            path, mpp=mpp, detector=detector, cut=cut, threshold=threshold, region=None,
            folder=Path(folder),
        ) as search:  # fmt: skip
            search.run(step)
            return search.found()[0]
