"""Codes in words, for people. JSON, logs and `--status` keep the codes; a page shows the code as a title."""

from __future__ import annotations

from collections.abc import Mapping

from scheduler.core.past.why import WHY_SKIPPED

REASONS: Mapping[str, str] = {  # why a run was skipped, ended as it did, or waits; also why a job waits
    **WHY_SKIPPED,
    "check_failed": "its check failed",
    "other_branch": "another branch is checked out",
    "engine_missing": "no engine for workers is set up here",
    "void": "the clock went back to before its slot",
    "source_missing": "the file of the task, or of the job, is gone",
    "source_invalid": "the job file that has the text cannot be read",
    "source_not_utf8": "the text is not UTF-8",
    "source_empty": "the text is blank",
    "source_conflict_markers": "the text contains the markers of a merge",
    "source_dirty": "a file of the task is not committed",
    "source_too_large": "the text is too large",
    "source_outside_root": "the path of the text leads out of the root",
    "source_not_regular": "the path of the text is not a regular file",
    "source_denied": "the scheduler has no permission to read the text",
    "source_changed": "the text kept changing while it was read",
    "source_unreadable": "the text cannot be read",
    "runner_unknown": "scheduler.yaml no longer has its runner",
    "runner_not_allowed": "its runner does not accept this job",
    "runner_not_found": "the program of its runner does not exist or is not executable",
    "runner_missing": "the program of its runner is gone",
    "runner_cwd_missing": "the working directory of its runner is gone",
    "runner_workdir_missing": "its working directory is not a folder",
    "runner_needs_commit": "its folder cannot be made from a commit",
    "runner_refused_by_host": "the worker's host does not serve its runner",
    "runner_commit_missing": "the worker's clone does not have its commit",
    "runner_task_damaged": "the text that reached the worker is not the one that was sent",
    "runner_task_option": "the text begins with a dash, as an option does",
    "runner_task_too_large": "the text does not fit in one argument",
    "runner_start_failed": "its program could not be started",
    "runner_worktree_failed": "git could not make its worktree",
    "runner_branch_exists": "the branch of its worktree exists already",
    "runner_no_repository": "the root is no git repository, and it needs a worktree",
    "exit_code": "its program exited with an error",
    "task": "the agent says that it failed",
    "quota": "the limit of its account is reached",
    "credential": "its login is missing, has expired, or was rejected",
    "transient": "the service or the network failed",
    "refused": "the agent was denied permissions that it needed",
    "expect_result": "its result is not what it should be",
    "expect_file": "it did not write the file that it should",
    "signal": "its program was ended by a signal",
    "timeout": "it did not finish within its timeout",
    "cancelled": "somebody cancelled it",
    "replaced": "a newer run of the job replaced it",
    "shutdown": "the daemon was stopped",
    "interrupted": "the process that ran it was ended",
    "owner_died": "the scheduler that ran it was killed",
    "worker_lost": "its worker did not answer",
    "worker_died": "its worker was killed",
    "outcome_unknown": "nobody can say how it ended",
    "engine_error": "its workflow ended without a result",
    "scheduler_error": "the scheduler itself failed",
    "retry": "it waits for its retry",
    "place": "its place is unavailable",
    "outage": "it waits for its turn after an outage",
    "check": "its check comes first",
    "copy": "it ran when the backup was made that this database is from",
    "root_missing": "the root is missing or empty",
    "folder_missing": "a folder of its files is missing or empty",
    "workdir_missing": "its working directory is not a folder",
    "sync_held": "git is in the middle of a merge or rebase",
    "account": "its account is parked",
    "ok": "it went well",
}
ACTIONS: Mapping[str, str] = {  # of the audit
    "create": "created",
    "update": "changed",
    "task": "text changed",
    "move": "moved",
    "archive": "archived",
    "revive": "revived",
    "arm": "restarted",
    "complete": "completed",
    "commit": "committed",
    "sync_state": "state of its file",
    "import": "imported",
    "pause": "paused",
    "resume": "resumed",
    "cancel": "run cancelled",
    "stop": "stopped",
    "failure": "failed",
    "recovery": "recovered",
    "flapping": "fails and recovers all the time",
    "alarm": "overdue",
    "all_clear": "no longer overdue",
    "over_budget": "over its budget",
    "place_lost": "its place is gone",
    "place_back": "its place is back",
    "set_right": "corrected after the clock went back",
    "held": "held",
    "test": "channel tested",
    "retry": "delivery sent again",
    "backup": "backed up",
    "restore": "restored from a backup",
    "gc": "old data deleted",
    "token_create": "token created",
    "token_revoke": "token revoked",
    "login": "logged in",
}
STATES: Mapping[str, str] = {  # of runs, attempts, jobs, their files, and deliveries; of what is drawn in a chart
    "timed_out": "timed out",
    "could_not_start": "could not start",
    "claimed": "about to start",
    "no_row": "neither ran nor skipped",
    "no_success": "no success",
}


def reason_words(reason: str) -> str:
    """Why a run was skipped, or ended as it did. What another program named keeps its name."""
    return REASONS.get(reason) or plain(reason)


def state_words(state: str) -> str:
    return STATES.get(state) or plain(state)


def action_words(action: str) -> str:
    return ACTIONS.get(action) or plain(action)


def plain(code: str) -> str:
    """A code that is a word of English, or several with underscores between them."""
    return code.replace("_", " ")
