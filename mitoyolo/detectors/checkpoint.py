"""Checkpoints read without running code from them.

A ``.pt`` file is a pickle, and unpickling runs what the file says. Here only tensors are rebuilt;
every class or function that the file names becomes an inert object that keeps its attributes, so
that a pickled module (a classic YOLOv5 or an Ultralytics model) can be walked for its parameters,
its class names and its architecture.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from converters.errors import InputError
from converters.files import write_bytes
from mitoyolo.detectors.card import CARD_KEY, VERIFIER_KEY
from mitoyolo.detectors.weights import check_checkpoint


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a weights file holds.

    Attributes
    ----------
    path : Path
    tensors : dict
        Parameters and buffers by name, float32 on the CPU.
    architecture : dict or None
        The model's YAML as Ultralytics keeps it, or the file's own dict ``architecture``, where
        it has one.
    names : tuple of str
        Class names, empty where the file has none.
    card : dict or None
        Our own dict of plain types, see ``docs/weights.md``; None for weights trained elsewhere.
    verifier : dict or None
        The tensors of its verifier, where it has one.
    """

    path: Path
    tensors: dict[str, torch.Tensor]
    architecture: dict[str, Any] | None
    names: tuple[str, ...]
    card: dict[str, Any] | None
    verifier: dict[str, torch.Tensor] | None = None


class _Inert:
    """Stands for any object of the file: keeps attributes and items, does nothing."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Inert:
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> _Inert:
        return self

    def append(self, item: Any) -> None:
        """Accept an item of a pickled list subclass."""

    def extend(self, items: Any) -> None:
        """Accept items of a pickled list subclass."""


_ALLOWED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("torch", "Size"): torch.Size,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,  # as pickle protocol 2 spells it
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ALLOWED:
            return _ALLOWED[module, name]
        if module == "torch" and name.endswith("Storage"):
            return getattr(torch, name)
        if module == "torch.storage" and name in ("UntypedStorage", "TypedStorage"):
            return getattr(torch.storage, name)
        return type(name, (_Inert,), {"__module__": module})


_INERT_PICKLE = ModuleType("mitoyolo_inert_pickle")
_INERT_PICKLE.Unpickler = _Unpickler  # type: ignore[attr-defined]
_INERT_PICKLE.load = lambda file, **kwargs: _Unpickler(file, **kwargs).load()  # type: ignore[attr-defined]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a ``.pt`` file: ours, Ultralytics', classic YOLOv5's, or a plain state dict.

    Raises
    ------
    InputError
        The file is missing, is no checkpoint, is cut off, holds no tensors, or is the state of a
        training.
    """
    check_checkpoint(path)
    _refuse_program(path)
    try:
        content = torch.load(
            path, map_location="cpu", pickle_module=_INERT_PICKLE, weights_only=False
        )
    except Exception as error:  # torch raises many kinds for damaged files
        raise InputError(
            f"not a readable checkpoint ({type(error).__name__})",
            file=path,
            fix="copy or train it again",
        ) from None
    outer = content if isinstance(content, dict) else {}
    if outer.keys() >= {"version", "stop", "optimizer"}:
        raise InputError(
            "the state of a training, for --resume alone", file=path, fix="give its run's best.pt"
        )
    model = outer.get("ema") or outer.get("model") or content
    tensors = {name: value.float() for name, value in _state(model).items()}
    if not tensors:
        raise InputError("holds no tensors", file=path, fix="give a model's weights")
    architecture = getattr(model, "yaml", outer.get("architecture"))
    card, verifier = outer.get(CARD_KEY), outer.get(VERIFIER_KEY)
    return Checkpoint(
        path=path,
        tensors=tensors,
        architecture=architecture if isinstance(architecture, dict) else None,
        names=class_names(getattr(model, "names", None)),
        card=card if isinstance(card, dict) else None,
        verifier=_state(verifier) if isinstance(verifier, dict) else None,
    )


def write_checkpoint(path: Path, content: Any) -> None:
    """Write what :func:`torch.save` takes, whole or not at all.

    Raises
    ------
    OSError
        The disk is full; what stood there stays.
    """
    buffer = BytesIO()  # torch.save to a full disk hides that it is full
    torch.save(content, buffer)
    write_bytes(path, buffer.getvalue())


def _refuse_program(path: Path) -> None:
    """Refuse a TorchScript archive, which ``torch.load`` would run whatever its name."""
    try:
        records = torch._C.PyTorchFileReader(str(path)).get_all_records()  # as torch.load looks
    except RuntimeError:  # no such archive: not this kind
        return
    if "constants.pkl" in records:
        raise InputError(
            "a TorchScript archive, expected a checkpoint",
            file=path,
            fix="give the .pt it was exported from",
        )


def _state(model: Any) -> dict[str, torch.Tensor]:
    """The state dict of a pickled module, or of a file that is one."""
    if isinstance(model, dict):
        return {k: v for k, v in model.items() if isinstance(v, torch.Tensor)}
    return dict(_walk(model, ""))


def _walk(module: Any, prefix: str) -> list[tuple[str, torch.Tensor]]:
    found = []
    volatile = getattr(module, "_non_persistent_buffers_set", None) or ()
    for group in ("_parameters", "_buffers"):
        for name, value in (getattr(module, group, None) or {}).items():
            if isinstance(value, torch.Tensor) and name not in volatile:
                found.append((prefix + name, value.detach()))
    for name, child in (getattr(module, "_modules", None) or {}).items():
        found += _walk(child, f"{prefix}{name}.")
    return found


def class_names(names: Any) -> tuple[str, ...]:
    """Class names in their order, from a list or a dict by number; empty for anything else."""
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names)]
    return tuple(str(name) for name in names) if isinstance(names, list | tuple) else ()
