"""Whether the channels reach anybody: which are dead, and where messages wait for too long."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from scheduler.core.due.sending import Breaker
from scheduler.core.values.channels import Channel, ChannelKind
from scheduler.core.values.instants import instant
from scheduler.core.values.texts import counted

LONG = timedelta(hours=1)  # a message that waits longer is late
MANY = 100  # messages that wait at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How sending to a channel goes."""

    channel: Channel
    breaker: Breaker
    job_id: str | None = None  # whose own ping it is; None for a channel of scheduler.yaml
    waiting: int = 0  # messages that are not over
    oldest_at: datetime | None = None  # when what the oldest of them tells happened

    @property
    def name(self) -> str:
        return self.channel.name

    @property
    def is_dead(self) -> bool:
        """True if it has refused its messages since it was last edited."""
        return self.breaker.reached_by(self.channel.digest).dead

    @property
    def who(self) -> str:
        return f"channel {self.name}" if self.job_id is None else f"the ping of {self.job_id}"

    @property
    def hint(self) -> str:
        """What to do if it is dead."""
        if self.job_id is None:
            return f"run `scheduler channels test {self.name}`"
        return f"check its URL: `scheduler show {self.job_id}`"

    @property
    def dead_text(self) -> str:
        """Only for one that is dead."""
        assert self.breaker.open_since is not None
        since = instant(self.breaker.open_since.replace(microsecond=0))
        waits = f"; {counted(self.waiting, 'message')} waiting" if self.waiting else ""
        return f"{self.who} has been dead since {since}: {self.breaker.last_error}{waits}"

    def backlog_text(self, now: datetime) -> str:
        """What waits for too long, or is too much; empty if nothing is."""
        if self.oldest_at is None or (now - self.oldest_at <= LONG and self.waiting <= MANY):
            return ""
        kind = "ping" if self.channel.kind is ChannelKind.PING else "message"
        since = instant(self.oldest_at.replace(microsecond=0))
        return f"{counted(self.waiting, kind)} to {self.who} waiting, the oldest since {since}"
