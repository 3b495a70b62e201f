"""The optional parts of this installation: which modules each needs, and how it is installed."""

from __future__ import annotations

EXTRAS = {
    "staintools": ("staintools", "spams"),
    "deploy": ("onnx", "onnxruntime", "openvino"),
    "web": ("fastapi", "uvicorn", "sqlalchemy", "alembic", "argon2"),
    "postgresql": ("psycopg",),
}


def install(extra: str, *packages: str) -> str:
    """What to type for an extra and for packages beside it.

    Examples
    --------
    >>> install("deploy", "tensorrt")
    "pip install '.[deploy]' tensorrt in mitoyolo's folder"
    """
    return " ".join(["pip install", f"'.[{extra}]'", *packages, "in mitoyolo's folder"])
