"""How many tiles a second weights and their exports detect on.

    python benchmarks/export.py [--weights best.pt] [--frames FOLDER] [--size 512] [--repeats 7]

Every form of the model takes turns over the same batches in one process, and the fastest of the
repeats counts, since whatever else a machine does only slows them: from RGB tiles to boxes,
letterbox and suppression included, on all cores. The last columns say how far an export's
detections are from those of the weights: of those above a score of 0.1, the largest difference in
px and in score between a detection and its nearest. Without --weights the model is an untrained
yolov5n, which is as fast and finds nothing.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from math import inf
from pathlib import Path

import numpy as np

from converters.images import IMAGE_SUFFIXES, find_files
from mitoyolo.demo.write import write_demo
from mitoyolo.detectors.base import Detector, load_detector
from mitoyolo.export import export
from mitoyolo.images import RGB, read_rgb
from mitoyolo.inference.merge import Detections
from mitoyolo.progress import set_quiet

FORMS = ("openvino", "onnx", "torchscript")
BATCHES = (1, 16)
TILES = 16


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, help="best.pt of a run; else an untrained yolov5n")
    parser.add_argument("--frames", type=Path, help="folder of H&E images; else rendered")
    parser.add_argument("--size", type=int, default=512, help="side of a tile and of the input")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    set_quiet(True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        weights = options.weights or _untrained(root / "best.pt")
        models = {weights.name: load_detector(weights, imgsz=options.size)}
        for name in FORMS:
            made = export(weights, name, out=root / name, imgsz=options.size)
            models[name] = load_detector(made)
        tiles = _tiles(options.frames, options.size, root)
        print(f"{len(tiles)} tiles of {options.size} px, {options.repeats} repeats\n")
        _table(models, tiles, options.repeats)
    names = ("torch", "ultralytics", "openvino", "onnxruntime")
    print(f"\nPython {sys.version.split()[0]}, " + ", ".join(f"{n} {version(n)}" for n in names))


def _untrained(path: Path) -> Path:
    from mitoyolo.detectors.yolo import start_model, write_start

    write_start(path, start_model("yolov5n", None, ["mitosis"], 0))
    return path


def _tiles(frames: Path | None, size: int, root: Path) -> list[RGB]:
    """Tiles from the middle of evenly chosen images, or rendered."""
    if frames is None:
        write_demo(root / "demo", cases=2, tiles=TILES // 2, size=size)
        frames = root / "demo" / "tiles"
    paths = list(find_files(frames, IMAGE_SUFFIXES))
    tiles = []
    for i in range(TILES):
        image = read_rgb(paths[i * len(paths) // TILES])
        y, x = ((side - size) // 2 for side in image.shape[:2])
        tiles.append(np.ascontiguousarray(image[y : y + size, x : x + size]))
    return tiles


def _table(models: dict[str, Detector], tiles: Sequence[RGB], repeats: int) -> None:
    rates = {batch: _rates(models, tiles, batch, repeats) for batch in BATCHES}
    first = next(iter(models))
    expected = models[first].predict(tiles)
    heads = [f"tiles a second, batch {batch} | ratio" for batch in BATCHES]
    print(f"| model | {' | '.join(heads)} | px apart | score apart |")
    print("|---" * (2 * len(BATCHES) + 3) + "|")
    for name, model in models.items():
        cells = [f"{rates[b][name]:.1f} | {rates[b][name] / rates[b][first]:.1f}" for b in BATCHES]
        px, score = _apart(expected, model.predict(tiles))
        print(f"| {name} | {' | '.join(cells)} | {px:.1g} | {score:.1g} |", flush=True)


def _rates(
    models: dict[str, Detector], tiles: Sequence[RGB], batch: int, repeats: int
) -> dict[str, float]:
    """Tiles a second of each model; they take turns, and the first turn warms up."""
    batches = [tiles[start : start + batch] for start in range(0, len(tiles), batch)]
    fastest = {name: [inf] * len(batches) for name in models}
    for _ in range(repeats + 1):
        for name, model in models.items():
            for i, part in enumerate(batches):
                start = time.perf_counter()
                model.predict(part)
                fastest[name][i] = min(fastest[name][i], time.perf_counter() - start)
    return {name: len(tiles) / sum(taken) for name, taken in fastest.items()}


def _apart(one: Sequence[Detections], other: Sequence[Detections]) -> tuple[float, float]:
    """The largest distance in px, and in score, between a confident detection and its nearest."""
    px = score = 0.0
    for mine, theirs in zip(one, other, strict=True):
        for row in mine[mine[:, 4] > 0.1]:
            gaps = np.abs(theirs - row)
            nearest = gaps[gaps[:, :4].max(axis=1).argmin()]
            px, score = max(px, nearest[:4].max()), max(score, nearest[4])
    return px, score


if __name__ == "__main__":
    main()
