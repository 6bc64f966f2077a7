"""What TPROXY needs beside rules: the application answers addresses that are not this host's, and the answers have to
come back to the proxy that spoke in their name."""

from __future__ import annotations

from weft.agent.capture.programs import must_run, run_program

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
