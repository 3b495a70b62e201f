"""Fields made in one line; distances along x in pixels, 1 µm/px unless said."""

from __future__ import annotations

import dataclasses

import numpy as np

from mitoyolo.evaluation.fields import Field


def field(truth=(), found=(), *, image="a", case="1", mpp=(1.0, 1.0), **rest):
    """``truth``: x or (x, y); ``found``: (x, score) or (x, y, score)."""
    centres = [(t, 0.0) if np.isscalar(t) else t for t in truth]
    return Field(
        image=image,
        case=case,
        mpp=mpp,
        truth=np.array(centres, dtype=float).reshape(-1, 2),
        detections=np.array(
            [(f[0], 0.0) if len(f) == 2 else f[:2] for f in found], dtype=float
        ).reshape(-1, 2),
        scores=np.array([f[-1] for f in found], dtype=float),
        **rest,
    )


def random_fields(rng, images=6, *, decimals=2, size=40):
    """Fields on a pixel grid with equal scores and distances, crowded if ``size`` is small."""
    return [
        field(
            [tuple(p) for p in rng.integers(0, size, (rng.integers(0, 8), 2))],
            [
                (*rng.integers(0, size, 2), rng.random().__round__(decimals))
                for _ in range(rng.integers(0, 14))
            ],
            image=f"i{number}",
            case=f"c{number % 3}",
        )
        for number in range(images)
    ]


def shuffled(fields, rng):
    """The same fields with images, truths and detections in another order."""
    out = []
    for place in rng.permutation(len(fields)):
        f = fields[place]
        t, d = rng.permutation(len(f.truth)), rng.permutation(len(f.scores))
        i, j = rng.permutation(len(f.imposters)), rng.permutation(len(f.imposter_scores))
        moved = dict(
            truth=f.truth[t],
            truth_sizes=None if f.truth_sizes is None else f.truth_sizes[t],
            detections=f.detections[d],
            detection_sizes=None if f.detection_sizes is None else f.detection_sizes[d],
            scores=f.scores[d],
            imposters=f.imposters[i],
            imposter_detections=f.imposter_detections[j],
            imposter_scores=f.imposter_scores[j],
        )
        out.append(dataclasses.replace(f, **moved))
    return out


def rich_fields(rng, images=6, *, decimals=2, size=40):
    """Random fields that also have box sizes and look-alikes, as every protocol needs."""
    fields = []
    for plain in random_fields(rng, images, decimals=decimals, size=size):
        others = rng.integers(0, 9)
        more = dict(
            truth_sizes=rng.integers(6, 20, plain.truth.shape),
            detection_sizes=rng.integers(6, 20, plain.detections.shape),
            imposters=rng.integers(0, size, (rng.integers(0, 9), 2)),
            imposter_detections=rng.integers(0, size, (others, 2)),
            imposter_scores=rng.random(others).round(decimals),
        )
        fields.append(dataclasses.replace(plain, **more))
    return fields
