"""The training's table and TensorBoard's events: whole at any moment, and equal to the rows."""

from __future__ import annotations

import csv
import errno
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mitoyolo import training_log
from mitoyolo.training_log import TrainingLog

Rows = list[dict[str, float]]


def epochs(count: int, offset: float = 0.0) -> Rows:
    return [
        {"epoch": k, "train/box_loss": 2 / k + offset, "metrics/F1": k / 16 + offset}
        for k in range(1, count + 1)
    ]


def table(run: Path) -> list[dict[str, str]]:
    with (run / "results.csv").open(encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def events(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard reads: its own reader, over the whole folder."""
    reader = EventAccumulator(str(run / "tensorboard"), purge_orphaned_data=False)
    reader.Reload()
    return {
        tag: [(event.step, event.value) for event in reader.Scalars(tag)]
        for tag in reader.Tags()["scalars"]
    }


def expected(rows: Rows) -> dict[str, list[tuple[int, float]]]:
    return {
        name: [(int(row["epoch"]), pytest.approx(row[name])) for row in rows if name in row]
        for row in rows
        for name in row
        if name != "epoch"
    }


# --- rows -------------------------------------------------------------------------------------


def test_each_epoch_is_in_the_table_and_in_tensorboard_at_once(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path)
    assert table(tmp_path) == [] and events(tmp_path) == {}
    for k, row in enumerate(epochs(3), start=1):
        log.add(row)
        assert [int(written["epoch"]) for written in table(tmp_path)] == list(range(1, k + 1))
        assert events(tmp_path) == expected(epochs(k))
    assert log.rows == epochs(3)
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def test_columns_stand_in_order_of_appearance_with_empty_cells(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path)
    log.add({"val/loss": 0.5, "epoch": 1, "train/loss": 1 / 3})
    log.add({"epoch": 2, "train/loss": math.nan, "metrics/AP": 1e-9})
    assert (tmp_path / "results.csv").read_text() == (
        "epoch,val/loss,train/loss,metrics/AP\n1,0.5,0.333333,\n2,,nan,1e-09\n"
    )
    read = events(tmp_path)
    assert read["val/loss"] == [(1, 0.5)]
    assert read["metrics/AP"] == [(2, pytest.approx(1e-9))]
    assert read["train/loss"][1][0] == 2 and math.isnan(read["train/loss"][1][1])


def test_rows_are_of_plain_numbers_for_the_checkpoint(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path)
    log.add({"epoch": np.int64(1), "train/loss": np.float32(0.5)})
    assert log.rows == [{"epoch": 1, "train/loss": 0.5}]
    assert {type(value) for value in log.rows[0].values()} == {float}


@pytest.mark.parametrize("row", [{"epoch": 3, "a": 1.0}, {"epoch": 1, "a": 1.0}, {"a": 1.0}])
def test_a_row_of_another_epoch_is_refused(tmp_path: Path, row: dict[str, float]) -> None:
    log = TrainingLog(tmp_path, epochs(1))
    with pytest.raises(ValueError, match="expected 2"):
        log.add(row)
    assert log.rows == epochs(1) and len(table(tmp_path)) == 1


# --- resumed ----------------------------------------------------------------------------------


def test_redone_epochs_do_not_show_twice(tmp_path: Path) -> None:
    first = TrainingLog(tmp_path)
    for row in epochs(5):
        first.add(row)
    second = TrainingLog(tmp_path, epochs(3))
    assert len(table(tmp_path)) == 3 and events(tmp_path) == expected(epochs(3))
    again = epochs(4, offset=0.25)[3]
    second.add(again)
    whole = [*epochs(3), again]
    assert second.rows == whole
    assert [row["metrics/F1"] for row in table(tmp_path)] == ["0.0625", "0.125", "0.1875", "0.5"]
    assert events(tmp_path) == expected(whole)


def test_a_run_killed_in_its_first_epoch_begins_with_nothing(tmp_path: Path) -> None:
    TrainingLog(tmp_path).add(epochs(1)[0])
    TrainingLog(tmp_path)
    assert table(tmp_path) == [] and events(tmp_path) == {}


def test_a_resume_killed_beside_the_old_events_hides_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = TrainingLog(tmp_path)
    for row in epochs(4):
        log.add(row)
    unlink = Path.unlink

    def killed(path: Path, missing_ok: bool = False) -> None:
        if "tfevents" in path.name and path.exists():
            raise KeyboardInterrupt
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "unlink", killed)
        TrainingLog(tmp_path, epochs(2))
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2
    reader = EventAccumulator(str(tmp_path / "tensorboard"))  # as TensorBoard opens it
    reader.Reload()
    assert [event.step for event in reader.Scalars("metrics/F1")] == [1, 2]
    TrainingLog(tmp_path, epochs(2))
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def test_a_resume_in_the_same_moment_keeps_its_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_log.time, "time", lambda: 1_800_000_000.0)
    TrainingLog(tmp_path, epochs(2))
    TrainingLog(tmp_path, epochs(1))
    assert events(tmp_path) == expected(epochs(1))


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").mkdir()
    (tmp_path / "tensorboard" / "notes.txt").write_text("mine")
    TrainingLog(tmp_path)
    assert (tmp_path / "tensorboard" / "notes.txt").read_text() == "mine"


ENDLESS = """
import sys
from pathlib import Path
from mitoyolo.training_log import TrainingLog

log = TrainingLog(Path(sys.argv[1]))
for epoch in range(1, 100_000):
    log.add({"epoch": epoch, **{f"train/loss{i}": epoch for i in range(20)}})
    print(epoch, flush=True)
"""


def test_after_sigkill_the_next_start_goes_on(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    for _ in range(20):
        child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    child.wait()
    written = table(tmp_path)
    assert len(written) >= 20
    assert all(set(row.values()) == {str(k)} for k, row in enumerate(written, start=1))
    last = [int(point[0]) for point in events(tmp_path)["train/loss0"]][-1]
    assert last in (len(written), len(written) - 1)  # the table is written first
    rows = [{name: float(value) for name, value in row.items()} for row in written[:-1]]
    TrainingLog(tmp_path, rows).add({"epoch": len(written), "train/loss0": 7})
    assert events(tmp_path)["train/loss0"][-1] == (len(written), 7.0)


def test_a_record_cut_short_by_a_kill_does_not_stop_a_reader(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path)
    for row in epochs(3):
        log.add(row)
    (file,) = (tmp_path / "tensorboard").iterdir()
    os.truncate(file, file.stat().st_size - 5)
    assert events(tmp_path) == expected(epochs(2))


# --- what it costs ----------------------------------------------------------------------------


def test_a_full_disk_is_an_error_that_names_the_file(
    tmp_path: Path,
) -> None:
    log = TrainingLog(tmp_path)
    log.add(epochs(1)[0])
    (file,) = (tmp_path / "tensorboard").iterdir()
    file.unlink()
    file.symlink_to("/dev/full")
    with pytest.raises(OSError) as caught:
        log.add(epochs(2)[1])
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(file))


def test_it_says_nothing_and_needs_no_torch(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from mitoyolo.training_log import TrainingLog; "
        "assert 'tensorboard' not in sys.modules; "
        "TrainingLog(Path(sys.argv[1])).add({'epoch': 1, 'a': 2.0}); "
        "assert not {'torch', 'tensorflow', 'ultralytics'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", program, str(tmp_path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("", "")
    assert events(tmp_path) == {"a": [(1, 2.0)]}
