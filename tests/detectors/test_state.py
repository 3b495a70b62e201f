"""The state of a training: what is written is read, and what is damaged is one line."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from converters.errors import InputError
from mitoyolo.detectors import state as module
from mitoyolo.detectors.state import (
    VERSION,
    random_states,
    read_state,
    set_random_states,
    write_state,
)
from mitoyolo.detectors.training import STATE


def draws() -> list[float]:
    """Some numbers of each generator; an odd count of Gaussians leaves one in store."""
    return [
        random.random(), random.gauss(), *np.random.random(3), np.random.standard_normal(),
        *torch.rand(2).tolist(), torch.randn(1).item(),
    ]  # fmt: skip


def test_every_generator_goes_on_where_it_was(tmp_path: Path) -> None:
    draws()
    write_state(tmp_path, {"random": random_states()})
    first = draws()
    assert draws() != first
    state = read_state(tmp_path)
    assert state is not None
    set_random_states(state["random"])
    again = draws()
    assert again == first


def test_the_state_holds_plain_types_and_tensors(tmp_path: Path) -> None:
    given = {"epoch": 3, "model": {"w": torch.arange(4.0)}, "best": None, "random": random_states()}
    write_state(tmp_path, given)
    content = torch.load(tmp_path / STATE, weights_only=True)  # runs no code
    assert content["version"] == VERSION
    found = read_state(tmp_path)
    assert found is not None
    assert (found["epoch"], found["best"]) == (3, None)
    assert torch.equal(found["model"]["w"], given["model"]["w"])
    assert found["model"]["w"].dtype == torch.float32


def test_no_state_is_none(tmp_path: Path) -> None:
    assert read_state(tmp_path) is None


def test_a_disk_that_fills_up_keeps_the_older_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_state(tmp_path, {"epoch": 1})

    def fail(*given: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", fail)
        patch.setattr(Path, "replace", fail)
        with pytest.raises(OSError, match="No space"):
            write_state(tmp_path, {"epoch": 2})
    found = read_state(tmp_path)
    assert found is not None
    assert found["epoch"] == 1
    assert [path.name for path in (tmp_path / STATE).parent.iterdir()] == [STATE.name]


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_cut_file_is_one_line(tmp_path: Path, cut: int) -> None:
    write_state(tmp_path, {"epoch": 1, "model": torch.rand(50)})
    path = tmp_path / STATE
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"not a readable state.*--overwrite") as caught:
        read_state(tmp_path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


class Code:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("executed"),))


@pytest.mark.parametrize(
    "content", [[1, 2], {"epoch": 1}, Code(), {"version": VERSION, "model": Code()}, "text"]
)
def test_another_file_is_one_line_and_no_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / STATE
    path.parent.mkdir()
    torch.save(content, path)
    with pytest.raises(InputError, match=r"not a readable state.*--overwrite"):
        read_state(tmp_path)
    assert not Path("executed").exists()


def test_another_version_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(module, "VERSION", VERSION + 1)
        write_state(tmp_path, {"epoch": 1})
    said = rf"a state of version {VERSION + 1}, expected {VERSION}.*--overwrite"
    with pytest.raises(InputError, match=said):
        read_state(tmp_path)
