"""The figures of a training, epoch by epoch: a table, and the same numbers for TensorBoard."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from converters.files import write_bytes, write_csv

TABLE = "results.csv"
EVENTS = "tensorboard"


class TrainingLog:
    """One row an epoch in ``RUN/results.csv``, and its numbers under ``RUN/tensorboard/``.

    Both hold the rows of the last finished epoch whenever the process is killed. TensorBoard's
    event files follow its ``event.proto`` and ``summary.proto`` and are written with its own
    record writer, which needs neither torch nor a thread.

    Parameters
    ----------
    run : Path
        The run folder.
    rows : iterable of mapping
        The epochs 1 to k that a resumed training builds on. What stands on disk beyond them is
        dropped.

    Attributes
    ----------
    rows : list of dict
        All rows; a checkpoint keeps them.
    """

    def __init__(self, run: Path, rows: Iterable[Mapping[str, float]] = ()) -> None:
        self.rows: list[dict[str, float]] = []
        for row in rows:
            self._keep(row)
        self._table = run / TABLE
        old = list((run / EVENTS).glob("events.out.tfevents.*"))
        # a new name, since a TensorBoard that is open would not see a file replaced
        self._events = run / EVENTS / f"events.out.tfevents.{time.time():.6f}"
        self._write_table()
        write_bytes(self._events, _beginning() + b"".join(map(_scalars, self.rows)))
        for file in old:
            if file != self._events:
                file.unlink(missing_ok=True)

    def add(self, row: Mapping[str, float]) -> None:
        """Write the next epoch.

        Parameters
        ----------
        row : mapping
            ``epoch``, counted from 1, and any numbers by name; NaN where one is undefined.

        Raises
        ------
        ValueError
            The row is not of the epoch that follows.
        OSError
            A full disk, ...; its ``filename`` says which file.
        """
        self._keep(row)
        self._write_table()
        try:
            with self._events.open("ab") as handle:
                handle.write(_scalars(self.rows[-1]))
        except OSError as error:
            error.filename = str(self._events)
            raise

    def _keep(self, row: Mapping[str, float]) -> None:
        epoch = len(self.rows) + 1
        if row.get("epoch") != epoch:
            raise ValueError(f"a row of epoch {row.get('epoch')}, expected {epoch}")
        self.rows.append({name: float(value) for name, value in row.items()})

    def _write_table(self) -> None:
        columns = list(dict.fromkeys(["epoch", *(name for row in self.rows for name in row)]))
        cells = ([f"{row[c]:.6g}" if c in row else None for c in columns] for row in self.rows)
        write_csv(self._table, columns, cells)


def _beginning() -> bytes:
    """What opens an event file: its version, and that a session starts at step 1.

    The latter makes TensorBoard forget a file before it, should a kill have left one.
    """
    from tensorboard.compat.proto.event_pb2 import SessionLog

    start = SessionLog(status=SessionLog.START)
    return _record(file_version="brain.Event:2") + _record(step=1, session_log=start)


def _scalars(row: Mapping[str, float]) -> bytes:
    from tensorboard.compat.proto.summary_pb2 import Summary

    values = [
        Summary.Value(tag=name, simple_value=value)
        for name, value in row.items()
        if name != "epoch"
    ]
    return _record(step=int(row["epoch"]), summary=Summary(value=values))


def _record(**content: Any) -> bytes:
    """An event as a record of the file: its length and bytes, each with a checksum."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    record = BytesIO()
    RecordWriter(record).write(Event(wall_time=time.time(), **content).SerializeToString())
    return record.getvalue()
