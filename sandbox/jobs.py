"""The life of batch jobs, kept in SQLite so that a restarted sandbox goes on with them.

A job is created, queued, running, and ends finished, in error or canceled.  At most
``slots`` jobs of a user are queued or running at a time; a start beyond that is refused
and the job stays created.  Starting a job that is queued or running is answered with
"accepted" and does nothing; starting one that has ended is refused.

No data comes in the two forms of the Copernicus back end:

* no pass of the catalogue touches the box on its days: the job ends in error, and its log
  holds an entry with the code NoDataAvailable;
* a pass's catalogue footprint touches the box, but nothing of it was imaged (footprints
  are a little larger than images): the job finishes with no assets.

Everything that happens is also written to a list of events, for tests.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import secrets
import sqlite3
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sandbox import catalogue, failures, graph, options, orbit, products
from sandbox.errors import NO_DATA, NO_DATA_MESSAGE, ApiError, Cancelled, Failed, NoData
from sandbox.faults import Faults, Switch
from sandbox.products import Traits

JOB_SECONDS = 3.0  # from start to finish, at least
SLOTS = 2  # jobs of a user that are queued or running at a time
QUEUE_SHARE = 0.2  # of the job's time that it is queued
OWNER_SECONDS = 10.0  # how long to wait for an earlier sandbox to leave the state folder
BASE_COST = 2.0  # credits, for any job
COST_PER_PIXEL = 1e-7  # credits, per pixel and band
FILE_NAME = "openEO.nc"
ACTIVE = ("queued", "running")
ENDED = ("finished", "error", "canceled")
LOG_LEVELS = ("debug", "info", "warning", "error")  # lowest first
EDITABLE = ("title", "description", "process", "plan", "budget", "log_level")

_TABLES = """
CREATE TABLE IF NOT EXISTS jobs (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, owner TEXT NOT NULL,
    title TEXT, description TEXT, process TEXT NOT NULL, plan TEXT, budget REAL, log_level TEXT,
    status TEXT NOT NULL, created REAL NOT NULL, updated REAL NOT NULL, started REAL,
    ended REAL, fate TEXT, costs REAL, cpu REAL, result TEXT, deleted INTEGER NOT NULL DEFAULT 0,
    options TEXT NOT NULL DEFAULT '{}');
CREATE TABLE IF NOT EXISTS logs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL, time REAL NOT NULL,
    level TEXT NOT NULL, code TEXT, message TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, kind TEXT NOT NULL, job TEXT,
    title TEXT, detail TEXT);
CREATE TABLE IF NOT EXISTS settings (key TEXT PRIMARY KEY, value BLOB NOT NULL);
"""
# A state folder of before has the table without it.
_COLUMN = "ALTER TABLE jobs ADD COLUMN options TEXT NOT NULL DEFAULT '{}'"


@dataclass(frozen=True)
class Job:
    """A row of the table of jobs; times are Unix times in seconds."""

    seq: int
    id: str
    owner: str
    title: str | None
    description: str | None
    process: str  # JSON
    plan: str | None
    budget: float | None
    log_level: str | None
    status: str
    created: float
    updated: float
    started: float | None
    ended: float | None
    fate: str | None  # the fault that was chosen for it when it was created
    costs: float | None
    cpu: float | None  # seconds
    result: str | None  # JSON: what `raster.write` returned, or null for no assets
    deleted: int
    options: str  # JSON

    @property
    def asked(self) -> dict[str, Any]:
        """The job options as they were sent."""
        return dict(json.loads(self.options))


class State:
    """The database in the state folder; one connection, one lock.

    Raises RuntimeError if another process uses the folder and does not end soon.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._owner = FileLock(folder / "sandbox.lock")
        try:
            self._owner.acquire(timeout=OWNER_SECONDS)
        except Timeout:
            raise RuntimeError(
                f"Another sandbox uses {folder}; both would run the jobs in it. "
                "End that one, or choose another --state."
            ) from None
        self._lock = threading.RLock()
        self._db = sqlite3.connect(
            folder / "sandbox.sqlite", check_same_thread=False, isolation_level=None
        )
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_TABLES)
        if "options" not in {row[1] for row in self._db.execute("PRAGMA table_info(jobs)")}:
            self._db.execute(_COLUMN)

    def __enter__(self) -> sqlite3.Connection:
        """Hold the database for one transaction."""
        self._lock.acquire()
        self._db.execute("SAVEPOINT work")
        return self._db

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is not None:
                self._db.execute("ROLLBACK TO work")
            self._db.execute("RELEASE work")
        finally:
            self._lock.release()

    def key(self) -> bytes:
        """The secret that tokens and links are signed with, made on first use."""
        with self as db:
            row = db.execute("SELECT value FROM settings WHERE key = 'key'").fetchone()
            if row is None:
                row = (secrets.token_bytes(32),)
                db.execute("INSERT INTO settings VALUES ('key', ?)", row)
        return bytes(row[0])

    def count(self, key: str, step: int = 1) -> int:
        """Add to a counter and return it; one that is new begins at 0."""
        with self as db:
            row = db.execute(
                "INSERT INTO settings VALUES (?, ?) ON CONFLICT (key) "
                "DO UPDATE SET value = value + excluded.value RETURNING value",
                (f"count {key}", step),
            ).fetchone()
        return int(row[0])

    def reset(self, key: str) -> None:
        """Set a counter to 0."""
        with self as db:
            db.execute("DELETE FROM settings WHERE key = ?", (f"count {key}",))

    def event(self, kind: str, job: Job | None = None, detail: str | None = None) -> None:
        """Note that something happened."""
        with self as db:
            db.execute(
                "INSERT INTO events (time, kind, job, title, detail) VALUES (?, ?, ?, ?, ?)",
                (time.time(), kind, job and job.id, job and job.title, detail),
            )


