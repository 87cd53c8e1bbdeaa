"""APScheduler 3 as its users run programs: a pool of threads, each of which starts one and waits for it.

    python apscheduler_jobs.py PLAN DATABASE|-

PLAN is the JSON of `systems.write_plan`. With a database, the jobs are kept in SQLite.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.blocking import BlockingScheduler
from apscheduler.triggers.cron import CronTrigger


def run(*words: str) -> None:
    """As `subprocess.run(..., capture_output=True)`, which keeps both streams."""
    subprocess.run(words, capture_output=True, check=True)


def trigger(group: dict[str, float]) -> CronTrigger:
    first = datetime.fromtimestamp(group["at"], UTC)
    if "until" in group:
        return CronTrigger(
            second="*", start_date=first, end_date=datetime.fromtimestamp(group["until"], UTC), timezone=UTC
        )
    return CronTrigger(hour=first.hour, minute=first.minute, second=first.second, timezone=UTC)


def main() -> None:
    plan = json.loads(Path(sys.argv[1]).read_text())
    scheduler = BlockingScheduler(timezone=UTC, executors={"default": ThreadPoolExecutor(plan["threads"])})
    if sys.argv[2] != "-":
        scheduler.add_jobstore("sqlalchemy", url=f"sqlite:///{sys.argv[2]}")
    options = {"misfire_grace_time": None, "coalesce": False, "max_instances": 1000}
    for group in plan["groups"]:
        for job in range(group["first"], group["first"] + group["count"]):
            words = [*plan["command"], str(job), *plan["sleep"]]
            scheduler.add_job(run, trigger(group), args=words, id=str(job), **options)
    scheduler.add_listener(lambda event: print("ready", flush=True), 1)  # EVENT_SCHEDULER_STARTED
    scheduler.start()


if __name__ == "__main__":
    main()
