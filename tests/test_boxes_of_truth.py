"""Boxes whose centre is not the centroid: predicted exactly, they score as exact."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Cli, picture, table

from converters.files import read_csv
from mitoyolo.evaluate import evaluate

TRIANGLE = [(10, 10), (40, 10), (10, 34)]
"""Its centroid lies a third of the way, its box's centre half of it."""


@pytest.fixture
def dataset(tmp_path: Path, cli: Cli) -> Path:
    """A triangle, and a 50 px box that the image's edge cuts."""
    src = tmp_path / "src"
    picture(src / "001.png", 120, 80)
    ring = [[*point] for point in (*TRIANGLE, TRIANGLE[0])]
    edge = [[-20, 40], [30, 40], [30, 90], [-20, 90], [-20, 40]]
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [shape]},
            "properties": {"classification": {"name": "Mitosis"}},
        }
        for shape in (ring, edge)
    ]
    (src / "001.geojson").write_text(
        json.dumps({"type": "FeatureCollection", "features": features})
    )
    out = tmp_path / "dataset"
    call = ("--from", "qupath", "--mpp", 0.25, "--group-by", "image", "--split", "0,0,1")
    assert cli("convert", src, out, *call).code == 0
    return out


@pytest.fixture
def exact(tmp_path: Path) -> Path:
    """The boxes themselves: left, top, right, bottom 10 10 40 34 and 0 40 30 80."""
    rows = ("001.png,25,22,30,24,0.9,mitosis", "001.png,15,60,30,40,0.8,mitosis")
    return table(tmp_path / "p.csv", "image,x,y,width,height,score,label", *rows)


def test_exact_boxes_score_as_exact(dataset: Path, exact: Path) -> None:
    for truth in (dataset, dataset / "annotations.csv", dataset / "annotations" / "test.json"):
        metrics = evaluate(truth, exact, protocol="kmit")
        assert (metrics["tp"], metrics["fp"], metrics["fn"]) == (2, 0, 0)
        assert metrics["coco"]["map50_95"] == pytest.approx(1)
        assert metrics["f1"] == 1


def test_only_such_boxes_are_listed(dataset: Path, tmp_path: Path, cli: Cli) -> None:
    rows = read_csv(dataset / "boxes.csv", ("annotation", "x", "y"))
    assert [(row["annotation"], float(row["x"]), float(row["y"])) for row in rows] == [
        ("1", 25, 22),
        ("2", 15, 60),
    ]
    copy = tmp_path / "copy"
    assert cli("normalize", dataset, copy).code == 0
    assert (copy / "boxes.csv").read_bytes() == (dataset / "boxes.csv").read_bytes()


@pytest.mark.parametrize("row", ["3,1,1", "0,1,1", "1.5,1,1", "x,1,1", "1,nan,1"])
def test_a_damaged_table_is_named(dataset: Path, exact: Path, row: str, cli: Cli) -> None:
    (dataset / "boxes.csv").write_text(f"annotation,x,y\n{row}\n")
    result = cli("evaluate", "--truth", dataset, "--predictions", exact)
    assert result.code == 1
    assert "boxes.csv, line 2" in result.error
