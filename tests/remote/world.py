"""A bare remote, a person who pushes to it, and a root that is kept from it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from scheduler.machine.clock import SystemClock
from scheduler.remote.following import Follow
from scheduler.root.followed import Followed, Looked
from scheduler.service.clone import Cloned, Wanted, clone
from tests.helpers import ROOT_FILE, git

JOB = "id: hello\nschedule: {every: 1h}\ntask_source_path: prompts/hello.md\n"


@dataclass(frozen=True)
class World:
    """`bare` is the remote, `desk` somebody's working tree of it, `root` what the scheduler keeps."""

    folder: Path

    @property
    def bare(self) -> Path:
        return self.folder / "jobs.git"

    @property
    def desk(self) -> Path:
        return self.folder / "desk"

    @property
    def root(self) -> Path:
        return self.folder / "prod"

    @property
    def followed(self) -> Followed:
        return Followed(self.root / ".scheduler")

    def begin(self, files: Mapping[str, str] | None = None) -> str:
        """The remote with a first commit; its id."""
        self.bare.mkdir()
        git(self.folder, "init", "--quiet", "--bare", str(self.bare))
        git(self.folder, "init", "--quiet", str(self.desk))
        with (self.desk / ".git/config").open("a") as config:
            config.write(f'[remote "origin"]\n\turl = {self.bare}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n')
        first = {"scheduler.yaml": ROOT_FILE, "jobs/hello.yaml": JOB, "prompts/hello.md": "hello 0\n"}
        return self.push(files or first)

    def write(self, files: Mapping[str, str | None]) -> None:
        for path, text in files.items():
            target = self.desk / path
            if text is None:
                target.unlink()
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(text)

    def push(self, files: Mapping[str, str | None], *, sign: Path | None = None, amend: bool = False) -> str:
        """Commits and pushes, with force; the id. sign: an SSH key."""
        self.write(files)
        git(self.desk, "add", "--all")
        signing = ("-c", "gpg.format=ssh", "-c", f"user.signingkey={sign}") if sign else ()
        options = [
            "--quiet",
            "--allow-empty",
            "-m",
            "a change",
            *(["-S"] if sign else []),
            *(["--amend"] if amend else []),
        ]
        git(self.desk, *signing, "commit", *options)
        git(self.desk, "push", "--quiet", "--force", "origin", "HEAD:refs/heads/main")
        return git(self.desk, "rev-parse", "HEAD")

    def clone(self, **wanted: Any) -> Cloned:
        given = Wanted(url=str(self.bare), **{"every": timedelta(seconds=1), **wanted})
        return clone(given, self.root, None, environ=os.environ, clock=SystemClock())

    def follow(self, environ: Mapping[str, str] | None = None) -> Follow:
        return Follow(followed=self.followed, clock=SystemClock(), environ=environ or os.environ)

    def look(self) -> Looked:
        return self.follow().look()

    def read(self, path: str) -> str:
        """A file of the root as it is now."""
        return (self.followed.current / path).read_text()

    def key(self, name: str) -> Path:
        """A new SSH key."""
        path = self.folder / name
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path], check=True)
        return path

    def signers(self, *keys: Path) -> Path:
        """A list of those whose signatures are good."""
        path = self.folder / "signers"
        publics = [key.with_name(key.name + ".pub").read_text() for key in keys]
        path.write_text("".join(f'a@example.com namespaces="git" {public}' for public in publics))
        return path
