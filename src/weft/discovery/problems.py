"""Problems of the xDS server: what proxies refuse, and who was refused, without letting anyone fill the memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from weft.discovery.refusals import UNCOMPARED, Verdict, Verdicts
from weft.discovery.status import short_type
from weft.discovery.stream import Stream
from weft.discovery.subscription import Rejection
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity

_KEPT = 600.0
"""Seconds for which a refusal is shown after it last happened."""

_DRAINING = 60.0
"""Seconds for which listeners of a workload that has left a node may ask for what they had, while they are drained."""


class ProblemLog:
    """The latest `size` different problems that have no lasting cause to be read from."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._problems: OrderedDict[tuple[str, str, str], tuple[Problem, float]] = OrderedDict()

    def add(self, problem: Problem, now: float) -> bool:
        """Record one; whether it is new (and not the same as one a short while ago)."""
        key = (problem.code, problem.origin.source, problem.message)
        known = self._problems.pop(key, None)
        self._problems[key] = (problem, now)
        if len(self._problems) > self._size:
            self._problems.popitem(last=False)
        return known is None or now - known[1] > _KEPT

    def problems(self, now: float) -> tuple[Problem, ...]:
        """Those of the last ten minutes."""
        return tuple(problem for problem, since in self._problems.values() if now - since <= _KEPT)


def nack_problem(proxy: str, rejection: Rejection, verdict: Verdict = UNCOMPARED) -> Problem:
    """A refused resource, at the document that shaped it; at the proxy, if it stands alone with it."""
    what = f"{short_type(rejection.type_url)} {rejection.name!r}"
    if verdict.stands_alone:
        who = f"only proxy {proxy} refuses" if verdict.refused == 1 else f"proxy {proxy} is one of few that refuse"
        message = f"{who} {what}, which {verdict.taken} others have taken: {rejection.message}"
        return Problem(Severity.WARNING, "nack", message, Origin(f"proxy {proxy}"))
    origin = rejection.origins[0] if rejection.origins else Origin(f"proxy {proxy}")
    return Problem(Severity.ERROR, "nack", f"proxy {proxy} refused {what}: {rejection.message}", origin)


def stuck_problem(proxy: str) -> Problem:
    """A connected proxy that does not answer."""
    message = f"proxy {proxy} has not answered for a while: nobody waits for it, and it may act on an old configuration"
    return Problem(Severity.WARNING, "proxy-stuck", message, Origin(f"proxy {proxy}"))


def stream_problems(stream: Stream, verdicts: Verdicts, not_entitled: float, now: float) -> Iterator[Problem]:
    """What a proxy refuses at present, and what it has asked for in vain for `not_entitled` seconds."""
    for rejection in stream.session.rejections():
        yield nack_problem(stream.proxy, rejection, verdicts.of(rejection))
    if stream.workload.node is not None:
        not_entitled = max(not_entitled, _DRAINING)
    for (type_url, name), since in stream.unmet_since.items():
        if now - since >= not_entitled:
            message = f"proxy {stream.proxy} asks for {short_type(type_url)} {name[:200]!r}, which it may not have"
            yield Problem(Severity.WARNING, "not-entitled", message, Origin(f"proxy {stream.proxy}"))
