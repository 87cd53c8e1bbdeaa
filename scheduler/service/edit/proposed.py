"""The job as it would be after an edit, even one that waits on a branch: schedule, next fires, more power."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scheduler.core import views
from scheduler.service.edit.trees import EditFiles, document_after, open_job, own_files
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.changes import ProposedJson


class Proposal:
    """Created before an edit is written and completed after it, because a hook may have changed the files."""

    def __init__(self, root: Root, files: EditFiles, job_id: str) -> None:
        self._root, self._files, self._job_id = root, files, job_id
        self._known = root.known(job_id)  # as it is now: a daemon applies an edit within milliseconds
        known = any(document.id == job_id for document in files.documents())
        self._before = open_job(files, job_id) if known else None
        self._own, self._task = own_files(files, self._before)

    def told(
        self, written: Mapping[str, bytes | None], kept: Mapping[str, Any], dropped: Mapping[str, Any]
    ) -> ProposedJson | None:
        """The proposed job, or None if the files do not show what it would be."""
        found = document_after(self._files, self._job_id, written, self._before, self._own, self._task)
        spec = None if found is None else found.document.spec
        if spec is None:
            return None
        job = self._known
        if job is None or job.archived:
            before, pause = None if self._before is None else self._before.document.spec, None
        else:
            before, pause = job.file.spec, job.pause
        return views.proposed_json(before, spec, pause=pause, now=self._root.clock.now(), kept=kept, dropped=dropped)
