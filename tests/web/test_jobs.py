"""Jobs in the background: of the runner alone with small commands, and over HTTP."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from processes import alive
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from converters.errors import InputError
from mitoyolo.demo.slide import render_slide
from mitoyolo.web import jobs, kinds
from mitoyolo.web.access import ApiError
from mitoyolo.web.database import open_database
from mitoyolo.web.jobs import Kind, Runner
from mitoyolo.web.models import (
    Assignment,
    Audit,
    Job,
    JobState,
    Role,
    Slide,
    SlideState,
    Stage,
    User,
)
from mitoyolo.web.settings import Settings

from .conftest import Workbench

WAIT_S = 60


def until(condition: Callable[[], Any]) -> Any:
    """What a condition gives as soon as that is true."""
    end = time.monotonic() + WAIT_S
    while not (found := condition()):
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.02)
    return found


def python(db: Session, settings: Settings, job: Job) -> list[list[str]]:
    """Commands of a job whose option `code` lists Python programs."""
    return [[sys.executable, "-c", code] for code in job.options["code"]]


def note_end(db: Session, settings: Settings, job: Job) -> None:
    with (settings.folder / "ended.txt").open("a") as file:
        print(job.id, job.state, job.message, file=file)


def refuse(db: Session, settings: Settings, job: Job) -> None:
    job.message = "half of it"
    raise InputError("the table is damaged", file=settings.folder / "jobs" / "x.csv")


def none_at_all(db: Session, settings: Settings, job: Job) -> list[list[str]]:
    if job.id % 2:
        raise ApiError(409, "the slide is gone; upload it again")
    raise InputError("the slide is gone", fix="upload it again")


TEST_KINDS = {
    "python": Kind(python, finished=note_end, failed=note_end),
    "refused": Kind(python, finished=refuse),
    "none": Kind(none_at_all),
}
SLEEP = "import sys, time; print('begun', file=sys.stderr, flush=True); time.sleep(600)"


class Bench:
    """Tables and a runner, without a server."""

    def __init__(self, settings: Settings) -> None:
        for folder in (settings.jobs, settings.weights):
            folder.mkdir(parents=True)
        self.settings = settings
        self.engine, self.sessions = open_database(settings)
        with self.sessions.begin() as db:
            db.add(User(name="admin", password="", role=Role.ADMIN))
        self.runner = Runner(settings, self.sessions, TEST_KINDS)

    def submit(self, *code: str, kind: str = "python") -> int:
        with self.sessions.begin() as db:
            user = db.get_one(User, 1)
            return jobs.submit(db, kind, user, None, {"code": list(code)}).id

    def job(self, number: int) -> Job:
        with self.sessions() as db:
            return db.get_one(Job, number)

    def until(self, number: int, *states: JobState) -> Job:
        return until(lambda: (job := self.job(number)).state in states and job)

    def until_said(self, number: int, text: str) -> None:
        until(lambda: text in self.job(number).message)

    def stop(self, number: int) -> bool:
        with self.sessions.begin() as db:
            user, job = db.get_one(User, 1), db.get_one(Job, number)
            return jobs.stop(db, self.settings, user, job, TEST_KINDS)


@pytest.fixture
def bench(settings: Settings) -> Iterator[Bench]:
    found = Bench(settings)
    yield found
    found.runner.stop()
    found.engine.dispose()


def pids_in(path: Path, n: int = 1) -> list[int]:
    return until(
        lambda: (
            path.exists()
            and len(found := [int(line) for line in path.read_text().split()]) >= n
            and found
        )
    )


# --- the runner -------------------------------------------------------------------------------


def test_commands_run_in_turn_in_the_jobs_folder(bench: Bench) -> None:
    first = bench.submit(
        "open('a', 'w').write('1')", "import sys; print(open('a').read() + '2', file=sys.stderr)"
    )
    bench.runner.start()
    job = bench.until(first, JobState.DONE, JobState.FAILED)
    assert (job.state, job.message) == (JobState.DONE, "12")
    assert job.ended_at
    folder = bench.settings.jobs / str(first)
    assert (folder / "a").read_text() == "1"
    assert (folder / "log.txt").read_text() == "12\n"
    assert (bench.settings.folder / "ended.txt").read_text() == f"{first} done 12\n"


def test_the_oldest_comes_first_and_alone(bench: Bench) -> None:
    code = (
        "import os, time; path = '../running';"
        "os.close(os.open(path, os.O_CREAT | os.O_EXCL)); time.sleep(0.3); os.remove(path)"
    )
    numbers = [bench.submit(code) for _ in range(3)]
    bench.runner.start()
    ends = []
    for number in numbers:
        job = bench.until(number, JobState.DONE, JobState.FAILED)
        assert job.state == JobState.DONE, job.message
        ends.append(job.ended_at)
    assert ends == sorted(ends)


def test_its_last_line_is_the_message_while_it_runs(bench: Bench) -> None:
    number = bench.submit(
        "import os, sys, time\n"
        "for i in range(3):\n"
        "    print(f'tiling: {i} of 3 tiles in {os.getcwd()}/x', file=sys.stderr, flush=True)\n"
        "    while not os.path.exists(f'go{i}'): time.sleep(0.02)\n"
        "print('half a line', end='', file=sys.stderr, flush=True)\n"
        "print('a result on stdout')\n"
    )
    bench.runner.start()
    for i in range(3):
        bench.until_said(number, f"tiling: {i} of 3 tiles in jobs/{number}/x")
        (bench.settings.jobs / str(number) / f"go{i}").touch()
    assert bench.until(number, JobState.DONE).message.startswith("tiling: 2 of 3")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit('mitoyolo: a.tif: not a slide; give another')",
         "a.tif: not a slide; give another"),
        ("import sys; print('mitoyolo: wrong', file=sys.stderr); sys.exit('and more')", "wrong"),
        ("import sys; print('mitoyolo: ' + 'x' * 3000, file=sys.stderr); sys.exit(1)", "x" * 500),
        ("raise SystemExit(3)", "ended with code 3 and no word; see log.txt"),
        ("import os; os.kill(os.getpid(), 9)",
         "ended by SIGKILL; perhaps the memory was not enough"),
        ("import os; os.kill(os.getpid(), 11)", "ended by SIGSEGV"),
    ],
)  # fmt: skip
def test_a_failure_tells_its_line(bench: Bench, code: str, message: str) -> None:
    failed = bench.submit("print()", code, "open('after', 'w')")
    next_one = bench.submit("pass")
    bench.runner.start()
    job = bench.until(failed, JobState.FAILED, JobState.DONE)
    assert (job.state, job.message) == (JobState.FAILED, message)
    assert not (bench.settings.jobs / str(failed) / "after").exists()
    bench.until(next_one, JobState.DONE)
    assert f"{failed} failed {message}" in (bench.settings.folder / "ended.txt").read_text()


def test_what_cannot_be_taken_over_is_a_failure_and_changes_nothing(bench: Bench) -> None:
    refused, *none = (bench.submit("pass", kind=kind) for kind in ("refused", "none", "none"))
    bench.runner.start()
    job = bench.until(refused, JobState.FAILED, JobState.DONE)
    assert (job.state, job.message) == (JobState.FAILED, "jobs/x.csv: the table is damaged")
    for number in none:
        job = bench.until(number, JobState.FAILED)
        assert job.message == "the slide is gone; upload it again"


def test_a_stopped_job_ends_with_all_it_has_started(bench: Bench) -> None:
    number = bench.submit(
        "import os, signal, subprocess, sys\n"
        "signal.signal(signal.SIGTERM, lambda *a: sys.exit(0))\n"
        f"child = subprocess.Popen([sys.executable, '-c', {SLEEP!r}])\n"
        "print(os.getpid(), child.pid, file=open('pids', 'w'), flush=True)\n"
        "child.wait()\n"
    )
    waiting = bench.submit("open('../never', 'w')")
    bench.runner.start()
    pids = pids_in(bench.settings.jobs / str(number) / "pids", 2)
    assert all(map(alive, pids))
    assert bench.stop(waiting)
    assert bench.stop(number)
    assert not bench.stop(number)  # it has ended
    until(lambda: not any(map(alive, pids)))
    for job in (bench.job(number), bench.job(waiting)):
        assert (job.state, job.message) == (JobState.STOPPED, "stopped by admin")
        assert job.ended_at
    bench.until(bench.submit("pass"), JobState.DONE)
    assert bench.job(number).state == JobState.STOPPED
    told = (bench.settings.folder / "ended.txt").read_text().splitlines()
    assert told[:2] == [f"{n} stopped stopped by admin" for n in (waiting, number)]
    assert not (bench.settings.jobs / "never").exists()
    with bench.sessions() as db:
        done = [
            (row.action, row.subject) for row in db.query(Audit).filter(Audit.action == "job.stop")
        ]
    assert done == [("job.stop", f"job {waiting}"), ("job.stop", f"job {number}")]


def test_one_that_will_not_end_is_killed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "PATIENCE", 0.5)
    number = bench.submit(
        "import os, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(os.getpid(), file=open('pids', 'w'), flush=True)\n" + SLEEP
    )
    bench.runner.start()
    (pid,) = pids_in(bench.settings.jobs / str(number) / "pids")
    bench.stop(number)
    until(lambda: not alive(pid))


def test_the_end_of_the_server_ends_a_job_that_its_next_start_goes_on_with(bench: Bench) -> None:
    number = bench.submit(
        "import os\nprint(os.getpid(), file=open('pids', 'a'), flush=True)\n"
        "if len(open('pids').readlines()) == 1:\n    " + SLEEP
    )
    bench.runner.start()
    (pid,) = pids_in(bench.settings.jobs / str(number) / "pids")
    bench.runner.stop()
    assert not alive(pid)
    job = bench.job(number)
    assert (job.state, job.ended_at) == (JobState.WAITING, None)
    again = Runner(bench.settings, bench.sessions, TEST_KINDS)
    again.start()
    bench.until(number, JobState.DONE)
    again.stop()


SERVER = """
import sys, time
from pathlib import Path
from mitoyolo.web.access import ApiError
from mitoyolo.web.database import open_database
from mitoyolo.web.jobs import Runner
from mitoyolo.web.settings import Settings
from web.test_jobs import TEST_KINDS
settings = Settings(Path(sys.argv[1]))
runner = Runner(settings, open_database(settings)[1], TEST_KINDS)
runner.start()
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of a killed parent")
def test_a_killed_server_takes_its_command_with_it_and_the_next_one_goes_on(bench: Bench) -> None:
    number = bench.submit(
        "import os\nprint(os.getpid(), file=open('pids', 'a'), flush=True)\n"
        "if len(open('pids').readlines()) == 1:\n    " + SLEEP
    )
    tests = str(Path(__file__).parents[1])
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(bench.settings.folder)],
        env={**os.environ, "PYTHONPATH": tests},
    )
    try:
        (pid,) = pids_in(bench.settings.jobs / str(number) / "pids")
        assert bench.job(number).state == JobState.RUNNING
        bench.until_said(number, "begun")
    finally:
        server.kill()
        server.wait()
    until(lambda: not alive(pid))
    assert bench.job(number).state == JobState.RUNNING  # nobody could say otherwise
    bench.runner.start()
    bench.until(number, JobState.DONE)
    assert len(pids_in(bench.settings.jobs / str(number) / "pids", 2)) == 2


