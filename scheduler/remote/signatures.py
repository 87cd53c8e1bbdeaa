"""Checks that a commit has a good SSH signature by somebody on a list (git's gpg.ssh.allowedSignersFile).

The list is a file on the host. The user's own gpg settings and keyrings do not count: a commit signed in any other
way is as good as unsigned.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from scheduler.core.values.problems import UnavailableError, UsageError
from scheduler.git.objects import need_revision
from scheduler.git.run import GitError, run_git

_KEY = re.compile(rb"(^|[\s,])(ssh-[a-z0-9@.-]+|ecdsa-[a-z0-9@.-]+|sk-[a-z0-9@.-]+)\s+AAAA[0-9A-Za-z+/=]+")
_SSH = b"-----BEGIN SSH SIGNATURE-----"
_NO_OTHER = (
    "gpg.program=/bin/false",
    "gpg.openpgp.program=/bin/false",
    "gpg.x509.program=/bin/false",
    "gpg.ssh.program=ssh-keygen",
    "gpg.ssh.revocationFile=/dev/null",
    "gpg.format=ssh",
    "gpg.minTrustLevel=fully",  # a good signature by a key that is not listed has no trust
)


def check_signers(path: Path) -> bytes:
    """The content of a list of allowed signers. Raises: UsageError if it has no key, or cannot be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the allowed signers in {path}: {error.strerror}") from error
    lines = [line for line in data.splitlines() if line.strip() and not line.lstrip().startswith(b"#")]
    if not lines:
        raise UsageError(f"{path} lists no signer, so no commit could ever be applied", hint=_LINE)
    for n, line in enumerate(data.splitlines(), 1):
        if line in lines and not _KEY.search(line):
            raise UsageError(
                f"{path}, line {n}: not an allowed signer: {line[:80].decode('utf-8', 'replace')}", hint=_LINE
            )
    return data


_LINE = 'a line looks like: alice@example.com namespaces="git" ssh-ed25519 AAAA… (ssh-keygen(1), ALLOWED SIGNERS)'


def why_not_signed(store: Path, commit: str, signers: Path, *, tag: str | None = None) -> str:
    """Why a commit must not be applied. Empty if it has a good signature by a key on the list.

    tag: the ref by which the commit was found, if that is a tag. Then the tag's signature is enough, if it was made for
    that name. A tag object with another name is refused: its signer meant another use.
    Raises: UnavailableError if that cannot be checked, for example without ssh-keygen or the list.
    """
    if not signers.is_file():
        raise UnavailableError(
            f"the list of allowed signers, {signers}, is gone", hint="restore it; no commit is applied until then"
        )
    why = _why_not(store, "commit", commit, signers)
    if tag is not None and run_git(store, "cat-file", "-t", "--end-of-options", tag, bare=True).strip() == b"tag":
        named = need_revision(store, tag, bare=True)
        meant, name = _name_in_tag(store, named), tag.removeprefix("refs/tags/")
        if meant != name:
            return f"{commit[:12]} has the tag {name!r}, whose signed name is {meant!r}"
        if why:
            of_tag = _why_not(store, "tag", named, signers)
            return f"the tag {of_tag}, and the commit {why}" if of_tag else ""
    return f"{commit[:12]} {why}" if why else ""


def signed_digest(store: Path, commit: str) -> str:
    """The SHA-256 of what a signature of this commit covers: the commit without its signatures.

    A commit's id also covers the bytes of its signatures, to which anybody can add: one signed content has many ids.
    Raises: UnavailableError.
    """
    header, _, body = run_git(store, "cat-file", "commit", commit, bare=True).partition(b"\n\n")
    kept, in_signature = [], False
    for line in header.split(b"\n"):
        in_signature = line.startswith((b"gpgsig ", b"gpgsig-sha256 ")) or (in_signature and line.startswith(b" "))
        if not in_signature:
            kept.append(line)
    return hashlib.sha256(b"\n".join(kept) + b"\n\n" + body).hexdigest()


def _name_in_tag(store: Path, tag: str) -> str:
    header = run_git(store, "cat-file", "tag", tag, bare=True).partition(b"\n\n")[0].split(b"\n")
    names = [line.removeprefix(b"tag ") for line in header if line.startswith(b"tag ")]
    return names[0].decode("utf-8", "replace") if len(names) == 1 else ""


def _why_not(store: Path, kind: str, name: str, signers: Path) -> str:
    content = run_git(store, "cat-file", kind, name, bare=True)
    header, _, body = content.partition(b"\n\n")
    signed = _SSH in (header if kind == "commit" else body)
    if not signed:
        other = b"\ngpgsig" in header if kind == "commit" else b"-----BEGIN " in body
        return "is not signed with an SSH key" if other else "is not signed"
    try:
        run_git(
            store, f"verify-{kind}", name, bare=True, settings=(*_NO_OTHER, f"gpg.ssh.allowedSignersFile={signers}")
        )
    except GitError as error:
        if error.is_of_this_machine:
            raise
        # Any other refusal is about this object, which the store has just shown: git cannot read every signature.
        said = " ".join(error.said.split())
        if "ssh-keygen" in said and ("cannot run" in said or "not found" in said or "needed" in said):
            raise UnavailableError(
                "ssh-keygen does not run, so signatures cannot be checked", hint="install OpenSSH"
            ) from error
        return f"is signed, but not by a key in {signers.name} ({said or 'git gives no reason'})"
    return ""
