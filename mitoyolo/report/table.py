"""A table of results, and its Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from mitoyolo.report.page import text_of

Value = str | int | float | None


@dataclass(frozen=True, slots=True)
class Table:
    """A table as every form of it shows it.

    Attributes
    ----------
    name : str
        Of its file.
    title : str
    caption : str
        What is counted, how and on what.
    columns : tuple of str
    rows : tuple of tuple
        Floats have three decimals where people read them; None is a dash.
    """

    name: str
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]


def markdown(table: Table) -> str:
    """A table under its title and caption."""
    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    cells = [[text_of(value).replace("|", "\\|") for value in line] for line in lines]
    body = "\n".join(f"| {' | '.join(line)} |" for line in cells)
    return f"## {table.title}\n\n{table.caption}\n\n{body}\n"
