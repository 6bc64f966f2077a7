"""The explanation of a request that is described: its answer, the proxies on the way, and the causes."""

from __future__ import annotations

from dataclasses import replace

from weft.explain.answer import Answer, Cause, Change, Explanation, Hop, Share
from weft.explain.causes import causes_of, most_telling, target_causes
from weft.explain.denied import judged_at_gateway, judged_before
from weft.explain.facts import Facts, Question
from weft.explain.path import Outgoing, incoming, outgoing
from weft.mesh.routes.rules import Forward
from weft.mesh.services.hosts import SERVICE_SUFFIX
from weft.mesh.services.service import Health
from weft.model.printable import printable

_UNAVAILABLE = frozenset(
    ("unknown-subset", "no-endpoint-for-calls", "no-healthy-endpoint", "tls-mismatch", "dns-fails")
)
_MOST_CHANGES = 10


def explain(facts: Facts, question: Question) -> Explanation:
    """What becomes of a request, and why."""
    out = outgoing(facts, question)
    causes = causes_of(facts, question, out)
    edge = judged_at_gateway(question)
    hops, denied = [replace(out.hop, verdicts=edge.texts)], edge.cause
    for target in out.targets[:1] if denied is None else ():
        behind = incoming(facts, target, lambda port, where: judged_before(question, out.verdict, port, where))
        if behind is not None:
            hop, denied = behind
            hops.append(hop)
    causes = most_telling((denied, *causes)) if denied else causes
    answer = _answer(facts, question, out)
    if denied is not None and (edge.cause is not None or answer.outcome == "forwarded"):
        answer = _denied(hops[-1], denied)
    concerned = {cause.object for cause in causes} | {hop.rule.object for hop in hops if hop.rule}
    return Explanation(
        answer=answer,
        hops=tuple(hops),
        changed=changes_about(facts, concerned),
        causes=causes,
    )


def _denied(hop: Hop, denied: Cause) -> Answer:
    where = f" ({denied.source})" if denied.source else ""
    by = f"{denied.object}{where} denies it" if denied.object else denied.text
    return Answer("refused", f"the proxy {hop.proxy} answers 403: {by}", 403)


def changes_about(facts: Facts, objects: set[str]) -> tuple[Change, ...]:
    """The latest changes of objects, the latest first."""
    return tuple(one for one in facts.changes if one.object in objects)[:_MOST_CHANGES]


def _answer(facts: Facts, question: Question, out: Outgoing) -> Answer:
    verdict, request = out.verdict, question.request
    shown = printable(request.host, 120)
    if verdict.passthrough:
        text = f"'{shown}' is nothing of the mesh: the request goes where DNS says, as it is, without mutual TLS"
        status = 503 if request.host in facts.unresolved else None
        return Answer("unavailable" if status else "forwarded", text, status)
    if out.rule is None:
        why = "no rule of the host matches" if out.host is not None else f"no route leads to '{shown}'"
        return Answer("refused", f"the proxy answers {verdict.status}: {why}", verdict.status)
    delayed = f", after {verdict.delay:g} s" if verdict.delay else ""
    if verdict.grpc_status is not None:
        return Answer("answered", f"the proxy answers with gRPC status {verdict.grpc_status}{delayed}", verdict.status)
    if not isinstance(out.rule.action, Forward) or verdict.status:
        return Answer("answered", f"the proxy answers {verdict.status} itself{delayed}", verdict.status)
    return _forwarded(facts, out, delayed)


def _forwarded(facts: Facts, out: Outgoing, delayed: str) -> Answer:
    shares = [one for one in out.hop.split if one.cluster]
    percents = len(out.hop.split) > 1
    where = ", ".join(shown_share(one) + (f" ({one.share * 100:g} %)" if percents else "") for one in shares)
    wrong = [cause for target in out.targets for cause in target_causes(facts, out.rule, target)]
    bad = [cause for cause in wrong if cause.code in _UNAVAILABLE]
    known = [one for target in out.targets if target.endpoints for one in target.endpoints.endpoints]
    healthy = [one for one in known if one.health is Health.HEALTHY]
    if bad and len(out.targets) == 1:
        return Answer("unavailable", f"the proxy answers 503{delayed}: {bad[0].text}", 503)
    if out.targets and not healthy and all(target.endpoints is not None for target in out.targets):
        return Answer("unavailable", f"the proxy answers 503{delayed}: {where} cannot be reached", 503)
    count = f"; {len(healthy)} healthy endpoint{'' if len(healthy) == 1 else 's'}" if known else ""
    return Answer("forwarded", f"the application behind {where} answers{delayed}{count}", None)


def shown_share(share: Share) -> str:
    """A share as people call it."""
    name = share.service.removesuffix(SERVICE_SUFFIX)
    return f"{name} subset {share.subset}" if share.subset else name
