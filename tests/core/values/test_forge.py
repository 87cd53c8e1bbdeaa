"""Links to forges: the right place, and never a credential."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.values.forge import forge_of

SHA = "817ed0d" + "0" * 33


@pytest.mark.parametrize(
    ("remote", "line"),
    [
        ("https://github.com/o/r.git", f"https://github.com/o/r/blob/{SHA}/jobs/a%20b.yaml#L3"),
        ("git@github.com:o/r.git", f"https://github.com/o/r/blob/{SHA}/jobs/a%20b.yaml#L3"),
        ("ssh://git@gitlab.example.com:2222/o/s/r", f"https://gitlab.example.com/o/s/r/-/blob/{SHA}/jobs/a%20b.yaml#L3"),
        ("https://codeberg.org/o/r/", f"https://codeberg.org/o/r/src/commit/{SHA}/jobs/a%20b.yaml#L3"),
        ("https://gitea.example.com:3000/o/r", f"https://gitea.example.com:3000/o/r/src/commit/{SHA}/jobs/a%20b.yaml#L3"),
    ],
)  # fmt: skip
def test_a_line_has_the_address_that_its_forge_gives_it(remote: str, line: str) -> None:
    forge = forge_of(remote)
    assert forge is not None
    assert forge.file(SHA, "jobs/a b.yaml", 3) == line


def test_a_root_below_the_top_of_its_repository_is_part_of_the_path() -> None:
    forge = forge_of("https://github.com/o/r", "ops/jobs")
    assert forge is not None
    assert forge.file(SHA, "a.yaml") == f"https://github.com/o/r/blob/{SHA}/ops/jobs/a.yaml"
    assert forge.commit(SHA) == f"https://github.com/o/r/commit/{SHA}"


@pytest.mark.parametrize(
    "remote",
    [
        "",
        "/srv/git/r.git",
        "https://example.com/o/r",
        "javascript:alert(1)//github.com/o/r",
        "https://github.com",
        "https://evil.example/github.com/r",
        "https://mygithub.com/o/r",
    ],
)
def test_any_other_remote_has_no_links(remote: str) -> None:
    assert forge_of(remote) is None


SECRETS = st.text(
    st.characters(codec="utf-8", exclude_characters="/?#", exclude_categories=["Z", "C"]), min_size=1, max_size=20
)


@given(SECRETS, SECRETS)
def test_no_credential_of_a_remote_gets_into_a_link(user: str, password: str) -> None:
    for form in (f"https://{user}:TOKEN{password}@github.com/o/r", f"ssh://{user}:TOKEN{password}@github.com/o/r"):
        forge = forge_of(form)
        assert forge is None or forge.url == "https://github.com/o/r"


def test_a_password_with_a_slash_gets_no_link_at_all() -> None:
    assert forge_of("https://ann:TO/KEN@github.com/o/r") is None
