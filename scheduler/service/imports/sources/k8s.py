"""Kubernetes: CronJob manifests, several in a file, and the lists of `kubectl get cronjobs -o yaml|json`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

from scheduler.core.imports.brought import Brought, LeftOutError, Lost
from scheduler.core.imports.incoming import Gathered, Work, whole_seconds
from scheduler.core.imports.manifests import entry_of, env_of, objects, task_of
from scheduler.core.imports.records import Record
from scheduler.core.imports.secrets import quoted
from scheduler.core.values.problems import Problem, SchedulerError
from scheduler.core.values.texts import InputError, TextError
from scheduler.service.imports.source import Reading, Source, SourceFile, gather_all, read_each

_KIND = re.compile(r"""(?m)(?:^|[\s{,"'-])kind["']?:\s*["']?CronJob(?:List)?\b""")
_VERSIONS = ("batch/v1", "batch/v1beta1", "batch/v2alpha1")
_CONCURRENCY = {"Allow": "allow", "Forbid": "forbid", "Replace": "replace"}
_BOOKKEEPING = ("uid", "resourceVersion", "generation", "managedFields", "selfLink")
_IMAGE = "its programs must be on this machine, or the runner's command starts a container of it"
_POD = "spec.jobTemplate.spec.template.spec"
_INSTEAD = {
    f"{_POD}.containers.envFrom": "set the variables where the daemon is started, and name them in env_from",
    f"{_POD}.initContainers": "write it in the script of the job",
    "metadata.labels": "write `tags` in the job's file",
}
_SECOND = timedelta(seconds=1)


def _tell(file: SourceFile) -> str | None:
    found = _KIND.search(file.text)
    return None if found is None else f"line {file.text.count(chr(10), 0, found.end()) + 1} says kind: CronJob"


def _gather(source: Source, reading: Reading, files: Sequence[SourceFile]) -> Gathered:
    found = [*read_each(_read, reading, files if len(files) == 1 else [each for each in files if _is_one(each)])]
    names = Counter(each.id.partition("/")[2] for each in found if isinstance(each, Brought))
    return gather_all(
        source, reading, [_named_alone(each, names) if isinstance(each, Brought) else each for each in found]
    )


def _is_one(file: SourceFile) -> bool:
    try:
        return _tell(file) is not None
    except (TextError, SchedulerError):  # which is told when it is read
        return True


def _named_alone(job: Brought, names: Mapping[str, int]) -> Brought:
    """A job by its name, if no other namespace has one of that name."""
    namespace, _, name = job.id.partition("/")
    return replace(job, id=name if names[name] == 1 else f"{namespace}.{name}")


def _read(reading: Reading, file: SourceFile) -> Iterator[Brought | Problem]:
    found = False
    for line, value in objects(file.text):
        if isinstance(value, TextError):
            yield file.wrong(value.line, "format", value.message, value.hint, column=value.column)
        elif value.get("kind") == "CronJob":
            found = True
            job = Record(value, zone=reading.zone)
            meta = job.record("metadata") or Record({})
            name = meta.text("name", "generateName")
            try:
                if name is None:
                    raise LeftOutError("id", "it has no name")
                if value.get("apiVersion") not in _VERSIONS:
                    why = f"its apiVersion is {quoted(value.get('apiVersion'))}; allowed: {', '.join(_VERSIONS)}"
                    raise LeftOutError("format", why)
                yield _job(file, line, job, meta, f"{meta.text('namespace') or 'default'}/{name}")
            except (LeftOutError, InputError) as error:
                code = error.code if isinstance(error, LeftOutError) else "schedule"
                yield file.wrong(line, code, f"{name or 'a CronJob'}: {error}; it was left out", error.hint)
    if not found and _KIND.search(file.text) is None:
        raise TextError("format", "it holds no CronJob")


def _job(file: SourceFile, line: int, job: Record, meta: Record, job_id: str) -> Brought:
    job.drop("apiVersion", "kind")
    meta.drop(*_BOOKKEEPING)
    spec, status = job.record("spec") or Record({}), job.record("status") or Record({})
    jobs = (spec.record("jobTemplate") or Record({})).record("spec") or Record({})
    pod = (jobs.record("template") or Record({})).record("spec") or Record({})
    containers = pod.records("containers")
    if len(containers) != 1:
        raise LeftOutError("task", f"it has {len(containers)} containers, and a job here is one task")
    containers[0].drop("name")
    image, env = containers[0].text("image"), env_of(containers[0].records("env"))
    task, shell = task_of(containers[0], env)
    late, limit = spec.duration("startingDeadlineSeconds", _SECOND), jobs.duration("activeDeadlineSeconds", _SECOND)
    retries, last = jobs.count("backoffLimit"), status.instant("lastScheduleTime")
    success, policy = status.instant("lastSuccessfulTime"), spec.text("concurrencyPolicy") or "Allow"
    if policy not in _CONCURRENCY:
        allowed = ", ".join(_CONCURRENCY)
        raise LeftOutError("format", f"its concurrencyPolicy {quoted(policy)} is unknown; allowed: {allowed}")
    status.drop("active")
    entry, notes = entry_of(spec, last or meta.instant("creationTimestamp"))
    return Brought(
        path=file.shown,
        line=line,
        id=job_id,
        schedule=(entry,),
        work=Work.COMMANDS,
        task=task,
        shell=shell,
        keys={
            "concurrency": _CONCURRENCY[policy],
            "catch_up": None if late is None else {"policy": "latest", "within": whole_seconds(late)},
            "timeout": None if limit is None else whole_seconds(limit),
            "retry": {"attempts": retries + 1, "delay": "10s", "max_delay": "6m"} if retries else None,
        },
        workdir=containers[0].text("workingDir"),
        env=env.values,
        facts={
            "created_at": meta.instant("creationTimestamp"),
            "last_run_at": last,
            "last_run_status": "succeeded" if last is not None and success is not None and success >= last else None,
        },
        paused="suspended in Kubernetes" if spec.flag("suspend") else None,
        comments=(f"Kubernetes ran it in the image {image}",) if image else (),
        notes=notes,
        lost=(*_shortened(job.lost(_INSTEAD)), *_places(image, meta.text("namespace")), *env.lost),
    )


def _shortened(lost: Sequence[Lost]) -> list[Lost]:
    return [replace(each, name=each.name.removeprefix("spec.jobTemplate.spec.")) for each in lost]


def _places(image: str | None, namespace: str | None) -> Iterator[Lost]:
    if namespace is not None:
        yield Lost(name="namespace", value=namespace)
    if image is not None:
        yield Lost(name="image", value=image, instead=_IMAGE)


SOURCE = Source(
    word="k8s",
    called="Kubernetes",
    stop='suspend its CronJobs (`kubectl patch cronjob NAME -p \'{"spec":{"suspend":true}}\'`)',
    named=lambda path: path.suffix in (".yaml", ".yml", ".json"),
    tell=_tell,
    gather=_gather,
)
