"""K folds of a data set: its cases dealt, and each fold written as a data set of its own."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from converters.errors import InputError, OptionError
from converters.files import copy_file, read_json
from mitoyolo.dataset import ANNOTATIONS, BOXES, INDEX, REPORT, Dataset, write_manifest
from mitoyolo.label_file import label_file
from mitoyolo.split import split_groups

LEAST = 3
"""Folds: one is scored, one chooses epoch and threshold, and the others are trained on."""


def deal_folds(dataset: Dataset, folds: int, seed: int) -> dict[str, int]:
    """Case -> number of its fold, from 1: by case, the mitoses balanced.

    Raises
    ------
    OptionError
        Fewer than three folds, or more than cases.
    InputError
        The data set lacks tiles that a fold would be scored on, or holds copies that only a
        training split may have.
    """
    cases = {tile.case for tile in dataset.tiles}
    if not LEAST <= folds <= len(cases):
        raise OptionError(
            f"--folds {folds}: expected {LEAST} to {len(cases)}, the cases of {dataset.root}"
        )
    if any(tile.split == "train" for tile in (*dataset.others, *dataset.recoloured)):
        raise InputError(
            "holds copies of training tiles, whose cases a fold would be scored on",
            file=dataset.root,
            fix="convert without --augment and normalize without --keep-originals; training turns "
            "and flips by itself",
        )
    report = dataset.root / REPORT
    if report.exists() and read_json(report).get("background_tiles_left_out"):
        raise InputError(
            "lacks mitosis-free tiles, which a fold would be scored on",
            file=dataset.root,
            fix="convert with --background 1, and say here what share of them to train on",
        )
    of_case = Counter(truth.case for truth in dataset.truths if truth.label == "mitosis")
    mitoses = {case: of_case[case] for case in cases}
    shares = {str(fold): 1 / folds for fold in range(1, folds + 1)}
    return {case: int(fold) for case, fold in split_groups(mitoses, shares, seed).items()}


def splits_of(fold_of: Mapping[str, int], fold: int) -> dict[str, str]:
    """Case -> split where ``fold`` is scored: the next fold validates, the others train.

    Examples
    --------
    >>> splits_of({"a": 1, "b": 2, "c": 3}, 3)
    {'a': 'val', 'b': 'train', 'c': 'test'}
    """
    role = {fold: "test", fold % max(fold_of.values()) + 1: "val"}
    return {case: role.get(number, "train") for case, number in fold_of.items()}


def write_fold(dataset: Dataset, out: Path, splits: Mapping[str, str]) -> None:
    """Write a data set with other splits; images and labels are linked, not copied, if possible.

    Parameters
    ----------
    splits : mapping
        Case -> split.
    """
    tiles = []
    for tile in dataset.tiles:
        there = replace(tile, split=splits[tile.case])
        image = dataset.image_path(tile)
        _link(image, out / "images" / there.split / image.name)
        _link(label_file(dataset.root, tile), label_file(out, there))
        tiles.append(there)
    write_manifest(out, tiles)
    for name in (ANNOTATIONS, BOXES, INDEX):
        if (dataset.root / name).exists():
            copy_file(dataset.root / name, out / name)


def _link(file: Path, target: Path) -> None:
    """One file in two places; a copy where the disk cannot do that."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(file, target)
    except OSError:
        copy_file(file, target)
