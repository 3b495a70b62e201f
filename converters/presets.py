"""The facts of known data sets, one YAML each in ``data_yaml/``; users write their own alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from converters.checked import LARGEST_SIDE, number
from converters.errors import InputError, OptionError
from converters.files import read_text
from converters.keys import Keys
from converters.model import SPLITS

_HERE = Path(__file__).resolve().parent
_FOLDERS = (_HERE / "data_yaml", _HERE.parent / "data_yaml")  # installed wheel, checkout


Mpp = tuple[float, float]
"""µm per pixel across and down."""

MPP_RANGE = (0.01, 50.0)
"""µm/px of light microscopes."""


@dataclass(frozen=True, slots=True)
class Scanner:
    """One scanner of a data set.

    Attributes
    ----------
    mpp : (float, float)
        µm per pixel across and down.
    frame : (int, int) or None
        Width and height of its frames in px, where all are alike.
    cases : tuple of (int, int)
        First and last number of the cases it scanned; empty where the reader tells the scanner.
    """

    mpp: Mpp
    frame: tuple[int, int] | None = None
    cases: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Preset:
    """A data set's facts.

    Attributes
    ----------
    name, format, protocol : str
        Its file's name, the reader of its annotations, the rule by which it is scored.
    scanners : dict
        Scanner -> its facts; scanner "" is any.
    by : {"case", "source"}
        What the official split names.
    official : dict
        Split -> its cases or sources; empty where there is none, or its test set has no labels.
    cut : dict
        Options of ``convert`` that the data set's own recipe asks for, `grid` and `augment`.
    """

    name: str
    format: str
    protocol: str
    scanners: dict[str, Scanner]
    by: str = "case"
    official: dict[str, tuple[str, ...]] = field(default_factory=dict)
    cut: dict[str, str] = field(default_factory=dict)

    def scanner_of(self, case: str) -> str:
        """The scanner of a case by its number, "" where the facts do not tell."""
        known = case.isdecimal() and len(case) <= _LONGEST_NUMBER
        for name, scanner in self.scanners.items():
            if known and any(first <= int(case) <= last for first, last in scanner.cases):
                return name
        return ""

    def scanner(self, name: str, case: str) -> Scanner | None:
        """The facts for an image: by its scanner, else by its case, else those of any scanner."""
        known = self.scanners
        return known.get(name or self.scanner_of(case)) or known.get("")

    def frame(self, name: str, case: str) -> tuple[int, int] | None:
        """Size of the frames of a scanner or case in px, None where unknown."""
        found = self.scanner(name, case)
        return found.frame if found else None

    def mpp(self, name: str, case: str) -> Mpp | None:
        """µm/px of a scanner or case, None where unknown."""
        found = self.scanner(name, case)
        return found.mpp if found else None


def preset_folder() -> Path:
    """The folder of the presets, in a checkout as in an installed wheel."""
    return next(folder for folder in _FOLDERS if folder.is_dir())


def preset_names() -> list[str]:
    """The known presets, sorted."""
    return sorted(path.stem for path in preset_folder().glob("*.yaml"))


def load_preset(name: str) -> Preset:
    """Read a known preset by its name, or a user's own by its path.

    Parameters
    ----------
    name : str
        A file in ``data_yaml`` without its suffix, or a path that ends in ``.yaml``.

    Raises
    ------
    OptionError
        No such preset; the known ones are named.
    InputError
        The file is damaged, lacks a key, or has one that means nothing here.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
    elif name in preset_names():
        path = preset_folder() / f"{name}.yaml"
    else:
        raise OptionError(
            f"--preset {name!r} is not known (known: {', '.join(preset_names())})",
            fix="or give the path of a YAML of your own",
        )
    return parse_preset(read_text(path), path.stem, str(path))


_KEYS = ("format", "protocol", "scanners", "split", "cut", "licence", "data")
_LONGEST_NUMBER = 9  # digits of a case's number
_LONGEST_SPAN = 10_000  # names in `001-150`


def parse_preset(text: str, name: str, file: str) -> Preset:
    """The facts in a YAML text.

    Raises
    ------
    InputError
        No YAML, a key is missing, of another type or unknown.
    """
    try:
        document = yaml.safe_load(text)
    except Exception as error:  # besides YAMLError, odd tags and dates raise many kinds
        mark = getattr(error, "problem_mark", None)
        raise InputError(
            f"not valid YAML ({getattr(error, 'problem', None) or 'unreadable values'})",
            file=file,
            where=f"line {mark.line + 1}" if mark else None,
        ) from None
    facts = Keys.of(document, file, "the preset")
    _only(facts, _KEYS)
    scanners = facts.keys("scanners")
    if not scanners.element:
        raise InputError("no scanner", file=file, where="key `scanners`", fix='name one, or ""')
    by, official = _split(facts)
    return Preset(
        name=name,
        format=_format(facts),
        protocol=facts.text("protocol"),
        scanners={str(key): _scanner(scanners, key) for key in scanners.element},
        by=by,
        official=official,
        cut=_cut(facts),
    )


