"""How fast `mitoyolo detect` searches a rendered slide, beside `yolo predict` over its tiles.

    python benchmarks/slides.py --weights FILE [--side 20000] [--repeats 3] [--sides 10000 40000]

A pyramidal slide of `--side` px at 0.25 µm/px is rendered, with known mitoses. In turns, each in a
process of its own: `mitoyolo detect` on the slide, all of its answers included; and Ultralytics'
own `yolo predict` on the very tiles that it searches, written to disk before as PNG, by torch, as
its users run it. The export for OpenVINO is made before. "Beside" is the second's time by the
first's, the median of the turns' quotients.
The share of each stage is of the threads' time, so that they may sum to more than the clock.

The same tiles are then read from disk, given to the model one by one by torch, and merged: recall
of the known mitoses must be the same. `--sides` are slides whose peak memory is compared.

Merging: 100,000 detections of 5,184 tiles, the median of five.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from mitoyolo.demo.slide import Truth, render_slide
from mitoyolo.detectors.base import load_detector
from mitoyolo.detectors.engines import AUTO, choose_engine
from mitoyolo.images import read_rgb, write_rgb
from mitoyolo.inference.apply import Cut, network_size
from mitoyolo.inference.merge import MERGE_UM
from mitoyolo.inference.slide import slide_search
from mitoyolo.inference.stitch import stitch
from mitoyolo.inference.tables import read_detections
from mitoyolo.tiles import Window, grid

MPP = 0.25


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="best.pt of a YOLO training")
    parser.add_argument("--side", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sides", type=int, nargs="*", default=[])
    parser.add_argument("--work", type=Path, help="folder for slides and tiles, kept")
    asked = parser.parse_args()
    print(f"{os.cpu_count()} CPUs; " + ", ".join(
        f"{name} {version(name)}" for name in ("mitoyolo", "torch", "ultralytics", "openvino")
    ))  # fmt: skip
    merging()
    with tempfile.TemporaryDirectory() as temporary:
        work = asked.work or Path(temporary)
        work.mkdir(exist_ok=True)
        beside(work, asked.weights, asked.side, asked.repeats)
        for side in asked.sides:
            path, _ = slide_of(work, side)
            record, _, seconds = detected(path, asked.weights, work / "memory")
            print(
                f"{side} px: {record['tiles']} tiles, {seconds:.0f} s, "
                f"{record['peak_memory_mib']} MiB at most"
            )


def slide_of(work: Path, side: int) -> tuple[Path, list[Truth]]:
    """A rendered slide, and what is on it."""
    path, table = work / f"{side}.tif", work / f"{side}.json"
    if not table.exists():
        begun = time.perf_counter()
        truths = render_slide(path, width=side, height=side, mpp=MPP)
        table.write_text(json.dumps(truths))
        size = path.stat().st_size / 2**20
        print(f"rendered {path.name}: {time.perf_counter() - begun:.0f} s, {size:.0f} MiB")
    return path, [Truth(*row) for row in json.loads(table.read_text())]


def detected(slide: Path, weights: Path, out: Path) -> tuple[dict[str, Any], Path, float]:
    """``run.json`` of `mitoyolo detect` in a process of its own, the folder, and the seconds."""
    command = [
        sys.executable, "-m", "mitoyolo", "detect", str(slide), "--weights", str(weights),
        "--out", str(out), "--overwrite", "--quiet",
    ]  # fmt: skip
    seconds = timed(command)
    folder = out / slide.stem
    return json.loads((folder / "run.json").read_text()), folder, seconds


def timed(command: list[str]) -> float:
    """Seconds by the clock."""
    begun = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - begun


def beside(work: Path, weights: Path, side: int, repeats: int) -> None:
    """The slide, in turns with Ultralytics on its tiles."""
    slide, truths = slide_of(work, side)
    detector = load_detector(weights)
    detector.least = detector.card.threshold or 0.0 if detector.card else 0.0
    card = detector.card
    assert card is not None and card.threshold is not None
    cut = Cut(tile=card.tile, overlap=card.overlap)
    tiles = work / f"tiles-{side}"
    tiles.mkdir(exist_ok=True)
    with slide_search(
        slide, mpp=(MPP, MPP), detector=detector, cut=cut, threshold=card.threshold, region=None,
        folder=work,
    ) as search:  # fmt: skip
        windows, fitted = list(search.search.windows), search.search.fitted
        mm2 = search.tissue_mm2
        for window in windows:
            path = tiles / f"{window.x}_{window.y}.png"
            if not path.exists():
                image = search.search.view.read(window)
                write_rgb(path, fitted.apply(image)[0] if fitted else image)
    plain = [
        str(Path(sys.executable).with_name("yolo")), "predict", f"model={weights}",
        f"source={tiles}", f"imgsz={card.imgsz}", "device=cpu", "save=False", "verbose=False",
        f"conf={card.threshold}", f"project={work}", "name=plain", "exist_ok=True",
    ]  # fmt: skip
    choose_engine(weights, AUTO, card=card, device="cpu", tiles=len(windows), trust=False)
    pairs = []
    for turn in range(repeats):
        order = ("ours", "plain") if turn % 2 else ("plain", "ours")
        spent = {}
        for name in order:
            if name == "ours":
                record, folder, spent[name] = detected(slide, weights, work / "ours")
            else:
                spent[name] = timed(plain)
        pairs.append((spent["ours"], spent["plain"]))
    ours, theirs = (median(column) for column in zip(*pairs, strict=True))
    print(
        f"{side} px, {mm2:.1f} mm² of tissue, {len(windows)} tiles: mitoyolo {ours:.1f} s "
        f"({ours / mm2:.2f} s a mm²), yolo predict {theirs:.1f} s; beside "
        f"{median(b / a for a, b in pairs):.2f} ({min(b / a for a, b in pairs):.2f} to "
        f"{max(b / a for a, b in pairs):.2f})"
    )
    spent_in = record["stages_s"]
    print("stages: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in spent_in.items()))
    found = read_detections(folder / "detections.csv", detector.classes)
    imgsz = network_size(detector, cut.tile, (MPP, MPP), cut.tile)
    rows = []
    for window in windows:
        (each,) = detector.predict([read_rgb(tiles / f"{window.x}_{window.y}.png")], imgsz)
        rows.append(each[each[:, 4] >= card.threshold])
    tilewise = stitch(windows, rows, (MPP, MPP))
    for name, each in (("detect", found), ("tile by tile", tilewise)):
        hit, of = recalled(each, truths)
        print(f"{name}: {hit} of {of} mitoses found, {len(each)} detections")


def recalled(found: np.ndarray, truths: list[Truth]) -> tuple[int, int]:
    """How many mitoses have a detection within 8 µm, and how many there are."""
    places = np.array([(t.x, t.y) for t in truths if t.label == "mitosis"])
    mitoses = found[found[:, 5] == 0]
    if not len(mitoses):
        return 0, len(places)
    near, _ = cKDTree(mitoses[:, :2]).query(places)
    return int(np.count_nonzero(near <= MERGE_UM / MPP)), len(places)


def merging() -> None:
    """100,000 detections made one a cell."""
    windows: list[Window] = grid(32_000, 32_000, 512, 64)
    rng = np.random.default_rng(0)
    counts = np.bincount(rng.integers(0, len(windows), 100_000), minlength=len(windows))
    found = [
        np.column_stack([rng.uniform(0, 512, (n, 2)), np.full((n, 2), 64), rng.random(n),
                         np.zeros(n)])
        for n in counts
    ]  # fmt: skip
    spent = []
    for _ in range(5):
        begun = time.perf_counter()
        kept = stitch(windows, found, (MPP, MPP))
        spent.append(time.perf_counter() - begun)
    print(
        f"merging 100,000 detections of {len(windows)} tiles to {len(kept)}: {median(spent):.2f} s"
    )


if __name__ == "__main__":
    main()
