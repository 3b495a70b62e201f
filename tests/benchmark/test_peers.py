"""Peers: trained in processes of their own on a rendered dataset, and scored like any model."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from conftest import tree
from processes import calling
from rendered import Cell, Source, write_dataset
from torchvision.models import resnet50
from torchvision.models.detection import fasterrcnn_resnet50_fpn
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.ops import FrozenBatchNorm2d

from converters.errors import InputError
from mitoyolo.benchmark.cost import cost
from mitoyolo.benchmark.peers import PEERS, RECORD, Settings, main, run
from mitoyolo.dataset import open_dataset
from mitoyolo.detectors.checkpoint import read_checkpoint
from mitoyolo.detectors.failures import EngineError
from mitoyolo.detectors.training import BEST, score_tiles
from mitoyolo.detectors.yolo import start_model, write_start
from mitoyolo.evaluation.protocols import get_protocol
from mitoyolo.inference.apply import check_classes, detect_tiles

from ultralytics.cfg import DEFAULT_CFG_DICT
from ultralytics.engine.trainer import BaseTrainer

LABELS = ("mitosis", "imposter")
ULTRALYTICS, TORCHVISION = "ultralytics-yolov5n", "torchvision-faster-rcnn"

OFFLINE = """
import runpy, socket, sys
from pathlib import Path
def refused(*given, **more):
    Path("asked").write_text(str(given))
    raise OSError("no network")
