"""Training, validation and test: by case, with the mitoses balanced, or from a file."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from converters.errors import InputError, OptionError
from converters.files import read_rows
from converters.model import SPLITS, ImageInfo
from converters.presets import Preset

GROUPS = ("case", "image")


def parse_shares(text: str) -> tuple[float, float, float]:
    """`0.8,0.1,0.1` as the shares of train, val and test, which sum to 1.

    Raises
    ------
    OptionError
        Not three non-negative numbers with sum 1.
    """
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    whole = abs(sum(shares) - 1) <= 1e-6
    if len(shares) != 3 or not all(0 <= share <= 1 for share in shares) or not whole:
        raise OptionError(
            f"--split {text!r}: expected three shares of train, val and test with sum 1",
            fix="for example --split 0.8,0.1,0.1",
        )
    return (shares[0], shares[1], shares[2])


def left_out(tiles: Sequence[str], share: float, seed: int) -> set[str]:
    """Those of some tiles that go where a seeded ``share`` of them stays."""
    stay = random.Random(seed).sample(tiles, round(share * len(tiles)))
    return set(tiles) - set(stay)


def split_groups(
    mitoses: Mapping[str, int], shares: Mapping[str, float], seed: int
) -> dict[str, str]:
    """Deal groups (cases or images) to the splits so that each gets its share of the mitoses.

    The groups come in falling order of mitoses, ties shuffled by ``seed``; each goes to the split
    that lacks most of its share. While there are groups enough, no split with a share stays empty.

    Parameters
    ----------
    mitoses : mapping
        Group -> number of mitoses in it.
    shares : mapping
        Split -> share; sum 1.
    seed : int
        Of the shuffle.

    Returns
    -------
    dict
        Group -> split.
    """
    groups = sorted(mitoses)
    random.Random(seed).shuffle(groups)
    groups.sort(key=lambda group: -mitoses[group])
    wanted = [(name, share) for name, share in shares.items() if share > 0]
    total = sum(mitoses.values()) or 1
    got = Counter[str]()
    members = Counter[str]()
    dealt: dict[str, str] = {}
    for i, group in enumerate(groups):
        empty = [name for name, _ in wanted if not members[name]]
        must_fill = empty and len(groups) - i <= len(empty)
        open_to = [(name, share) for name, share in wanted if not must_fill or name in empty]
        name = max(
            open_to,
            # mitoses first; among groups without any, the share of groups
            key=lambda item: (
                item[1] - got[item[0]] / total,
                item[1] - members[item[0]] / len(groups),
            ),
        )[0]
        dealt[group] = name
        got[name] += mitoses[group]
        members[name] += 1
    return dealt


def split_from_file(path: Path, images: Sequence[ImageInfo]) -> dict[str, str]:
    """Source -> split from a CSV ``case,split`` or ``source,split``.

    Raises
    ------
    InputError
        A split is not train, val or test; a name stands twice; an image is not in the file.
    """
    rows = read_rows(path, ("split",))
    if not rows:
        raise InputError("no rows below the header", file=path)
    key = next((name for name in ("source", "case") if name in rows[0][1]), None)
    if key is None:
        raise InputError("expected the columns case,split or source,split", file=path)
    wanted: dict[str, str] = {}
    for line, row in rows:
        name, split = row[key].strip(), row["split"].strip()
        if split not in SPLITS:
            raise InputError(
                f"split {split!r}, expected train, val or test", file=path, where=f"line {line}"
            )
        if wanted.setdefault(name, split) != split:
            raise InputError(f"{key} {name} stands in two splits", file=path, where=f"line {line}")
    return _assigned(images, key, wanted, str(path), "add a row for each")


def official_split(images: Sequence[ImageInfo], preset: Preset) -> dict[str, str]:
    """Source -> split as the data set's organisers dealt it.

    Raises
    ------
    InputError
        An image is in no split of the preset's.
    """
    wanted = {name: split for split, names in preset.official.items() for name in names}
    return _assigned(images, preset.by, wanted, f"preset {preset.name}", "give a --split-file")


def _assigned(
    images: Sequence[ImageInfo], key: str, wanted: Mapping[str, str], file: str, fix: str
) -> dict[str, str]:
    """Source -> split by the image's ``key``, `case` or `source`."""
    by_source = {image.source: getattr(image, key) for image in images}
    missing = sorted({name for name in by_source.values() if name not in wanted})
    if missing:
        more = " ..." if len(missing) > 5 else ""
        raise InputError(f"no split for {key} {', '.join(missing[:5])}{more}", file=file, fix=fix)
    return {source: wanted[name] for source, name in by_source.items()}


def shared_cases(images: Sequence[ImageInfo], split: Mapping[str, str]) -> int:
    """Number of cases that stand in more than one split."""
    seen: dict[str, set[str]] = {}
    for image in images:
        seen.setdefault(image.case, set()).add(split[image.source])
    return sum(len(splits) > 1 for splits in seen.values())
