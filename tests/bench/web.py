"""What pages cost with many jobs and a long history, and what a flood of requests costs the web and the fires."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import re
import sqlite3
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench.machine import Stamps, sleep_until
from tests.bench.results import Results
from tests.bench.roots import Root, scheduler, utc
from tests.bench.systems import Bench

US = "scheduler"
BUSY_SHARE = 10  # one job has a tenth of all runs
DAY_S = 86_400
TEXTS = tuple(f"Say what has changed, text {n}.\n".encode() for n in range(3))
OLD, MID, NEW = (hashlib.sha256(each).hexdigest() for each in TEXTS)
PAGES = {
    "Now": "/", "Now, JSON": "/now.json", "Jobs": "/jobs", "Jobs, JSON": "/jobs.json", "Jobs by tag": "/jobs?group=tag",
    "Jobs by owner": "/jobs?group=owner", "Jobs found": "/jobs?q=j00001", "Jobs failing": "/jobs?status=failing",
    "Job": "/jobs/j000001", "Job, JSON": "/jobs/j000001.json", "Job of a tenth of all runs": "/jobs/j000000",
    "Job, an instant": "/jobs/j000000?at=-3d", "Job, a year": "/jobs/j000000?window=365d",
    "Version": f"/jobs/j000001/versions/{NEW}", "Version, JSON": f"/jobs/j000001/versions/{NEW}.json",
    "Run": "/runs/j000001:50", "Run, JSON": "/runs/j000001:50.json",
    "Explain": "/explain?job=j000000&at=-3d", "Explain, JSON": "/explain.json?job=j000000&at=-3d",
    "Sync": "/sync", "Sync, JSON": "/sync.json", "Review again": "/review/HEAD~1...HEAD",
    "Spend": "/spend", "Spend, JSON": "/spend.json", "Activity": "/activity", "Activity, JSON": "/activity.json",
    "Health": "/health", "Health, JSON": "/health.json",
    "/api/jobs": "/api/jobs", "/api/jobs?status=failing": "/api/jobs?status=failing", "/api/next": "/api/next",
    "/api/status": "/api/status", "/api/history": "/api/history", "/api/jobs/ID/runs": "/api/jobs/j000000/runs",
    "/api/jobs/ID/versions": "/api/jobs/j000000/versions", "/api/runs/ID": "/api/runs/j000001:50",
    "/api/audit": "/api/audit", "/api/plan": "/api/plan", "/metrics": "/metrics", "/metrics?jobs=0": "/metrics?jobs=0",
    "/readyz": "/readyz",
}  # fmt: skip
FLOOD = ("/livez", "/api/jobs", "/", "/jobs/tick", "/nowhere")
THREADS = 4
CALM_S = 20
RUNS = """\
INSERT INTO runs (job_id, n, "trigger", status, reason, fire_time, fire_time_last, slots, requested_at, started_at,
                  finished_at, duration_ms, exit_code, source_path, generation, result, output_bytes, task_sha256,
                  task_bytes, agent, end_class, cost_nano, currency, cost_basis, tokens)
WITH RECURSIVE back(i) AS (SELECT :runs UNION ALL SELECT i - 1 FROM back WHERE i > 1)
SELECT :job, :runs - i + 1, 'schedule', status, iif(status = 'failed', 'exit_code', NULL), at, at, 1, at, at,
       strftime('%Y-%m-%dT%H:%M:%S.500000Z', at), 500, status = 'failed', 'jobs/000/x.yaml', 1, 'done', 5,
       CASE WHEN i <= :runs / 5 THEN :new WHEN i <= :runs / 2 THEN :mid ELSE :old END, 40,
       '{"format":"claude","end_class":"ok","model_asked":"m","model_served":"m-' || (i % 3) || '"}', 'ok',
       1000000 + i % 977, 'USD', 'reported', '{"input":100,"output":20,"cache_read":5,"cache_write":1,"reasoning":3}'
FROM (SELECT i, CASE WHEN i <= :failing OR i % 50 = 0 THEN 'failed' WHEN i % 97 = 0 THEN 'cancelled' ELSE 'succeeded'
      END AS status, strftime('%Y-%m-%dT%H:%M:00.000000Z', :newest, 'unixepoch', '-' || ((i - 1) * :apart) ||
      ' seconds') AS at FROM back)
"""
_QUARTER = "substr(started_at, 1, 14) || printf('%02d', substr(started_at, 15, 2) / 15 * 15)"
COUNTED = f"""\
UPDATE jobs SET activated_at = :long_ago, created_at = :long_ago, (run_count, last_n, last_run_at, last_run_status,
    last_run_duration_ms, consecutive_errors) = (SELECT n, n, started_at, status, 500, iif(status = 'failed', 2, 0)
    FROM runs WHERE job_id = jobs.id ORDER BY n DESC LIMIT 1);
UPDATE jobs SET paused_at = :long_ago, pause_reason = 'x' WHERE id GLOB '*77';
INSERT INTO spending SELECT job_id, {_QUARTER} AS q, currency, sum(cost_nano), count(*) FROM runs GROUP BY 1, 2, 3;
INSERT INTO spending SELECT '@root', since, currency, sum(nano), sum(runs) FROM spending GROUP BY 2, 3;
INSERT INTO run_tallies SELECT job_id, status, "trigger", count(*), count(*), sum(500), count(*), 10 FROM runs
    GROUP BY 1, 2, 3;
