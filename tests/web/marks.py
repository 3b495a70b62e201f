"""Marks as the page sends them, and a tile to put them on."""

from __future__ import annotations

from itertools import count
from typing import Any

from fastapi.testclient import TestClient
from httpx import Response

_numbers = count(1)


def mark(
    x: float = 20, y: float = 30, label: str = "mitosis", kind: str = "ellipse", **more: Any
) -> dict[str, Any]:
    """An element of its own id."""
    shape = {} if kind == "point" else {"width": 12.0, "height": 8.0, "rotation": 0.0}
    return {
        "type": kind,
        "id": f"{next(_numbers):024x}",
        "center": [x, y, 0],
        **shape,
        "label": {"value": label},
        **more,
    }


def put(
    client: TestClient, tile: int, *elements: Any, version: int = 0, done: bool = True, **query: str
) -> Response:
    """Save marks."""
    body = {"version": version, "done": done, "elements": list(elements)}
    return client.put(f"/api/tiles/{tile}/annotations", json=body, params=query)


def batch_of(admin: TestClient, slide: str) -> int:
    """The slide's first batch."""
    number: int = ok(admin.get(f"/api/slides/{slide}"))["batches"][0]["id"]
    return number


def tiles_of(admin: TestClient, slide: str) -> list[int]:
    """Ids of the tiles of its first batch."""
    batch = ok(admin.get(f"/api/batches/{batch_of(admin, slide)}"))
    return [tile["id"] for tile in batch["tiles"]]


def assign(admin: TestClient, slide: str, reader: TestClient) -> int:
    """Give the slide's first batch to a reader; the assignment's id."""
    user = ok(reader.get("/api/me"))["id"]
    path = f"/api/batches/{batch_of(admin, slide)}/assignments"
    number: int = ok(admin.post(path, json={"user_id": user}))["id"]
    return number


def ok(answer: Response) -> Any:
    """What it says; it went well."""
    assert answer.status_code < 300, answer.text
    return answer.json()


def refused(answer: Response, status: int, *words: str) -> dict[str, Any]:
    """What it says; it was refused in one line with these words."""
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    assert isinstance(body["detail"], str)
    assert "\n" not in body["detail"]
    for word in words:
        assert word in body["detail"], body["detail"]
    return body
