"""Kubernetes's CronJobs come with their commands, from manifests and from lists of kubectl."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.imports.manifests import argument, go_duration
from scheduler.core.values.texts import InputError
from tests.faces.conftest import Root, contents
from tests.faces.imports.oracles import either_day_cron
from tests.faces.imports.shown import check_golden, fires_of, problems_of, source

START = datetime(2026, 4, 1, tzinfo=UTC)


def manifest(folder: Path, *, container: Any = None, meta: Any = None, name: str = "a.json", **spec: Any) -> str:
    containers = [{"name": "c", "command": ["true"]} if container is None else container]
    template = {"spec": {"template": {"spec": {"containers": containers}}}}
    value = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "a", **(meta or {})},
        "spec": {"schedule": "0 5 * * *", "timeZone": "UTC", "jobTemplate": template, **spec},
    }
    (folder / name).write_text(json.dumps(value))
    return str(folder / name)


def test_the_cronjobs_come_as_files_and_twice_changes_nothing(root: Root) -> None:
    check_golden(root, "k8s", "--timezone", "Etc/UTC")
    assert not any(b"hunter2" in data for data in contents(root.path).values())


def test_what_a_list_knows_of_the_past_and_a_suspension_come_too(root: Root) -> None:
    root.cli("import", "k8s", str(source("k8s")), "--timezone", "UTC")
    job = root.job("prod.clean")
    assert (job["last_run_at"], job["last_run_status"]) == ("2026-02-28T23:45:00Z", "succeeded")
    (ping,) = [each for each in root.json("list")["jobs"] if each["id"].startswith("ping_it")]
    assert ping["paused"]["reason"] == "suspended in Kubernetes"


def test_the_next_50_fires_are_those_of_kubernetes(root: Root) -> None:
    root.cli("import", "k8s", str(source("k8s")), "--timezone", "UTC")
    assert fires_of(root, "db-backup", START) == either_day_cron("30 2 */2 * 1-5", "Europe/London", START)
    assert fires_of(root, "prod.clean", START) == either_day_cron("*/15 ? * * ?", "UTC", START)
    assert fires_of(root, "test.clean", START) == either_day_cron("0 0 * * 0", "UTC", START)
    every = [START + timedelta(minutes=90 * n) for n in range(1, 51)]
    (ping,) = [each["id"] for each in root.json("list")["jobs"] if each["id"].startswith("ping_it")]
    assert fires_of(root, ping, START) == every


def test_yaml_as_kubectl_prints_it_is_a_list_too(root: Root, tmp_path: Path) -> None:
    item = json.loads(Path(manifest(tmp_path)).read_text())
    (tmp_path / "a.json").unlink()
    del item["kind"], item["apiVersion"]  # as in a CronJobList
    text = json.dumps({"apiVersion": "batch/v1", "kind": "CronJobList", "items": [item]}, indent=1).replace("\t", " ")
    (tmp_path / "list.yaml").write_text(f"# printed\n---\n{text}\n")
    found = root.json("import", "k8s", str(tmp_path / "list.yaml"))
    assert [(each["id"], each["line"]) for each in found["jobs"]] == [("a", 7)]


def test_a_zone_in_the_schedule_counts(root: Root, tmp_path: Path) -> None:
    schedule = "CRON_TZ=Asia/Tokyo 0 5 * * *"
    found = root.json("import", "k8s", manifest(tmp_path, schedule=schedule, timeZone=None))
    (told,) = [each for each in found["problems"] if each["code"] == "import.schedule"]
    assert (schedule in told["message"], "timeZone: Asia/Tokyo" in told["hint"]) == (True, True)
    assert fires_of(root, "a", START) == either_day_cron("0 5 * * *", "Asia/Tokyo", START)


def test_a_step_of_one_is_any_day_as_kubernetes_has_it(root: Root, tmp_path: Path) -> None:
    root.json("import", "k8s", manifest(tmp_path, schedule="0 5 */1 * 3", timeZone="UTC"))
    assert fires_of(root, "a", START) == either_day_cron("0 5 * * 3", "UTC", START)


@pytest.mark.parametrize(
    ("schedule", "hint"),
    [
        ("30 0 5 * * *", "'0 5 * * *'"),
        ("0 5 * *", "'0 5 * * *'"),
        ("@reboot", "'0 5 * * *'"),
        ("@every", "'0 5 * * *'"),
        ("TZ=Asia/Tokyo 0 5 * * *", "`timeZone: Asia/Tokyo` or `timeZone: UTC`"),
        ("TZ=Asia/Tokyo", "`timeZone: Asia/Tokyo`"),
    ],
)
def test_a_schedule_that_kubernetes_refuses_is_told_with_what_to_write(
    root: Root, tmp_path: Path, schedule: str, hint: str
) -> None:
    done = root.cli("import", "k8s", manifest(tmp_path, schedule=schedule), "--json")
    (told,) = done.json["problems"]
    assert (told["code"], told["line"], done.json["jobs"]) == ("import.schedule", 1, [])
    assert f"a: its schedule is '{schedule}'" in told["message"]
    assert hint in told["hint"]


def test_an_interval_counts_from_what_made_or_last_ran_it(root: Root, tmp_path: Path) -> None:
    found = root.json("import", "k8s", manifest(tmp_path, schedule="@every 1h", meta={"name": "new"}))
    assert "counts from its creation" in str(found["problems"])
    meta = {"name": "old", "creationTimestamp": "2026-01-05T08:07:10Z"}
    found = root.json("import", "k8s", manifest(tmp_path, schedule="@every 1h", meta=meta))
    assert "counts from its creation" not in str(found["problems"])
    assert fires_of(root, "old", START, 2) == [START + timedelta(minutes=7 + 60 * n, seconds=10) for n in (0, 1)]


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"schedule": "0 5 * * 1#2"}, "import.schedule"),
        ({"schedule": "@every day"}, "import.schedule"),
        ({"schedule": "H 5 * * *"}, "import.schedule"),
        ({"timeZone": "Mars/Base"}, "import.schedule"),
        ({"concurrencyPolicy": "Queue"}, "import.format"),
        ({"container": {"name": "c", "image": "x"}}, "import.task"),
        ({"container": {"name": "c", "command": ["curl", "--token", "hunter2hunter2"]}}, "import.secret"),
        ({"meta": {"name": None}}, "import.id"),
        ({"jobTemplate": None}, "import.task"),
    ],
)
def test_what_has_no_place_here_is_left_out_by_name(
    root: Root, tmp_path: Path, more: dict[str, Any], code: str
) -> None:
    done = root.cli("import", "k8s", manifest(tmp_path, **more), "--json")
    errors = [each["code"] for each in done.json["problems"] if each["severity"] == "error"]
    assert (done.json["jobs"], errors) == ([], [code])


def test_a_value_of_a_secret_is_never_guessed(root: Root, tmp_path: Path) -> None:
    env = [
        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "B", "value": "x-$(A)"},
        {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    found = root.json(
        "import", "k8s", manifest(tmp_path, container={"name": "c", "command": ["x", "$(B)"], "env": env})
    )
    told = str(found["problems"])
    for each in ("env A (key k of Secret s)", "env B (made of A)", "env C (metadata.name of the pod)", "env_from"):
        assert each in told
    assert (root.path / "scripts/imported/a.sh").read_text().endswith('x "${B-}"\n')


def test_documents_that_cannot_be_read_are_told_with_their_place(root: Root, tmp_path: Path) -> None:
    manifest(tmp_path, name="good.json")
    (tmp_path / "template.yaml").write_text("kind: CronJob\nmetadata: {name: {{ .Release.Name }}}\n")
    (tmp_path / "anchor.yaml").write_text("kind: CronJob\nmetadata: &m {name: b}\nspec: *m\n")
    (tmp_path / "cut.json").write_text('{"kind": "CronJob", "metadata": {"na')
    (tmp_path / "other.yaml").write_text("kind: [ServiceAccount\n")
    done = root.cli("import", "k8s", str(tmp_path), "--json")
    assert [each["id"] for each in done.json["jobs"]] == ["a"]
    told = [each for each in done.json["problems"] if each["severity"] == "error"]
    places = [(Path(each["path"]).name, each["line"], each["code"]) for each in told]
    assert places == [
        ("anchor.yaml", 2, "import.format"),
        ("cut.json", 1, "import.format"),
        ("template.yaml", 2, "import.format"),
    ]
    alone = root.cli("import", "k8s", str(tmp_path / "other.yaml"), "--json")
    assert problems_of(alone.json) == [("format", "error")]


@pytest.mark.parametrize(
    ("word", "printed"),
    [
        ("$(A) and $(B)", "a and $(B)"),
        ("$$(A) $(A", "$(A) $(A"),
        ("$$5 $HOME `x` \"q\" 'r' \\", "$5 $HOME `x` \"q\" 'r' \\"),
        ("$(A)$(A)'\"$X`", "aa'\"$X`"),
        ("$(A)\\n", "a\\n"),
    ],
)
def test_an_argument_is_the_word_that_kubernetes_makes_of_it(word: str, printed: str) -> None:
    script = f"A=a\nprintf %s {argument(word, {'A'})}"
    assert subprocess.run(["sh", "-eu", "-c", script], capture_output=True, text=True, check=True).stdout == printed


def test_durations_as_go_writes_them() -> None:
    found = [go_duration(each) for each in ("1h30m0s", "90s", "1.5h", "100ms")]
    assert found == [timedelta(minutes=90), timedelta(seconds=90), timedelta(minutes=90), timedelta(seconds=1)]
    with pytest.raises(InputError):
        go_duration("1 day")
