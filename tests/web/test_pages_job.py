"""The page of a job and of one of its texts, over a real root."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from scheduler.core.values.access import Caller, Role
from scheduler.web.app import build_app
from tests.faces.conftest import Root
from tests.web.bare import ADMIN, OpenGuard, service_root

HTML, JSON = {"accept": "text/html"}, {"accept": "application/json"}


def asking(root: Root, caller: Caller = ADMIN) -> TestClient:
    return TestClient(build_app(replace(service_root(root.path), clock=root.clock), OpenGuard(caller)))


def page(root: Root, path: str, **query: str) -> str:
    answer = asking(root).get(path, params=query, headers=HTML)
    assert answer.status_code == 200, answer.text
    return answer.text


def told(root: Root, path: str, **query: str) -> Any:
    return asking(root).get(path, params=query, headers=JSON).json()


def newest_text(root: Root, job_id: str) -> str:
    return str(root.runs(job_id)[0]["task_sha256"])


def broken(root: Root) -> str:
    """Ann's text succeeds twice, Ben's fails once. The id of Ben's commit."""
    commit = root.break_flaky(after=2)
    root.clock.advance(timedelta(seconds=5))
    return commit


def test_a_sentence_on_top_names_what_broke_and_how_it_was_before(lived_in: Root) -> None:
    broken(lived_in)
    found = told(lived_in, "/jobs/flaky")["verdict"]
    sha256 = newest_text(lived_in, "flaky")
    assert (found["tone"], found["word"]) == ("bad", "Failing")
    assert f"1 of 1 run with text {sha256[:7]} by " in found["text"]
    assert "with the text before it, 2 of 2 succeeded." in found["text"]
    shown = page(lived_in, "/jobs/flaky")
    assert '<b class="bad">✕ Failing</b>' in shown
    assert "with the text before it, 2 of 2 succeeded." in shown


@pytest.mark.parametrize(
    ("commands", "word"),
    [
        ([["pause", "heartbeat", "--reason", "<b>moving</b>"]], "Paused"),
        ([["run", "heartbeat", "--wait"]], "Healthy"),
        ([], "Healthy"),
    ],
)
def test_the_sentence_follows_what_people_do(lived_in: Root, commands: list[list[str]], word: str) -> None:
    for each in commands:
        lived_in.ok(*each)
    assert told(lived_in, "/jobs/heartbeat")["verdict"]["word"] == word
    assert "<b>moving" not in page(lived_in, "/jobs/heartbeat")


def test_a_job_that_never_ran_has_a_page(lived_in: Root) -> None:
    assert "Never run" in page(lived_in, "/jobs/triage")
    assert told(lived_in, "/jobs/triage")["timeline"]["marks"] == []


def test_the_chart_has_the_runs_and_the_texts_of_the_job(lived_in: Root) -> None:
    commit = broken(lived_in)
    found = told(lived_in, "/jobs/flaky.json")["timeline"]
    assert [each["status"] for each in found["marks"]] == ["failed", "succeeded", "succeeded", "failed"]
    assert all(each["at"].endswith("Z") for each in found["marks"])
    assert found["bands"][-1]["commit"]["id"] == commit
    assert [each["kind"] for each in found["ticks"]].count("text") >= 2
    shown = page(lived_in, "/jobs/flaky")
    assert '<svg class="lanes"' in shown
    assert "new text" in shown


def test_a_click_is_an_address_whose_answer_is_on_the_page(lived_in: Root) -> None:
    shown = page(lived_in, "/jobs/heartbeat", window="3h", tz="UTC")
    href = re.search(r'<a href="([^"]+)" tabindex="-1">', shown)
    assert href is not None
    address = href[1].replace("&amp;", "&")
    assert address.startswith("?window=3h&tz=UTC&at=")
    answered = asking(lived_in).get(f"/jobs/heartbeat{address.partition('#')[0]}", headers=HTML).text
    assert 'class="at"' in answered
    assert "○ it did not fire" in answered


