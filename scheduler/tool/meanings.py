"""What was probably meant by an argument that an action does not accept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from scheduler.core.values.problems import did_you_mean

_BELOW_SCHEDULE = ("cron", "every", "at", "timezone", "jitter", "starts", "ends", "phase")
_BELOW = {
    **dict.fromkeys(_BELOW_SCHEDULE, "schedule"),
    **dict.fromkeys(("attempts", "backoff", "max_delay"), "retry"),
    **dict.fromkeys(("per_run", "per_day", "per_month"), "budget"),
    "within": "catch_up",
}
# Names that others use. The first meaning that the action accepts is suggested.
_MEANINGS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("prompt", "text", "body", "content", "instructions", "script"), ("task",)),
    **dict.fromkeys(("limit", "count", "max", "last", "size", "top", "num"), ("n",)),
    **dict.fromkeys(("name", "id", "job_id", "job_name", "jobid"), ("job", "before")),
    **dict.fromkeys(("run_id", "runid"), ("run", "before")),
    **dict.fromkeys(("job", "run"), ("before",)),
    **dict.fromkeys(("from", "start", "begin", "after"), ("since", "at")),
    **dict.fromkeys(("to", "end", "before"), ("until",)),
    **dict.fromkeys(("when", "time", "date"), ("at", "since", "until")),
    **dict.fromkeys(("file", "filename", "file_path", "filepath", "dest", "target"), ("path", "task_source_path")),
    **dict.fromkeys(("prompt_file", "task_file", "source", "source_path"), ("task_source_path",)),
    **dict.fromkeys(("keys", "fields", "changes", "values", "patch"), ("set",)),
    **dict.fromkeys(("remove", "clear"), ("unset",)),
    **dict.fromkeys(("version", "etag"), ("if_version",)),
    **dict.fromkeys(("commit_message", "msg", "comment"), ("message", "reason", "description")),
    **dict.fromkeys(("state", "run_status"), ("status",)),
    **dict.fromkeys(("tags", "label", "labels"), ("tag", "tags")),
    **dict.fromkeys(("title",), ("name",)),
    **dict.fromkeys(("active",), ("enabled",)),
    **dict.fromkeys(("verbose", "all", "details"), ("full",)),
    **dict.fromkeys(("revision", "sha", "commit_sha", "version_to"), ("to", "base")),
    **dict.fromkeys(("zone", "tz", "time_zone"), ("timezone",)),
    **dict.fromkeys(("cron_expression", "crontab"), ("cron",)),
    **dict.fromkeys(("interval",), ("every",)),
    **dict.fromkeys(("retries", "max_attempts"), ("attempts",)),
}


def instead(action: str, name: str, value: Any, known: Sequence[str], *, keys: Sequence[str]) -> str:
    """The hint for `name`, which the action does not accept. known: what it accepts; keys: the keys of a job."""
    word = name.lower().replace("-", "_")
    if word == "id" and set(keys) <= set(known):
        return "give the job's id as job; an id never changes"
    if "." in name and action == "update":
        return f"write set: {{{name}: ...}}"
    meanings = (word, *_MEANINGS.get(word, ()))
    if (found := next((each for each in meanings if each in known), None)) is not None:
        return f"did you mean {found!r}?"
    below = next((each for each in meanings if _BELOW.get(each) in known), None)
    if below is not None:
        shown = json.dumps(value, ensure_ascii=False)
        return f'write {_BELOW[below]}: {{"{below}": {shown if len(shown) <= 100 else "..."}}}'
    if near := did_you_mean(name[:200], known):
        return near
    if name in keys:
        return f"update changes a key of a job; {action} takes {', '.join(known) or 'nothing else'}"
    return f"it takes {', '.join(known) or 'nothing else'}"
