"""Experiment trackers, MLflow and Weights & Biases: on when the user has set them up.

The callbacks are Ultralytics' own. Which of them a training gets is decided here, since Ultralytics
would also report to its own platform, and add whatever else happens to be installed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

from mitoyolo.progress import is_quiet, note


def asked_for(environment: Mapping[str, str]) -> list[str]:
    """The packages of the trackers that the environment variables set up.

    ``mlflow`` where ``MLFLOW_TRACKING_URI`` says where to; ``wandb`` where ``WANDB_API_KEY`` or
    ``WANDB_MODE`` is set, the latter not to `disabled`. An empty variable is not set.
    """
    found = []
    if environment.get("MLFLOW_TRACKING_URI"):
        found.append("mlflow")
    mode = environment.get("WANDB_MODE")
    if mode != "disabled" and (mode or environment.get("WANDB_API_KEY")):
        found.append("wandb")
    return found


_MODULES = {"mlflow": "mlflow", "wandb": "wb"}

_MANNERS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # neither reports to its makers
    "WANDB_ERROR_REPORTING": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # standard output is for results
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # else a lost server holds a training for minutes
}


def add_trackers(instance: Any) -> None:
    """Give a trainer of Ultralytics the trackers asked for; in place of its own function."""
    if "Trainer" not in type(instance).__name__:
        return
    for package in asked_for(os.environ):
        if not _installed(package):
            note(f"not tracked by {package}, which is not installed")
            continue
        for name, value in _MANNERS.items():
            os.environ.setdefault(name, value)
        if is_quiet():
            os.environ["WANDB_SILENT"] = "true"
        module: Any = import_module(f"ultralytics.utils.callbacks.{_MODULES[package]}")
        module.LOGGER = _logger()
        for event, callback in forgiving(package, module.callbacks).items():
            instance.add_callback(event, callback)


def _installed(package: str) -> bool:
    spec = find_spec(package)
    return spec is not None and spec.origin is not None  # else a mere folder of that name


def forgiving(
    name: str, callbacks: Mapping[str, Callable[[Any], None]]
) -> dict[str, Callable[[Any], None]]:
    """The same callbacks; the first that fails ends the tracking, not the training."""
    failed = False

    def forgive(callback: Callable[[Any], None]) -> Callable[[Any], None]:
        def call(trainer: Any) -> None:
            nonlocal failed
            if failed:
                return
            try:
                callback(trainer)
            except Exception as error:
                failed = True
                why = (str(error).splitlines() or [type(error).__name__])[0]
                note(f"{name} failed, so the training goes on untracked ({why})")

        return call

    return {event: forgive(callback) for event, callback in callbacks.items()}


def _logger() -> Any:
    """In place of Ultralytics' logger, of which we show errors alone."""
    from ultralytics.utils import remove_colorstr

    def warning(text: str) -> None:
        note(remove_colorstr(text).splitlines()[0])

    return SimpleNamespace(debug=_ignore, info=_ignore, warning=warning)


def _ignore(text: str) -> None:
    pass
