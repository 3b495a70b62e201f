"""One page over a whole pipeline: tiles before and after, labels, training, scores, detections."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from converters.errors import InputError
from converters.files import read_json
from converters.model import SPLITS
from mitoyolo.dataset import Dataset, Tile, open_dataset
from mitoyolo.evaluation.fields import Field
from mitoyolo.images import RGB, read_rgb
from mitoyolo.inference.predictions import read_predictions
from mitoyolo.inference.tables import PREDICTIONS
from mitoyolo.inference.truths import read_truths
from mitoyolo.label_file import read_boxes
from mitoyolo.report.overlay import draw_boxes, sheet, stitch
from mitoyolo.report.page import paragraph, picture, picture_file, row, table, write_page
from mitoyolo.report.val import gallery, numbers, per_case

SHEET_COLUMNS, SHEET_SIDE = 4, 280


def write_pipeline_report(run: Path, page: Path, *, split: str = "test") -> None:
    """Write a page from what stands in a run folder and in the dataset it was trained on.

    Parameters
    ----------
    run : Path
        A run folder of ``train`` with the folder ``val-SPLIT`` of ``val``.
    page : Path
        The HTML file to write.
    split : str
        Which validation to show.

    Raises
    ------
    InputError
        The run or its validation is not finished.
    """
    record = _finished(run, "summary.json", "mitoyolo train")
    scored = run / f"val-{split}"
    metrics = _finished(scored, "metrics.json", f"mitoyolo val --split {split}")
    dataset = open_dataset(Path(read_json(run / "run.json")["arguments"]["data"]))
    before, examples = _before(dataset), _examples(dataset, 2 * SHEET_COLUMNS)
    sections = [
        (f"Scores on the {split} split", numbers(metrics) + per_case(metrics)),
        ("Data", _summary(dataset, record)),
        (
            "Tiles before and after normalising" if before else "Tiles as trained",
            _normalising(before, dataset, examples),
        ),
        ("Label check", _labels(dataset, examples)),
        ("Training", picture_file(run / "curves.png", "Losses, and scores on validation images")),
        (
            "Precision and recall",
            row(
                [
                    picture_file(scored / "pr.png", "Precision against recall"),
                    picture_file(scored / "froc.png", "Sensitivity against false positives"),
                ]
            ),
        ),
        (
            "Detections over truth",
            gallery(
                _fields(dataset, split, scored / PREDICTIONS),
                metrics["threshold"],
                partial(stitch, dataset),
            ),
        ),
    ]
    write_page(page, f"mitoyolo: {record['model']} on {dataset.root.name}", sections)


def _finished(folder: Path, index: str, command: str) -> dict[str, Any]:
    if not (folder / index).exists():
        raise InputError(f"no {index}", file=folder, fix=f"run `{command}` first")
    return dict(read_json(folder / index))


def _before(dataset: Dataset) -> Dataset | None:
    """The dataset that this one was normalised from, where it still stands."""
    if dataset.normalisation is None:
        return None
    source = Path(read_json(dataset.root / "run.json")["arguments"]["src"])
    return open_dataset(source) if source.exists() else None


def _summary(dataset: Dataset, record: dict[str, Any]) -> str:
    rows = []
    for name in SPLITS:
        tiles = [tile for tile in dataset.tiles if tile.split == name]
        cases = ", ".join(sorted({tile.case for tile in tiles}))
        rows.append((name, len(tiles), dataset.mitoses(name), cases))
    trained = (
        f"{record['model']}: of {record['epochs']} epochs, number {record['best_epoch']} is the "
        "best on the validation split"
        + (", and a verifier looks at its detections again." if record.get("verifier") else ".")
    )
    return table(("split", "tiles", "mitoses", "cases"), rows) + paragraph(trained)


def _examples(dataset: Dataset, shown: int) -> list[Tile]:
    """Tiles of the cases in turn; of each case those with boxes first."""
    holding = {tile.name for tile in dataset.tiles if read_boxes(dataset, tile)}
    turn: Counter[str] = Counter()
    keyed = []
    for tile in sorted(dataset.tiles, key=lambda tile: (tile.name not in holding, tile.name)):
        turn[tile.case] += 1
        keyed.append((turn[tile.case], tile.case, tile))
    return [tile for _, _, tile in sorted(keyed, key=lambda item: item[:2])[:shown]]


def _normalising(before: Dataset | None, after: Dataset, tiles: list[Tile]) -> str:
    figures = []
    if before is not None:
        present = {tile.name for tile in before.tiles}
        if all(tile.name in present for tile in tiles):
            figures.append(picture(_sheet(before, tiles), "Before"))
    label = "After" if figures else "As trained"
    figures.append(picture(_sheet(after, tiles), label))
    return row(figures)


def _sheet(dataset: Dataset, tiles: list[Tile]) -> RGB:
    return sheet([read_rgb(dataset.image_path(t)) for t in tiles], SHEET_COLUMNS, SHEET_SIDE)


def _labels(dataset: Dataset, tiles: list[Tile]) -> str:
    drawn = [
        draw_boxes(read_rgb(dataset.image_path(tile)), read_boxes(dataset, tile)) for tile in tiles
    ]
    note = "The boxes of the label files, drawn on their tiles: green mitosis, blue look-alike."
    return picture(sheet(drawn, SHEET_COLUMNS, SHEET_SIDE + 60), note)


def _fields(dataset: Dataset, split: str, predictions: Path) -> list[Field]:
    """The fields of a split with the detections of ``predictions.csv``."""
    truths = read_truths(dataset.root, split=split)
    return truths.fields(read_predictions(predictions, truths))
