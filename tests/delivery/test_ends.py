"""From what happens to who is told: a real daemon, its sender and helpers, and real servers that take messages."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio

from tests.delivery.sinks import HttpSink, http_sink, smtp_sink, soon
from tests.faces.conftest import Root
from tests.faces.served import Served, root, serve
from tests.faces.test_tool_live import agent
from tests.helpers import ROOT_FILE, until

__all__ = ["root", "serve"]  # fixtures

Serve = Callable[..., Served]
AGENT = """\
printf '{"type": "result", "subtype": "success", "is_error": false, "result": "I was told: %s", "session_id": "s-1",
 "total_cost_usd": 0.0132, "permission_denials": [],
 "modelUsage": {"demo-1": {"inputTokens": 9, "outputTokens": 14, "costUSD": 0.0132}}}' "$(cat)"
"""
# Looks for what is wrong with the root more often than every quarter of a minute.
HASTY = (
    sys.executable,
    "-c",
    "import scheduler.delivery.alarms as a; a.LOOK_S = 0.1; from scheduler.cli import main; main()",
    "serve",
)


def bodies(sink: HttpSink) -> list[Any]:
    return [json.loads(each.body) for each in [*sink.received]]


def test_an_agent_edits_its_prompt_and_the_answer_arrives_with_job_commit_and_cost(root: Root, serve: Serve) -> None:
    with http_sink() as ci, http_sink() as chat:
        root.write(
            "scheduler.yaml",
            ROOT_FILE
            + "  demo: {command: [sh, scripts/agent.sh], input: stdin, result_format: claude}\n"
            + "agents: {jobs: [tick], verbs: [update], edits: commit}\n"
            + f'channels:\n  ci: {{webhook: "{ci.url}/hook", secret: "${{env:HOOK}}"}}\n'
            + f'  chat: {{url: "json://127.0.0.1:{chat.port}/"}}\n',
        )
        root.write("scripts/agent.sh", AGENT)
        job = "id: tick\nschedule: {every: 1s}\ntask_source_path: prompts/tick.md\nrunner: demo\n"
        root.write("jobs/tick.yaml", job + "deliver: [ci, chat]\ndeliver_on: [success]\n")
        root.write("prompts/tick.md", "first")
        root.commit()
        serve(HOOK="canary")
        until(lambda: ci.received, "the first answer")
        before, old_runs = root.job("tick"), root.runs("tick")

        async def session() -> Any:
            async with agent(root) as ask:
                return await ask("update", job="tick", task="second", message="Say second")

        commit = anyio.run(session)["commit"]
        assert commit == root.git("rev-parse", "HEAD")

        def answered(each: Any) -> bool:
            return each["run"] is not None and each["run"]["result"] == "I was told: second"

        told = until(lambda: next(filter(answered, bodies(ci)), None), "the answer to the new prompt")
        run = told["run"]
        assert (told["kind"], told["job_id"], run["job_id"], run["revision"]) == ("success", "tick", "tick", commit)
        assert (run["cost_usd"], run["cost"]["currency"], run["status"]) == (0.0132, "USD", "succeeded")
        said = until(
            lambda: next((each for each in bodies(chat) if "I was told: second" in each["message"]), None),
            "the message",
        )
        assert "tick" in said["title"]
        assert "0.0132 USD" in said["message"]
        assert run["id"] in said["message"]

    after, runs = root.job("tick"), {each["id"]: each for each in root.runs("tick")}
    assert [after[key] for key in ("id", "created_at", "created_by")] == [
        before[key] for key in ("id", "created_at", "created_by")
    ]
    assert after["run_count"] > before["run_count"]
    finished = [each for each in old_runs if each["status"] == "succeeded"]
    assert [_without_deliveries(runs[each["id"]]) for each in finished] == [*map(_without_deliveries, finished)]


def _without_deliveries(run: Any) -> Any:
    return {key: value for key, value in run.items() if key != "deliveries"}


# What a program may print: colours, a bell, HTML, bytes that are no text, and words that page everybody in a chat.
HOSTILE = (
    b"\x1b[31mred\x1b[0m \x07 <script>alert(1)</script> \xff\xfe <!channel> <@U123> @everyone @here ```\n"
    b"Subject: forged\r\nBcc: somebody@example.com\r\n"
)
SECRETS = {"PASSWORD": "canary-Pa55/w@rd?&x", "KEY": "canary-0key0", "HOOK": "canary-whook", "BEAT": "canary-beat"}


def forms(secret: str) -> set[bytes]:
    """A secret as it may stand somewhere."""
    return {secret.encode(), quote(secret, safe="").encode(), b64encode(secret.encode()).rstrip(b"=")}


def leaks(content: bytes) -> list[str]:
    return [name for name, secret in SECRETS.items() if any(form in content for form in forms(secret))]


def read(file: Path) -> bytes:
    """Of a process that may have ended meanwhile: nothing."""
    with contextlib.suppress(OSError):
        return file.read_bytes()
    return b""


def processes_of(pid: int) -> list[Path]:
    """/proc folders of what a process has started, directly or not."""
    told = []
    for each in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # it has just ended
            told.append(each.read_text())
    found = [Path(f"/proc/{each}") for each in " ".join(told).split()]
    return [*found, *(deeper for each in found for deeper in processes_of(int(each.name)))]


def test_faults_of_services_and_hostile_output_reach_nobody_and_no_secret_is_kept(
    root: Root, serve: Serve, tmp_path: Path
) -> None:
    secret = tmp_path / "mail-password"
    secret.write_text(SECRETS["PASSWORD"] + "\n")
    (tmp_path / "hostile").write_bytes(HOSTILE)
    loud = f"no {SECRETS['KEY']} here, {quote(SECRETS['KEY'])}".encode()  # as some services answer
    with (
        http_sink() as ci,
        http_sink() as chat,
        http_sink(401, body=loud) as bad,
        http_sink("hang") as mute,
        http_sink() as beat,
        smtp_sink() as mail,
    ):
        login = f"mailto://127.0.0.1:{mail.port}?user=bob&from=a@example.com&to=b@example.com&mode=insecure"
        root.write(
            "scheduler.yaml",
            ROOT_FILE
            + "channels:\n"
            + f'  ci: {{webhook: "{ci.url}/hook?key=${{env:KEY}}", secret: "${{env:HOOK}}"}}\n'
            + f'  chat: {{url: "json://bob:${{file:{secret}}}@127.0.0.1:{chat.port}/"}}\n'
            + f'  bad: {{url: "json://127.0.0.1:{bad.port}/${{env:KEY}}/?+X-Key=${{env:KEY}}"}}\n'
            + f'  mute: {{webhook: "{mute.url}/${{env:KEY}}", secret: "${{env:HOOK}}"}}\n'
            + '  unset: {url: "${env:NOT_SET}"}\n'
            + f'  mail: {{url: "{login}&x=${{env:KEY}}"}}\n'
            + f'  post: {{url: "{login}&x=${{env:KEY}}", detail: full}}\n'
            + f'alerts: {{deliver: [ci], heartbeat: {{url: "{beat.url}/${{env:BEAT}}"}}}}\n',
        )
        job = {
            "id": "tick",
            "schedule": {"every": "1s"},
            "runner": "sh",
            "deliver": ["ci", "chat", "bad", "mute", "unset", "mail"],
        }
        task = f"cat {shlex.quote(str(tmp_path / 'hostile'))} >&2\nexit 3\n"
        root.write("jobs/tick.yaml", json.dumps({**job, "task": task}))
        job = {
            "id": "big",
            "schedule": {"at": "2030-01-01T00:00:00Z"},
            "runner": "sh",
            "deliver": ["ci", "chat", "post"],
        }
        task = "head -c 5000000 /dev/zero | tr '\\0' x\n"
        root.write("jobs/big.yaml", json.dumps({**job, "task": task, "deliver_on": ["success"]}))
        daemon = serve(command=HASTY, **{name: value for name, value in SECRETS.items() if name != "PASSWORD"})
        for sink in (ci, chat, bad, mute, mail, beat):
            soon(sink, 1)
        root.ok("run", "big")
        soon(mail, 2)
        until(lambda: kinds(ci).count("success"), "the large answer")
        until(lambda: any("big" in each["title"] for each in bodies(chat)), "the large answer")
        root.write("scheduler.yaml", "version: [")
        until(lambda: "problems" in kinds(ci), "the trouble with scheduler.yaml, by the last good channels")

        # what has arrived
        failure = bodies(ci)[kinds(ci).index("failure")]
        assert (failure["run"]["exit_code"], "@everyone" in " ".join(failure["stderr"])) == (3, True), (
            "JSON is as it was"
        )
        first = bodies(chat)[0]
        assert "tick failed" in first["title"]
        texts = [mail.received[0].get_payload(decode=True), *(each["message"].encode() for each in bodies(chat))]
        assert b"red" in texts[0]
        assert b"red" in texts[1]
        for text in texts:
            for sign in (b"\x1b", b"\x07", b"<!channel>", b"<@U123>", b"@everyone", b"@here"):
                assert sign not in text, (sign, text)
        for each in mail.received:
            assert {part.get_content_type() for part in each.walk()} <= {"text/plain", "multipart/mixed"}
            assert each["Bcc"] is None
            assert "forged" not in str(each["Subject"])
        for message in (mail.received[1].as_bytes(), *(each.body for each in chat.received)):
            assert len(message) < 200_000, "five megabytes are cut"
        assert b"scheduler output big:1" in mail.received[1].as_bytes()

        # what is kept and shown, of secrets that did reach their services
        assert leaks(bad.received[0].target.encode()) == leaks(mute.received[0].target.encode()) == ["KEY"]
        assert leaks(b64decode(chat.received[0].headers["authorization"].removeprefix("Basic "))) == ["PASSWORD"]
        shown = {each["name"]: each for each in root.json("channels", "list")["channels"]}
        assert "${env:NOT_SET}: the variable is not set" in shown["unset"]["error"]
        assert "error=401" in shown["bad"]["error"]
        assert {name for name, each in shown.items() if each["dead_since"]} == {"unset", "bad"}
        answers = [root.cli(*words) for words in COMMANDS]
        for found in (*answers, *(root.cli(*words, "--json") for words in COMMANDS)):
            assert leaks(f"{found.stdout}{found.stderr}".encode()) == []
        shown = {each: read(each / "cmdline") for each in processes_of(daemon.process.pid)}
        helpers = [each for each, argv in shown.items() if b"scheduler.delivery.helper" in argv]
        assert helpers
        assert [leaks(argv) for argv in shown.values() if leaks(argv)] == []
        assert [leaks(read(each / "environ")) for each in helpers] == [[]] * len(helpers)
        assert daemon.stop() == 0, "although a service does not answer"
        pings = len(beat.received)
    assert [each.path for each in beat.received] == [f"/{SECRETS['BEAT']}"] * pings
    assert leaks(daemon.stderr.encode()) == []
    for path in root.path.rglob("*"):
        if path.is_file():
            assert leaks(path.read_bytes()) == [], path


COMMANDS = (
    ("channels", "list"), ("deliveries",), ("deliveries", "--failed"), ("status",), ("list",), ("doctor",),
    ("history", "tick"), ("show", "tick"), ("plan",), ("validate",), ("audit",),
)  # fmt: skip


def kinds(sink: HttpSink) -> list[str]:
    return [each["kind"] for each in bodies(sink)]


def test_a_dead_man_s_service_hears_of_starts_and_ends_and_of_a_daemon_that_works(root: Root, serve: Serve) -> None:
    with http_sink() as pings, http_sink() as beat:
        root.write("scheduler.yaml", ROOT_FILE + f'alerts: {{heartbeat: {{url: "{beat.url}/${{env:BEAT}}"}}}}\n')
        for name, task in (("well", "exit 0"), ("ill", "exit 3"), ("killed", "kill -9 $$")):
            job = {"id": name, "schedule": {"at": "2030-01-01T00:00:00Z"}, "runner": "sh", "task": task}
            root.write(f"jobs/{name}.yaml", json.dumps({**job, "ping": f"${{env:HC_{name.upper()}}}"}))
        urls = {f"HC_{name.upper()}": f"{pings.url}/canary-hc/{name}" for name in ("well", "ill", "killed")}
        daemon = serve(BEAT="canary-beat", **urls)
        soon(beat, 1)
        for name in ("well", "ill", "killed"):
            root.ok("run", name)
        soon(pings, 6)
        found: dict[str, list[str]] = {}
        for each in pings.received:
            assert each.method == "GET"
            found.setdefault(each.query["rid"][0], []).append(each.path.removeprefix("/canary-hc"))
        assert sorted(found.values()) == [
            ["/ill/start", "/ill/3"],
            ["/killed/start", "/killed/fail"],
            ["/well/start", "/well"],
        ], "the start and the end of a run have one rid"
        assert daemon.stop() == 0
        assert [each.path for each in beat.received] == ["/canary-beat"]
        assert [each["deliveries"] for name in urls for each in root.runs(name[3:].lower())] == [[], [], []]
