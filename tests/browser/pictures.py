"""Takes the pictures of the README: python -m tests.browser.pictures. It serves the living example and looks at it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.browser.chromium import HOW_TO_GET_IT, find_chromium, options
from tests.browser.watched import turn
from tests.helpers import LONG_S, REPOSITORY, Daemon, settle_environment

PICTURES = REPOSITORY / "docs/pictures"
MOST_BYTES = 200_000
SHOWN = "/home/you/scheduler/jobs.living"  # in the place of the folder that the example is in here
RUNS = ("tick", "heartbeat", "mail-triage", "changelog", "digest", "alerts-report", "links-report")
RENAME = """([here, shown]) => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) texts.currentNode.data = texts.currentNode.data.replaceAll(here, shown);
}"""
SCHEDULER = (sys.executable, "-m", "scheduler")


def living(folder: Path, *later: str) -> None:
    subprocess.run(["sh", REPOSITORY / ".ci/living", folder, *later], check=True)


def scheduler(root: Path, *args: str, code: int = 0) -> str:
    done = subprocess.run([*SCHEDULER, "--root", root, *args], capture_output=True, text=True)
    assert done.returncode == code, done
    return done.stdout.strip()


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Path]:
    """The root of the living example, served after Ben's commit."""
    root = folder / "jobs.living"
    living(root)
    scheduler(root, "sync")
    scheduler(root, "pause", "season", "--reason", "until the new texts are reviewed")
    for job in RUNS:  # before a daemon fires them, too
        scheduler(root, "run", job, "--wait")
    living(root, "later")
    scheduler(root, "sync")
    scheduler(root, "run", "links-report", "--wait", code=1)
    daemon = Daemon([*SCHEDULER, "--root", str(root), "serve", "--listen", "127.0.0.1:0"], os.environ)
    try:
        daemon.says(" serving root=")
        daemon.says("web_serving")
        yield root
    finally:
        daemon.kill()


def take(page: Page, link: str, root: Path) -> None:
    page.goto(link)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("#needs")).to_contain_text("Ben")
    turn(page, "hidden")  # from now on, nothing changes
    page.evaluate(RENAME, [str(root), SHOWN])
    PICTURES.mkdir(exist_ok=True)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        path = PICTURES / f"now-{scheme}.png"
        page.screenshot(path=path)
        assert path.stat().st_size <= MOST_BYTES, path


def main() -> None:
    chromium = find_chromium()
    if chromium is None:
        sys.exit(f"no chromium: {HOW_TO_GET_IT}")
    with (
        tempfile.TemporaryDirectory() as folder,
        pytest.MonkeyPatch.context() as patch,
        sync_playwright() as playwright,
    ):
        settle_environment(patch, Path(folder) / "home")
        patch.delenv("SCHEDULER_NO_API")
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        with served(Path(folder)) as root:
            browser = playwright.chromium.launch(executable_path=chromium, args=options())
            page = browser.new_page(viewport={"width": 1100, "height": 600}, device_scale_factor=1.5)
            page.set_default_timeout(LONG_S * 1000)
            take(page, scheduler(root, "login"), root)
            browser.close()


if __name__ == "__main__":
    main()
