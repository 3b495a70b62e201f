"""What a server of the workbench is told: where it keeps things, and its limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names of this machine for itself."""


@dataclass(frozen=True, slots=True)
class Hashing:
    """The cost of argon2id; RFC 9106's second choice, for memory that others need too."""

    time_cost: int = 3
    memory_kib: int = 65536
    parallelism: int = 4


@dataclass(frozen=True, slots=True)
class Settings:
    """Of one server.

    Attributes
    ----------
    folder : Path
        Of the workspace: database, uploads, slides and results.
    database : str, optional
        URL of a PostgreSQL; else SQLite in the folder.
    hosts : tuple of str
        Names that the server answers to; empty for any. A page that gives its own name this
        machine's address (DNS rebinding) is not answered.
    proxy : str, optional
        Name, with its port if it has one, of a proxy in front that speaks TLS.
    example : bool
        Whether the first admin finds rendered tissue to try at once.
    new_admin : bool
        Whether whoever reads the console makes an admin though there is one.
    hashing : Hashing
        Of passwords.
    login_hours : float
        How long a login lasts.
    login_attempts : int
        Wrong passwords in a row that an address, or a browser known to a user, has free.
    login_wait_s : float
        Seconds after which it has one more.
    json_bytes : int
        The longest JSON body: 2,000 elements of a tile take about 500 kB.
    part_bytes : int
        The longest part of an upload.
    upload_bytes : int
        The largest upload.
    keep_free_bytes : int
        What an upload leaves free on the disk.
    """

    folder: Path
    database: str | None = None
    hosts: tuple[str, ...] = LOOPBACK
    proxy: str | None = None
    example: bool = False
    new_admin: bool = False
    hashing: Hashing = field(default_factory=Hashing)
    login_hours: float = 12.0
    login_attempts: int = 10
    login_wait_s: float = 30.0
    json_bytes: int = 2 * 2**20
    part_bytes: int = 8 * 2**20
    upload_bytes: int = 64 * 2**30
    keep_free_bytes: int = 2**30

    @property
    def uploads(self) -> Path:
        """Of files that come in parts."""
        return self.folder / "uploads"

    @property
    def slides(self) -> Path:
        """A folder a slide, by its id."""
        return self.folder / "slides"

    @property
    def jobs(self) -> Path:
        """A folder a job, by its id."""
        return self.folder / "jobs"

    @property
    def downloads(self) -> Path:
        """Of what is being packed."""
        return self.folder / "downloads"

    @property
    def weights(self) -> Path:
        """Of weights files that a search may use."""
        return self.folder / "weights"
