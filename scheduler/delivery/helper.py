"""The process that sends: `python -m scheduler.delivery.helper` reads one request a line, and answers each with a line.

A process, not a thread: a service that drips a byte now and then outlives every timeout of a socket, and only a
process can be ended from outside. Secrets come by stdin, not by argv or the environment.
"""

from __future__ import annotations

import logging
import os
import re
import select
import signal
import sys
import threading
from typing import Final, NoReturn

from scheduler.delivery.requests import (
    CommandRequest,
    DescribeRequest,
    Outcome,
    PingRequest,
    Request,
    UrlRequest,
    WebhookRequest,
    permanent,
    request_of,
    transient,
)
from scheduler.delivery.secrets import Scrubber

MOST_WORDS: Final = 350  # characters of an error


def main() -> NoReturn:
    """Serve until the other end of stdin is closed, also in the middle of a request."""
    # Libraries write URLs and headers at DEBUG. Nothing is written: what counts is in the results of a try.
    logging.basicConfig(level=logging.WARNING, handlers=[logging.NullHandler()])
    asked, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for each in (0, 1, 2):  # what a library prints is neither an answer nor a word for the log
        os.dup2(nothing, each)
    threading.Thread(target=_end_with_parent, args=(asked,), daemon=True).start()
    with open(asked, "rb", closefd=False) as lines:
        for line in lines:
            _write(answers, answer_line(line).encode() + b"\n")
    os._exit(0)  # a thread that a library left behind would keep the process


def answer_line(line: bytes) -> str:
    """The outcome of one request, as JSON without a newline. Never raises."""
    import json

    request: Request | None = None
    try:
        request = request_of(line)
        outcome = carry_out(request)
    except ImportError as error:
        outcome = permanent(f"{error.name} is not installed: pip install 'gitops-scheduler[notify]'")
    except Exception as error:  # its words may quote the request
        outcome = transient(f"the helper process failed: {type(error).__name__}")
    return json.dumps(scrubbed(outcome, request).to_json())


def scrubbed(outcome: Outcome, request: Request | None) -> Outcome:
    """The same without secrets of the request in its words. Also the login in a URL, which a service may repeat."""
    from dataclasses import replace

    if outcome.error is None or request is None:
        return outcome
    hidden = list(request.hidden)
    if isinstance(request, WebhookRequest):
        hidden += request.secrets
    if not isinstance(request, CommandRequest):
        authority = re.split(r"[/?#]", request.url.partition("://")[2], maxsplit=1)[0]
        hidden.append(authority.rpartition("@")[0])
    # Cut only now: half a secret is not recognized any more.
    return replace(outcome, error=Scrubber(hidden)(outcome.error)[:MOST_WORDS])


def carry_out(request: Request) -> Outcome:
    """Do what is asked. Nothing is imported that the request does not need."""
    match request:
        case UrlRequest():
            from scheduler.delivery.channels import send_message

            return send_message(request)
        case DescribeRequest():
            from scheduler.delivery.channels import describe_service

            return describe_service(request.url)
        case WebhookRequest():
            from scheduler.delivery.webhook import post_webhook

            return post_webhook(request)
        case PingRequest():
            from scheduler.delivery.webhook import get_ping

            return get_ping(request)
        case CommandRequest():
            from scheduler.delivery.command import run_channel_command

            return run_channel_command(request)


def _end_with_parent(stdin: int) -> None:
    """Wait until nobody can write to stdin any more, then end this process and what it started."""
    poller = select.poll()
    poller.register(stdin, 0)  # only POLLHUP and POLLERR
    while not poller.poll():
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)


def _write(file: int, line: bytes) -> None:
    view = memoryview(line)
    while view:
        view = view[os.write(file, view) :]


if __name__ == "__main__":
    sys.exit(main())
