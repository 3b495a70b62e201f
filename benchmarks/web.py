"""How fast `mitoyolo serve` shows a slide to many at once and saves marks, and its memory.

    python benchmarks/web.py [--side 40000] [--viewers 20] [--saves 10000] [--minutes 10]

A real server in a process of its own, on a rendered slide that is uploaded to it. The viewers are
another process: each looks at a screen of tiles at a random place and zoom, asks for those that it
has not seen, six at a time as browsers do, and moves on after `--pause` seconds, or as soon as it
can (flat out). Cold: nobody has seen these places before; warm: the same views again, by viewers
that have seen nothing.

Saving: `--saves` revisions of one to twenty ellipses, by `--writers` at a time, each acknowledged
when it is on disk. Memory: the server's resident set, while viewers look at ever new places.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any

import httpx

from mitoyolo.demo.slide import render_slide
from mitoyolo.web.deepzoom import TILE, Pyramid

SCREEN = (1280, 800)  # px
AT_ONCE = 6  # requests of a browser to one server
VIEWS = 8  # screens that a viewer looks at in a pass
PASSWORD = "measured, not guessed"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--side", type=int, default=40_000)
    parser.add_argument("--viewers", type=int, default=20)
    parser.add_argument("--pause", type=float, default=1.0)
    parser.add_argument("--saves", type=int, default=10_000)
    parser.add_argument("--writers", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--work", type=Path, help="folder for the slide, kept")
    asked = parser.parse_args()
    print(f"{os.cpu_count()} CPUs; " + ", ".join(
        f"{name} {version(name)}" for name in ("mitoyolo", "fastapi", "uvicorn", "sqlalchemy")
    ))  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        work = asked.work or Path(temporary)
        work.mkdir(exist_ok=True)
        slide = work / f"{asked.side}.tif"
        if not slide.exists():
            begun = time.perf_counter()
            render_slide(slide, width=asked.side, height=asked.side)
            print(f"rendered {slide.name}: {time.perf_counter() - begun:.0f} s")
        folder = Path(temporary) / "workbench"
        with serving(folder) as server:
            asyncio.run(measure(server, slide, asked))


@dataclass
class Server:
    """A running server and what an admin needs."""

    process: subprocess.Popen[str]
    folder: Path
    url: str
    token: str
    headers: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)

    def client(self, **options: Any) -> httpx.AsyncClient:
        """A browser's connections."""
        return httpx.AsyncClient(
            base_url=self.url,
            headers=self.headers,
            cookies=self.cookies,
            limits=httpx.Limits(max_connections=AT_ONCE),
            timeout=600,
            **options,
        )

    def resident_mib(self) -> float:
        """Its resident set, by Linux."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """`mitoyolo serve` in a process of its own."""
    command = [sys.executable, "-m", "mitoyolo", "serve", str(folder), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        token = process.stdout.readline().split()[-1]
        yield Server(process, folder, url, token)
    finally:
        process.terminate()
        process.wait()


async def measure(server: Server, slide: Path, asked: argparse.Namespace) -> None:
    """All of it."""
    async with server.client() as client:
        body = {"token": server.token, "name": "admin", "password": PASSWORD}
        me = good(await client.post("/api/setup", json=body))
        server.headers["X-CSRF-Token"] = me["csrf"]
        server.cookies.update(client.cookies)
    async with server.client() as client:
        found = await uploaded(client, slide)
    pyramid = Pyramid(found["width"], found["height"])
    url = f"/api/slides/{found['id']}/slide_files"
    print(f"{'':<24}{'tiles':>7}{'tiles/s':>9}{'median':>9}{'p95':>9}{'p99':>9}   ms")
    for pause, how in ((asked.pause, f"a view every {asked.pause:g} s"), (0.0, "flat out")):
        shutil.rmtree(server.folder / "slides" / found["id"] / "zoom", ignore_errors=True)
        for state in ("cold", "warm"):
            begun = time.perf_counter()
            spent = await look(server, url, pyramid, asked.viewers, pause, seed=0)
            tell(f"{state}, {how}", spent, time.perf_counter() - begun)
    spent, seconds = await saving(server, found, asked.saves, asked.writers)
    tell(f"saving, {asked.writers} at a time", spent, seconds)
    await memory(server, url, pyramid, asked)


def tell(name: str, spent: list[float], seconds: float) -> None:
    """A row of the table."""
    cuts = quantiles(spent, n=100)
    times = "".join(f"{1000 * each:>9.1f}" for each in (median(spent), cuts[94], cuts[98]))
    print(f"{name:<24}{len(spent):>7}{len(spent) / seconds:>9.0f}{times}")


def good(answer: httpx.Response) -> Any:
    """What a request gave, if it was one that succeeded."""
    if answer.is_error:
        raise SystemExit(f"{answer.request.method} {answer.request.url}: {answer.text}")
    return answer.json()


async def uploaded(client: httpx.AsyncClient, path: Path) -> dict[str, Any]:
    """The slide in the workbench, cut into tiles of little resolution, which takes less time."""
    begun = time.perf_counter()
    size = path.stat().st_size
    upload = good(await client.post("/api/uploads", json={"name": path.name, "size": size}))
    url, offset = f"/api/uploads/{upload['id']}", 0
    with path.open("rb") as file:
        while part := file.read(upload["part_size"]):
            answer = await client.put(url, params={"offset": offset}, content=part)
            offset = good(answer)["offset"]
    seconds = time.perf_counter() - begun
    print(f"uploading: {size / 2**20:.0f} MiB in {seconds:.1f} s")
    body = {"slide_name": "T1", "mpp": None, "at_mpp": 2.0, "tile_size": 256, "min_tissue": 0}
    found = good(await client.post(f"{url}/finish", json=body))
    while found["state"] == "cutting":
        await asyncio.sleep(1)
        found = good(await client.get(f"/api/slides/{found['id']}"))
    if found["state"] != "ready":
        raise SystemExit(found["error"])
    result: dict[str, Any] = found
    return result


# --- looking ----------------------------------------------------------------------------------


def views(pyramid: Pyramid, rng: random.Random) -> Iterator[list[str]]:
    """The tiles of one screen after the other: zoomed in on a place, then moved about there."""
    while True:
        x, y = rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8)
        last = rng.randint(pyramid.last - 3, pyramid.last)
        for level in range(max(last - 3, 0), last + 1):
            yield screen(pyramid, level, x, y)
        for _ in range(4):
            width, height = pyramid.size(last)
            x = min(max(x + rng.choice((-0.5, 0.5)) * SCREEN[0] / width, 0.0), 1.0)
            y = min(max(y + rng.choice((-0.5, 0.5)) * SCREEN[1] / height, 0.0), 1.0)
            yield screen(pyramid, last, x, y)


def screen(pyramid: Pyramid, level: int, x: float, y: float) -> list[str]:
    """The tiles of a level under a screen with its centre at a share of the slide."""
    spans = []
    for side, share, shown in zip(pyramid.size(level), (x, y), SCREEN, strict=True):
        first = max(int((share * side - shown / 2) // TILE), 0)
        last = min(int((share * side + shown / 2) // TILE), (side - 1) // TILE)
        spans.append(range(first, last + 1))
    return [f"{level}/{column}_{row}.jpeg" for row in spans[1] for column in spans[0]]


async def look(
    server: Server,
    url: str,
    pyramid: Pyramid,
    viewers: int,
    pause: float,
    seed: int,
    screens: int = VIEWS,
) -> list[float]:
    """Seconds of each request of all viewers."""
    spent: list[float] = []

    async def one(number: int) -> None:
        rng = random.Random(1000 * seed + number)
        seen: set[str] = set()
        shown = views(pyramid, rng)
        await asyncio.sleep(rng.uniform(0, pause))
        async with AsyncExitStack() as stack:
            lines = [await stack.enter_async_context(Line.to(server)) for _ in range(AT_ONCE)]
            for _ in range(screens):
                asked = [tile for tile in next(shown) if tile not in seen]
                seen.update(asked)
                waiting = iter(asked)
                await asyncio.gather(*(line.get_all(url, waiting, spent) for line in lines))
                await asyncio.sleep(pause)

    await asyncio.gather(*(one(number) for number in range(viewers)))
    return spent


@dataclass
class Line:
    """A connection of a browser, kept open.

    httpx would take 1.5 ms a request, twice what the server does, of the cores that are measured.
    """

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: str

    @classmethod
    @asynccontextmanager
    async def to(cls, server: Server) -> AsyncIterator[Line]:
        """To a server, logged in."""
        host = server.url.removeprefix("http://")
        cookies = "; ".join(f"{name}={value}" for name, value in server.cookies.items())
        reader, writer = await asyncio.open_connection(*host.split(":"))
        try:
            yield cls(reader, writer, f"HTTP/1.1\r\nHost: {host}\r\nCookie: {cookies}\r\n\r\n")
        finally:
            writer.close()

    async def get_all(self, url: str, waiting: Iterator[str], spent: list[float]) -> None:
        """Tiles, for as long as some wait; adds the seconds of each."""
        for tile in waiting:
            begun = time.perf_counter()
            self.writer.write(f"GET {url}/{tile} {self.head}".encode())
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length:")
            )
            body = await self.reader.readexactly(length)
            spent.append(time.perf_counter() - begun)
            if not head.startswith(b"HTTP/1.1 200 "):
                raise SystemExit(f"{tile}: {head.decode()}{body.decode(errors='replace')}")


# --- saving, memory ---------------------------------------------------------------------------


async def saving(
    server: Server, slide: dict[str, Any], saves: int, writers: int
) -> tuple[list[float], float]:
    """Seconds of each save, and of all."""
    spent: list[float] = []
    async with server.client() as client:
        tiles = [
            tile
            for batch in slide["batches"]
            for tile in good(await client.get(f"/api/batches/{batch['id']}"))["tiles"]
        ]

    async def writer(number: int) -> None:
        rng = random.Random(number)
        own = tiles[number::writers]
        versions = dict.fromkeys((tile["id"] for tile in own), 0)
        async with server.client() as client:
            for i in range(saves // writers):
                tile = own[i % len(own)]
                body = {
                    "version": versions[tile["id"]],
                    "done": True,
                    "elements": [ellipse(rng, tile) for _ in range(rng.randint(1, 20))],
                }
                begun = time.perf_counter()
                saved = good(await client.put(f"/api/tiles/{tile['id']}/annotations", json=body))
                spent.append(time.perf_counter() - begun)
                versions[tile["id"]] = saved["version"]

    begun = time.perf_counter()
    await asyncio.gather(*(writer(number) for number in range(min(writers, len(tiles)))))
    return spent, time.perf_counter() - begun


def ellipse(rng: random.Random, tile: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "ellipse",
        "id": f"{rng.getrandbits(96):024x}",
        "center": [rng.uniform(0, tile["width"]), rng.uniform(0, tile["height"]), 0.0],
        "width": rng.uniform(20, 60),
        "height": rng.uniform(20, 60),
        "rotation": rng.uniform(0, 3),
        "label": {"value": rng.choice(("mitosis", "imposter"))},
    }


async def memory(server: Server, url: str, pyramid: Pyramid, asked: argparse.Namespace) -> None:
    """The resident set each minute."""
    begun = time.monotonic()
    held: list[float] = []

    async def watch() -> None:
        while True:
            held.append(server.resident_mib())
            await asyncio.sleep(1)

    watching = asyncio.create_task(watch())
    seed = 1
    while time.monotonic() - begun < 60 * asked.minutes:
        await look(server, url, pyramid, asked.viewers, asked.pause, seed)
        seed += 1
    watching.cancel()
    fifth = max(len(held) // 5, 1)
    parts = [mean(held[i : i + fifth]) for i in range(0, fifth * 5, fifth) if held[i : i + fifth]]
    print(
        f"memory over {asked.minutes:g} minutes, by fifths: "
        + " ".join(f"{part:.0f}" for part in parts)
        + f" MiB, {max(held):.0f} at most"
    )


if __name__ == "__main__":
    main()
