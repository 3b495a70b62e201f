"""Exported models: what formats there are, and how each is run by its runtime.

An export is a folder of the model, in the layout that its family's exporter gives it, and the card
as ``mitoyolo.json``. Precision is float32 and the shape of the input is free in all of them, so
that a model finds what its ``.pt`` finds.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from converters.errors import InputError, MissingPackageError, OptionError
from converters.files import PART, read_json, write_json
from mitoyolo.detectors.base import Detector, torch_name
from mitoyolo.detectors.card import Card, card_from_dict
from mitoyolo.detectors.families import Family, family_of
from mitoyolo.extras import install
from mitoyolo.own_stderr import own_stderr

if TYPE_CHECKING:  # torch takes seconds to import
    from mitoyolo.detectors.checkpoint import Checkpoint

Network = Callable[[Any], Any]
"""A model as its runtime applies it: (n, 3, H, W) float32 RGB from 0 to 1 to its first output,
both torch's tensors."""

CARD_FILE = "mitoyolo.json"
"""The card beside the model; null for one exported from weights without a card."""


VERIFIER_FILE = "verifier.pt"
"""The verifier beside the model, where it has one: small, and run by torch in all formats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A kind of exported model.

    Attributes
    ----------
    suffix : str
        Of the file that a runtime opens.
    runs : tuple of str
        Modules without which it cannot be run.
    more : tuple of str
        Packages that bring them, where the extra `deploy` does not.
    open : callable
        From a file and a device, as torch names it, to a network.
    is_code : bool
        Whether opening a file of it runs what the file says.
    on : str
        `any` device, or only `cpu` or `gpu`.
    """

    suffix: str
    runs: tuple[str, ...]
    open: Callable[[Path, str], Network]
    more: tuple[str, ...] = ()
    is_code: bool = False
    on: str = "any"


# --- one runtime each -------------------------------------------------------------------------


def _open_openvino(file: Path, device: str) -> Network:
    no_telemetry()
    import openvino
    import torch

    # bfloat16, its own choice where the processor has it, moves scores past the threshold
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(file, "CPU", settings)
    return lambda images: torch.from_numpy(compiled(images.numpy())[0])


def no_telemetry() -> None:
    """Let OpenVINO fall back to its own silent stand-in, where it would report its use."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


def _open_onnx(file: Path, device: str) -> Network:
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what matters is raised
    where: Any = "CPUExecutionProvider"
    if device != "cpu":
        where = ("CUDAExecutionProvider", {"device_id": int(device.removeprefix("cuda:"))})
    with warnings.catch_warnings(action="ignore"):
        session = onnxruntime.InferenceSession(file, options, providers=[where])
    if device != "cpu" and "CUDAExecutionProvider" not in session.get_providers():
        raise OptionError(
            "--device: the installed onnxruntime runs on the CPU alone",
            fix="give --device cpu, or install onnxruntime-gpu in its place",
        )
    name = session.get_inputs()[0].name
    return lambda images: torch.from_numpy(session.run(None, {name: images.cpu().numpy()})[0])


def _open_torchscript(file: Path, device: str) -> Network:
    import torch

    with warnings.catch_warnings(action="ignore"):  # TorchScript is deprecated
        network: Network = torch.jit.load(str(file), map_location=device).eval()
    return network


def _open_engine(file: Path, device: str) -> Network:
    import torch

    from ultralytics.nn.backends.tensorrt import TensorRTBackend

    network: Network = TensorRTBackend(str(file), torch.device(device))
    return network


FORMATS = {
    "openvino": Format(suffix=".xml", runs=("openvino",), open=_open_openvino, on="cpu"),
    "onnx": Format(
        suffix=".onnx",
        runs=("onnxruntime",),
        open=_open_onnx,
    ),
    "torchscript": Format(suffix=".torchscript", runs=(), open=_open_torchscript, is_code=True),
    "engine": Format(
        suffix=".engine",
        runs=("tensorrt",),
        open=_open_engine,
        more=("tensorrt",),
        is_code=True,
        on="gpu",
    ),
}
"""The name, which is Ultralytics' own too, -> the format."""


def require(name: str, modules: Sequence[str]) -> None:
    """Refuse a format for which a module is missing.

    Raises
    ------
    MissingPackageError
        It names what to install.
    """
    lacking = [module for module in modules if find_spec(module) is None]
    if lacking:
        raise MissingPackageError(
            f"{name} needs {', '.join(lacking)}: {install('deploy', *FORMATS[name].more)}"
        )


def check_maker(name: str, exporter: Exporter) -> None:
    """Refuse a format that cannot be made here.

    Raises
    ------
    OptionError
        The family has no such format.
    InputError
        The format is for the GPU that it is made on, and there is none.
    MissingPackageError
        A module is missing.
    """
    if name not in exporter.makes:
        raise OptionError(
            f"--format {name}: these weights have no such form",
            fix=f"give one of {', '.join(exporter.makes)}",
        )
    if FORMATS[name].on == "gpu":
        import torch

        if not torch.cuda.is_available():
            raise InputError(
                f"--format {name} is made on the GPU that will run it, and there is none here",
                fix="export on that machine, or give another --format",
            )
    require(name, exporter.makes[name])


# --- a model opened ---------------------------------------------------------------------------


def format_of(file: Path) -> str | None:
    """The name of the format that a file's suffix stands for."""
    return next((name for name, kind in FORMATS.items() if kind.suffix == file.suffix), None)