def _format(facts: Keys) -> str:
    from converters.registry import FORMATS  # here: a reader may ask for presets

    readable = [name for name, entry in FORMATS.items() if entry.read]
    if facts.text("format") not in readable:
        raise _wrong(facts, "format", f"a format that can be read ({', '.join(readable)})")
    return facts.text("format")


def _scanner(scanners: Keys, name: str) -> Scanner:
    facts = Keys.of(scanners.value(name), scanners.file, f"scanner {name!r}")
    _only(facts, ("mpp", "frame", "cases"))
    value = facts.value("mpp")
    mpp = [number(item, facts.file, f"{facts.where}, key `mpp`") for item in _pair(value)]
    if len(mpp) != 2 or not all(MPP_RANGE[0] <= item <= MPP_RANGE[1] for item in mpp):
        raise _wrong(facts, "mpp", "µm per pixel (0.01 to 50) as one number, or two as [x, y]")
    frame = facts.element.get("frame")
    if frame is not None and not (
        isinstance(frame, list) and len(frame) == 2 and all(map(_is_size, frame))
    ):
        raise _wrong(facts, "frame", "[width, height] in pixels, or no such key")
    cases = facts.array("cases") if facts.element.get("cases") is not None else []
    spans = [_span(item) for item in cases]
    if not all(spans):
        raise _wrong(facts, "cases", "a list of numbers and spans such as 1-23")
    return Scanner(
        mpp=(mpp[0], mpp[1]),
        frame=(frame[0], frame[1]) if frame else None,
        cases=tuple((int(first), int(last)) for first, last in filter(None, spans)),
    )


def _split(facts: Keys) -> tuple[str, dict[str, tuple[str, ...]]]:
    """What the official split names, and split -> names; `none` and no key are no split."""
    if facts.element.get("split") in (None, "none"):
        return "case", {}
    split = facts.keys("split")
    _only(split, ("by", *SPLITS))
    by = split.text("by")
    if by not in ("case", "source"):
        raise _wrong(split, "by", "case or source")
    official = {key: tuple(_names(split, key)) for key in SPLITS if key in split.element}
    seen: dict[str, str] = {}
    for key, names in official.items():
        for name in names:
            if seen.setdefault(name, key) != key:
                raise InputError(
                    f"{name} stands in {seen[name]} and in {key}",
                    file=facts.file,
                    where="key `split`",
                )
    return by, official


def _names(split: Keys, key: str) -> Iterable[str]:
    """The names of one split; `001-150` is a span of numbers, padded as its first."""
    for item in split.array(key):
        if not isinstance(item, str):  # 012 without quotes is ten to YAML
            raise _wrong(split, key, 'a list of names in quotes, such as "03"', item)
        span = _span(item) if "-" in item else None
        if span is None:
            yield item
            continue
        first, last = int(span[0]), int(span[1])
        if last - first >= _LONGEST_SPAN:
            raise _wrong(split, key, f"spans of at most {_LONGEST_SPAN} names", item)
        yield from (f"{i:0{len(span[0])}}" for i in range(first, last + 1))


def _cut(facts: Keys) -> dict[str, str]:
    if facts.element.get("cut") is None:
        return {}
    cut = facts.keys("cut")
    _only(cut, ("grid", "augment"))
    return {key: cut.text(key) for key in cut.element}


def _pair(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value, value]


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value <= LARGEST_SIDE


def _span(item: Any) -> tuple[str, str] | None:
    """`1-23` as its two numbers, `7` as 7 twice; None for anything else."""
    parts = str(item).split("-")
    fine = len(parts) <= 2 and all(
        part.isdecimal() and len(part) <= _LONGEST_NUMBER for part in parts
    )
    return (parts[0], parts[-1]) if fine and int(parts[0]) <= int(parts[-1]) else None


def _only(facts: Keys, known: Iterable[str]) -> None:
    """Refuse a key that would be passed over: it may be a slip of another."""
    for key in facts.element:
        if key not in known:
            raise InputError(
                f"unknown key {key!r:.40} (known: {', '.join(known)})",
                file=facts.file,
                where=facts.where,
            )


def _wrong(facts: Keys, key: str, expected: str, value: Any = None) -> InputError:
    found = facts.element[key] if value is None else value
    return InputError(
        f"expected {expected}, found {found!r:.60}",
        file=facts.file,
        where=f"{facts.where}, key `{key}`",
    )
