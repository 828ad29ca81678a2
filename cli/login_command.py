"""The command that logs in: who you are at a back end, for how long, and what is left.

Nothing is ordered.  With ``check`` nobody is asked for anything: a login that is stored or
in the environment either works or does not.
"""

from __future__ import annotations

import datetime as dt
import getpass
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cli.conversation import held
from cli.exits import DONE
from cli.table import print_table
from cli.terminal import InputEnded, ask, duration, size, somebody_is_there, tell
from cli.workspace import Workspace
from jobs.trouble import Kind, LoginNeeded, Trouble

if TYPE_CHECKING:
    from jobs.login import Standing

UNKNOWN = "the back end does not say"


@held
def run_login(workspace: Workspace, backend: str | None = None, check: bool = False) -> int:
    """Log in, or with ``check`` only look, and say what the back end knows of the user."""
    import download
    from jobs import login

    backend = backend or usual_back_end(workspace)
    if backend == "sandbox":
        tell("The built-in back end needs no login.")
        return DONE
    url = download.BACKENDS.get(backend, backend)
    remote, standing = login.log_in(
        url, somebody_is_there() and not check, tell, ask=None if check else name_and_password
    )
    try:
        account, billing = remote.account(), remote.billing()
    except Trouble as trouble:
        raise refused(url, trouble) from trouble
    rows = [
        ["back end", url],
        ["you are", user(account)],
        *lasting(standing, time.time()),
        *limits(account, billing),
    ]
    print_table(["what", "answer"], rows)
    return DONE


def usual_back_end(workspace: Workspace) -> str:
    """The back end of the last download into the archive, or `BACKEND`; Copernicus if neither
    needs a login."""
    import download

    before = workspace.remembered().get("backend", "")
    named = (name for name in (before, download.BACKEND) if name and name != "sandbox")
    return next(named, "cdse")


def name_and_password(url: str) -> tuple[str, str]:
    """Ask for both; nothing of the password is shown."""
    try:
        name = ask(f"Name at {url}", not_empty)
        if sys.stdin.isatty():
            return name, getpass.getpass("Password: ")
        return name, sys.stdin.readline().rstrip("\r\n")
    except (InputEnded, EOFError) as error:
        raise LoginNeeded(
            f"{url} needs a name and a password, and nobody has typed them. "
            f"Run `python main.py login --backend {url}` at a terminal."
        ) from error


def not_empty(text: str) -> str:
    """The text without blanks around it."""
    if not text.strip():
        raise ValueError("A name is needed.")
    return text.strip()


def refused(url: str, trouble: Trouble) -> Exception:
    """The error for a back end that does not tell about the user."""
    if trouble.kind is Kind.PASSING:
        return ConnectionError(
            f"{url} did not say who is logged in ({trouble}). Nothing was ordered. Try again later."
        )
    return LoginNeeded(
        f"{url} does not accept the login ({trouble}). Log in to its web page once, accept its "
        "terms there, and run the same command."
    )


def user(account: Mapping[str, Any]) -> str:
    """Name and identifier in a few words."""
    name, identifier = account.get("name"), account.get("user_id")
    if name and identifier and name != identifier:
        return f"{name} ({identifier})"
    return str(name or identifier or UNKNOWN)


def lasting(standing: Standing, now: float) -> list[list[str]]:
    """How somebody is logged in, and how long that lasts."""
    if not standing.way:
        return [["logged in", "not needed"]]
    at = f" at {standing.provider}" if standing.provider else ""
    rows = [["logged in", f"by {standing.way}{at}"]]
    if standing.access_until:
        left = duration(standing.access_until - now)
        rows.append(["token", f"{left}, renewed while a download runs"])
    if standing.way in ("client credentials", "name and password"):
        rows.append(["lasts", "as long as they are valid"])
    elif not standing.renewable:
        rows.append(["lasts", "no longer than that: the provider gave nothing to renew it with"])
    elif standing.refresh_until:
        when = dt.datetime.fromtimestamp(standing.refresh_until, dt.UTC)
        left = duration(standing.refresh_until - now)
        rows.append(["lasts", f"{left} without use, until {when:%Y-%m-%d %H:%M} UTC"])
    else:
        rows.append(["lasts", "the provider does not say"])
    return rows


def limits(account: Mapping[str, Any], billing: Mapping[str, Any]) -> list[list[str]]:
    """What the back end says of the plan, of credits and of storage."""
    name = account.get("default_plan") or billing.get("default_plan")
    plans = {plan.get("name"): plan.get("description") for plan in billing.get("plans") or ()}
    plan = f"{name}: {plans[name]}" if plans.get(name) else str(name or UNKNOWN)
    rows = [
        ["plan", plan],
        ["credits left", credits_left(account, str(billing.get("currency") or ""))],
    ]
    storage = account.get("storage")
    if storage:
        rows.append(["storage", f"{size(storage['free'])} of {size(storage['quota'])} free"])
    rows += [
        [str(link.get("title") or link.get("rel")), str(link["href"])]
        for link in account.get("links") or ()
        if link.get("href")
    ]
    return rows


def credits_left(account: Mapping[str, Any], currency: str) -> str:
    """The budget, which is null where there is no limit (openEO API, GET /me)."""
    if "budget" not in account:
        return UNKNOWN
    if account["budget"] is None:
        return "no limit"
    return f"{account['budget']:,g} {currency}".strip()
