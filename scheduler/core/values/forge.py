"""Where a forge shows a commit, and a line of a file. No credential of the remote's URL gets into a link."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

Kind = Literal["github", "gitlab", "forgejo"]
# The user and the password of a URL end at the last @ before the path.
_WEB = re.compile(r"https?://(?:[^/?#\s]*@)?(?P<host>[A-Za-z0-9.-]+(?::[0-9]{1,5})?)/(?P<path>[^?#\s]+)")
_SSH = re.compile(r"ssh://(?:[^/?#\s]*@)?(?P<host>[A-Za-z0-9.-]+)(?::[0-9]{1,5})?/(?P<path>[^?#\s]+)")
_SCP = re.compile(r"(?:[^/:@\s]+@)?(?P<host>[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+):(?!//)(?P<path>[^?#\s]+)")
_KINDS: tuple[tuple[str, Kind], ...] = (
    ("github", "github"),
    ("gitlab", "gitlab"),
    ("codeberg", "forgejo"),
    ("forgejo", "forgejo"),
    ("gitea", "forgejo"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forge:
    """A repository on a forge that we know how to link to."""

    kind: Kind
    url: str  # https, without credentials
    folder: str = ""  # of the root in the repository, with a slash at its end

    def commit(self, commit: str) -> str:
        between = "/-/commit/" if self.kind == "gitlab" else "/commit/"
        return f"{self.url}{between}{quote(commit, safe='')}"

    def file(self, revision: str, path: str, line: int | None = None) -> str:
        """path: from the root."""
        between = {"github": "/blob/", "gitlab": "/-/blob/", "forgejo": "/src/commit/"}[self.kind]
        at = f"#L{line}" if line else ""
        return f"{self.url}{between}{quote(revision, safe='')}/{quote(self.folder + path)}{at}"


def forge_of(remote: str, folder: str = "") -> Forge | None:
    """The forge of a remote's URL, by its host: GitHub, GitLab, Forgejo or Gitea. None for any other.

    folder: of the root in the repository; empty for its top.
    """
    found = _WEB.fullmatch(remote) or _SSH.fullmatch(remote) or _SCP.fullmatch(remote)
    if found is None:
        return None
    host, path = found["host"].lower(), found["path"].strip("/").removesuffix(".git")
    labels = host.partition(":")[0].split(".")
    kind = next((kind for name, kind in _KINDS if name in labels), None)
    if kind is None or "/" not in path or "@" in path:
        return None
    return Forge(kind=kind, url=f"https://{host}/{quote(path, safe='/~')}", folder=f"{folder}/" if folder else "")
