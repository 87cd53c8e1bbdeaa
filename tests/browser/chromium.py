"""Debian's chromium: where it is, how it starts, and what a test without it says."""

from __future__ import annotations

import os
import shutil

HOW_TO_GET_IT = "apt-get install --no-install-recommends chromium"


def find_chromium() -> str | None:
    """The path of the browser: that of CHROMIUM if it is set, otherwise the one on PATH."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


def options() -> list[str]:
    """Command-line options: no /dev/shm, which is small in containers, and no sandbox for root, who cannot have one."""
    return ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