def test_a_page_of_a_window_leads_to_the_ones_beside_it(lived_in: Root) -> None:
    start, end = "2026-03-01T00:00:00Z", "2026-03-01T12:00:00Z"
    found = told(lived_in, "/jobs/heartbeat", **{"from": start, "to": end})
    assert (found["timeline"]["start"], found["timeline"]["end"]) == (start, end)
    assert found["windows"]["earlier"]["to"] == "2026-03-01T06:00:00Z"
    assert found["windows"]["later"]["from"] == "2026-03-01T06:00:00Z"
    assert found["windows"]["narrower"] == {"from": "2026-03-01T06:00:00Z", "to": end, "window": ""}
    assert found["windows"]["wider"]["from"] == "2026-02-28T12:00:00Z"
    shown = page(lived_in, "/jobs/heartbeat", **{"from": start, "to": end})
    assert "back to now" in shown


@pytest.mark.parametrize(
    "query",
    [
        {"window": "soon"},
        {"window": "1s"},
        {"window": "9999d"},
        {"from": "2026-03-02T00:00:00Z", "to": "2026-03-01T00:00:00Z"},
        {"from": "whenever"},
        {"at": "whenever"},
        {"tz": "Mars/Base"},
        {"from": "0001-01-01T00:00:00Z", "to": "0001-01-02T00:00:00Z"},
        {"to": "0001-01-01T00:00:00Z"},
        {"from": "9999-12-30T00:00:00Z", "to": "9999-12-31T00:00:00Z"},
    ],
)
def test_a_window_or_an_instant_that_cannot_be_is_refused_with_a_hint(lived_in: Root, query: dict[str, str]) -> None:
    for accept in (HTML, JSON):
        answer = asking(lived_in).get("/jobs/heartbeat", params=query, headers=accept)
        assert answer.status_code == 400, answer.text


def test_a_window_of_one_end_has_the_usual_length(lived_in: Root) -> None:
    usual = told(lived_in, "/jobs/heartbeat", to="2026-03-01T00:00:00Z")["timeline"]
    assert usual["end"] == "2026-03-01T00:00:00Z"
    assert told(lived_in, "/jobs/heartbeat", **{"from": "-1h"})["timeline"]["end"].startswith("2026-03")


def test_slots_to_come_are_drawn_in_any_window_ahead(lived_in: Root) -> None:
    found = told(lived_in, "/jobs/tick", **{"from": "+3d", "to": "in 4d"})["timeline"]
    assert len(found["coming"]) == 200
    assert found["start"] <= found["coming"][0] < found["end"]
    assert "to come" in page(lived_in, "/jobs/tick", **{"from": "+3d", "to": "in 4d"})


def test_the_versions_of_a_job_say_of_how_many_runs_they_speak(lived_in: Root) -> None:
    broken(lived_in)
    shown = page(lived_in, "/jobs/flaky")
    assert "100 % of 2" in shown
    assert "✕ 0 % of 1" in shown
    assert "too few runs to say" in shown


def test_changes_are_what_people_did_and_not_what_runs_caused(lived_in: Root) -> None:
    broken(lived_in)
    lived_in.ok("pause", "flaky")
    found = told(lived_in, "/jobs/flaky")["changes"]
    assert [each["action"] for each in found["rows"]] == ["pause", "task", "task", "create"]
    assert not found["more"]
    assert "failure" in {each["action"] for each in lived_in.json("audit", "flaky")["audit"]}


def test_a_version_has_its_text_what_is_new_in_it_and_its_runs(lived_in: Root) -> None:
    commit = broken(lived_in)
    sha256 = newest_text(lived_in, "flaky")
    path = f"/jobs/flaky/versions/{sha256}"
    shown = page(lived_in, path)
    assert "exit 4" in shown
    assert "<ins>exit 4</ins>" in shown
    assert "<del>echo fine</del>" in shown
    assert commit[:7] in shown
    assert "/runs/flaky:4" in shown
    assert "/runs/flaky:3" not in shown
    found = told(lived_in, f"{path}.json")["version"]
    assert found["sha256"] == sha256
    assert found["current"]
    assert [each["id"] for each in found["runs"]] == ["flaky:4"]
    (before,) = {each["task_sha256"] for each in told(lived_in, "/jobs/flaky")["runs"][1:3]}
    assert found["before"] == before
    assert "It is no longer in force" in page(lived_in, f"/jobs/flaky/versions/{before[:9]}")


