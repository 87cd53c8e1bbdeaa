"""Pages of a root that follows a remote."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from scheduler.service.sync import sync
from scheduler.web.app import build_app
from scheduler.web.show import PAGES
from tests.remote.world import World
from tests.web.bare import ADMIN, OpenGuard, service_root

QUERY = {"/explain": {"job": "hello"}, "/review": {"head": "HEAD"}}


@pytest.fixture
def client(world: World) -> TestClient:
    world.begin()
    world.clone()
    world.push({"prompts/hello.md": "pay 2\n"})
    world.look()
    root = service_root(world.root)
    sync(root)
    return TestClient(build_app(root, OpenGuard(ADMIN)), raise_server_exceptions=False)


@pytest.mark.parametrize("path", [*sorted(PAGES), "/jobs/hello"])
def test_each_page_shows_a_root_that_follows_a_remote(client: TestClient, world: World, path: str) -> None:
    page = client.get(path, params=QUERY.get(path), headers={"accept": "text/html"})
    assert page.status_code == 200, page.text
    assert f"<b>{world.root}</b> · main" in page.text


def test_sync_names_the_revision_in_the_remote_the_tried_one_and_the_one_in_force(
    client: TestClient, world: World
) -> None:
    found = client.get("/sync.json").json()["revisions"]
    assert [each["name"] for each in found] == ["in the remote", "tried", "in force"]
    assert {each["commit"] for each in found} == {world.look().commit}
    assert [each["note"] for each in found] == ["", "", ""]
    page = client.get("/sync", headers={"accept": "text/html"}).text
    assert "with files that are not committed" not in page
