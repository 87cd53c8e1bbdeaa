"""Every URL of the pages, built in one place. An id, a path or a revision in one is quoted."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode


class Links:
    """The URLs that templates use, as `links.job(id)`."""

    now, jobs_page, sync, spend, activity, health = "/", "/jobs", "/sync", "/spend", "/activity", "/health"

    def job(self, job_id: str, **query: str) -> str:
        return f"/jobs/{quote(job_id, safe='')}{asked(query)}"

    def version(self, job_id: str, sha256: str) -> str:
        return f"{self.job(job_id)}/versions/{quote(sha256, safe='')}"

    def run(self, run_id: str) -> str:
        return f"/runs/{quote(run_id, safe=':')}"

    def jobs(self, **query: str) -> str:
        return f"/jobs{asked(query)}"

    def explain(self, job_id: str, **query: str) -> str:
        return f"/explain{asked({'job': job_id, **query})}"

    def here(self, query: Mapping[str, str], **changed: str) -> str:
        """This page with other parameters; an empty one is left out."""
        return asked({**query, **changed}) or "?"

    def review(self, revisions: str) -> str:
        return f"/review/{quote(revisions)}"


def asked(query: dict[str, str]) -> str:
    """`?a=b` without what is empty."""
    kept = {name: value for name, value in query.items() if value}
    return f"?{urlencode(kept)}" if kept else ""
