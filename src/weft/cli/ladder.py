"""An explanation as people read it: the answer, the proxies on the way as a ladder, and why."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

import click

from weft.cli.output import moment, styled

_WIDTH = 10
_OUTCOMES = {"forwarded": "good", "answered": "good", "refused": "error", "unavailable": "error", "failed": "error"}


def print_explanation(found: Mapping[str, Any]) -> None:
    """An explanation of the admin API."""
    answer = found["answer"]
    click.echo(f"{styled(answer['outcome'], _OUTCOMES.get(answer['outcome'], 'warning'))}: {answer['text']}")
    for number, hop in enumerate(found["hops"], 1):
        click.echo()
        click.echo(f"{number} {styled(hop['proxy'], 'good')}  {hop['side']}")
        for name, text in _lines(hop):
            click.echo(f"    {styled(name.ljust(_WIDTH), 'soft')}{text}")
    _print_causes(found["causes"])
    _print_changes(found["changed"], found["worked_until"])


def _lines(hop: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if hop["time"]:
        took = f" in {hop['duration_ms']:g} ms" if hop["duration_ms"] is not None else ""
        yield "seen", f"{hop['time']}  {hop['status'] or 'no status'}{took}{_attempts(hop)}"
    if hop["meaning"]:
        yield "because", hop["meaning"] + (f"  ({hop['flags']})" if hop["flags"] else "")
    for one in [one for one in hop["tried"] if one["why"]]:
        yield "not", f"{_place(one['rule'])}: {'; '.join(one['why'])}"
    if hop["rule"]:
        yield "rule", f"{hop['rule']['object']}  {hop['rule']['source']}"
    if hop["match"]:
        yield "for", hop["match"]
    for text in hop["does"]:
        yield "does", text
    for one in hop["split"]:
        where = one["cluster"] or "nowhere"
        yield "to", f"{where}  {one['share'] * 100:g} %" if len(hop["split"]) > 1 or not one["cluster"] else where
    if hop["upstream"]:
        yield "sent to", hop["upstream"]
    if hop["transport"]:
        yield "over", hop["transport"]
    for text in hop["verdicts"]:
        yield "policy", text
    for one in hop["endpoints"]:
        parts = (one["address"] or "-", one["workload"], _health(one["health"]), one["accepts"], one["note"])
        yield "endpoint", "  ".join(part for part in parts if part)


def _attempts(hop: Mapping[str, Any]) -> str:
    return f", tried {hop['attempts']} times" if hop["attempts"] > 1 else ""


def _place(rule: Mapping[str, Any] | None) -> str:
    return rule["source"] if rule else "a rule"


def _health(text: str) -> str:
    return styled(text, {"healthy": "good", "unhealthy": "error"}.get(text, "warning"))


def _print_causes(causes: list[Mapping[str, Any]]) -> None:
    if causes:
        click.echo(f"\n{styled('why', 'soft')}")
    for cause in causes:
        place = "  ".join(part for part in (cause["source"], cause["object"]) if part)
        click.echo(f"  {styled(cause['severity'], cause['severity'])}: {cause['text']}")
        if place:
            click.echo(f"    {styled('at', 'soft')} {place}")
        if cause["fix"]:
            click.echo(f"    {styled('fix', 'soft')} {cause['fix']}")


def _print_changes(changes: list[Mapping[str, Any]], worked_until: str) -> None:
    if not changes and not worked_until:
        return
    worked = f": calls last succeeded {_ago(worked_until)}" if worked_until else ""
    click.echo(f"\n{styled('changed', 'soft')}{worked}")
    for one in changes:
        where = f": {one['source']}" if one["source"] else ""
        since = "since then, " if worked_until and one["time"] >= worked_until else ""
        about = f"{one['who']}: {one['object']} {one['action']}{where}"
        click.echo(f"  {since}revision {one['revision']}, {_ago(one['time'])}, {about}")


def _ago(text: str) -> str:
    """How long ago a moment was, as people say it."""
    seconds = max(0, int(time.time() - moment(text)))
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
    return f"{seconds} seconds ago"
