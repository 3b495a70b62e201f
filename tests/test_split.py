"""Splits: by case, balanced, or from a file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from conftest import table
from hypothesis import given
from hypothesis import strategies as st

from converters.errors import InputError, OptionError
from converters.model import SPLITS, ImageInfo
from mitoyolo.split import parse_shares, shared_cases, split_from_file, split_groups

USUAL = (0.8, 0.1, 0.1)


def named(shares: tuple[float, ...]) -> dict[str, float]:
    return dict(zip(SPLITS, shares, strict=True))


def image(source: str, case: str) -> ImageInfo:
    return ImageInfo(source=source, path=Path(source), width=1, height=1, case=case)


IMAGES = [image("A03a", "03"), image("H03a", "03"), image("A04a", "04")]


@pytest.mark.parametrize(
    ("text", "shares"), [("0.8,0.1,0.1", USUAL), ("1,0,0", (1, 0, 0)), ("0,0,1", (0, 0, 1))]
)
def test_parse_shares(text: str, shares: tuple[float, ...]) -> None:
    assert parse_shares(text) == shares


@pytest.mark.parametrize(
    "text", ["", "a,b,c", "0.5,0.5", "0.8,0.1,0.2", "1.2,-0.1,-0.1", "nan,0.5,0.5", "inf,0,0"]
)
def test_parse_shares_refuses(text: str) -> None:
    with pytest.raises(OptionError, match="--split"):
        parse_shares(text)


counts = st.dictionaries(st.text("abcdef", min_size=1), st.integers(0, 50), max_size=25)


@given(
    counts, st.sampled_from([USUAL, (0.5, 0.5, 0), (0, 0, 1), (0.34, 0.33, 0.33)]), st.integers()
)
def test_each_group_goes_to_one_asked_split_and_none_stays_empty(
    mitoses: dict[str, int], shares: tuple[float, ...], seed: int
) -> None:
    dealt = split_groups(mitoses, named(shares), seed)
    assert dealt.keys() == mitoses.keys()
    asked = {name for name, share in zip(SPLITS, shares, strict=True) if share}
    assert set(dealt.values()) <= asked
    assert len(set(dealt.values())) == min(len(asked), len(mitoses))
    assert dealt == split_groups(dict(reversed(mitoses.items())), named(shares), seed)


def test_mitoses_are_balanced() -> None:
    mitoses = {f"case{i}": 10 for i in range(40)} | {f"empty{i}": 0 for i in range(40)}
    dealt = split_groups(mitoses, named(USUAL), seed=0)
    of_mitoses, of_empty = Counter[str](), Counter[str]()
    for group, split in dealt.items():
        of_mitoses[split] += mitoses[group]
        of_empty[split] += mitoses[group] == 0
    assert of_mitoses == {"train": 320, "val": 40, "test": 40}
    assert of_empty == {"train": 32, "val": 4, "test": 4}


def test_the_seed_decides_which() -> None:
    mitoses = {f"case{i}": 10 for i in range(30)}
    assert split_groups(mitoses, named(USUAL), 0) == split_groups(mitoses, named(USUAL), 0)
    assert split_groups(mitoses, named(USUAL), 0) != split_groups(mitoses, named(USUAL), 1)


def test_from_a_file_by_case_and_by_source(tmp_path: Path) -> None:
    by_case = table(tmp_path / "a.csv", "case,split", "03, train ", "04,test", "99,val")
    assert split_from_file(by_case, IMAGES) == {"A03a": "train", "H03a": "train", "A04a": "test"}
    rows = ("A03a,train", "H03a,val", "A04a,test")
    by_source = table(tmp_path / "b.csv", "source,split", *rows)
    split = split_from_file(by_source, IMAGES)
    assert split == {"A03a": "train", "H03a": "val", "A04a": "test"}
    assert shared_cases(IMAGES, split) == 1
    assert shared_cases(IMAGES, dict.fromkeys(split, "val")) == 0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["case,split", "03,train"], "no split for case 04; add a row"),
        (["case,split", "03,train", "", "04,dev"], "line 4: split 'dev', expected train, val"),
        (["case,split", "03,train", "03,val", "04,test"], "line 3: case 03 stands in two splits"),
        (["case,split"], "no rows below the header"),
        (["slide,split", "03,train"], "expected the columns case,split or source,split"),
        (["case,fold", "03,1"], "no column split"),
    ],
)
def test_a_wrong_split_file(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        split_from_file(table(tmp_path / "a.csv", *rows), IMAGES)
