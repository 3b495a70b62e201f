"""How fast detections are counted, beside grand-challenge-metrics, on one core.

    OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/evaluate.py [--images 1000] [--truths 100]
        [--detections 300] [--frame 2000] [--thresholds 100] [--repeats 5]

Prints tables in Markdown. Images are rendered as points, with a seed: truths anywhere in a square
frame of ``--frame`` px at 0.25 µm/px, half of the detections around truths, half anywhere, scores
at random; so a smaller frame is a more crowded one. What is compared runs in turns in one process,
the median counts. grand-challenge-metrics is given NumPy arrays in µm, an image at a time, and for
thresholds the rows that reach them.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from statistics import median

import numpy as np
from grand_challenge_metrics.scorers import score_detection

from mitoyolo.evaluation import PROTOCOLS, Field, choose_threshold, f1_interval
from mitoyolo.evaluation.curves import rank

MPP = 0.25
BOX = 50.0  # px
THRESHOLD = 0.3
NEAR = 12.0  # px, how far detections scatter around their truth
MIDOG = PROTOCOLS["midog"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--truths", type=int, default=100, help="an image")
    parser.add_argument("--detections", type=int, default=300, help="an image")
    parser.add_argument("--frame", type=float, default=2000.0, help="side in px")
    parser.add_argument("--thresholds", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    fields = _fields(options.images, options.truths, options.detections, options.frame)
    arrays = [(f.truth * MPP, f.detections * MPP, f.scores) for f in fields]
    cuts = np.linspace(0, 1, options.thresholds, endpoint=False)
    cases = [field.case for field in fields]
    counts = PROTOCOLS["centroid"].match(fields, THRESHOLD)
    print(
        f"{options.images:,} images, {options.images * options.truths:,} truths, "
        f"{options.images * options.detections:,} detections; numpy {np.__version__}, "
        f"scipy {version('scipy')}, grand-challenge-metrics {version('grand-challenge-metrics')}\n"
    )

    tasks: dict[str, Callable[[], object]] = {
        name: lambda rule=rule: rule.match(fields, THRESHOLD) for name, rule in PROTOCOLS.items()
    }
    tasks["grand-challenge-metrics"] = lambda: _package(arrays, THRESHOLD)
    tasks["threshold of midog chosen"] = lambda: choose_threshold(fields, MIDOG)
    tasks["AP and FROC ranked, centroid"] = lambda: rank(fields, PROTOCOLS["centroid"])
    tasks["bootstrap of 1,000 draws"] = lambda: f1_interval(counts, cases, 0)
    seconds = _in_turns(tasks, options.repeats)
    print("| counted once | s |\n|---|---|")
    for name, spent in seconds.items():
        print(f"| {name} | {spent:.3f} |")

    many: dict[str, Callable[[], object]] = {
        "midog": lambda: _f1_at(fields, cuts),
        "grand-challenge-metrics": lambda: [_f1(_package(arrays, cut)) for cut in cuts],
    }
    again = _in_turns(many, 1)
    print(f"\n| midog, F1 at {len(cuts)} thresholds | s |\n|---|---|")
    for name, spent in again.items():
        print(f"| {name} | {spent:.3f} |")

    package = seconds["grand-challenge-metrics"]
    print("\n| ratio | |\n|---|---|")
    print(f"| grand-challenge-metrics / midog, once | {package / seconds['midog']:.1f} |")
    spent = again["grand-challenge-metrics"] / again["midog"]
    print(f"| grand-challenge-metrics / midog, {len(cuts)} thresholds | {spent:.0f} |")
    share = seconds["bootstrap of 1,000 draws"] / seconds["centroid"]
    print(f"| bootstrap / centroid | {share:.2f} |")


def _fields(images: int, truths: int, detections: int, frame: float) -> list[Field]:
    rng = np.random.default_rng(0)
    fields = []
    for number in range(images):
        truth = rng.uniform(0, frame, (truths, 2))
        around = truth[rng.integers(0, truths, detections // 2)] if truths else truth
        around = around + rng.normal(0, NEAR, around.shape)
        found = np.concatenate([around, rng.uniform(0, frame, (detections - len(around), 2))])
        imposters = rng.uniform(0, frame, (truths, 2))
        fields.append(
            Field(
                image=f"{number}",
                case=f"{number // 10}",
                mpp=(MPP, MPP),
                truth=truth,
                detections=found,
                scores=rng.random(len(found)),
                truth_sizes=np.full(truth.shape, BOX),
                detection_sizes=np.full(found.shape, BOX),
                imposters=imposters,
                imposter_detections=imposters,
                imposter_scores=rng.random(len(imposters)),
            )
        )
    return fields


def _package(
    arrays: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], threshold: float
) -> tuple[int, int, int]:
    tp = fp = fn = 0
    for truth, found, scores in arrays:
        score = score_detection(
            ground_truth=truth, predictions=found[scores >= threshold], radius=MIDOG.limit
        )
        tp += score.true_positives
        fp += score.false_positives
        fn += score.false_negatives
    return tp, fp, fn


def _f1(counts: tuple[int, int, int]) -> float:
    tp, fp, fn = counts
    return 2 * tp / (2 * tp + fp + fn)


def _f1_at(fields: Sequence[Field], cuts: np.ndarray) -> list[float]:
    counts = MIDOG.tally(fields)
    return [_f1(tuple(counts.at(cut).sum(axis=0).tolist())) for cut in cuts]


def _in_turns(tasks: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each task."""
    spent: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            spent[name].append(time.perf_counter() - start)
    return {name: median(times) for name, times in spent.items()}


if __name__ == "__main__":
    main()
