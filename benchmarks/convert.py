"""How fast annotations are converted, beside globox, and how much memory many files take.

    python benchmarks/convert.py [--midog "MIDOG++.json"] [--repeats 5]

Prints one table in Markdown. Every input is rendered here, with a seed, but MIDOG++.json. What is
compared runs in turns in one process, the median counts; sizes of memory are of a process of their
own. Files are written below a temporary folder: TMPDIR says on which disk.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from statistics import median

from PIL import Image

from converters import coco, yolo
from converters.files import write_folder, write_text
from converters.prepare import Selection
from converters.read_options import ReadOptions
from converters.registry import FORMATS, get_reader
from mitoyolo.convert import ConvertOptions, convert
from mitoyolo.progress import set_quiet

IMAGES, BOXES = 5_000, 36_781
CADD4MBC = (10_500, 21_000, 42_000)
BOTH = ("mitosis", "imposter")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--midog", type=Path, help="MIDOG++.json, for its rows of the table")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", nargs=3, metavar=("SRC", "OUT", "TO"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    set_quiet(True)
    if options.memory:
        _measure_memory(*options.memory)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        print("| task | mitoyolo | globox | ratio |\n|---|---|---|---|")
        for row in chain(
            _beside_globox(root, options.repeats),
            _many_files(root),
            _midog(options.midog, root, options.repeats) if options.midog else (),
        ):
            print(row, flush=True)
    names = ("mitoyolo", "globox", "numpy", "pycocotools")
    print(f"\nPython {sys.version.split()[0]}, " + ", ".join(f"{n} {version(n)}" for n in names))


# --- against globox ---------------------------------------------------------------------------


def _beside_globox(root: Path, repeats: int) -> Iterator[str]:
    import globox

    source, images = _render_coco(root / "globox")
    out = root / "out"

    def theirs_to_yolo() -> None:
        found = globox.AnnotationSet.from_coco(source)
        found.save_yolo_v5(out, label_to_id={name: i for i, name in enumerate(BOTH)})

    def ours_to_yolo() -> None:
        found = get_reader("coco")(source, ReadOptions(annotations_only=True))
        labels = ((name.removeprefix("labels/"), text) for name, text in yolo.write(found, print))
        write_folder(out, labels)

    def theirs_to_coco() -> None:
        found = globox.AnnotationSet.from_yolo_v5(
            labels, image_folder=images, image_extension=".png"
        )
        found.save_coco(
            root / "out.json", label_to_id={"0": 1, "1": 2}, auto_ids=True, imageid_to_id=None
        )

    def ours_to_coco() -> None:
        found = get_reader("yolo")(labels, ReadOptions(images=images))
        for name, text in coco.write(found, print):
            write_text(root / name, text)

    def files_alone() -> None:
        out.mkdir()
        for i in range(IMAGES):
            (out / f"{i}.txt").write_bytes(b"0 0.5 0.5 0.1 0.1\n" * 7)

    def whole() -> None:
        convert(
            source,
            out,
            ConvertOptions(
                format="coco", annotations_only=True, mpp=(0.25, 0.25), shares=(1, 0, 0),
                selection=Selection(labels=BOTH),
            ),
        )  # fmt: skip

    def fresh() -> None:
        shutil.rmtree(out, ignore_errors=True)

    size = f"{IMAGES:,} images, {BOXES:,} boxes"
    ours, theirs = _in_turns((ours_to_yolo, theirs_to_yolo), fresh, repeats)
    yield _row(f"COCO to YOLO, {size}", ours, theirs)
    (floor,) = _in_turns((files_alone,), fresh, repeats)
    alone = f"{IMAGES:,} label files created, and nothing else: the disk's share"
    yield f"| {alone} | {floor:.2f} s | | |"
    (all_of_it,) = _in_turns((whole,), fresh, repeats)
    yield _row(f"the same by `mitoyolo convert`: tables, COCO and report too, {size}", all_of_it,
               theirs)  # fmt: skip
    labels = root / "labels"
    out = labels
    ours_to_yolo()
    (labels / "classes.txt").unlink(missing_ok=True)
    out = root / "out"
    ours, theirs = _in_turns((ours_to_coco, theirs_to_coco), fresh, repeats)
    yield _row(f"YOLO to COCO, {size}", ours, theirs)


def _render_coco(root: Path) -> tuple[Path, Path]:
    """A COCO file and its images, which are blank."""
    draw = random.Random(0)
    folder = root / "images"
    folder.mkdir(parents=True)
    images = []
    for i in range(1, IMAGES + 1):
        width, height = draw.randint(300, 640), draw.randint(300, 640)
        images.append({"id": i, "file_name": f"{i:06d}.png", "width": width, "height": height})
        Image.new("L", (width, height)).save(folder / f"{i:06d}.png")
    annotations = []
    for i in range(1, BOXES + 1):
        image = draw.choice(images)
        width, height = draw.uniform(20, 60), draw.uniform(20, 60)
        x = draw.uniform(0, int(image["width"]) - width)
        y = draw.uniform(0, int(image["height"]) - height)
        annotations.append(
            {
                "id": i, "image_id": image["id"], "category_id": draw.randint(1, 2),
                "bbox": [x, y, width, height], "area": width * height, "iscrowd": 0,
            }
        )  # fmt: skip
    categories = [{"id": i, "name": name} for i, name in enumerate(BOTH, 1)]
    path = root / "coco.json"
    content = {"images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))
    return path, folder


# --- many files -------------------------------------------------------------------------------


def _many_files(root: Path) -> Iterator[str]:
    for count in CADD4MBC:
        src = root / f"cadd4mbc-{count}"
        _render_cadd4mbc(src, count)
        for to in ("yolo", "coco"):
            out = root / f"cadd4mbc-{count}-{to}"
            command = [sys.executable, __file__, "--memory", str(src), str(out), to]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds, megabytes = map(float, done.stdout.split())
            rate = f"{count / seconds:,.0f} files/s, {megabytes:,.0f} MB at most"
            yield f"| {count:,} CADD4MBC files to {to} | {seconds:.1f} s ({rate}) | | |"
            shutil.rmtree(out)
        shutil.rmtree(src)


def _render_cadd4mbc(root: Path, count: int) -> None:
    """Tile exports, 150 a batch, of 0 to 3 ellipses each."""
    draw = random.Random(0)
    for i in range(count):
        folder = root / f"T_{i // 3000 + 1}" / f"Batch-{i // 150 + 1}"
        folder.mkdir(parents=True, exist_ok=True)
        elements = [
            {
                "type": "ellipse", "normal": [0, 0, 1], "lineWidth": 2,
                "center": [draw.uniform(20, 480), draw.uniform(20, 480), 0],
                "width": draw.randint(20, 60), "height": draw.randint(20, 60),
                "rotation": draw.uniform(0, 3),
            }
            for _ in range(draw.randint(0, 3))
        ]  # fmt: skip
        x, y = divmod(i % 3000, 60)
        document = {"annotation": {"name": f"{x}_{y}", "elements": elements}, "groups": [None]}
        (folder / f"{x}_{y}.json").write_text(json.dumps(document))


def _measure_memory(src: str, out: str, to: str) -> None:
    started = time.perf_counter()
    convert(
        Path(src),
        Path(out),
        ConvertOptions(format="cadd4mbc", to=to, preset="kmit", annotations_only=True),
    )
    seconds = time.perf_counter() - started
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


# --- MIDOG++ ----------------------------------------------------------------------------------


def _midog(path: Path, root: Path, repeats: int) -> Iterator[str]:
    out = root / "midog"
    for to in (name for name, entry in FORMATS.items() if entry.write):

        def run(to: str = to) -> None:
            convert(
                path,
                out,
                ConvertOptions(
                    format="midog",
                    to=to,
                    annotations_only=True,
                    preset="midogpp",
                    selection=Selection(labels=BOTH),
                ),
            )

        (seconds,) = _in_turns((run,), lambda: shutil.rmtree(out, ignore_errors=True), repeats)
        yield f"| MIDOG++.json (26,286 boxes) to {to} | {seconds:.2f} s | | |"


# --- measuring --------------------------------------------------------------------------------


def _in_turns(
    tasks: tuple[Callable[[], None], ...], before: Callable[[], None], repeats: int
) -> list[float]:
    """The median seconds of each task; they take turns, after one run that does not count."""
    times: list[list[float]] = [[] for _ in tasks]
    for turn in range(repeats + 1):
        for task, taken in zip(tasks, times, strict=True):
            before()
            with contextlib.redirect_stdout(io.StringIO()):
                started = time.perf_counter()
                task()
                seconds = time.perf_counter() - started
            if turn:
                taken.append(seconds)
    return [median(taken) for taken in times]


def _row(task: str, ours: float, theirs: float) -> str:
    return f"| {task} | {ours:.2f} s | {theirs:.2f} s | {theirs / ours:.1f} |"


if __name__ == "__main__":
    main()
