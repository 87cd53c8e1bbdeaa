"""The JSON shapes of interface.md, as types: what verbs answer, whichever face prints it.

Types only, for readers, for mypy and for the API. No command imports this module at run time, so `list` starts without
it. The types are those of typing_extensions, because pydantic needs them so on Python 3.11.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired

from typing_extensions import TypedDict

from scheduler.core.spent import BudgetJson, ReservationJson, SpendingJson

Instant = str  # RFC 3339, UTC, ending in Z
Values = Mapping[str, Any]  # of job files and of scheduler.yaml, by key


class BeforeAfterJson(TypedDict):
    before: Any
    after: Any


class ProblemJson(TypedDict):
    severity: str
    path: str
    line: int
    column: int
    code: str
    message: str
    hint: str
    job_id: str | None


class RevisionJson(TypedDict):
    revision: str | None  # HEAD
    dirty: str | None  # how a file differed from it


class CommitJson(TypedDict):
    id: str
    author: str
    email: str
    date: Instant
    subject: str


class PauseJson(TypedDict):
    reason: str | None
    until: Instant | None
    by: str | None
    at: Instant


class WaitingJson(TypedDict):
    reason: str
    message: str
    since: str | None
    until: str | None


class WaitingJobJson(TypedDict):
    id: str
    reason: str
    message: str
    until: Instant | None


class AccountJson(TypedDict):
    """An account of runners, as `resume --account` leaves it."""

    account: str
    runners: list[str]
    waiting: WaitingJson | None  # None: it is not parked


class GoingJson(TypedDict):
    """A run that has not ended."""

    id: str
    status: str
    started_at: Instant | None


class DaemonJson(TypedDict):
    state: str
    severity: str
    message: str
    hint: str
    pid: int | None
    host: str | None
    since: Instant | None
    seen_at: Instant | None


class AlarmJson(TypedDict):
    kind: str
    since: Instant
    deadline: Instant
    message: str


class SpecJson(TypedDict):
    """A definition: JobSpec.to_json."""

    id: str
    name: str
    description: str | None
    owner: str | None
    tags: list[str]
    enabled: bool
    schedule: dict[str, Any]
    task_source_path: str | None
    runner: str
    env: dict[str, str]
    timeout_ms: int
    concurrency: str
    failure_limit: int
    expires: Instant | None
    retry: dict[str, Any]
    expect_every_ms: int | None
    catch_up: dict[str, Any]
    model: str | None
    args: list[str]
    workdir: str | None
    task_queue: str | None
    check: dict[str, Any] | None
    expect: dict[str, Any] | None
    budget: BudgetJson | None
    deliver: list[str]  # names of channels
    deliver_on: list[str]
    ping: str | None


class OtherModelJson(TypedDict):
    run_id: str
    asked: str
    served: str


class JobRowJson(TypedDict):
    """What a table of jobs shows of each."""

    id: str
    tags: list[str]
    schedule_text: str
    sync_state: str
    problems: list[ProblemJson]
    status: str
    paused: PauseJson | None
    waiting: WaitingJson | None
    running: list[GoingJson]
    alarms: list[AlarmJson]
    next_run_at: Instant | None
    next_fire_at: Instant | None
    last_run_at: Instant | None
    last_run_status: str | None
    last_skip_at: Instant | None
    last_skip_reason: str | None
    run_count: int
    consecutive_errors: int
    other_model: OtherModelJson | None  # another model than the one asked for has answered the last run


class JobJson(SpecJson, RevisionJson, JobRowJson):
    task_sha256: str | None
    source_path: str
    source_line: int
    generation: int
    version: str
    stop_reason: str | None
    activated_at: Instant | None
    archived_at: Instant | None
    last_run_duration_ms: int | None
    last_run_error: str | None
    last_delivery_status: str | None
    created_at: Instant | None  # this and the like: None where no sync has made the job yet
    created_by: str | None
    updated_at: Instant | None


class ListJson(TypedDict):
    jobs: Sequence[JobRowJson]  # a full list has a JobJson of each
    problems: list[ProblemJson]
    troubles: list[str]
    summary: dict[str, Any]
    daemon: NotRequired[DaemonJson]
    synced: bool  # False: no sync was ever applied, and the jobs are what the files say


class FireTimeJson(TypedDict):
    """A fire without its job."""

    fire_time: Instant
    local: str
    timezone: str
    dst: str | None
    dst_occurrence: int | None


class FireJson(FireTimeJson):
    job_id: str


class FiresJson(TypedDict):
    fires: list[FireJson]


class ShowJson(TypedDict):
    job: JobJson
    next_fires: list[FireJson]
    held: str | None
    spending: SpendingJson | None  # None without a budget
    result_format: str | None  # of its runner; None if scheduler.yaml has no such runner


class CostJson(TypedDict):
    amount: float
    currency: str
    basis: str  # reported by the program, or computed from tokens and prices


class TokensJson(TypedDict):
    """Tokens by kind; None is unknown."""

    input: int | None
    output: int | None
    cache_read: int | None
    cache_write: int | None
    reasoning: int | None


class AttemptJson(TypedDict):
    n: int
    status: str
    reason: str | None
    started_at: Instant
    finished_at: Instant | None
    exit_code: int | None
    end_class: str | None
    cost: CostJson | None
    tokens: TokensJson | None
    host: str | None  # of a worker; None for this machine


class ElsewhereJson(TypedDict):
    """How a slot ends that another control plane serves."""

    database: str
    status: str | None
    reason: str | None
    finished_at: Instant | None
    host: str | None


class RunnerFileJson(TypedDict):
    """A file of the root that a runner's command names."""

    path: str
    sha256: str | None
    blob: str | None
    dirty: str | None
    executable: bool


