"""Published figures, read from ``published.yaml``, which holds them with their sources."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One published figure; None and "" where the paper does not say or we do not know.

    Attributes
    ----------
    paper, source : str
        Its key in the YAML, and the citation.
    table : str
        Where in the paper, for those of which a table is reproduced.
    dataset, method : str
        What it was measured on, and what was measured.
    f1, precision, recall : float
        Ratios, 0 to 1, with the digits that were printed.
    training, test : int
        Tiles.
    duration : str
        Of the training.
    protocol : str
        The one of ours that is the paper's rule.
    scored : str
        The images or cells that were scored.
    comparable : bool
        Whether a figure of ours, on the same images by the same protocol, may stand beside it.
    why : str
        How it is comparable, or why not.
    seen : {"search", "project", "memory"}
        Read on `page`; stated by the project's maintainers; from memory, to be checked.
    """

    paper: str
    source: str
    dataset: str
    method: str
    f1: float
    scored: str
    comparable: bool
    why: str
    seen: str
    page: str = ""
    table: str = ""
    precision: float | None = None
    recall: float | None = None
    training: int | None = None
    test: int | None = None
    duration: str | None = None
    protocol: str | None = None
    note: str = ""


def published(paper: str | None = None) -> tuple[Published, ...]:
    """All published figures, or those of one paper, in the order of the YAML.

    Raises
    ------
    KeyError
        No such paper.
    """
    document = _document()
    papers = document["papers"] if paper is None else {paper: document["papers"][paper]}
    return tuple(
        Published(
            **{key: about[key] for key in ("source", "seen", "page") if key in about}
            | row
            | document["scored"][row["scored"]],
            paper=name,
        )
        for name, about in papers.items()
        for row in about["rows"]
    )


def notes(paper: str) -> tuple[str, ...]:
    """Where a paper contradicts itself, leaks, or is not at hand.

    Raises
    ------
    KeyError
        No such paper.
    """
    return tuple(_document()["papers"][paper].get("notes", ()))


@cache
def _document() -> dict[str, Any]:
    text = (files("mitoyolo.benchmark") / "published.yaml").read_text("utf-8")
    return dict(yaml.safe_load(text))
