"""How fast tiles are normalised, beside staintools and torchstain, and beside the image codec.

    taskset -c 0 python benchmarks/stain.py [--frames FOLDER] [--tiles 48] [--repeats 5]
    python benchmarks/stain.py --folder [--frames FOLDER] ...

The first prints one table, everything on one core: what is compared takes turns over the same
tiles in one process, and the median of the repeats counts. "Large" is a case of so many tiles that
the map is looked up in a table of all colours. The second measures the folder job on
all cores, beside the same job that decodes and encodes and does nothing between. With a GPU,
``--device cuda:0`` adds batches of 64. Tiles are cut evenly from the images below FOLDER, or
rendered (`mitoyolo demo`). TMPDIR says on which disk the folder job runs.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np

from converters.images import IMAGE_SUFFIXES, find_files
from mitoyolo.demo.write import write_demo
from mitoyolo.images import RGB, read_rgb, write_rgb
from mitoyolo.pool import Pool, cores
from mitoyolo.progress import set_quiet
from mitoyolo.stain.colours import PAYS_FROM, quick
from mitoyolo.stain.device import DeviceNormaliser
from mitoyolo.stain.folder import normalize_folder
from mitoyolo.stain.methods import find_method
from mitoyolo.stain.normaliser import Fitted, Normaliser
from mitoyolo.stain.target import read_target

GPU_BATCH = 64
Program = Callable[[RGB], Any]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=Path, help="folder of H&E images; else rendered")
    parser.add_argument("--tiles", type=int, default=48, help="with --folder, of one slide")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--folder", action="store_true", help="the folder job, on all cores")
    parser.add_argument("--device", default="cpu", help="cuda:0 adds the path on the GPU")
    options = parser.parse_args()
    set_quiet(True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tiles = _tiles(options.frames, options.tiles, options.size, root)
        print(f"{len(tiles)} tiles of {options.size} px, {options.repeats} repeats")
        if options.folder:
            rows = _folder_job(tiles, root, options.repeats)
        else:
            rows = _methods(tiles, root, options.repeats, options.device)
        for row in rows:
            print(row, flush=True)
    names = ("numpy", "opencv-python", "torch", "staintools", "torchstain")
    print(f"\nPython {sys.version.split()[0]}, " + ", ".join(f"{n} {version(n)}" for n in names))


def _tiles(frames: Path | None, count: int, size: int, root: Path) -> list[RGB]:
    """Tiles with tissue: from the middle of evenly chosen images, or rendered."""
    if frames is None:
        write_demo(root / "demo", cases=4, tiles=-(-count // 4), size=size)
        paths = sorted((root / "demo" / "tiles").rglob("*.png"))
        return [read_rgb(path) for path in paths[:count]]
    paths = list(find_files(frames, IMAGE_SUFFIXES))
    chosen = [paths[i * len(paths) // count] for i in range(count)]
    return [_middle(read_rgb(path), size) for path in chosen]


def _middle(image: RGB, size: int) -> RGB:
    y, x = ((side - size) // 2 for side in image.shape[:2])
    return np.ascontiguousarray(image[y : y + size, x : x + size])


# --- one core, tile by tile -------------------------------------------------------------------


def _methods(tiles: Sequence[RGB], root: Path, repeats: int, device: str) -> Iterator[str]:
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    cv2.imwrite(str(root / "target.png"), cv2.cvtColor(tiles[0], cv2.COLOR_RGB2BGR))
    print("\n| method | program | tiles a second | beside staintools | beside torchstain's best |")
    print("|---|---|---|---|---|", flush=True)
    for method in ("reinhard", "macenko"):
        programs = dict(_ours(method, tiles, root)) | dict(_theirs(method, tiles[0], torch))
        rates = _rates(programs, tiles, repeats)
        best = max(rates["torchstain, numpy"], rates["torchstain, torch"])
        for name, rate in rates.items():
            beside = f"{rate / rates['staintools']:.1f} | {rate / best:.1f}"
            yield f"| {method} | {name} | {rate:.1f} | {beside} |"
        if device != "cpu":
            rate = _gpu_rate(_fitted(method, "case", tiles, root), tiles, repeats, device)
            yield f"| {method} | mitoyolo, mode case, {device}, batches of 64 | {rate:.0f} | | |"


def _fitted(method: str, mode: str, tiles: Sequence[RGB], root: Path) -> Fitted:
    target = read_target(root / "target.png", method, mode)
    return Normaliser(method, mode, target).fit(tiles)


def _ours(method: str, tiles: Sequence[RGB], root: Path) -> Iterator[tuple[str, Program]]:
    yield "mitoyolo, mode tile", _fitted(method, "tile", tiles, root).apply
    fitted = _fitted(method, "case", tiles, root)
    yield "mitoyolo, mode case", fitted.apply
    if find_method(method).tabulated:
        yield "mitoyolo, mode case, large", quick(fitted, PAYS_FROM)


def _theirs(method: str, target: RGB, torch: Any) -> Iterator[tuple[str, Program]]:
    import staintools
    import torchstain

    if method == "reinhard":
        by_staintools = staintools.ReinhardColorNormalizer()
    else:
        by_staintools = staintools.StainNormalizer(method)
    by_staintools.fit(target)
    yield "staintools", by_staintools.transform

    make = {
        "reinhard": torchstain.normalizers.ReinhardNormalizer,
        "macenko": torchstain.normalizers.MacenkoNormalizer,
    }[method]
    more = {"stains": False} if method == "macenko" else {}
    by_numpy = make(backend="numpy")
    by_numpy.fit(target)
    yield "torchstain, numpy", lambda tile: by_numpy.normalize(tile, **more)

    def channels_first(tile: RGB) -> Any:
        return torch.from_numpy(tile).permute(2, 0, 1)

    by_torch = make(backend="torch")
    by_torch.fit(channels_first(target))
    yield "torchstain, torch", lambda tile: by_torch.normalize(channels_first(tile), **more)


def _rates(programs: dict[str, Program], tiles: Sequence[RGB], repeats: int) -> dict[str, float]:
    """Tiles a second of each program; they take turns, and each warms up on a tile."""
    for program in programs.values():
        program(tiles[0])
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(repeats):
        for name, program in programs.items():
            start = time.perf_counter()
            for tile in tiles:
                program(tile)
            seconds[name].append(time.perf_counter() - start)
    return {name: len(tiles) / median(taken) for name, taken in seconds.items()}


def _gpu_rate(fitted: Fitted, tiles: Sequence[RGB], repeats: int, device: str) -> float:
    """Tiles a second, from memory of the CPU and back, once the table stands."""
    on_device = DeviceNormaliser(fitted, device)
    batch = [tiles[i % len(tiles)] for i in range(GPU_BATCH)]
    on_device.apply(batch)
    taken = []
    for _ in range(10 * repeats):
        start = time.perf_counter()
        on_device.apply(batch)
        taken.append(time.perf_counter() - start)
    return GPU_BATCH / median(taken)


# --- the folder job ---------------------------------------------------------------------------


def _folder_job(tiles: Sequence[RGB], root: Path, repeats: int) -> Iterator[str]:
    yield f"\n| {cores()} cores | tiles a second | share of the codec alone |\n|---|---|---|"
    for suffix in (".png", ".jpg"):
        source = root / suffix[1:]
        for number, tile in enumerate(tiles):
            write_rgb(source / "slide" / f"{number:05d}{suffix}", tile)
        jobs: dict[str, Callable[[Path], object]] = {"decode and encode": _codec(source)}
        for method in ("reinhard", "macenko"):
            for mode in ("case", "tile"):
                jobs[f"{method}, mode {mode}"] = _normalising(source, method, mode)
        seconds: dict[str, list[float]] = {name: [] for name in jobs}
        for repeat in range(repeats):
            for name, job in jobs.items():
                start = time.perf_counter()
                job(root / f"out-{suffix[1:]}-{name}-{repeat}")
                seconds[name].append(time.perf_counter() - start)
        codec = median(seconds["decode and encode"])
        for name, taken in seconds.items():
            rate, share = len(tiles) / median(taken), codec / median(taken)
            yield f"| {suffix[1:].upper()}, {name} | {rate:.0f} | {share:.0%} |"


def _normalising(source: Path, method: str, mode: str) -> Callable[[Path], object]:
    return lambda out: normalize_folder(source, out, method=method, mode=mode)


def _codec(source: Path) -> Callable[[Path], object]:
    paths = [path.relative_to(source) for path in find_files(source, IMAGE_SUFFIXES)]
    batches = [paths[start : start + 8] for start in range(0, len(paths), 8)]

    def run(out: Path) -> None:
        with Pool(cores()) as pool:
            for _ in pool.map(_recode, ((source, out, names) for names in batches)):
                pass

    return run


def _recode(task: tuple[Path, Path, list[Path]]) -> None:
    source, out, names = task
    for name in names:
        write_rgb(out / name, read_rgb(source / name))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