socket.getaddrinfo = socket.create_connection = refused
sys.argv[0] = "peers"
runpy.run_module("mitoyolo.benchmark.peers", run_name="__main__")
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiles of 64 px, three of a source: a mitosis, an imposter, and in the last one nothing."""
    cells = (Cell(20, 20), Cell(50, 40, 0.1, "imposter"))
    sources = [
        Source(f"{split}{i}", split, cells, width=128)
        for split, count in (("train", 2), ("val", 1), ("test", 1)) for i in range(count)
    ]  # fmt: skip
    root = write_dataset(tmp_path_factory.mktemp("data") / "d", sources, labels=LABELS)
    rng = np.random.default_rng(0)
    for path in sorted((root / "images").rglob("*.png")):  # BatchNorm needs noise
        noisy = cv2.imread(str(path)) + rng.normal(0, 20, (64, 64, 3))
        assert cv2.imwrite(str(path), np.clip(noisy, 0, 255).astype(np.uint8))
    return root


def call(name: str, data: Path, out: Path, **more: Any) -> list[str]:
    """Arguments of a call."""
    options = {"epochs": 1, "imgsz": 64, "batch": 3, "seed": 1, **more}
    named = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    return [name, "--data", str(data), "--out", str(out), *named]


@dataclass
class Finished:
    """Peers trained from one folder, and what they left outside their own."""

    place: Path
    said: dict[str, str] = field(default_factory=dict)

    def out(self, name: str) -> Path:
        return self.place / "runs" / name


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """Each peer, trained by its call, on a machine without network or settings of Ultralytics."""
    found = Finished(tmp_path_factory.mktemp("place"))
    (found.place / "home").mkdir()
    (found.place / "tmp").mkdir()
    env = {
        "HOME": str(found.place / "home"), "TMPDIR": str(found.place / "tmp"),
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    before = tree(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(found.place)
        with ExitStack() as calls:
            begun = {
                name: calls.enter_context(
                    calling("-c", OFFLINE, *call(name, data, found.out(name)), env=env)
                )
                for name in PEERS
            }
            for name, one in begun.items():
                ended = one.end()
                assert (ended.code, ended.out) == (0, ""), ended.err
                found.said[name] = ended.err
    assert tree(data) == before
    return found


# --- a training -------------------------------------------------------------------------------


def test_nothing_is_fetched_or_written_elsewhere(finished: Finished) -> None:
    assert not (finished.place / "asked").exists()
    assert {path.name for path in finished.place.iterdir()} == {"home", "tmp", "runs"}
    homes = [path for path in (finished.place / "home").rglob("*") if path.is_file()]
    assert {path.parent.name for path in homes} <= {"matplotlib"}  # its own cache of fonts
    left = {path.name for path in (finished.place / "tmp").iterdir()}
    assert all(name.startswith("mitoyolo-ultralytics-") for name in left)


@pytest.mark.parametrize("name", PEERS)
def test_the_record_says_what_it_took(finished: Finished, name: str) -> None:
    out = finished.out(name)
    record = json.loads((out / RECORD).read_text())
    assert record["peer"] == name
    assert record["settings"] == {
        "epochs": 1, "imgsz": 64, "batch": 3, "seed": 1, "device": "cpu", "weights": "none",
    }  # fmt: skip
    assert record["epochs"] == 1
    assert record["images_per_s"] == pytest.approx(6 / record["training_s"])
    assert 0 < record["training_s"] < json.loads((out / "run.json").read_text())["duration_s"] + 1
    assert record["peak_memory_mib"]["process"] > 100
    assert record["versions"][PEERS[name].package]
    assert record["threads"] == 1
    files = set(tree(out))
    own = set() if name == TORCHVISION else {"ultralytics/args.yaml", "ultralytics/results.csv"}
    assert files == {str(BEST), RECORD, *own}
    assert len(finished.said[name].splitlines()) == 1  # the bar's


@pytest.mark.parametrize("name", PEERS)
def test_weights_are_scored_like_any(finished: Finished, data: Path, name: str) -> None:
    dataset, weights = open_dataset(data), finished.out(name) / BEST
    detector = PEERS[name].load(weights, dataset)
    check_classes(detector, dataset)
    assert (detector.classes, detector.card, detector.imgsz) == (LABELS, None, 64)
    assert PEERS[name].load(weights, dataset, imgsz=96).imgsz == 96
    found = detect_tiles(detector, dataset, "val")
    assert {rows.shape[1] for rows in found.values()} == {6}
    score = score_tiles(dataset, get_protocol("centroid"), found)
    assert score.ap is not None
    exported = weights if PEERS[name].exports and name == "ultralytics-yolo26n" else None
    tile = np.full((64, 64, 3), 200, np.uint8)
    took = cost(detector, [tile], weights=exported, repeats=1)["ms_tile"]
    assert took["torch"] > 0
    assert (took["openvino"] is None) == (exported is None)


def test_a_finished_training_is_not_done_again(
    finished: Finished, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = finished.out(TORCHVISION)
    before = tree(out)
    assert main(call(TORCHVISION, data, out)) == 0
    assert capsys.readouterr().err.strip() == f"{out} is finished already"
    assert main(call(TORCHVISION, data, out, epochs=2)) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"mitoyolo: {out}: holds finished work of `benchmark peer` with another")
    assert tree(out) == before


def test_a_killed_training_begins_again(finished: Finished, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "killed"
    shutil.copytree(finished.out(ULTRALYTICS), out)
    first = read_checkpoint(out / BEST).tensors
    (out / RECORD).unlink()
    (out / BEST).unlink()
    (out / "ultralytics" / "start.pt").write_bytes(b"of another start")
    (out / "ultralytics" / "weights").mkdir()
    (out / "ultralytics" / "weights" / "last.pt").write_bytes(b"half")
    assert main([*call(ULTRALYTICS, data, out), "--quiet"]) == 0
    again = read_checkpoint(out / BEST).tensors
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert set(tree(out)) == set(tree(finished.out(ULTRALYTICS)))


# --- Ultralytics ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ultralytics-yolov5n", "ultralytics-yolo26n"])
def test_ultralytics_trains_by_its_defaults(finished: Finished, name: str) -> None:
    used = yaml.safe_load((finished.out(name) / "ultralytics" / "args.yaml").read_text())
    changed = {key for key, value in used.items() if value != DEFAULT_CFG_DICT.get(key)}
    told = {"model", "data", "epochs", "imgsz", "batch", "seed", "device"}
    assert changed == told | {"project", "name", "exist_ok", "save_dir", "plots", "amp"}
    assert used["model"] == f"{name.removeprefix('ultralytics-')}.yaml"


class Enough(EngineError):
    """Seen what was to be seen."""


@pytest.fixture
def began(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """The tensors with which Ultralytics' trainer begins; it goes no further."""
    seen = []

    def train(trainer: Any) -> None:
        trainer.setup_model()
        seen.append(trainer.model.state_dict())
        raise Enough

    monkeypatch.setattr(BaseTrainer, "train", train)
    return seen


