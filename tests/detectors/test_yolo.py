"""YOLO: its start, its pictures in and its boxes out."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rendered import Cell, Source, card, paint, write_dataset

from converters.errors import InputError
from mitoyolo.dataset import open_dataset
from mitoyolo.detectors import ultralytics_quiet, yolo_train  # noqa: F401
from mitoyolo.detectors.failures import EngineError, foreseen
from mitoyolo.detectors.recipe import read_recipe
from mitoyolo.detectors.training import Training
from mitoyolo.detectors.yolo import (
    letterbox,
    load,
    start_model,
    to_detections,
    write_start,
)
from mitoyolo.detectors.yolo_train import MitosisTrainer
from mitoyolo.distributed import Process
from mitoyolo.evaluation.protocols import get_protocol
from mitoyolo.progress import bar

from ultralytics.data.augment import LetterBox
from ultralytics.models.yolo.detect import DetectionTrainer

HEAD = "model.24."


def tensors(seed: int, weights: Path | None = None) -> dict[str, torch.Tensor]:
    return start_model("yolov5n", weights, ["mitosis"], seed).state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_the_start_depends_on_the_seed_alone() -> None:
    first = tensors(3)
    torch.rand(5)
    assert same(first, tensors(3))
    assert not same(first, tensors(4))


def test_pretrained_tensors_are_taken_and_the_head_is_seeded(tmp_path: Path) -> None:
    file = tmp_path / "other.pt"
    write_start(file, start_model("yolov5n", None, ["a", "b"], 9))
    theirs, one, two = tensors(9), tensors(1, file), tensors(2, file)
    body = [key for key in one if not key.startswith(HEAD)]
    assert all(torch.equal(one[key], theirs[key]) for key in body)
    assert not same(one, two)


def test_weights_of_another_size_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "s.pt"
    write_start(file, start_model("yolov5s", None, ["mitosis"], 0))
    with pytest.raises(InputError, match=r"only 57 of the 342 tensors.*s backbone") as caught:
        start_model("yolov5n", file, ["mitosis"], 0)
    assert str(file) in str(caught.value)


def test_plain_ultralytics_and_ours_begin_with_the_same_tensors(tmp_path: Path) -> None:
    cells = (Cell(30, 30),)
    root = write_dataset(tmp_path / "d", [Source("a", "train", cells), Source("b", "val", cells)])
    start = tmp_path / "start.pt"
    write_start(start, start_model("yolov5n", None, ["mitosis"], 5))
    overrides = {
        "model": str(start), "data": str(root / "dataset.yaml"), "project": str(tmp_path),
        "name": "plain", "epochs": 1, "imgsz": 64, "device": "cpu", "amp": False,
    }  # fmt: skip
    plain = DetectionTrainer(overrides=overrides)
    with bar("training", unit="tiles") as progress:
        training = Training(
            model="yolov5n", start=start, dataset=open_dataset(root), run=tmp_path / "ours",
            recipe=read_recipe("yolov5n", "ultralytics"), epochs=1, imgsz=64, batch=4,
            accumulate=1, seed=7, devices=("cpu",), protocol=get_protocol("centroid"),
            process=Process(), progress=progress, state=None,
        )  # fmt: skip
        ours = MitosisTrainer(training)
    written = tensors(5)
    for trainer in (plain, ours):
        trainer.setup_model()
        assert same(trainer.model.float().state_dict(), written)


# --- pictures in, boxes out -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "height", "imgsz"), [(64, 64, 64), (96, 64, 96), (50, 128, 160), (500, 333, 512)]
)
def test_the_letterbox_is_that_of_ultralytics_validation(
    width: int, height: int, imgsz: int
) -> None:
    image = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    batch, (left, top, new_w, new_h) = letterbox([image], imgsz)
    ratio = height / width  # as Ultralytics' BaseDataset.set_rectangle with its pad of half a cell
    shape = [ratio, 1] if ratio < 1 else [1, 1 / ratio]
    full = (np.ceil(np.array(shape) * imgsz / 32 + 0.5) * 32).astype(int)
    assert batch.shape == (1, *full, 3)
    inside = batch[0, top : top + new_h, left : left + new_w]
    theirs = LetterBox(tuple(full.tolist()), auto=False, scaleup=False)(image=inside.copy())
    assert np.array_equal(theirs, batch[0])
    assert max(new_w, new_h) == imgsz


@pytest.mark.parametrize(("width", "height", "imgsz"), [(96, 64, 96), (64, 128, 64), (50, 40, 160)])
def test_a_place_in_the_letterbox_comes_back_to_its_place_in_the_tile(
    width: int, height: int, imgsz: int
) -> None:
    tile = paint(width, height, [Cell(34, 22)])
    batch, inside = letterbox([tile], imgsz)
    rows, columns = np.nonzero((batch[0, ..., 0] < 110) & (batch[0, ..., 2] > 200))
    box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, 0.7, 0]
    found = to_detections(np.array([box], dtype=np.float32), inside, width, height)
    assert found[0, :4] == pytest.approx([34, 22, 8, 8], abs=1.1)
    assert found[0, 4:] == pytest.approx([0.7, 0])


def test_boxes_end_at_the_tiles_edge() -> None:
    _, inside = letterbox([paint(64, 64, [])], 64)
    rows = np.array([[-50, 20, 40, 500, 0.5, 0]], dtype=np.float32)
    x, y, width, height = to_detections(rows, inside, 64, 64)[0, :4]
    assert (x - width / 2, y + height / 2) == (0, 64)
    assert x + width / 2 < 40


def test_a_box_whose_corners_are_exchanged_is_the_same_box() -> None:
    _, inside = letterbox([paint(64, 64, [])], 64)
    rows = np.array([[30, 20, 50, 50, 0.5, 0], [50, 50, 30, 20, 0.5, 0]], dtype=np.float32)
    one, other = to_detections(rows, inside, 64, 64)
    assert (one == other).all()
    assert one[2:4] == pytest.approx([20, 30], rel=1e-5)


def test_a_box_beyond_the_tile_is_none() -> None:
    _, inside = letterbox([paint(64, 64, [])], 64)
    rows = np.array([[-40, 30, -20, 50, 0.5, 0], [30, 200, 50, 220, 0.5, 0]], dtype=np.float32)
    assert to_detections(rows, inside, 64, 64).shape == (0, 6)


def test_plain_weights_need_an_architecture(tmp_path: Path) -> None:
    file = tmp_path / "state.pt"
    torch.save(tensors(0), file)
    with pytest.raises(InputError, match="no Ultralytics model"):
        load(file)


def test_tensors_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    file = tmp_path / "odd.pt"
    model = start_model("yolov5n", None, ["mitosis"], 0)
    model.yaml["width_multiple"] = 2.0
    model.yaml["scale"] = "m"
    write_start(file, model)
    with pytest.raises(InputError, match=r"do not fit [^(]*; add --trust"):
        load(file)


def test_plain_weights_are_applied_at_640_px_with_their_own_names(tmp_path: Path) -> None:
    file = tmp_path / "plain.pt"
    write_start(file, start_model("yolov5n", None, ["mitosis", "imposter"], 0))
    detector = load(file)
    assert (detector.card, detector.classes) == (None, ("mitosis", "imposter"))
    assert detector.imgsz == 640
    found = detector.predict([paint(64, 48, [])] * 2, 64)
    assert [rows.shape[1] for rows in found] == [6, 6]
    assert all(np.all(np.diff(rows[:, 4]) <= 0) for rows in found)


# --- failures ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("CUDA out of memory. Tried\nmore"), "RuntimeError: CUDA out of memory"),
        (MemoryError(), r"out of memory \(MemoryError\); lower it"),
        (RuntimeError("CUDA error: device-side assert"), "use --device cpu"),
        (ValueError("Expected more than 1 value per channel"), "give a larger --imgsz or --batch"),
        (ValueError("odd"), "ValueError: odd; --debug"),
    ],
)
def test_what_torch_raises_is_one_line(error: Exception, said: str) -> None:
    with pytest.raises(EngineError, match=said) as caught, foreseen("lower it"):
        raise error
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("error", [InputError("ours"), OSError(28, "full"), KeyboardInterrupt()])
def test_what_is_one_line_already_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, foreseen("lower it"):
        raise error
    assert caught.value is error


# --- a full disk ------------------------------------------------------------------------------


def test_a_disk_that_fills_up_while_saving_keeps_the_older_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = object.__new__(MitosisTrainer)
    trainer.last, trainer.best = tmp_path / "last.pt", tmp_path / "best.pt"
    trainer.last.write_text("older")

    def fail(self: MitosisTrainer) -> bool:
        self.last.write_text("cut")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(DetectionTrainer, "save_model", fail)
    with pytest.raises(OSError, match="No space") as caught:
        trainer._write_checkpoints()
    assert caught.value.filename == str(tmp_path / "last.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]
    assert trainer.last.read_text() == "older"


@pytest.mark.parametrize(("free", "kind"), [(10, OSError), (10**9, EngineError)])
def test_torch_that_cannot_write_the_card_is_told_from_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, kind: type[Exception]
) -> None:
    path = tmp_path / "best.pt"
    path.write_bytes(b"older" * 100)

    def fail(*given: object, **named: object) -> None:
        raise RuntimeError("PytorchStreamWriter failed writing file")

    monkeypatch.setattr(yolo_train, "strip_optimizer", fail)
    monkeypatch.setattr(yolo_train.shutil, "disk_usage", lambda p: SimpleNamespace(free=free))
    with pytest.raises(kind) as caught:
        yolo_train.finish(path, card())
    assert getattr(caught.value, "errno", None) == (errno.ENOSPC if kind is OSError else None)
    assert [p.name for p in tmp_path.iterdir()] == ["best.pt"]
    assert path.read_bytes() == b"older" * 100


def test_weights_that_cannot_be_read_back_are_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    path.write_bytes(b"damaged")
    with pytest.raises(EngineError, match="cannot be read back"):
        yolo_train.finish(path, card())
    assert path.read_bytes() == b"damaged"