INSERT INTO cost_tallies SELECT job_id, 'm-0', sum(cost_nano) FROM runs GROUP BY 1;
INSERT INTO token_tallies SELECT jobs.id, value, 100 FROM jobs JOIN json_each('["input", "output", "cache_read"]');
"""


def make(folder: Path, jobs: int, runs: int) -> Root:
    """Jobs that are due once a day, one of which has a tenth of all runs; some fail, some are overdue, some paused."""
    root = Root(folder)
    root.write_settings(["cat"])
    for job in range(jobs):
        file = root.file(job)
        file.parent.mkdir(parents=True, exist_ok=True)
        more = f"tags: [{'odd' if job % 2 else 'even'}]\nowner: o{job % 5}\n" + "expect_every: 36h\n" * (job % 10 == 0)
        file.write_text(Root.text(job, f'"{job % 60} {job // 60 % 24} * * *"') + more)
    root.commit()
    root.replace(3, '"3 0 * * *"', "changed")
    root.commit()
    root.command("sync")
    with contextlib.closing(sqlite3.connect(root.database, isolation_level=None)) as sql:
        sql.execute("PRAGMA synchronous = OFF")
        sql.execute("BEGIN")
        sql.executemany("INSERT INTO texts VALUES (?, ?)", zip((OLD, MID, NEW), TEXTS, strict=True))
        now, busy = int(time.time()), runs // BUSY_SHARE
        for job in range(jobs):
            count = busy if job == 0 else (runs - busy) // (jobs - 1)
            due = job % 1440 * 60
            newest = now - (now - due) % DAY_S - DAY_S * (job % 2_000 == 1_999)  # the last are overdue
            known = {"job": f"j{job:06}", "runs": count, "newest": newest, "old": OLD, "mid": MID, "new": NEW}
            apart = DAY_S if job else max(60, 90 * DAY_S // count // 60 * 60)
            sql.execute(RUNS, {**known, "apart": apart, "failing": 2 * (job % 500 == 1)})
        for statement in COUNTED.split(";\n"):
            named = {"long_ago": utc(now - 100 * DAY_S, fraction=True)} if ":long_ago" in statement else {}
            sql.execute(statement, named)
        sql.execute("COMMIT")
        sql.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return root


class Web:
    """The process of the pages and the API, asked with the token of an administrator."""

    def __init__(self, root: Root) -> None:
        name = f"bench-{time.time_ns()}"
        made = subprocess.run(
            scheduler("--root", root.path, "token", "create", name, "--role", "admin"), capture_output=True, check=True
        )
        self._token = made.stdout.decode().strip()
        self.process = subprocess.Popen(
            scheduler("--root", root.path, "web", "--listen", "127.0.0.1:0"),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stderr is not None
        found = next(filter(None, (re.search(rb"http://127\.0\.0\.1:(\d+)", line) for line in self.process.stderr)))
        self.port = int(found[1])
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def rss_mb(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE") / 1e6

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)

    def get(self, connection: http.client.HTTPConnection, path: str) -> tuple[int, float]:
        """Status and milliseconds of one answer, read whole."""
        page = not path.startswith(("/api", "/metrics", "/livez", "/readyz")) and ".json" not in path
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "text/html" if page else "application/json"}
        start = time.perf_counter()
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status, (time.perf_counter() - start) * 1000


@contextlib.contextmanager
def web_of(root: Root) -> Iterator[Web]:
    web = Web(root)
    try:
        yield web
    finally:
        web.process.terminate()
        web.process.wait(30)


def measure_pages(bench: Bench, results: Results, jobs: int, runs: int, rounds: int) -> None:
    """Each page and each list of the API, of a real process beside a real daemon, from the second view on."""
    root = make(bench.folder("pages") / "root", jobs, runs)
    with root.served(), web_of(root) as web, contextlib.closing(web.connect()) as connection:
        time.sleep(15)  # until the daemon has looked at everything once
        for name, path in PAGES.items():
            web.get(connection, path)
            for number in range(rounds):
                status, taken = web.get(connection, path)
                if status == 200:
                    results.add("pages", US, jobs, number, **{name: taken})


def measure_flood(bench: Bench, results: Results, requests: int) -> None:
    """Memory of the web process after a tenth, half and all of the requests, and how late a job starts meanwhile."""
    root, stamps = Root(bench.folder("flood") / "root"), Stamps(bench.runs / "stamps")
    stamps.path.unlink(missing_ok=True)
    root.write_settings([str(bench.stamp), str(stamps.path)])
    (root.path / "jobs").mkdir()
    (root.path / "jobs/tick.yaml").write_text('id: tick\nschedule: "* * * * * *"\ntask: Say job 0.\n')
    root.commit()
    root.command("sync")
    with root.served(), web_of(root) as web:
        stamps.wait(3, 60)
        before = stamps.read()
        sleep_until(time.time() + CALM_S)
        calm = stamps.read()
        memory = [flood(web, requests // 10), flood(web, requests * 4 // 10), flood(web, requests // 2)]
        stamps.read()
    starts = stamps.seen[0]
    late = {"calm_ms": _late(starts[before:calm]), "busy_ms": _late(starts[calm:])}
    results.add(
        "flood", US, requests, 0, **late, times=late["busy_ms"] / late["calm_ms"], samples_mb=memory,
        growth=memory[-1] / memory[0],
    )  # fmt: skip


def _late(starts: Sequence[float]) -> float:
    """The median milliseconds from the slot to the start."""
    return statistics.median(start % 1 for start in starts) * 1000


def flood(web: Web, requests: int) -> float:
    """Send so many requests over kept connections; the memory of the process afterwards."""

    def send() -> None:
        with contextlib.closing(web.connect()) as connection:
            for number in range(requests // THREADS):
                web.get(connection, FLOOD[number % len(FLOOD)])

    threads = [threading.Thread(target=send) for _ in range(THREADS)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return web.rss_mb()