def test_a_command_that_outlived_its_server_is_waited_for(bench: Bench) -> None:
    number = bench.submit("import os; open('second', 'w').write(str(os.path.exists('first')))")
    folder = bench.settings.jobs / str(number)
    folder.mkdir()
    code = (
        "import fcntl, sys, time; fcntl.flock(2, fcntl.LOCK_EX); open('locked', 'w');"
        "time.sleep(1.5); open('first', 'w')"
    )
    with (folder / "log.txt").open("ab") as log:
        orphan = subprocess.Popen([sys.executable, "-c", code], stderr=log, cwd=folder)
    until((folder / "locked").exists)
    bench.runner.start()
    bench.until(number, JobState.DONE)
    assert (folder / "second").read_text() == "True"
    orphan.wait()


@pytest.mark.parametrize("where", ["_next", "_say", "_finish"])
def test_a_database_that_does_not_answer_holds_jobs_up_but_fails_none(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(jobs, "PATIENCE", 0.1)
    number = bench.submit("import sys; print('said', file=sys.stderr)")
    method, failures = getattr(bench.runner, where), iter(range(2))

    def failing(*given: Any) -> Any:
        if next(failures, None) is not None:
            raise OperationalError("away", None, Exception())
        return method(*given)

    monkeypatch.setattr(bench.runner, where, failing)
    bench.runner.start()
    job = bench.until(number, JobState.DONE, JobState.FAILED)
    assert (job.state, job.message) == (JobState.DONE, "said")


# --- over HTTP --------------------------------------------------------------------------------


def upload(client: TestClient, path: Path, **finish: Any) -> dict[str, Any]:
    data = path.read_bytes()
    begun = client.post("/api/uploads", json={"name": path.name, "size": len(data)}).json()
    url = f"/api/uploads/{begun['id']}"
    assert client.put(f"{url}?offset=0", content=data).status_code == 200
    answer = client.post(f"{url}/finish", json={"mpp": None, **finish})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def ended(client: TestClient, number: int) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        job: dict[str, Any] = client.get(f"/api/jobs/{number}").json()
        return job if job["state"] not in ("waiting", "running") else None

    found: dict[str, Any] = until(look)
    return found


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slides") / "T5.tif"
    render_slide(path, width=4200, height=600)  # longer than a tile picture may be
    return path


def test_an_uploaded_slide_is_cut_into_batches(
    workbench: Workbench, admin: TestClient, rendered: Path
) -> None:
    slide = upload(
        admin, rendered, slide_name="T5", at_mpp=0.5, tile_size=100, batch_size=9, min_tissue=0.05
    )
    assert slide["state"] == "cutting"
    job = ended(admin, slide["job"]["id"])
    assert (job["kind"], job["state"], job["slide"]["name"]) == ("cut", "done", "T5"), job
    slide = admin.get(f"/api/slides/{slide['id']}").json()
    assert slide["state"] == "ready"
    sizes = [batch["tiles"] for batch in slide["batches"]]
    assert sizes[:-1] == [9] * (len(sizes) - 1)
    assert len(sizes) > 1
    assert job["message"].startswith("tiling: 63 tiles")
    log = (workbench.settings.jobs / str(job["id"]) / "log.txt").read_text()
    assert f"{sum(sizes)} of 63 tiles kept" in log


def test_a_slide_without_tissue_fails_and_says_so(admin: TestClient, rendered: Path) -> None:
    slide = upload(admin, rendered, slide_name="T6", tile_size=500, min_tissue=1.0)
    job = ended(admin, slide["job"]["id"])
    assert job["state"] == "failed"
    slide = admin.get(f"/api/slides/{slide['id']}").json()
    assert slide["state"] == "failed"
    assert slide["error"] == job["message"]
    assert "none of 18 tiles is left" in job["message"]
    assert "/tmp" not in job["message"]


@pytest.fixture
def slide_id(workbench: Workbench, admin: TestClient, rendered: Path) -> str:
    """A slide that is ready, without tiles."""
    return workbench.slide(rendered, SlideState.READY, 4200, 600)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x.pt", "/etc/passwd", "a/b.pt", "best.pt\0", "nothing.pt", "x" * 255],
)
def test_weights_are_names_of_what_is_there(
    workbench: Workbench, admin: TestClient, slide_id: str, name: str
) -> None:
    (workbench.settings.folder / "x.pt").touch()
    (workbench.settings.weights / "best.pt").touch()
    (workbench.settings.weights / "notes.txt").touch()
    (workbench.settings.weights / "folder.pt").mkdir()
    assert admin.get("/api/weights").json() == ["best.pt"]
    for url, body in (
        (f"/api/slides/{slide_id}/detect", {"weights": name}),
        ("/api/train", {"slides": [slide_id], "model": "yolov5n", "weights": name}),
    ):
        answer = admin.post(url, json=body)
        assert answer.status_code == 422
        assert "expected one of best.pt" in answer.json()["detail"]
    assert admin.get("/api/jobs").json() == []