def test_the_beginning_of_a_sha256_is_enough_if_it_is_the_only_one(lived_in: Root) -> None:
    broken(lived_in)
    shas = {each["task_sha256"] for each in told(lived_in, "/jobs/flaky")["versions"]}
    client = asking(lived_in)
    for each in shas:
        for length in (1, 4, 7, 12, 64):
            beginning = each[:length]
            alone = [other for other in shas if other.startswith(beginning)] == [each]
            answer = client.get(f"/jobs/flaky/versions/{beginning}.json")
            assert answer.status_code == (200 if alone else 400)
            assert not alone or answer.json()["version"]["sha256"] == each
    assert client.get(f"/jobs/flaky/versions/{max(shas).upper()}.json").status_code == 200


def test_a_text_that_all_have_in_part_is_ambiguous(lived_in: Root) -> None:
    for number in range(17):  # more than there are first digits
        lived_in.write("scripts/flaky.sh", f"echo {number}\n")
        lived_in.sync()
        lived_in.ok("run", "flaky", "--wait")
        lived_in.clock.advance(timedelta(seconds=1))
    shas = [each["task_sha256"] for each in told(lived_in, "/jobs/flaky")["runs"]]
    twice = next(digit for digit in "0123456789abcdef" if len({each for each in shas if each[0] == digit}) > 1)
    answer = asking(lived_in).get(f"/jobs/flaky/versions/{twice}", headers=HTML)
    assert answer.status_code == 400
    assert "several texts" in answer.text


@pytest.mark.parametrize("wanted", ["0" * 64, "0000000", "nonsense", "<script>", "%2e%2e", "a" * 65])
def test_an_unknown_text_is_not_found_in_words(lived_in: Root, wanted: str) -> None:
    answer = asking(lived_in).get(f"/jobs/heartbeat/versions/{wanted}", headers=HTML)
    assert answer.status_code == 404
    assert "scheduler versions heartbeat" in answer.text
    assert "<script>" not in answer.text


def test_what_files_say_is_escaped_on_both_pages(lived_in: Root) -> None:
    evil = "</pre><script>alert(1)</script> \x1b[31mred\x1b[0m \u202egnp"
    lived_in.write("prompts/triage.md", f"{evil}\n")
    lived_in.edit("jobs/triage.yaml", "tags:", "name: <img src=x>\ndescription: '<i>&'\ntags:")
    lived_in.commit()
    lived_in.sync()
    lived_in.ok("run", "triage", "--wait")
    sha256 = newest_text(lived_in, "triage")
    for path in ("/jobs/triage", f"/jobs/triage/versions/{sha256}"):
        shown = page(lived_in, path)
        for raw in ("<script>alert", "<img", "<i>", "\x1b", "\u202e"):
            assert raw not in shown, (path, raw)
    assert "&lt;U+202E&gt;gnp" in page(lived_in, f"/jobs/triage/versions/{sha256}")


def test_links_lead_to_the_forge_without_the_credentials_of_the_remote(lived_in: Root) -> None:
    lived_in.git("remote", "add", "origin", "https://ann:SECRET@github.com/example/jobs.git")
    commit = broken(lived_in)
    sha256 = newest_text(lived_in, "flaky")
    for path in ("/jobs/flaky", f"/jobs/flaky/versions/{sha256}"):
        shown = page(lived_in, path)
        assert f"https://github.com/example/jobs/commit/{commit}" in shown
        assert "SECRET" not in shown
        assert "SECRET" not in asking(lived_in).get(path, headers=JSON).text
    assert re.search(
        r"https://github.com/example/jobs/blob/[0-9a-f]{40}/jobs/\w+\.yaml#L\d+", page(lived_in, "/jobs/flaky")
    )


