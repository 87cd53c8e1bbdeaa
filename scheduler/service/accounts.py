"""The verb that has a parked account probed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scheduler.core.due.accounts import of_account
from scheduler.core.due.place import fault_of_account
from scheduler.core.values.problems import UsageError, meant
from scheduler.core.values.settings import ROOT_JOB_ID, Settings
from scheduler.core.views import waiting_json
from scheduler.ledger import accounts, syncs
from scheduler.ledger.store import Store
from scheduler.root.place import is_there
from scheduler.root.settings import read_settings
from scheduler.service.root import Root

if TYPE_CHECKING:
    from scheduler.core.answers import AccountJson


def resume_account(root: Root, name: str) -> AccountJson:
    """Let the next run of a parked account be its probe at once. An account that is not parked stays as it is.

    Raises: UsageError for an account that no runner uses.
    """
    now = root.clock.now()
    if not is_there(root.place.db):
        return {"account": name, "runners": _users(name, read_settings(root.place)[0]), "waiting": None}
    with Store.open(root.place.db, create=False) as store:
        runners = _users(name, store.read(syncs.settings) or read_settings(root.place)[0])
        row = root.audit_row(ROOT_JOB_ID, "resume", field=f"account:{name}", after=True)
        park = store.write(accounts.probe_now, name, row, now=now)
    if park is not None:
        root.wake()
    waiting = None if park is None else waiting_json(fault_of_account(name, park, now))
    return {"account": name, "runners": runners, "waiting": waiting}


def _users(name: str, settings: Settings | None) -> list[str]:
    """The runners of an account. Raises: UsageError if there are none."""
    runners = (settings or Settings()).runners.values()
    if not (found := of_account(name, runners)):
        known = sorted({each.uses for each in runners})
        told = f"the accounts are {', '.join(known)}" if known else "scheduler.yaml has no runners"
        raise UsageError(f"there is no account {name!r}; nothing was changed", hint=meant(name, known) or told)
    return sorted(found)