class FreshTreeJson(TypedDict):
    """The git worktree of a run with `workdir: fresh`."""

    branch: str
    commit: str
    folder: str | None
    commits: int | None
    files: int | None
    insertions: int | None
    deletions: int | None


class DeliveryJson(TypedDict):
    """One event on its way to one channel."""

    id: int
    channel: str
    event: str  # the kind of the event
    job_id: str | None  # None for an event of the root
    run: str | None
    status: str  # pending, delivered, dropped:REASON, error:REASON
    tries: int
    at: Instant  # when it was last tried or ended, or else when it happened
    error: str | None  # of the last try


class DeliveriesJson(TypedDict):
    deliveries: list[DeliveryJson]


class ChannelJson(TypedDict):
    """A channel, and how sending to it goes."""

    name: str
    kind: str  # url, webhook, command, ping
    detail: str
    references: list[str]  # to secrets, as they are written
    alerts: bool  # it is told what concerns the root
    waiting: int  # deliveries that are not over
    last_ok_at: Instant | None
    dead_since: Instant | None  # since when it refuses its messages
    error: str | None  # of the last try, if that failed


class ChannelsJson(TypedDict):
    channels: list[ChannelJson]


class TestedJson(TypedDict):
    channel: str
    sample: str  # the kind of event that the message shows
    delivered: bool
    error: str | None


class ResolvedJson(TypedDict):
    """Whether a reference resolves in the environment of the command."""

    reference: str
    error: str | None  # None: it does


class MessageJson(TypedDict):
    """A message as a service would be given it."""

    title: str
    body: str
    markup: str
    size: int  # of the body
    most: int  # that the service is given
    unit: str  # of both: characters or bytes
    attachment: str | None


class RehearsedJson(TypedDict):
    """What a test message would be. Nothing was sent."""

    channel: str
    kind: str
    sample: str
    service: str | None  # masked
    detail: str
    references: list[ResolvedJson]
    message: MessageJson | None  # to a service; None if it cannot be told which, and for programs and pings
    payload: EventJson | None  # to a webhook or a command
    error: str | None  # why nothing could be sent, although all references resolve
    ready: bool


