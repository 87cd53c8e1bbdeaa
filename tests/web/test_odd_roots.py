"""Pages of roots that are not as usual: without a daemon, with thousands of skips, following a remote."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scheduler.web.show import PAGES
from tests.faces.conftest import Root
from tests.web.bare import ADMIN
from tests.web.test_pages_all import ONE, QUERY, asking

HTML = {"accept": "text/html"}


def page(root: Root, path: str) -> str:
    answer = asking(root, ADMIN).get(path, params=QUERY.get(path), headers=HTML)
    assert answer.status_code == 200, answer.text
    return answer.text


@pytest.mark.parametrize("path", [*sorted(PAGES), *ONE])
def test_each_page_says_that_no_daemon_is_running(lived_in: Root, path: str) -> None:
    assert "○ no daemon has run" in page(lived_in, path)


def test_no_fire_is_promised_while_no_daemon_is_running(lived_in: Root) -> None:
    shown = page(lived_in, "/jobs/heartbeat")
    assert "Next:" not in shown
    assert "if a daemon is running then; none is now." in shown
    assert "Next slots, if a daemon fires them" in page(lived_in, "/")


def test_thousands_of_skips_are_few_rows_with_their_number(lived_in: Root) -> None:
    lived_in.ok("pause", "tick", "--reason", "for long")
    for _ in range(3):
        lived_in.clock.advance(timedelta(days=60))
        lived_in.ok("serve", "--once")
    rows = [each for each in lived_in.runs("tick") if each["status"] == "skipped"]
    assert sum(each["slots"] for each in rows) >= 3_000
    shown = page(lived_in, "/jobs/tick")
    assert "skipped</span>: <span" in shown or "it was paused" in shown
    assert f"({rows[0]['slots']:,} slots)" in shown
    assert len(shown) < 200_000