@pytest.mark.parametrize("threshold", [-0.1, 1.1, "NaN", "a", {}])
def test_a_threshold_is_a_share(admin: TestClient, slide_id: str, threshold: Any) -> None:
    body = {"weights": "best.pt", "threshold": threshold}
    assert admin.post(f"/api/slides/{slide_id}/detect", json=body).status_code == 422


def test_a_search_that_fails_says_why_and_another_may_follow(
    workbench: Workbench, admin: TestClient, slide_id: str
) -> None:
    (workbench.settings.weights / "best.pt").write_bytes(b"no weights")
    body = {"weights": "best.pt", "threshold": 0.5}
    url = f"/api/slides/{slide_id}/detect"
    first = admin.post(url, json=body).json()
    twice = admin.post(url, json=body)
    assert twice.status_code == 409
    assert f"job {first['id']}" in twice.json()["detail"]
    job = ended(admin, first["id"])
    assert job["state"] == "failed"
    assert job["message"].startswith("weights/best.pt: ")
    second = admin.post(url, json=body).json()
    stopped = admin.post(f"/api/jobs/{second['id']}/stop").json()
    assert stopped["state"] == "stopped"
    assert admin.post(f"/api/jobs/{second['id']}/stop").status_code == 409
    assert [job["id"] for job in admin.get("/api/jobs").json()] == [second["id"], first["id"]]
    older = admin.get("/api/jobs", params={"before": second["id"]}).json()
    assert [job["id"] for job in older] == [first["id"]]