class RunJson(RevisionJson):
    id: str
    job_id: str
    fire_time: Instant | None
    fire_time_last: Instant | None
    slots: int
    requested_at: Instant
    requested_by: str | None
    retry_at: Instant | None
    trigger: str
    status: str
    reason: str | None
    started_at: Instant | None
    finished_at: Instant | None
    duration_ms: int | None
    exit_code: int | None
    error: str | None
    attempts: list[AttemptJson]
    task_sha256: str | None
    task_bytes: int | None
    source_path: str | None
    source_sha256: str | None
    source_blob: str | None
    no_provenance: str | None
    runner_files: list[RunnerFileJson] | None
    task_of: str | None
    check_sha256: str | None  # of what its check printed, if that was added to the text
    generation: int
    result: str | None
    output_bytes: int | None
    truncated: bool
    worktree: FreshTreeJson | None
    end_class: str | None  # ok, task, quota, credential, transient, budget, refused, timeout, cancelled, interrupted
    result_format: str | None  # None if no process ran
    cost: CostJson | None  # of all attempts; None is unknown
    cost_usd: float | None  # the amount, if its currency is USD
    tokens: TokensJson | None
    reserved: ReservationJson | None  # None without a budget
    engine: str  # local, temporal
    task_queue: str | None  # None for the local engine
    handle: str | None  # what the engine calls its last try
    host: str | None  # of the worker of its last try; None for this machine
    elsewhere: ElsewhereJson | None  # only if another control plane serves its slot
    model: str | None  # served, or else asked for
    model_asked: str | None
    model_served: str | None
    other_model: bool  # the model that answered is not the one asked for
    session: str | None
    resume: list[str] | None  # the command that continues the session
    limit: str | None  # that was reached, as the program calls it
    reset_at: Instant | None
    denied: list[str]  # tools that the agent was not allowed to use
    misfits: list[str]  # what in its output is not as its format has it
    deliveries: list[DeliveryJson]  # of what happened in it, to each channel


class HistoryJson(TypedDict):
    runs: list[RunJson]
    more: bool  # than were asked for


class ShowRunJson(TypedDict):
    run: RunJson
    why: str
    last_lines: dict[str, list[str]]  # by stream
    timezone: str  # of its job's schedule


class PresentTaskJson(RevisionJson):
    """The text that a run would get now."""

    job_id: str
    run_id: None
    task: str
    task_sha256: str
    source_path: str


class TaskJson(RevisionJson):
    run_id: str
    task: str
    check_output: str | None  # what the check printed, if that was added to the text
    check_sha256: str | None
    task_sha256: str | None
    source_path: str | None


class DryCheckJson(TypedDict):
    """The check that decides at a slot whether the job runs."""

    runner: str
    task_source_path: str | None
    timeout_ms: int
    output: str
    argv: list[str] | None  # None if it could not start
    fault: str | None  # why it could not start


class DryRunJson(TypedDict):
    job_id: str
    argv: list[str]
    cwd: str
    env: list[str]
    input: str
    task_queue: str | None  # of the workers that would get it: they look for the program; None for this machine
    task_sha256: str
    task: str
    check: DryCheckJson | None


class OfCommitJson(TypedDict):
    revision: str | None
    commit: CommitJson | None
    no_commit: str | None


class BroughtJson(OfCommitJson):
    """How a change came about."""

    actor: str
    cause: str


class AuditRowJson(BeforeAfterJson, BroughtJson):
    at: Instant
    job_id: str
    action: str
    field: str | None


class AuditJson(TypedDict):
    audit: list[AuditRowJson]
    more: bool  # than were asked for


class ActivityRowJson(AuditRowJson):
    job_ids: list[str]  # all jobs that were changed so, at once; the row is that of the first


class ActivityJson(TypedDict):
    """Changes, newest first."""

    rows: list[ActivityRowJson]
    before: int | None  # the cursor of the rows that follow; null after the last one


class ChangesJson(TypedDict):
    """Changes of one job, newest first, without what its runs have caused."""

    rows: list[AuditRowJson]
    more: bool  # than were asked for


class EvidenceJson(OfCommitJson):
    kind: str
    at: Instant | None
    text: str
    run: str | None
    actor: str | None
    why: str | None


