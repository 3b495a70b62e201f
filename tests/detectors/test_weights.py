"""Where weights are looked for."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch.hub import get_dir

from converters.errors import InputError, OptionError
from mitoyolo.detectors.weights import ENVIRONMENT, find_weights


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without weights: an empty working folder and an empty home."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in (ENVIRONMENT, "TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_none_means_from_scratch() -> None:
    put(Path("none"))
    assert find_weights("none", "yolov5n") is None


def test_a_file_is_taken_as_it_is(bare: Path) -> None:
    file = put(bare / "elsewhere" / "mine.pt")
    assert find_weights(str(file), "yolov5n") == file


def test_the_places_are_searched_in_order(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, str(bare / "named"))
    home = put(bare / "home" / ".cache" / "mitoyolo" / "weights" / "yolov5n.pt")
    assert find_weights(None, "yolov5n") == home
    named = put(bare / "named" / "yolov5n.pt")
    assert find_weights(None, "yolov5n") == named
    below = put(Path("weights", "yolov5n.pt"))
    assert find_weights(None, "yolov5n") == below
    here = put(Path("yolov5n.pt"))
    assert find_weights(None, "yolov5n") == here
    assert find_weights("yolov5n", "yolov5n") == here


def test_weights_that_torchvision_fetched_are_found_last(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folders are those of torch.hub.get_dir."""
    caches = bare / "home" / ".cache"
    name = "resnet50-0676ba61.pth"
    found = put(caches / "torch" / "hub" / "checkpoints" / name)
    assert find_weights(None, "faster-rcnn") == find_weights(name, "yolov5n") == found
    better = put(caches / "mitoyolo" / "weights" / name)
    assert find_weights(None, "faster-rcnn") == better
    better.unlink()
    monkeypatch.setenv("XDG_CACHE_HOME", str(bare / "x"))
    assert find_weights(None, "faster-rcnn") is None
    found = put(bare / "x" / "torch" / "hub" / "checkpoints" / name)
    assert find_weights(None, "faster-rcnn") == found
    monkeypatch.setenv("TORCH_HOME", "~/t")
    found = put(bare / "home" / "t" / "hub" / "checkpoints" / name)
    assert find_weights(None, "faster-rcnn") == found
    assert get_dir() == str(found.parents[1].expanduser())


def test_the_first_of_a_models_weights_is_taken() -> None:
    put(Path("resnet50-0676ba61.pth"))
    detector = put(Path("fasterrcnn_resnet50_fpn_coco-258fb6c6.pth"))
    assert find_weights(None, "faster-rcnn") == detector


def test_what_was_asked_for_by_name_is_no_start_from_scratch() -> None:
    assert find_weights(None, "mitos-rcnn") is None
    with pytest.raises(InputError, match=r"^weights vgg16-397923af\.pth not found on this machine"):
        find_weights("vgg16-397923af.pth", "mitos-rcnn")


def test_the_current_form_comes_before_the_classic() -> None:
    put(Path("yolov5n.pt"))
    put(Path("yolov5nu.pt"))
    assert find_weights(None, "yolov5n") == Path("yolov5nu.pt")


@pytest.mark.parametrize("asked", [None, "yolov5n.pt", "yolov5n", "some/folder/yolov5n.pt"])
def test_absent_weights_are_one_line_that_says_where_to_put_them(asked: str | None) -> None:
    with pytest.raises(InputError) as caught:
        find_weights(asked, "yolov5n")
    text = str(caught.value)
    assert "yolov5n" in text
    assert str(Path(".cache", "mitoyolo", "weights")) in text
    assert ENVIRONMENT in text
    assert "--weights none" in text
    assert "\n" not in text


def test_no_name_at_all_is_a_wrong_call() -> None:
    with pytest.raises(OptionError, match=r"^--weights is empty; give a \.pt file, none"):
        find_weights("", "yolov5n")


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ("best.onnx", "a folder with an exported model, expected a .pt file; give the .pt it was"),
        ("weights/best.pt", "a folder, expected a .pt file; give a run's best.pt"),
    ],
)
def test_a_folder_is_told_from_a_file(inside: str, said: str) -> None:
    put(Path("runs", inside))
    for asked in ("runs", "./runs", str(Path("runs").absolute())):
        with pytest.raises(InputError) as caught:
            find_weights(asked, "yolov5n")
        assert str(caught.value).startswith(f"{Path(asked)}: {said}")


def test_a_folder_does_not_hide_weights_of_its_name() -> None:
    put(Path("yolov5n", "run.json"))
    file = put(Path("weights", "yolov5n.pt"))
    assert find_weights("yolov5n", "yolov5n") == file


def test_a_path_is_not_searched_by_its_last_part() -> None:
    put(Path("yolov5n.pt"))
    with pytest.raises(InputError):
        find_weights("absent/yolov5n.pt", "yolov5n")
