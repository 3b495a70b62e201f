"""Writing annotations in another tool's format: source pixels, no tiles, no images."""

from __future__ import annotations

from pathlib import Path

from converters.files import write_text
from converters.model import AnnotationSet
from converters.registry import get_writer
from mitoyolo.convert.report import account, say, write_account
from mitoyolo.progress import note, track


def write_documents(kept: AnnotationSet, clipped: int, to: str, out: Path) -> None:
    """Write ``kept`` to the folder ``out`` in the format ``to``, its report last.

    Raises
    ------
    InputError
        The format cannot hold the annotations, or needs what is not known.
    """
    documents = get_writer(to)(kept, note)
    for name, text in track(documents, "writing", unit="files", total=None):
        write_text(out / name, text)
    report = account(kept, clipped)
    write_account(out, kept, report)
    say(report)
    note(f"{len(kept.images)} images, written as {to} to {out}")
