"""What TPROXY needs beside rules: the application answers addresses that are not this host's, and the answers have to
come back to the proxy that spoke in their name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from weft.agent.capture.programs import must_run, run_program
from weft.agent.errors import AgentError

_ANSWERS = ("from", "127.0.0.0/8", "iif", "lo")
"""Who answers from loopback answers a process of this host: nobody else has called it there."""


def route_words(number: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words for ``ip`` by which answers stay on this host: a routing table of its own, and the rule that has it
    asked."""
    table = str(number)
    return (
        ("route", "replace", "local", "0.0.0.0/0", "dev", "lo", "table", table),
        ("rule", "add", *_ANSWERS, "lookup", table),
    )


def removal_words(number: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words for ``ip`` that take both away."""
    table = str(number)
    return ("rule", "del", *_ANSWERS, "lookup", table), ("route", "flush", "table", table)


def route_in_force(number: int) -> bool:
    """Whether the rule is there."""
    return bool(must_run("ip", ("-4", "rule", "list", *_ANSWERS, "table", str(number))).strip())


def set_route(number: int) -> None:
    """Make both. AgentError, and neither is there, if the system refuses."""
    route, rule = route_words(number)
    must_run("ip", ("-4", *route))
    try:
        must_run("ip", ("-4", *rule))
    except BaseException:
        remove_route(number)
        raise


def remove_route(number: int) -> None:
    """Take both away; what is not there is not missed."""
    for words in removal_words(number):
        run_program("ip", ("-4", *words))


@contextlib.contextmanager
def routed(wanted: int, used: Callable[[], int]) -> Iterator[None]:
    """While rules are put in force that want such a route (0: none): it is there before they are, and taken away again
    where they are refused; that of rules before them goes when they have gone. `used` says which route the rules in
    force have."""
    before = used()
    fresh = bool(wanted) and not route_in_force(wanted)
    if fresh:
        set_route(wanted)
    try:
        yield
    except AgentError:
        if fresh and used() != wanted:
            remove_route(wanted)
        raise
    if before and before != wanted:
        remove_route(before)