def test_what_nothing_can_be_searched_or_trained_on(
    workbench: Workbench, admin: TestClient, slide_id: str, tiles_slide: Callable[..., str]
) -> None:
    (workbench.settings.weights / "best.pt").touch()
    tiles = tiles_slide(admin)
    answer = admin.post(f"/api/slides/{tiles}/detect", json={"weights": "best.pt"})
    assert (answer.status_code, "came as tiles" in answer.text) == (409, True)
    with workbench.session() as db:
        db.get_one(Slide, slide_id).mpp_x = None
        db.commit()
    answer = admin.post(f"/api/slides/{slide_id}/detect", json={"weights": "best.pt"})
    assert (answer.status_code, "no µm/px" in answer.text) == (409, True)
    answer = admin.post("/api/train", json={"slides": [tiles], "model": "yolov5n"})
    assert (answer.status_code, "approve some first" in answer.text) == (409, True)
    answer = admin.post("/api/train", json={"slides": [tiles], "model": "../yolov5n"})
    assert (answer.status_code, "expected one of yolov5n" in answer.text) == (422, True)
    answer = admin.post("/api/train", json={"slides": [tiles, "x"], "model": "yolov5n"})
    assert answer.status_code == 404


def test_a_training_is_what_is_approved_converted_normalised_and_trained(
    workbench: Workbench, admin: TestClient, tiles_slide: Callable[..., str]
) -> None:
    slide = tiles_slide(admin, n=6, size=128)
    batch = admin.get(f"/api/slides/{slide}").json()["batches"][0]["id"]
    with workbench.session() as db:
        db.add(Assignment(batch_id=batch, user_id=1, stage=Stage.APPROVED))
        db.commit()
    for i, tile in enumerate(admin.get(f"/api/batches/{batch}").json()["tiles"][:5]):
        mark = {
            "type": "ellipse", "id": f"{i:024x}", "center": [60.0, 60.0, 0.0], "width": 30.0,
            "height": 20.0, "label": {"value": "imposter" if i == 4 else "mitosis"},
        }  # fmt: skip
        saved = admin.put(
            f"/api/tiles/{tile['id']}/annotations",
            json={"version": 0, "done": True, "elements": [mark]},
        )
        assert saved.status_code == 200, saved.text
    with workbench.session() as db:
        options = {
            "slides": [slide], "labels": ["mitosis", "imposter"], "mpp": [0.25, 0.25],
            "model": "yolov5n", "epochs": 1, "start": "none",
        }  # fmt: skip
        job = Job(kind="train", options=options, created_by=1)
        db.add(job)
        db.flush()
        job.state = JobState.STOPPED  # only its commands are looked at
        convert, normalize, train = kinds.KINDS["train"].commands(db, workbench.settings, job)
        db.commit()
        folder = jobs.folder_of(workbench.settings, job)
    for command in (convert, normalize):
        subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=120)
    names = {path.stem for path in (folder / "normalised" / "labels").rglob("*.txt")}
    assert len(names) == 5
    text = (folder / "normalised" / "labels").rglob("*.txt")
    assert sorted(path.read_text()[0] for path in text) == ["0", "0", "0", "0", "1"]
    assert list((folder / "normalised" / "labels" / "val").iterdir())
    assert train[3:] == [
        "train", "--data", str(folder / "normalised" / "dataset.yaml"), "--model", "yolov5n",
        "--epochs", "1", "--project", str(folder), "--name", "run", "--resume",
        "--weights", "none",
    ]  # fmt: skip
    posted = admin.post(
        "/api/train", json={"slides": [slide], "model": "yolov5n", "epochs": 1, "weights": "none"}
    ).json()
    admin.post(f"/api/jobs/{posted['id']}/stop")
    assert posted["options"] == options | {"stain": "macenko"}
    assert normalize[-1] == "reinhard"  # as a job of before, which does not say, was begun


def test_jobs_are_admins_alone(
    workbench: Workbench, admin: TestClient, anna: TestClient, slide_id: str
) -> None:
    calls = [
        ("GET", "/api/jobs"), ("GET", "/api/jobs/1"), ("POST", "/api/jobs/1/stop"),
        ("GET", "/api/weights"), ("POST", "/api/train"), ("POST", f"/api/slides/{slide_id}/detect"),
    ]  # fmt: skip
    for method, url in calls:
        assert anna.request(method, url).status_code == 403, url
        assert workbench.client().request(method, url).status_code == 401, url


@pytest.mark.parametrize("number", ["0", "-1", "999", str(2**31), "9" * 5000, "a", "1.5"])
def test_no_such_job(admin: TestClient, number: str) -> None:
    assert admin.get(f"/api/jobs/{number}").status_code in (404, 422)
    assert admin.post(f"/api/jobs/{number}/stop").status_code in (404, 422)
