"""The µm-aware scorer: fields of truths and detections in, counts, curves and metrics out.

It knows points, scores and µm/px; no model, no torch. ``plots`` is imported by name only, since it
brings matplotlib.
"""

from mitoyolo.evaluation.bootstrap import f1_interval
from mitoyolo.evaluation.curves import (
    Froc,
    PrecisionRecall,
    average_precision,
    froc,
    froc_auc,
    precision_recall_curve,
)
from mitoyolo.evaluation.fields import Field, check_fields
from mitoyolo.evaluation.matching import assign
from mitoyolo.evaluation.metrics import Counts, count, evaluate
from mitoyolo.evaluation.protocols import PROTOCOLS, Protocol, get_protocol
from mitoyolo.evaluation.tally import Tally
from mitoyolo.evaluation.threshold import choose_threshold

__all__ = [
    "PROTOCOLS",
    "Counts",
    "Field",
    "Froc",
    "PrecisionRecall",
    "Protocol",
    "Tally",
    "assign",
    "average_precision",
    "check_fields",
    "choose_threshold",
    "count",
    "evaluate",
    "f1_interval",
    "froc",
    "froc_auc",
    "get_protocol",
    "precision_recall_curve",
]