class ExplainJson(TypedDict):
    job_id: str
    at: Instant
    fired: bool
    why: str
    text: str
    evidence: list[EvidenceJson]
    held: str | None
    run: NotRequired[str]  # these three: of one run
    status: NotRequired[str]
    reason: NotRequired[str | None]


class SlotsJson(TypedDict):
    slots: int
    first: Instant
    last: Instant


class ServedJson(SlotsJson):
    status: str
    reason: str | None


class UnservedJson(SlotsJson):
    why: str
    text: str


# By calls: `from` is no name of a field.
ExplainWindowJson = TypedDict(
    "ExplainWindowJson",
    {
        "job_id": str,
        "from": Instant,
        "to": Instant,
        "text": str,
        "slots": int,
        "served": list[ServedJson],
        "without_row": list[UnservedJson],
        "by_hand": int,
        "longest_gap": SlotsJson | None,
        "exceptions": list[EvidenceJson],
        "more_exceptions": int,
        "beside": list[EvidenceJson],
        "held": str | None,
    },
)


class StatusRunJson(GoingJson):
    job_id: str
    reason: str | None
    trigger: str
    requested_by: str | None
    requested_at: Instant
    fire_time: Instant | None
    retry_at: Instant | None
    attempt: int  # 0: none has begun
    task_queue: str | None  # of the workers that may take it, or have; None for this machine
    host: str | None  # of the worker that has it


class ChangeSinceJson(TypedDict):
    what: str  # "text", "definition", or "text and definition"
    to: str
    commit: CommitJson | None


class FailingJson(TypedDict):
    id: str
    consecutive_errors: int
    run: str | None  # the newest that failed, where its row is kept
    at: Instant
    status: str | None
    reason: str | None
    error: str | None
    change: ChangeSinceJson | None  # between the last success and the first failure after it


class OverdueJson(TypedDict):
    id: str
    kind: str
    since: Instant
    message: str


class NextFireJson(FireTimeJson):
    job_id: str


class DeadChannelJson(TypedDict):
    name: str | None  # None: it is a job's own ping
    job_id: str | None
    since: Instant
    error: str | None
    message: str
    hint: str


class ReachJson(TypedDict):
    """How sending goes, over all channels and pings."""

    total: int  # channels of scheduler.yaml
    dead: list[DeadChannelJson]
    waiting: int  # messages that are not over
    oldest_at: Instant | None  # when what the oldest of them tells happened


class NeedJson(TypedDict):
    """Something that needs a person, or that waits for an instant."""

    kind: str  # stopped, failing, overdue, invalid, ...
    urgent: bool  # False: it ends by itself
    count: int  # of things: more than one if the line stands for further ones of its kind
    job_id: str | None
    run: str | None  # that shows it
    since: Instant | None
    until: Instant | None  # when it may end by itself
    text: str
    change: ChangeSinceJson | None  # the change just before it


class StatusJson(TypedDict):
    healthy: bool
    exit_code: int
    attention: list[str]  # what needs a person
    needs: list[NeedJson]  # a line for each of these, and for what waits until an instant
    at: Instant
    never_synced: bool
    daemon: DaemonJson
    summary: dict[str, Any]
    running: list[StatusRunJson]
    queued: list[StatusRunJson]
    failing: list[FailingJson]
    stopped: list[dict[str, str | None]]
    overdue: list[OverdueJson]
    waiting: list[WaitingJobJson]
    next: list[NextFireJson]
    channels: ReachJson
    troubles: list[str]


class CheckJson(TypedDict):
    name: str
    status: str
    message: str
    hint: str


class DoctorJson(TypedDict):
    healthy: bool
    exit_code: int
    errors: int
    warnings: int
    checks: list[CheckJson]


class EventJson(TypedDict):
    """What a webhook and a command are given."""

    token: str  # of the delivery: the same over all tries
    key: str  # of the event: the same for all channels
    kind: str
    phase: str
    at: Instant
    root: str
    host: str
    job_id: str | None  # None for an event of the root
    since: Instant | None
    times: int | None
    facts: Values
    job: JobJson | None
    run: RunJson | None
    stderr: list[str]  # its last lines
    change: ChangeSinceJson | None  # since the job's last success
    link: str | None
