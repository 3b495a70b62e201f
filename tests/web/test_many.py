"""More requests at once than connections to the database."""

from __future__ import annotations

import asyncio

import httpx
from fastapi.testclient import TestClient

from mitoyolo.web.database import CONNECTIONS
from web.conftest import BOTH, HOST, Workbench

pytestmark = BOTH


def test_many_at_once_wait_their_turn(workbench: Workbench, admin: TestClient) -> None:
    """They had waited for each other: some for a thread, the others for a connection."""

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(workbench.app)
        cookies = dict(admin.cookies)
        async with httpx.AsyncClient(transport=transport, base_url=HOST, cookies=cookies) as client:
            asked = (client.get("/api/slides") for _ in range(4 * CONNECTIONS))
            return await asyncio.wait_for(asyncio.gather(*asked), 25)

    assert [answer.status_code for answer in asyncio.run(ask())] == [200] * 4 * CONNECTIONS
