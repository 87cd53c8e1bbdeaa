"""Every URL of the pages, built in one place. An id, a path or a revision in one is quoted.

The links of one page carry the zone in which it shows times, so that a zone once chosen stays, and an address that is
sent to somebody shows the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode

from markupsafe import Markup

ZONE = "tz"


class _Fixed:
    """The URL of a page without parameters; of the class, that without a zone."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __get__(self, links: Links | None, _: type[Links]) -> str:
        return self._path if links is None else links.to(self._path)


class Links:
    """The URLs that templates use, as `links.job(id)`. zone: that of the page; empty: times are in each job's own."""

    now, jobs_page, sync, spend, activity, health, jump = (
        _Fixed(path) for path in ("/", "/jobs", "/sync", "/spend", "/activity", "/health", "/jump")
    )

    def __init__(self, zone: str = "") -> None:
        self._zone = zone

    def to(self, path: str, **query: str) -> str:
        """This path in the zone of the page. For what has no method of its own."""
        return path + asked({**query, ZONE: self._zone})

    @staticmethod
    def path_of(job_id: str) -> str:
        """Of a job's page, without parameters: the addresses of its buttons begin with it."""
        return f"/jobs/{quote(job_id, safe='')}"

    def job(self, job_id: str, **query: str) -> str:
        return self.to(self.path_of(job_id), **query)

    def version(self, job_id: str, sha256: str) -> str:
        return self.to(f"{self.path_of(job_id)}/versions/{quote(sha256, safe='')}")

    def back(self, job_id: str, sha256: str) -> str:
        return self.to(f"{self.path_of(job_id)}/versions/{quote(sha256, safe='')}/back")

    def run(self, run_id: str) -> str:
        return self.to(f"/runs/{quote(run_id, safe=':')}")

    def jobs(self, **query: str) -> str:
        return self.to("/jobs", **query)

    def explain(self, job_id: str, **query: str) -> str:
        return self.to("/explain", **{"job": job_id, **query})

    def here(self, query: Mapping[str, str], **changed: str) -> str:
        """This page with other parameters; an empty one is left out."""
        return asked({**query, **changed}) or "?"

    def review(self, revisions: str) -> str:
        return self.to(f"/review/{quote(revisions)}")

    def commit(self, commit: str) -> str:
        """What a commit has changed, against its parent."""
        return self.review(f"{commit}~1...{commit}")

    @property
    def field(self) -> Markup:
        """For a form with method GET, which drops the parameters of its action: the zone as a hidden field."""
        return Markup('<input type="hidden" name="{}" value="{}">').format(ZONE, self._zone) if self._zone else Markup()


def asked(query: Mapping[str, str]) -> str:
    """`?a=b` without what is empty."""
    kept = {name: value for name, value in query.items() if value}
    return f"?{urlencode(kept)}" if kept else ""
