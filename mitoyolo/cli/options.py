"""Options that several commands have, and how their values are read."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated

import typer

Quiet = Annotated[bool, typer.Option("--quiet", help="No progress and no notes on stderr.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what this command wrote there before.")
]
Device = Annotated[str, typer.Option(help="cpu, or a GPU's number.")]
Trust = Annotated[
    bool, typer.Option("--trust", help="Run the code in a weights file that needs it to load.")
]
MAX_SEED = 2**31 - 1
"""NumPy takes twice as much; each process of a training adds its number."""

Seed = Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Of everything random.")]


def begin(quiet: bool) -> None:
    """Say more or less on stderr."""
    from mitoyolo.progress import set_quiet

    set_quiet(quiet)


def own_stderr_unless(debug: bool) -> AbstractContextManager[None]:
    """Keep what libraries write by themselves off stderr; with ``--debug`` it stays."""
    from mitoyolo.own_stderr import own_stderr

    return nullcontext() if debug else own_stderr()


def read_share(option: str, text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise typer.BadParameter(f"{text!r} is not a number from 0 to 1", param_hint=option)
    return value


def check_finite(option: str, value: float | None) -> None:
    """Refuse NaN, which passes every range check, and infinity."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is not a number", param_hint=option)


def read_settings(pairs: list[str]) -> dict[str, object]:
    """`key=value` pairs, the value read as YAML."""
    import yaml

    settings: dict[str, object] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not (key and separator):
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE", param_hint="--set")
        key = key.strip()
        if key in settings:
            raise typer.BadParameter(f"{key} is given twice", param_hint="--set")
        try:
            settings[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise typer.BadParameter(f"{value!r} is not a value", param_hint="--set") from None
    return settings


def read_seeds(text: str) -> list[int]:
    """Seeds with commas between."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) <= MAX_SEED for part in parts):
        raise typer.BadParameter(f"{text!r} is not seeds with commas between", param_hint="--seeds")
    return [int(part) for part in parts]


def check_one_of(option: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a word that is none of these."""
    if value not in known:
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(known)}", param_hint=option)
