"""Detections as the organisers of a challenge want them, below ``submission/NAME/``.

Source: the pages "Evaluation Metrics" of MITOS-ATYPIA-14 and "Submission format" of TUPAC16 (both
grand-challenge.org); MIDOG's reference container (DeepMicroscopy/MIDOG25_T1_reference_docker).
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from converters import midog
from converters.errors import InputError, OptionError
from converters.files import write_text
from converters.mpp import Mpp
from converters.pictures import stem
from mitoyolo.inference.merge import Detections
from mitoyolo.inference.predictions import CHALLENGE_MM
from mitoyolo.progress import note

FOLDER = "submission"


def submission_paths(name: str, out: Path, sources: Sequence[str]) -> dict[str, Path]:
    """Where each image's file of a submission goes; asked for before the work, it finds what the
    challenge could not take.

    Parameters
    ----------
    name : str
        One of :data:`SUBMISSIONS`.
    out : Path
        The folder that ``submission/`` lies in.
    sources : sequence of str
        The images as the tables call them: their paths below the folder that was given.

    Raises
    ------
    OptionError
        There is no such submission.
    InputError
        An image is not named as the challenge's are, or two would have one file.
    """
    if name not in SUBMISSIONS:
        raise OptionError(f"--submission {name!r}: expected {', '.join(SUBMISSIONS)}")
    paths: dict[str, Path] = {}
    taken: dict[Path, str] = {}
    for source in sources:
        path = paths[source] = out / FOLDER / name / SUBMISSIONS[name].file_of(source)
        other = taken.setdefault(path, source)
        if other != source:
            raise InputError(
                f"its file {path.relative_to(out)} would be that of {other} too",
                file=source,
                fix="give the challenge's images alone, each once",
            )
    return paths


def write_submission(
    name: str,
    out: Path,
    of_source: Mapping[str, tuple[Detections, Mpp]],
    classes: Sequence[str],
    threshold: float = 0.0,
) -> list[Path]:
    """Write what a challenge's organisers take.

    Parameters
    ----------
    name, out
        As in :func:`submission_paths`.
    of_source : mapping
        Image -> its detections and µm/px. Mitoses alone are handed in.
    classes : sequence of str
        By class number.
    threshold : float
        The least score of a mitosis. MIDOG takes the others too, named for what they are.

    Returns
    -------
    list of Path
        A file an image, each whole; an image without mitoses has one too.

    Raises
    ------
    OptionError, InputError
        As :func:`submission_paths`.
    """
    paths = submission_paths(name, out, list(of_source))
    shutil.rmtree(out / FOLDER / name, ignore_errors=True)  # of images that are gone
    for source, (found, mpp) in of_source.items():
        mitoses = found[found[:, 5] == classes.index("mitosis")]
        write_text(paths[source], SUBMISSIONS[name].text(source, mitoses, mpp, threshold))
    return list(paths.values())


@dataclass(frozen=True, slots=True)
class Submission:
    """What a challenge takes.

    Attributes
    ----------
    summary : str
        The layout in one line.
    file_of : callable
        Image -> its file below ``submission/``.
    text : callable
        Image, mitoses of any score, µm/px and threshold -> what the file says.
    """

    summary: str
    file_of: Callable[[str], str]
    text: Callable[[str, Detections, Mpp, float], str]


def _atypia14(source: str, mitoses: Detections, mpp: Mpp, threshold: float) -> str:
    return "".join(
        f"{round(x)},{round(y)},{score:.6f}\n"
        for x, y, _, _, score, _ in mitoses.tolist()
        if score >= threshold
    )


def _tupac16(source: str, mitoses: Detections, mpp: Mpp, threshold: float) -> str:
    # a third column, of confidence, would take all rows for candidates
    return "".join(
        f"{round(y)},{round(x)}\n"
        for x, y, _, _, score, _ in mitoses.tolist()
        if score >= threshold
    )


def _midog(source: str, mitoses: Detections, mpp: Mpp, threshold: float) -> str:
    points = [
        (x, y, score, "mitosis" if score >= threshold else "imposter")
        for x, y, _, _, score, _ in mitoses.tolist()
    ]
    document = midog.document(points, mpp)
    far = sum(max(point["point"]) > CHALLENGE_MM for point in document["points"])
    if far:
        note(
            f"warning: {source}: {far} of {len(points)} points lie beyond {CHALLENGE_MM:g} mm, "
            "which the MIDOG challenge refuses as pixels; check --mpp"
        )
    return json.dumps(document, indent=4) + "\n"


def _frame(source: str) -> str:
    return stem(PurePosixPath(source).name)


def _case_frame(source: str) -> str:
    """`05/01.csv` of `mitoses-test-image-data/05/01.tif`."""
    *_, case, frame = ("", *PurePosixPath(source).parts[-2:])
    if not (_NUMBER.fullmatch(case) and _NUMBER.fullmatch(stem(frame))):
        raise InputError(
            "not CASE/FRAME.tif, such as 05/01.tif, as which TUPAC16 knows its images",
            file=source,
            fix="give detect the folder that holds the cases' folders",
        )
    return f"{case}/{stem(frame)}.csv"


_NUMBER = re.compile(r"[0-9]{1,6}")

SUBMISSIONS: dict[str, Submission] = {
    "atypia14": Submission(
        "MITOS-ATYPIA-14: FRAME.csv, rows x,y,score in px",
        lambda source: f"{_frame(source)}.csv",
        _atypia14,
    ),
    "tupac16": Submission(
        "TUPAC16, task 3: CASE/FRAME.csv, rows row,col in px", _case_frame, _tupac16
    ),
    "midog": Submission(
        "MIDOG: NAME/mitotic-figures.json, points in mm, as the container of one image writes it",
        lambda source: f"{_frame(source)}/mitotic-figures.json",
        _midog,
    ),
}
"""Every challenge by name; adding one is two functions and an entry."""
