"""The command line: parses, calls the service, prints. stdout is data, stderr is talk (I3)."""

from scheduler.cli.main import main

__all__ = ["main"]
