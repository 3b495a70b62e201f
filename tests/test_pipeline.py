"""The whole path as a user types it, on a tiny example: each command takes what the last left."""

from __future__ import annotations

import json
from pathlib import Path

from conftest import Cli

COMMANDS = """
demo data --cases 3 --tiles 4 --size 128
convert data/cadd4mbc raw --from cadd4mbc --preset demo --images data/tiles --split 0.4,0.3,0.3
normalize raw normalised
train --data normalised/dataset.yaml --model yolov5n --weights none --epochs 1 --imgsz 64 --batch 4
val --data normalised/dataset.yaml --weights runs/yolov5n/weights/best.pt
detect raw/images/test --weights runs/yolov5n/weights/best.pt --out found --mpp 0.25
report runs/yolov5n --out report.html
"""


def test_from_the_demo_to_its_report(cli: Cli, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for line in COMMANDS.strip().splitlines():
        result = cli(*line.split())
        assert result.code == 0, (line, result.err)

    tiles = sorted(Path("raw/images/test").iterdir())
    assert sorted(path.name for path in Path("found").iterdir()) == [tile.stem for tile in tiles]
    metrics = json.loads(Path("runs/yolov5n/val-test/metrics.json").read_text())
    assert metrics["images"] == len(tiles)
    assert metrics["threshold_from"] == "val split, best F1 by centroid, epoch 1"
    page = Path("report.html").read_text()
    for heading in ("before and after", "Label check", "Training", "Detections over truth"):
        assert heading in page


def test_the_other_part_of_the_demo_converts_too(cli: Cli, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("demo", "data", "--cases", 1, "--tiles", 1, "--size", 128).code == 0
    call = "convert data/atypia14 out --from atypia14 --tile 128 --labels mitosis,imposter"
    assert cli(*call.split()).code == 0
    report = json.loads(Path("out/report.json").read_text())
    assert report["kept"] == report["read"] > 0
