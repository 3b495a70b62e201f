"""Damage to the bytes of any file."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def _behead(rng: random.Random, data: bytes) -> bytes:
    return data[rng.randrange(len(data)) :]


def _flip(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 50))):
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _overwrite(rng: random.Random, data: bytes) -> bytes:
    start, end = _span(rng, data)
    return data[:start] + rng.randbytes(end - start) + data[end:]


def _insert(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    what = rng.choice(
        (b"\0", b"\0" * 100, b"\xff", b"\n", b",", b'"', b"\x80\x80", b"<", b"9" * 50)
    )
    return data[:at] + what + data[at:]


def _delete(rng: random.Random, data: bytes) -> bytes:
    start, end = _span(rng, data)
    return data[:start] + data[end:]


def _double(rng: random.Random, data: bytes) -> bytes:
    start, end = _span(rng, data)
    return data[:end] + data[start:]


def _swap(rng: random.Random, data: bytes) -> bytes:
    a, b = _span(rng, data)
    c, d = _span(rng, data)
    if a > c:
        a, b, c, d = c, d, a, b
    b = min(b, c)
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def _span(rng: random.Random, data: bytes) -> tuple[int, int]:
    start = rng.randrange(len(data))
    return start, min(start + rng.choice((1, 4, 20, 100, 1000)), len(data))


BYTES: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "cut": _cut,
    "behead": _behead,
    "flip bits": _flip,
    "overwrite": _overwrite,
    "insert": _insert,
    "delete": _delete,
    "double": _double,
    "swap": _swap,
    "empty": lambda rng, data: b"",
    "one byte": lambda rng, data: rng.randbytes(1),
    "noise": lambda rng, data: rng.randbytes(rng.choice((10, 1000))),
    "NULs": lambda rng, data: b"\0" * len(data),
    "twice": lambda rng, data: data + data,
}


def damage_bytes(rng: random.Random, path: Path) -> str:
    """Damage a file's bytes; what was done is returned."""
    name = rng.choice(tuple(BYTES))
    data = path.read_bytes()
    path.write_bytes(BYTES[name](rng, data) if data else rng.randbytes(3))
    return name
