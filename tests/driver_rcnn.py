"""As :mod:`driver`, for two-stage models, narrow ones: ``python -m driver_rcnn train ...``.

The environment says what happens:

DRIVE
    `PLACE EPOCH RANK ACTION`, as there.
SCORES
    F1 of each epoch, with commas, instead of the real ones.
RECORD
    A folder for losses and gradients of the first steps, computed in double precision, and for the
    buffers that each process validates with and what all of them found.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from driver import ACTIONS, STEPS, before, main, place_of, scores_of


def drive(place: str, epoch: int, rank: int, action: str) -> None:
    """Arrange for ``action`` in the process ``rank``."""
    from mitoyolo import train
    from mitoyolo.detectors import rcnn_train
    from mitoyolo.detectors.rcnn_train import RcnnTrainer
    from mitoyolo.distributed import restarts, this_process

    if this_process().rank != rank or restarts():
        return
    finished = [0]

    def at(wanted: bool, number: int) -> None:
        if wanted and number == epoch:
            ACTIONS[action]()

    before(RcnnTrainer, "_keep", lambda trainer, *_: finished.__setitem__(0, trainer._epoch))
    if place == "step":  # the second one of an epoch
        before(
            RcnnTrainer,
            "step",
            lambda trainer, images, targets, step: at(
                step % len(trainer._loader) == 1, trainer._epoch + 1
            ),
        )
    elif place == "state":  # written, not yet renamed
        before(Path, "replace", lambda part, path: at(path.name == "state.pt", finished[0]))
    elif place == "weights":  # the state stands, they are the last epoch's
        before(RcnnTrainer, "_write_weights", lambda trainer: at(bool(finished[0]), trainer._epoch))
    elif place == "cards":  # of best.pt is written, of last.pt not
        before(rcnn_train, "finish", lambda path, *_: at(path.name == "last.pt", finished[0]))
    elif place == "end":
        before(train, "_conclude", lambda *_: at(True, finished[0]))
    else:
        raise ValueError(place)


def script(scores: list[float]) -> None:
    """Give the epochs these F1."""
    from dataclasses import replace

    from mitoyolo.detectors.rcnn_train import RcnnTrainer

    validate = RcnnTrainer._validate

    def scripted(trainer: Any) -> Any:
        score = validate(trainer)
        return score and replace(score, f1=scores[trainer._epoch - 1])

    RcnnTrainer._validate = scripted  # type: ignore[method-assign]


def record(folder: Path) -> None:
    """Write what each process computes, and train in double precision.

    Gradients are those that the optimizer sees: averaged over the processes.
    """
    import torch
    from torchvision.models.detection.rpn import RegionProposalNetwork

    from mitoyolo.detectors import rcnn_train
    from mitoyolo.detectors.rcnn_train import RcnnTrainer
    from mitoyolo.distributed import this_process

    folder.mkdir(exist_ok=True)
    rank = this_process().rank
    begin, take_step, validate = rcnn_train._network, RcnnTrainer.step, RcnnTrainer._validate
    assign = RegionProposalNetwork.assign_targets_to_anchors

    def begin_double(*given: Any) -> Any:
        network, architecture = begin(*given)
        network.double().register_forward_pre_hook(in_double)
        return network, architecture

    def in_double(network: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
        images, *targets = given
        return [image.double() for image in images], *targets

    def step_and_keep(trainer: Any, images: Any, targets: Any, step: int) -> Any:
        losses = take_step(trainer, images, targets, step)
        if step < STEPS:
            gradients = {
                name: parameter.grad.clone()
                for name, parameter in trainer._network.named_parameters()
                if parameter.grad is not None
            }
            found = {"tiles": len(images), "losses": losses, "gradients": gradients}
            torch.save(found, folder / f"step-{step}-{rank}.pt")
        return losses

    def validate_and_keep(trainer: Any) -> Any:
        score = validate(trainer)
        torch.save(dict(trainer._network.named_buffers()), folder / f"buffers-{rank}.pt")
        return score

    def keep_found(dataset: Any, protocol: Any, found: dict[str, Any]) -> None:
        rows = {tile: torch.tensor(detections) for tile, detections in found.items()}
        torch.save(rows, folder / "found.pt")

    def assign_in_double(*given: Any) -> Any:
        labels, boxes = assign(*given)
        return [one.double() for one in labels], boxes

    before(rcnn_train, "score_tiles", keep_found)
    RegionProposalNetwork.assign_targets_to_anchors = assign_in_double  # type: ignore[method-assign]
    rcnn_train._network = begin_double
    RcnnTrainer.step = step_and_keep  # type: ignore[method-assign]
    RcnnTrainer._validate = validate_and_keep  # type: ignore[method-assign]


if __name__ == "__main__":
    from narrow import make_narrow

    make_narrow(pytest.MonkeyPatch())
    main(
        "driver_rcnn",
        {
            "DRIVE": lambda text: drive(*place_of(text)),
            "SCORES": lambda text: script(scores_of(text)),
            "RECORD": lambda text: record(Path(text)),
        },
    )