def test_ultralytics_starts_from_given_weights(
    data: Path, tmp_path: Path, began: list[dict[str, torch.Tensor]]
) -> None:
    given = tmp_path / "yolov5n.pt"  # a name for which Ultralytics would fetch another file
    write_start(given, start_model("yolov5n", None, ["something"], 7))
    settings = Settings(epochs=1, imgsz=64, batch=2, seed=0, weights=given)
    with pytest.raises(Enough):
        run(ULTRALYTICS, data, tmp_path / "out", settings)
    theirs = start_model("yolov5n", given, LABELS, 0).state_dict()
    assert began[0].keys() == theirs.keys()
    assert all(torch.equal(began[0][key], theirs[key]) for key in theirs)


def test_weights_that_do_not_fit_are_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "s.pt"
    write_start(given, start_model("yolov5s", None, LABELS, 0))
    for name, why in ((ULTRALYTICS, "only 57 of the 342"), (TORCHVISION, "not in it (first: ")):
        out = tmp_path / name
        assert main(call(name, data, out, weights=given)) == 1
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith(f"mitoyolo: {given}: ")
        assert why in said
        assert not out.exists()


# --- torchvision ------------------------------------------------------------------------------


@dataclass
class Watched:
    """What torchvision's network is given, and the learning rates of its steps."""

    networks: list[GeneralizedRCNN] = field(default_factory=list)
    starts: list[dict[str, torch.Tensor]] = field(default_factory=list)
    batches: list[tuple[Any, Any]] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    optimizers: list[torch.optim.SGD] = field(default_factory=list)
    loss: float = 1.0


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """A network that looks at nothing: its loss is a number, with a gradient of 0."""
    seen = Watched()

    def forward(network: Any, images: Any, targets: Any = None) -> dict[str, torch.Tensor]:
        assert network.training
        if not seen.networks:
            seen.starts.append({k: v.clone() for k, v in network.state_dict().items()})
            seen.networks.append(network)
        seen.batches.append((images, targets))
        weight = next(p for p in network.parameters() if p.requires_grad)
        return {"one": weight.sum() * 0 + seen.loss / 2, "other": torch.tensor(seen.loss / 2)}

    def step(optimizer: torch.optim.SGD) -> None:
        (group,) = optimizer.param_groups
        seen.rates.append(group["lr"])
        seen.optimizers.append(optimizer)

    monkeypatch.setattr(GeneralizedRCNN, "forward", forward)
    monkeypatch.setattr(torch.optim.SGD, "step", step)
    return seen


def train_torchvision(data: Path, out: Path, **more: Any) -> None:
    run(TORCHVISION, data, out, Settings(**{"imgsz": 96, "batch": 4, "seed": 3, **more}))


def test_torchvision_trains_by_its_reference(data: Path, tmp_path: Path, watched: Watched) -> None:
    train_torchvision(data, tmp_path / "out", epochs=26)
    full = 0.02 * 4 / 16
    expected = [full / 1000, full, *[full] * 2 * 15, *[full / 10] * 2 * 6, *[full / 100] * 2 * 4]
    assert watched.rates == pytest.approx(expected)
    (group,) = watched.optimizers[0].param_groups
    assert (group["momentum"], group["weight_decay"]) == (0.9, 1e-4)
    torch.manual_seed(3)
    plain = fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=3, min_size=96, max_size=96
    )
    (network,), (start,) = watched.networks, watched.starts
    assert str(network) == str(plain)
    theirs = plain.state_dict()
    assert start.keys() == theirs.keys()
    assert all(torch.equal(start[key], theirs[key]) for key in theirs)
    learned = {id(p) for p in group["params"]}
    assert learned == {id(p) for p in network.parameters()}


def test_an_epoch_of_one_step_has_no_warm_up(data: Path, tmp_path: Path, watched: Watched) -> None:
    train_torchvision(data, tmp_path / "out", epochs=1, batch=6)
    assert watched.rates == pytest.approx([0.02 * 6 / 16])


