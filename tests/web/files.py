"""Files to upload, and how."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import cv2
from fastapi.testclient import TestClient
from httpx import Response
from slides_rendered import textured

from web.marks import ok


def png(width: int = 64, height: int = 48, seed: int = 0, suffix: str = ".png") -> bytes:
    """A colour picture."""
    done, data = cv2.imencode(suffix, textured(width, height, seed))
    assert done
    return data.tobytes()


def packed(members: dict[str | zipfile.ZipInfo, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


def begin(client: TestClient, name: str, size: int) -> str:
    """Announce a file; its id."""
    key: str = ok(client.post("/api/uploads", json={"name": name, "size": size}))["id"]
    return key


def send(client: TestClient, key: str, data: bytes, part: int) -> None:
    """All of it, in parts."""
    for offset in range(0, len(data), part):
        piece = data[offset : offset + part]
        answer = client.put(f"/api/uploads/{key}?offset={offset}", content=piece)
        assert ok(answer) == {"offset": offset + len(piece)}


def upload(
    client: TestClient, name: str, data: bytes | Path, slide_name: str = "T1", **more: Any
) -> Response:
    """A file, from its announcement to what becomes of it."""
    data = data.read_bytes() if isinstance(data, Path) else data
    begun = ok(client.post("/api/uploads", json={"name": name, "size": len(data)}))
    send(client, begun["id"], data, begun["part_size"])
    return client.post(
        f"/api/uploads/{begun['id']}/finish", json={"slide_name": slide_name, **more}
    )