def model_file(path: Path) -> Path:
    """The file that a runtime opens, in the folder of an export; any other path as it is.

    Raises
    ------
    InputError
        A folder with none, or with several.
    """
    if not path.is_dir():
        return path
    found = [file for file in sorted(path.iterdir()) if format_of(file)]
    if len(found) != 1:
        raise InputError(
            f"{len(found) or 'no'} exported models in this folder, expected one",
            file=path,
            fix="give a .pt file, or the folder that `mitoyolo export` printed",
        )
    return found[0]


class Exporter(Protocol):
    """What the module that a family names as ``exports`` holds.

    Attributes
    ----------
    makes : mapping
        The name of each format that it makes -> the modules that it needs for it.
    """

    makes: Mapping[str, tuple[str, ...]]

    def open_model(
        self, source: Checkpoint | Path, *, trust: bool = False
    ) -> tuple[Any, Card | None]:
        """The model of weights, ready to infer on the CPU, and its card."""
        ...

    def default_imgsz(self, card: Card | None) -> int:
        """Side in pixels to which tiles are resized where the call does not say."""
        ...

    def make(self, name: str, model: Any, file: Path, *, imgsz: int, batch: int) -> Path:
        """Export a model in the format ``name`` as ``file`` and its suffix; the path of what was
        made, a file or a folder of files."""
        ...

    def facts(self, file: Path, card: Card | None) -> tuple[tuple[str, ...], int]:
        """Class names and side of the input of an exported model."""
        ...

    def detector(
        self,
        network: Network,
        *,
        classes: tuple[str, ...],
        card: Card | None,
        imgsz: int,
        device: str,
    ) -> Detector:
        """An exported model, opened by its runtime, as a detector."""
        ...


def exporter_of(family: Family) -> Exporter:
    """The exporter of a family."""
    exporter: Any = import_module(family.exports)
    return exporter


def load(
    file: Path, *, device: str = "cpu", imgsz: int | None = None, trust: bool = False
) -> Detector:
    """An exported model as a detector, see :func:`mitoyolo.detectors.base.load_detector`."""
    name = format_of(file) or ""
    kind = FORMATS[name]
    if not file.is_file():
        raise InputError("no such exported model", file=file)
    if kind.on == ("gpu" if device == "cpu" else "cpu"):
        other = "a GPU's number" if device == "cpu" else "cpu"
        raise OptionError(f"--device {device}: {name} models do not run there", fix=f"give {other}")
    known, card = _card_beside(file)
    if kind.is_code and not (known or trust):
        raise InputError(
            f"a {kind.suffix} file is a program, and no {CARD_FILE} beside it says whose",
            file=file,
            fix="add --trust if you know where it is from, or export its .pt by `mitoyolo export`",
        )
    require(name, kind.runs)
    exporter = exporter_of(family_of(card.family if card else None, file))
    classes, side = exporter.facts(file, card)
    if card and card.classes != classes:
        raise InputError(
            f"names the classes {', '.join(card.classes)}, {file.name} {', '.join(classes)}",
            file=file.with_name(CARD_FILE),
            fix="export again: they are not of one model",
        )
    where = torch_name(device)
    try:
        with own_stderr():  # OpenVINO's readers of other formats complain there
            network = kind.open(file, where)
    except OptionError:
        raise
    except Exception as error:  # each runtime has its own kinds
        raise InputError(
            f"not a readable {name} model ({type(error).__name__})", file=file, fix="export again"
        ) from error
    return exporter.detector(
        network,
        classes=classes,
        card=card,
        imgsz=imgsz or (card.imgsz if card else side),
        device=where,
    )


def _card_beside(file: Path) -> tuple[bool, Card | None]:
    """Whether mitoyolo says that it made this model, and the model's card."""
    path = file.with_name(CARD_FILE)
    if not path.exists():
        return False, None
    values = read_json(path)
    if not isinstance(values, dict | None):
        raise InputError("expected a JSON object, the card of a model", file=path)
    return True, card_from_dict(values, path) if values is not None else None


# --- a model exported -------------------------------------------------------------------------


def write_export(
    exporter: Exporter,
    folder: Path,
    stem: str,
    name: str,
    model: Any,
    card: Card | None,
    *,
    imgsz: int,
    batch: int,
) -> None:
    """Export a model into ``folder``: the card and other files, and last ``stem`` + suffix.

    Parameters
    ----------
    model : object
        As ``exporter.open_model`` gives it.
    imgsz, batch : int
        The shape that it is traced with. A TensorRT engine takes up to twice the side and no
        larger batch; other formats take any.

    Raises
    ------
    EngineError
        torch, Ultralytics or the format's own tools gave up.
    """
    from mitoyolo.detectors.failures import foreseen

    no_telemetry()
    kind = FORMATS[name]
    with tempfile.TemporaryDirectory(prefix=PART, dir=folder) as temporary:
        with foreseen("give a smaller --imgsz"), _silence():
            made = exporter.make(name, model, Path(temporary) / stem, imgsz=imgsz, batch=batch)
        files = [made] if made.is_file() else sorted(made.iterdir())
        write_json(folder / CARD_FILE, card.to_dict() if card else None)
        for file in sorted(files, key=lambda file: file.suffix == kind.suffix):
            file.replace(folder / file.name)


@contextmanager
def _silence() -> Iterator[None]:
    """Nothing of what the exporters tell: stdout is for our result, errors are raised."""
    logging.disable()
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            Path(os.devnull).open("w") as nowhere,
            redirect_stdout(nowhere),
        ):
            yield
    finally:
        logging.disable(logging.NOTSET)
