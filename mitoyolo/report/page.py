"""A page of headed sections with tables and pictures, as one HTML file."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from converters.files import write_text
from mitoyolo.images import RGB, encode_jpeg

NOTICE = "For research use only. Not for diagnosis."

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; margin: 0.8rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.9rem 0.25rem 0; border-bottom: 1px solid #8886; text-align: left; }
figure { margin: 1rem 0; }
figcaption { overflow-wrap: anywhere; color: #666; color: light-dark(#555, #aaa); }
img { max-width: 100%; height: auto; }
.row { display: flex; flex-wrap: wrap; gap: 1rem; } .row figure { flex: 1 1 20rem; margin: 0; }
.row img { width: 100%; } .row.crops figure { flex: 0 0 9rem; }
dl { display: flex; flex-wrap: wrap; gap: 0.8rem 2.5rem; margin: 1.2rem 0; }
dl div { display: flex; flex-direction: column-reverse; } dd { margin: 0; font-size: 1.9rem; }
dt { color: #666; color: light-dark(#555, #aaa); font-size: 0.9rem; }
.notice { color: #666; color: light-dark(#555, #aaa); font-size: 0.9rem; }
code { font-size: 0.9em; } .wide { overflow-x: auto; font-size: 0.85rem; }
"""


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """An HTML table; floats with three decimals, None as a dash."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(text_of(cell))}</td>" for cell in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def text_of(value: object) -> str:
    """A value as a table shows it."""
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def interval(ends: Sequence[float] | None) -> str | None:
    """The ends of an interval as a table shows them; None where there is none."""
    return None if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"


def spread(values: Sequence[float | None]) -> str | None:
    """Mean and standard deviation (of a sample) as a table shows them; None of a lone value."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return "undefined"
    return f"{mean(known):.3f} ± {stdev(known):.3f}" if len(known) > 1 else None


def difference(found: Mapping[str, Any]) -> str | None:
    """A paired difference of :func:`mitoyolo.evaluation.metrics.paired` as a table shows it."""
    if found["f1_difference"] is None:
        return None
    ends = found["f1_difference_ci95"]
    between = f" ({ends[0]:+.3f} to {ends[1]:+.3f})" if ends else ""
    return f"{found['f1_difference']:+.3f}{between}"


def headline(pairs: Sequence[tuple[str, object]]) -> str:
    """The few figures of a page that matter most, large; floats with three decimals."""
    cells = (
        f"<div><dt>{escape(name)}</dt><dd>{escape(text_of(value))}</dd></div>"
        for name, value in pairs
    )
    return f"<dl>{''.join(cells)}</dl>"


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def picture_file(path: Path, caption: str) -> str:
    """A figure from a PNG file, its bytes inside the page."""
    return _figure("png", path.read_bytes(), caption)


def picture(image: RGB, caption: str) -> str:
    """A figure from pixels, as JPEG inside the page."""
    return _figure("jpeg", encode_jpeg(image, 88), caption)


def _figure(kind: str, data: bytes, caption: str) -> str:
    text = base64.b64encode(data).decode()
    label = escape(caption, quote=True)
    return (
        f'<figure><img alt="{label}" src="data:image/{kind};base64,{text}">'
        f"<figcaption>{label}</figcaption></figure>"
    )


def row(figures: Sequence[str], *, crops: bool = False) -> str:
    """Figures side by side where there is room; ``crops`` are small and all of one width."""
    return f'<div class="row{" crops" if crops else ""}">{"".join(figures)}</div>'


def write_page(path: Path, title: str, sections: Sequence[tuple[str, str]]) -> None:
    """Write a page of (heading, HTML) sections atomically."""
    body = "".join(f"<h2>{escape(heading)}</h2>{content}" for heading, content in sections)
    write_text(
        path,
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f'<h1>{escape(title)}</h1><p class="notice">{NOTICE}</p>{body}</body></html>\n',
    )
