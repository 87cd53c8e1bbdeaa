"""A root that is served, and what a person does first on its pages."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, StorageState, expect

from tests.browser.watched import Watched
from tests.faces.conftest import Root
from tests.faces.served import Served
from tests.helpers import LONG_S, ROOT_FILE, Daemon

SPARE = [f"spare-{number}" for number in range(4)]
FILES = {
    "scheduler.yaml": ROOT_FILE + "prune: {max_percent: 20}\n",
    "jobs/hello.yaml": "id: hello\nschedule: manual\ntask_source_path: prompts/hello.md\n",
    "jobs/report.yaml": "id: report\nschedule: manual\nrunner: sh\ntask_source_path: scripts/report.sh\n",
    "jobs/nightly.yaml": "id: nightly\nschedule: {every: 7d}\ntask_source_path: prompts/hello.md\n",
    "jobs/weekly.yaml": "id: weekly\nschedule: {every: 8d}\ntask_source_path: prompts/hello.md\n",
    "jobs/slow.yaml": "id: slow\nschedule: manual\nrunner: sh\ntask_source_path: scripts/slow.sh\n",
    "prompts/hello.md": "Say hello.\n",
    "scripts/report.sh": "echo fine\n",
    "scripts/slow.sh": "echo begun; exec sleep 600\n",
    ".gitignore": ".scheduler/\n",
    **{f"jobs/{each}.yaml": f"id: {each}\nschedule: manual\ntask: Nothing.\n" for each in SPARE},
}

expect.set_options(timeout=LONG_S * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A root that is served, and the cookie of somebody who has logged in."""

    root: Root
    address: str
    login: StorageState
    daemon: Daemon

    def cli(self, *args: str, code: int = 0) -> str:
        """Runs a command as another person would, in another terminal."""
        done = self.root.process(*args)
        assert done.code == code, done
        return done.stdout


def log_in(page: Page, link: str) -> None:
    page.goto(link)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Now")


@contextlib.contextmanager
def served(browser: Browser, folder: Path) -> Iterator[Site]:
    root = Root(path=folder / "root", clock=None)  # type: ignore[arg-type]
    for path, text in FILES.items():
        root.write(path, text)
    root.git("init", "-q", "--template=")
    root.commit()
    root.git("switch", "-qc", "proposal")
    root.edit("prompts/hello.md", "hello", "good evening")
    root.edit("jobs/weekly.yaml", "8d", "1d")
    root.commit()
    root.git("switch", "-q", "main")
    daemon = Served(root, "--listen", "127.0.0.1:0", SCHEDULER_NO_API="")
    try:
        address = daemon.says("web_serving").rpartition("address=")[2].strip()
        daemon.says(" serving root=")
        for job in ("hello", "report"):
            assert root.process("run", job, "--wait").code == 0
        context = browser.new_context()
        log_in(context.new_page(), root.process("login").stdout.strip())
        login = context.storage_state()
        context.close()
        yield Site(root=root, address=address, login=login, daemon=daemon)
        assert not daemon.alive or daemon.stop() == 0
    finally:
        if daemon.alive:
            daemon.kill()


@contextlib.contextmanager
def logged_in(browser: Browser, site: Site) -> Iterator[Watched]:
    context = browser.new_context(
        base_url=site.address, storage_state=site.login, viewport={"width": 1280, "height": 800}
    )
    yield Watched(context.new_page())
    context.close()


def opened(watched: Watched, path: str) -> Page:
    """The page at this path once it listens; it is marked, and a reload would lose the mark."""
    with watched.page.expect_response("**/api/events*"):
        watched.page.goto(path)
    watched.page.evaluate("window.kept = true")
    return watched.page


def was_reloaded(page: Page) -> bool:
    return page.evaluate("window.kept") is not True
