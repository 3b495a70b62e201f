"""How hard sets of frames are, rendered beside real ones.

    OMP_NUM_THREADS=1 python benchmarks/difficulty.py FOLDER ... [--frames 120]

Each FOLDER is in the layout of MITOS-ATYPIA-14; frames of it are taken evenly and brought to 0.25
µm/px. Prints a table in Markdown, a column a folder. Nothing is trained: the detector is fixed and
finds the darkest blobs in red light, where haematoxylin absorbs and eosin hardly does. Its best
threshold is chosen on the very marks that are scored, so its F1 is the most the rule can reach.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from converters.model import ImageInfo
from converters.presets import load_preset
from converters.read_options import ReadOptions
from converters.registry import FORMATS
from mitoyolo.evaluation import PROTOCOLS, Field
from mitoyolo.evaluation.curves import average_precision, rank
from mitoyolo.images import RGB, read_rgb
from mitoyolo.stain.tissue import tissue_mask

MPP = 0.25  # µm/px at which all is measured
BLOB = 1.5  # µm, standard deviation of the blur that makes a blob of a figure
APART = 8.0  # µm between two detections
NEAR = 4.0  # µm from a mark within which its darkest place is sought
FALSE_RATES = (20, 100)  # false detections a mm²

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Frame:
    """What is measured of one frame.

    Attributes
    ----------
    field : Field
        Its marks, and the detector's blobs.
    density : (3,) array
        Mean optical density of its tissue in red, green, blue.
    contrast : float
        Mean red density of nuclei less that of other tissue.
    sharpness : float
        Standard deviation of the Laplacian of the green density.
    mitoses, look_alikes : (n,) arrays
        Red density of the blob at each mark, less the mean of nuclei.
    """

    field: Field
    density: NDArray[np.float64]
    contrast: float
    sharpness: float
    mitoses: NDArray[np.float64]
    look_alikes: NDArray[np.float64]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", help="in the layout of MITOS-ATYPIA-14")
    parser.add_argument("--frames", type=int, default=120, help="of each folder, evenly chosen")
    options = parser.parse_args()
    columns = [describe(measured(folder, options.frames)) for folder in options.folders]
    print("| | " + " | ".join(map(str, options.folders)) + " |")
    print("|---" * (1 + len(columns)) + "|")
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(column[name] for column in columns) + " |")
    print(f"\nnumpy {np.__version__}, opencv-python {version('opencv-python')}")


def measured(folder: Path, count: int) -> list[Frame]:
    """Up to ``count`` frames of a folder."""
    found = FORMATS["atypia14"].read(folder, ReadOptions())
    preset = load_preset(str(FORMATS["atypia14"].preset))
    marks: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for mark in found.annotations:
        marks[mark.source, mark.label].append((mark.x, mark.y))
    take = np.linspace(0, len(found.images) - 1, min(count, len(found.images))).round().astype(int)
    frames = []
    for image in (found.images[i] for i in take):
        mpp = preset.mpp(image.scanner, image.case)
        assert mpp and image.path, "a frame of the challenge's two scanners"
        scale = np.array(mpp) / MPP
        mitoses, look_alikes = (
            np.array(marks[image.source, label]).reshape(-1, 2) * scale
            for label in ("mitosis", "imposter")
        )
        size = np.rint(np.array([image.width, image.height]) * scale).astype(int)
        rgb = cv2.resize(read_rgb(image.path), size.tolist(), interpolation=cv2.INTER_AREA)
        frames.append(frame_of(rgb, image, mitoses, look_alikes))
    return frames


def frame_of(rgb: RGB, image: ImageInfo, mitoses: Points, look_alikes: Points) -> Frame:
    """Measure one frame at ``MPP``; marks are pixels of ``rgb``."""
    density = -np.log10((rgb.astype(np.float32) + 1) / 256)
    tissue = tissue_mask(rgb)
    red, green = density[..., 0], density[..., 1]
    smooth = cv2.GaussianBlur(red, (0, 0), 0.5 / MPP)
    level = otsu(smooth[tissue])
    nuclei = tissue & (smooth > level)
    ground = float(red[nuclei].mean())
    blobs = cv2.GaussianBlur(red, (0, 0), BLOB / MPP)
    places, scores = peaks(blobs, level)
    field = Field(
        image=image.source,
        case=image.case,
        mpp=(MPP, MPP),
        truth=mitoses,
        detections=places,
        scores=np.clip(scores / 3, 0, 1),
        imposters=look_alikes,
        area_mm2=rgb.shape[0] * rgb.shape[1] * MPP**2 / 1e6,
    )
    return Frame(
        field,
        density=density[tissue].mean(axis=0, dtype=np.float64),
        contrast=ground - float(red[tissue & ~nuclei].mean()),
        sharpness=float(cv2.Laplacian(green, cv2.CV_32F)[tissue].std()),
        mitoses=at_marks(blobs, mitoses) - ground,
        look_alikes=at_marks(blobs, look_alikes) - ground,
    )


def otsu(values: NDArray[np.float32]) -> float:
    """The level that parts nuclei from other tissue (Otsu 1979)."""
    counts = np.clip(values * 100, 0, 255).astype(np.uint8)
    level, _ = cv2.threshold(counts, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return level / 100


def peaks(blobs: NDArray[np.float32], least: float) -> tuple[Points, NDArray[np.float64]]:
    """Local maxima above ``least`` that are the darkest within ``APART``, as x, y and value."""
    reach = int(APART / MPP)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    rows, columns = np.nonzero((blobs == cv2.dilate(blobs, disc)) & (blobs > least))
    return np.column_stack([columns, rows]) + 0.5, blobs[rows, columns].astype(np.float64)


def at_marks(blobs: NDArray[np.float32], marks: Points) -> NDArray[np.float64]:
    """The darkest blob within ``NEAR`` of each mark."""
    reach = int(NEAR / MPP)
    found = []
    for x, y in marks.astype(int):
        rows = slice(max(0, y - reach), y + reach + 1)
        columns = slice(max(0, x - reach), x + reach + 1)
        found.append(float(blobs[rows, columns].max(initial=0)))
    return np.array(found)


def describe(frames: list[Frame]) -> dict[str, str]:
    """The figures of one folder, by the name of their row."""
    fields = [frame.field for frame in frames]
    area = sum(field.area_mm2 or 0 for field in fields)
    mitoses = np.concatenate([frame.mitoses for frame in frames])
    look_alikes = np.concatenate([frame.look_alikes for frame in frames])
    by_case: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        by_case[frame.field.case].append(frame)
    cases = by_case.values()
    ratios = sorted(
        sum(len(frame.look_alikes) for frame in case)
        / max(1, sum(len(frame.mitoses) for frame in case))
        for case in cases
    )
    density = np.array([np.mean([frame.density for frame in case], axis=0) for case in cases])
    steps = rank(fields, PROTOCOLS["atypia14"]).steps
    assert steps is not None, "a set without a mitosis"
    recall = steps.tp / (steps.tp + steps.fn)
    best = int(np.argmax(2 * steps.tp / (2 * steps.tp + steps.fp + steps.fn)))
    rows = {
        "frames / cases": f"{len(frames)} / {len(cases)}",
        "mm²": f"{area:.2f}",
        "mitoses": f"{len(mitoses)}",
        "mitoses a mm²": f"{len(mitoses) / area:.1f}",
        "look-alikes a mitosis": f"{len(look_alikes) / len(mitoses):.2f}",
        "the same, by case": f"{ratios[0]:.1f} to {ratios[-1]:.1f}",
        "mitoses darker than nuclei by": spread(mitoses),
        "look-alikes darker by": spread(look_alikes),
        "mitosis darker than look-alike (AUC)": f"{auc(mitoses, look_alikes):.2f}",
        "nuclei darker than other tissue, by case": spread(
            np.mean([frame.contrast for frame in case]) for case in cases
        ),
    }
    for i, colour in enumerate(("red", "green", "blue")):
        rows[f"optical density, {colour}, by case"] = spread(density[:, i])
    low, middle, high = np.quantile([frame.sharpness for frame in frames], [0.1, 0.5, 0.9])
    rows["sharpness, 10th to 90th percentile"] = f"{middle:.3f} ({low:.3f} to {high:.3f})"
    ap = average_precision(fields, PROTOCOLS["atypia14"])
    rows["darkest blobs: F1 at most"] = (
        f"{2 * steps.tp[best] / (2 * steps.tp[best] + steps.fp[best] + steps.fn[best]):.2f} "
        f"(precision {steps.tp[best] / (steps.tp[best] + steps.fp[best]):.2f}, "
        f"recall {recall[best]:.2f})"
    )
    rows["darkest blobs: AP"] = f"{ap or 0:.2f}"
    for rate in FALSE_RATES:
        within = recall[steps.fp <= rate * area]
        rows[f"darkest blobs: recall at {rate} false a mm²"] = f"{within.max(initial=0):.2f}"
    return rows


def auc(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    """Probability that one of the first is larger than one of the second; ties count a half."""
    above = (positive[:, None] > negative).mean() + 0.5 * (positive[:, None] == negative).mean()
    return float(above)


def spread(values: Iterable[float]) -> str:
    """Mean and standard deviation."""
    array = np.array([*values], dtype=np.float64)
    return f"{array.mean():.3f} ± {array.std(ddof=1):.3f}"


if __name__ == "__main__":
    main()
