"""The command line: parses arguments, calls the service, prints. Answers go to stdout, messages to stderr (I3)."""

from scheduler.cli.main import main

__all__ = ["main"]