def test_a_caller_sees_the_texts_of_its_own_jobs_only(lived_in: Root) -> None:
    client = asking(lived_in, Caller(actor="token:a", role=Role.VIEWER, jobs=("heartbeat",)))
    sha256 = newest_text(lived_in, "heartbeat")
    assert client.get(f"/jobs/heartbeat/versions/{sha256}", headers=HTML).status_code == 200
    assert client.get(f"/jobs/flaky/versions/{sha256}", headers=HTML).status_code == 404
    assert client.get("/jobs/flaky.json").status_code == 404


def test_older_runs_of_a_job_are_a_page_further(lived_in: Root) -> None:
    broken(lived_in)
    found = told(lived_in, "/jobs/flaky", before="3")
    assert [each["id"] for each in found["runs"]] == ["flaky:2", "flaky:1"]
    assert "Newest</a>" in page(lived_in, "/jobs/flaky", before="3")
    assert asking(lived_in).get("/jobs/flaky?before=x", headers=HTML).status_code == 400


def test_older_runs_of_a_text_are_a_page_further(lived_in: Root) -> None:
    sha256 = newest_text(lived_in, "heartbeat")
    first = told(lived_in, f"/jobs/heartbeat/versions/{sha256}", before="1")["version"]
    assert first["runs"] == []
    answer = asking(lived_in).get(f"/jobs/heartbeat/versions/{sha256}?before=x", headers=HTML)
    assert answer.status_code == 400


def test_a_window_with_more_rows_than_are_drawn_says_so(lived_in: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    broken(lived_in)
    monkeypatch.setattr("scheduler.service.timeline.MOST_MARKS", 2)
    found = told(lived_in, "/jobs/flaky")["timeline"]
    assert [each["n"] for each in found["marks"]] == [3, 4]
    assert found["more"]
    assert "than the 2 newest, which are drawn" in page(lived_in, "/jobs/flaky")


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
def test_an_instant_at_an_end_of_the_calendar_is_explained(lived_in: Root, at: str, zone: str) -> None:
    assert page(lived_in, "/jobs/heartbeat", at=at, tz=zone)
    assert page(lived_in, "/explain", job="heartbeat", at=at, tz=zone)


def test_a_pause_that_has_no_end_in_a_zone_hides_no_page(lived_in: Root) -> None:
    lived_in.ok("pause", "heartbeat", "--until", "9999-12-31T23:59:59Z")
    for path in ("/", "/jobs", "/jobs/heartbeat", "/sync", "/activity"):
        assert page(lived_in, path, tz="Asia/Tokyo")


def test_a_job_whose_id_ends_like_a_json_twin_has_a_page_and_a_twin(lived_in: Root) -> None:
    for name in ("data", "data.json"):
        lived_in.write(f"jobs/{name}.yaml", f"id: {name}\nschedule: manual\ntask: Say it.\n")
    lived_in.ok("sync")
    assert "<h1>data.json" in page(lived_in, "/jobs/data.json")
    for path in ("/jobs/data.json.json", "/jobs/data.json"):
        assert told(lived_in, path)["about"]["job"]["id"] == "data.json"
    assert told(lived_in, "/jobs/data")["about"]["job"]["id"] == "data"
    assert asking(lived_in).get("/jobs/triage.json", headers=HTML).json()["about"]["job"]["id"] == "triage"


def test_an_unexpected_error_is_a_page_for_a_browser(lived_in: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scheduler.web.show.frame", lambda *_, **__: 1 / 0)
    app = asking(lived_in).app
    answer = TestClient(app, raise_server_exceptions=False).get("/jobs/heartbeat", headers=HTML)
    assert (answer.status_code, answer.headers["content-type"][:9]) == (500, "text/html")
    assert "the log has its traceback" in answer.text


def test_an_archived_job_is_not_told_of_as_if_a_file_defined_it(lived_in: Root) -> None:
    lived_in.ok("delete", "triage")
    lived_in.ok("sync")
    shown = page(lived_in, "/jobs/triage")
    assert "No file defines it now." in shown
    assert "It ran " in shown
    assert "scheduler update" not in shown


def test_a_figure_that_is_not_known_has_no_name_on_a_phone(lived_in: Root) -> None:
    assert "95 % within </span>" not in page(lived_in, "/jobs/triage")
    assert "95 % within </span>" in page(lived_in, "/jobs/heartbeat")