class Jobs:
    """All jobs, and the threads that run them."""

    def __init__(
        self, state: State, faults: Faults, job_seconds: float = JOB_SECONDS, slots: int = SLOTS
    ) -> None:
        self.state = state
        self.faults = faults
        self.job_seconds = job_seconds
        self.slots = slots
        self._starting: set[str] = set()  # ids, while a slow start goes on
        self._lags: dict[str, float] = {}  # Unix times until which a job is shown as created
        self.late: dict[dt.date, dt.datetime] = {}  # days whose images appear at another time
        for job in self._select(f"status IN {ACTIVE} AND deleted = 0"):
            self.state.event("resumed", job)
            self._spawn(job)

    def published(self, view: orbit.Pass) -> dt.datetime:
        """When the images of a pass appear, in the catalogue and for jobs."""
        return self.late.get(view.time.date()) or orbit.published(view)

    def traits(self, product: str) -> Traits:
        """What a product is like, by the faults that are on."""
        return products.traits(self.faults.product(product))

    def create(self, owner: str, request: Mapping[str, Any]) -> Job:
        """Store a job; raises ApiError when its process cannot be executed here."""
        graph.read(request.get("process"))
        _check(request)
        now = time.time()
        identifier = f"j-{time.strftime('%y%m%d%H%M%S', time.gmtime(now))}{secrets.token_hex(10)}"
        fate = self.faults.fate(request.get("title") or "")
        with self.state as db:
            db.execute(
                "INSERT INTO jobs (id, owner, title, description, process, plan, budget, "
                "log_level, status, created, updated, fate, options) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'created', ?, ?, ?, ?)",
                (
                    identifier,
                    owner,
                    request.get("title"),
                    request.get("description"),
                    json.dumps(request["process"]),
                    request.get("plan"),
                    request.get("budget"),
                    request.get("log_level"),
                    now,
                    now,
                    fate,
                    json.dumps(request.get("job_options") or {}),
                ),
            )
            job = self.get(owner, identifier)
            self.state.event("created", job)
        return job

    def get(self, owner: str, identifier: str) -> Job:
        """One job of a user; raises ApiError JobNotFound."""
        found = self._select("id = ? AND owner = ? AND deleted = 0", identifier, owner)
        if not found:
            raise ApiError("JobNotFound", identifier=identifier)
        return found[0]

    def any(self, identifier: str) -> Job | None:
        """One job of whichever user, also one that was deleted."""
        return next(iter(self._select("id = ?", identifier)), None)

    def page(self, owner: str, limit: int | None, before: int | None) -> tuple[list[Job], bool]:
        """Jobs of a user, newest first, and whether there are more of them."""
        where, last = "owner = ? AND deleted = 0 AND seq < ? ORDER BY seq DESC", before or 2**62
        if limit is None:
            return self._select(where, owner, last), False
        found = self._select(f"{where} LIMIT ?", owner, last, limit + 1)
        return found[:limit], len(found) > limit

    def update(self, job: Job, changes: Mapping[str, Any]) -> None:
        """Change what may be changed of a job that is not being computed."""
        if not changes:
            raise ApiError("NoDataForUpdate")
        for name in changes:
            if name not in EDITABLE:
                raise ApiError("PropertyNotEditable", property=name)
        _check(changes)
        values = dict(changes)
        if "process" in values:
            graph.read(values["process"])
            values["process"] = json.dumps(values["process"])
        with self.state:
            if self.get(job.owner, job.id).status in ACTIVE:
                raise ApiError("JobLocked")
            self._set(job.id, **values)

    def delete(self, job: Job) -> None:
        """Forget a job; one that is being computed is stopped."""
        with self.state:
            self._set(job.id, deleted=1)
            self.state.event("deleted", job)
        self.file(job.id).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # there is none, or one is being written
            self.file(job.id).parent.rmdir()

    def start(self, job: Job) -> None:
        """Start a job that is created; nothing happens to one that is under way."""
        self._take_time(job)
        if (ended := self._ended(job)) is not None:
            self.state.event("start refused", job, job.status)
            raise ended
        options.check(job.asked)
        with self.state as db:
            job = self.get(job.owner, job.id)
            if job.status != "created":
                self.state.event("start ignored", job, job.status)
                return
            (active,) = db.execute(
                f"SELECT count(*) FROM jobs WHERE owner = ? AND deleted = 0 AND status IN {ACTIVE}",
                (job.owner,),
            ).fetchone()
            refusal = self._refusal(job, active)
            if refusal is None:
                self.state.event("started", job)
                now = time.time()
                self._set(
                    job.id, status="queued", updated=now, started=now, ended=None, result=None
                )
                db.execute("DELETE FROM logs WHERE job = ?", (job.id,))
                job = self.get(job.owner, job.id)
        # Raised inside, it would roll back the event and the counts of the faults.
        if refusal is not None:
            raise refusal
        if lag := self.faults.fire(("status-lag",), title=job.title or ""):
            self._lags[job.id] = time.time() + lag.seconds
        self._spawn(job)

    def _take_time(self, job: Job) -> None:
        """A start may take minutes; another one is refused meanwhile."""
        with self.state:
            twice = job.id in self._starting
            slow = None if twice else self.faults.fire(("start-slow",), title=job.title or "")
            if slow:
                self._starting.add(job.id)
        if twice:
            self.state.event("started twice", job)
            raise ApiError("JobAlreadyStarted", identifier=job.id)
        if slow:
            time.sleep(slow.seconds)
            self._starting.discard(job.id)

    def _ended(self, job: Job) -> ApiError | None:
        """The refusal to start a job that has ended, if it has."""
        title = job.title or ""
        if job.status not in ENDED or self.faults.fire(("start-ended-202",), title=title):
            return None
        code = "JobTransitionNotImplemented"
        if self.faults.fire(("start-ended-400",), title=title):
            code = "JobTransitionUnsupported"
        return ApiError(code, status=job.status)

    def shown_status(self, job: Job) -> str:
        """The status that is told, which may lag behind."""
        return "created" if time.time() < self._lags.get(job.id, 0.0) else job.status

    def _refusal(self, job: Job, active: int) -> ApiError | None:
        """Why a job cannot be started now, if so."""
        title = job.title or ""
        if self.faults.fire(("payment-required",), title=title):
            return ApiError("PaymentRequired")
        if active >= self.slots or self.faults.fire(("job-limit",), title=title):
            self.state.event("start refused", job)
            return ApiError("ConcurrentJobLimit", limit=self.slots)
        return None

    def stop(self, job: Job) -> None:
        """Cancel a job that is queued or running; otherwise nothing happens."""
        with self.state:
            job = self.get(job.owner, job.id)
            if job.status in ACTIVE:
                self._end(job, "canceled")

    def log(self, job: Job, level: str, message: str, code: str | None = None) -> None:
        """Add an entry to a job's log."""
        with self.state as db:
            db.execute(
                "INSERT INTO logs (job, time, level, code, message) VALUES (?, ?, ?, ?, ?)",
                (job.id, time.time(), level, code, message),
            )

    def logs(self, job: Job, after: int = 0) -> list[tuple[int, float, str, str | None, str]]:
        """Entries of a job's log as (id, time, level, code, message), as its index has them."""
        title = job.title or ""
        if self.faults.fire(("log-empty",), title=title):
            return []
        if self.faults.fire(("log-fails",), title=title):
            words = f"Log collection for job {job.id} failed. (req_id: r-0) ConnectionTimeout"
            return [(0, time.time(), "error", "Internal", words)]
        with self.state as db:
            return db.execute(
                "SELECT id, time, level, code, message FROM logs WHERE job = ? AND id > ? "
                "ORDER BY id",
                (job.id, after),
            ).fetchall()

    def file(self, identifier: str) -> Path:
        """Where a job's result file lies once it is finished."""
        return self.state.folder / "results" / identifier / FILE_NAME

    def _select(self, where: str, *values: object) -> list[Job]:
        with self.state as db:
            return [Job(*row) for row in db.execute(f"SELECT * FROM jobs WHERE {where}", values)]

    def _set(self, identifier: str, **values: object) -> None:
        columns = ", ".join(f"{name} = ?" for name in values)
        with self.state as db:
            db.execute(f"UPDATE jobs SET {columns} WHERE id = ?", (*values.values(), identifier))

    def _end(self, job: Job, status: str, **values: object) -> None:
        now = time.time()
        self._set(job.id, status=status, updated=now, ended=now, **values)
        self.state.event(status, job)

    def _spawn(self, job: Job) -> None:
        threading.Thread(target=self._run, args=(job,), name=job.id, daemon=True).start()

    def _run(self, job: Job) -> None:
        """Carry a started job to its end; runs in a thread of its own."""
        try:
            self._compute(job)
        except Exception as error:
            logging.getLogger(__name__).exception("job %s failed", job.id)
            self.log(job, "error", f"{type(error).__name__}: {error}", "Internal")
            self._end(job, "error")

    def _compute(self, job: Job) -> None:
        fate = Switch.parse(job.fate) if job.fate else None
        name = fate.name if fate else ""
        start = job.started or time.time()
        self._wait(job, start + QUEUE_SHARE * self.job_seconds)
        if name == "job-stuck" or not self._alive(job):
            return
        self._set(job.id, status="running", updated=time.time())
        self.log(job, "info", "The job runs.")
        cpu = time.thread_time()
        result: dict[str, Any] | None = None
        no_pass = name == "job-no-data-error"
        try:
            said = self._failure(job, fate)
            if name in ("", "job-slow", "job-hole") or (name in failures.FATES and said is None):
                result = self._write(job, _hole(fate))
        except NoData as no_data:
            no_pass = not no_data.catalogued
        except Failed as failed:
            said = [str(failed)]
        except Cancelled:
            return
        cpu = time.thread_time() - cpu
        self._wait(job, start + self.job_seconds + (fate.seconds if fate else 0.0))
        with self.state:
            if self._alive(job):
                self._finish(job, name, result, no_pass=no_pass, cpu=cpu, said=said)

    def _failure(self, job: Job, fate: Switch | None) -> list[str] | None:
        """What the log says if a job fails with the options that it was given."""
        day = graph.read(json.loads(job.process)).cube.start.date()
        return failures.words(fate, job.asked, day)

    def _write(self, job: Job, hole: float) -> dict[str, Any]:
        from sandbox import raster  # takes a second, which the server need not wait for

        path = self.file(job.id)
        path.parent.mkdir(parents=True, exist_ok=True)
        for left_over in path.parent.glob(".*.partial.*"):  # by a sandbox that was killed
            left_over.unlink()
        order = graph.read(json.loads(job.process))
        switch = self.faults.fire(("text-string", "text-latin1"), title=job.title or "")
        texts = switch.name if switch else "usual"
        return raster.write(
            order, path, lambda: self._alive(job), self.published, texts, self.traits, hole
        )

    def _finish(
        self,
        job: Job,
        fate: str,
        result: dict[str, Any] | None,
        *,
        no_pass: bool,
        cpu: float,
        said: list[str] | None,
    ) -> None:
        """Put a job into its last status."""
        pixels = result["shape"][0] * result["shape"][1] if result else 0
        costs = round(BASE_COST + COST_PER_PIXEL * pixels, 3)
        values: dict[str, object] = {"costs": costs, "cpu": cpu, "result": json.dumps(result)}
        status = "finished"
        if fate == "job-vanishes":
            status, values["deleted"] = "error", 1
        elif fate == "job-unknown-status":
            status = "postponed"
        elif fate == "job-canceled":
            status = "canceled"
        elif said is not None:
            status = "error"
            for entry in said:
                self.log(job, "error", entry, "Internal")
        elif no_pass:
            status = "error"
            self.log(job, "error", f"{NO_DATA}: {NO_DATA_MESSAGE}", NO_DATA)
        else:
            self.log(job, "info", "The job has finished.")
        self._end(job, status, **values)

    def _alive(self, job: Job) -> bool:
        with self.state as db:
            row = db.execute(
                "SELECT status, started, deleted FROM jobs WHERE id = ?", (job.id,)
            ).fetchone()
        return bool(row[0] in ACTIVE and row[1] == job.started and not row[2])

    def _wait(self, job: Job, until: float) -> None:
        while (left := until - time.time()) > 0 and self._alive(job):
            time.sleep(min(left, 0.1))


def _hole(fate: Switch | None) -> float:
    """What of the result is a hole: also where a broken product was skipped."""
    if fate is None or fate.name not in ("job-hole", "job-product"):
        return 0.0
    return fate.share


def _check(request: Mapping[str, Any]) -> None:
    """Refuse a job's properties that are not of their type; absent and null are fine."""
    kinds = ("title", str), ("description", str), ("budget", int | float), ("job_options", dict)
    for name, kind in kinds:
        if not isinstance(request.get(name), kind | None):
            raise ApiError("RequestInvalid", reason=f"{name} is of the wrong type.")
    if request.get("plan") not in (None, catalogue.PLAN):
        raise ApiError("BillingPlanInvalid")
    if request.get("log_level") not in (None, *LOG_LEVELS):
        raise ApiError("RequestInvalid", reason=f"log_level is one of {', '.join(LOG_LEVELS)}.")
