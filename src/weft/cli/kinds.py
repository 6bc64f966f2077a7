"""Kinds as they are named on the command line."""

from __future__ import annotations

import click

from weft.schema.registry import KINDS, Kind, UnknownKindError, find_kind, others_meant

ALL = "all"
_WORKLOADS = ("workload", "workloads", "wl")
_ELSEWHERE = {
    "pod": "weft knows workloads, not pods: get workloads",
    "pods": "weft knows workloads, not pods: get workloads",
    "endpoints": "endpoints are shown by: get services, and by: proxy config NAME endpoints",
    "endpointslices": "endpoints are shown by: get services, and by: proxy config NAME endpoints",
    "proxies": "proxies are shown by: proxy status",
    "proxy": "proxies are shown by: proxy status",
}
"""What people ask for who come from other tools, and where it is here."""


def is_workloads(word: str) -> bool:
    """Whether a person means the registered workloads."""
    return word.lower() in _WORKLOADS


def kind_of_word(word: str | None, *others: str) -> Kind:
    """The kind a person means: name, plural or short name. UsageError with the nearest one, which also names `others`,
    words of the command that stand for no kind of document."""
    if word is None:
        known = ", ".join((*(kind.plural_word for kind in KINDS), *others))
        raise click.UsageError(f"the KIND is missing; expected one of {known}")
    if word.lower() in _ELSEWHERE:
        raise click.UsageError(_ELSEWHERE[word.lower()])
    for other in others_meant(word):
        click.echo(f"weft: {find_kind(word).full_word} is meant; for the other kind: {other.full_word}", err=True)
    try:
        return find_kind(word)
    except UnknownKindError as error:
        raise click.UsageError(", ".join((str(error), *others))) from error