def test_torchvision_sees_every_tile_each_epoch(
    data: Path, tmp_path: Path, watched: Watched
) -> None:
    train_torchvision(data, tmp_path / "out", epochs=8)
    assert [len(images) for images, _ in watched.batches] == [4, 2] * 8
    pictures = {
        cv2.imread(str(path))[..., ::-1].tobytes(): path.stem
        for path in (data / "images" / "train").iterdir()
    }
    boxes = {
        "0": [(1, 12, 12, 28, 28), (2, 42, 32, 58, 48)],
        "32": [(2, 10, 32, 26, 48)],
        "64": [],
    }
    orders, turned = set(), 0
    for epoch in range(8):
        names = []
        for images, targets in watched.batches[2 * epoch : 2 * epoch + 2]:
            for image, target in zip(images, targets, strict=True):
                pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
                mirrored = pixels.tobytes() not in pictures
                turned += mirrored
                straight = pixels[:, ::-1] if mirrored else pixels
                names.append(pictures[straight.tobytes()])
                expected = boxes[names[-1].split("_")[1]]
                for row, label, (left, top, right, bottom) in zip(
                    expected, target["labels"].tolist(), target["boxes"].tolist(), strict=True
                ):
                    sides = (64 - right, 64 - left) if mirrored else (left, right)
                    assert row == pytest.approx((label, sides[0], top, sides[1], bottom))
        assert sorted(names) == sorted(pictures.values())
        orders.add(tuple(names))
    assert len(orders) > 4
    assert 10 < turned < 38  # of 48; chances of 1 in 10,000 otherwise


def test_torchvision_starts_from_a_backbone(data: Path, tmp_path: Path, watched: Watched) -> None:
    torch.manual_seed(5)
    backbone = resnet50(weights=None).state_dict()
    torch.save(backbone, tmp_path / "resnet50.pth")
    train_torchvision(data, tmp_path / "out", epochs=1, weights=tmp_path / "resnet50.pth")
    (start,), (network,) = watched.starts, watched.networks
    for name in ("conv1.weight", "layer1.0.bn1.weight", "layer4.2.conv3.weight"):
        assert torch.equal(start[f"backbone.body.{name}"], backbone[name])
    assert isinstance(network.backbone.body.bn1, FrozenBatchNorm2d)
    learned = {
        name.split(".")[2] for name, p in network.backbone.body.named_parameters(prefix="b.b")
        if p.requires_grad
    }  # fmt: skip
    assert learned == {"layer2", "layer3", "layer4"}  # as torchvision trains a pretrained one
    dataset = open_dataset(data)
    detector = PEERS[TORCHVISION].load(tmp_path / "out" / BEST, dataset)
    kept: Any = detector._network  # type: ignore[attr-defined]
    assert isinstance(kept.backbone.body.bn1, FrozenBatchNorm2d)
    assert torch.equal(kept.backbone.body.conv1.weight, backbone["conv1.weight"])


def test_a_loss_that_is_no_number_ends_it(data: Path, tmp_path: Path, watched: Watched) -> None:
    watched.loss = float("nan")
    with pytest.raises(EngineError, match="the loss is not finite in epoch 1"):
        train_torchvision(data, tmp_path / "out", epochs=1)
    assert not (tmp_path / "out" / BEST).exists()
    assert not (tmp_path / "out" / RECORD).exists()


def test_weights_of_other_classes_are_refused(finished: Finished, tmp_path: Path) -> None:
    sources = [Source(split, split, (Cell(20, 20),)) for split in ("train", "val", "test")]
    other = open_dataset(write_dataset(tmp_path / "d", sources))
    weights = finished.out(TORCHVISION) / BEST
    with pytest.raises(InputError, match=r"not the weights of this peer .* these classes"):
        PEERS[TORCHVISION].load(weights, other)
    shutil.copytree(weights.parent, tmp_path / "moved" / "weights")
    with pytest.raises(InputError, match=RECORD):
        PEERS[TORCHVISION].load(tmp_path / "moved" / BEST, other)


# --- the call ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change", [{"epochs": 0}, {"batch": "many"}, {"imgsz": -64}, {"seed": "x"}]
)
def test_impossible_options_are_refused(data: Path, tmp_path: Path, change: Any) -> None:
    with pytest.raises(SystemExit) as left:
        main(call(ULTRALYTICS, data, tmp_path / "out", **change))
    assert left.value.code == 2
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_used_is_one_line(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(call(ULTRALYTICS, tmp_path / "none", tmp_path / "out")) == 1
    assert capsys.readouterr().err.startswith(f"mitoyolo: {tmp_path / 'none'}")
    assert main(call(ULTRALYTICS, data, tmp_path / "out", weights=tmp_path / "w.pt")) == 1
    assert capsys.readouterr().err.startswith(f"mitoyolo: {tmp_path / 'w.pt'}")
    assert not (tmp_path / "out").exists()
