"""Causes: what is wrong on the path of a request, the most telling first, each with what mends it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from weft.explain.actions import fault_texts
from weft.explain.answer import Cause
from weft.explain.facts import Facts, Question
from weft.explain.path import Outgoing, inbound_port
from weft.findings.catalogue.lookup import ENTRIES, page_of
from weft.mesh.policies.destinationrule import subset_of
from weft.mesh.routes.rules import Forward, Rule
from weft.mesh.services.service import (
    Frontend,
    Health,
    MutualTls,
    MutualTlsMode,
    Plaintext,
    Protocol,
    Target,
    Tls,
)
from weft.mesh.sidecars.refusals import wrong_port
from weft.mesh.views import GatewayView
from weft.model.document import ObjectKey
from weft.model.printable import printable
from weft.model.problem import Problem, Severity, distinct
from weft.model.workload import Workload
from weft.schema.hosts import clean_host, service_of_host
from weft.schema.wording import nearest_name
from weft.xds.services.names import cluster_name

_ROUTE_KINDS = (
    "VirtualService",
    "HTTPRoute",
    "GRPCRoute",
    "DestinationRule",
    "Service",
    "Gateway",
    "PeerAuthentication",
)
_MOST = 20
_MOST_REFUSED = 3


def causes_of(facts: Facts, question: Question, out: Outgoing) -> tuple[Cause, ...]:
    """Everything that is wrong between the caller and the application, or that explains the answer."""
    found = [
        *_caller_causes(facts, question),
        *_host_causes(facts, question, out),
        *_rule_causes(facts, out.rule),
    ]
    for target in out.targets:
        found += target_causes(facts, out.rule, target)
        found += _credential_causes(question, target)
    found += _document_causes(facts, question, out)
    found += _refused_documents(facts, question, out)
    return most_telling(found)


def most_telling(found: Iterable[Cause]) -> tuple[Cause, ...]:
    """Causes, each once, errors first, with the page of each; no more than a person reads."""
    unique: dict[tuple[str, str, str], Cause] = {}
    for cause in found:
        unique.setdefault((cause.code, cause.object, cause.source or cause.text), cause)
    rank = {"error": 0, "warning": 1, "note": 2}
    ordered = sorted(unique.values(), key=lambda cause: rank[cause.severity])[:_MOST]
    return tuple(replace(cause, page=page_of(cause.code)) if cause.code in ENTRIES else cause for cause in ordered)


def cause_of(problem: Problem) -> Cause:
    """A Problem as a cause."""
    text = problem.message + (f"; expected {problem.expected}" if problem.expected else "")
    fix = f"did you mean '{problem.nearest}'?" if problem.nearest else ""
    return Cause(
        problem.code,
        printable(text, 600),
        str(problem.object) if problem.object else "",
        str(problem.origin),
        fix,
        str(problem.severity),
    )


# -- the caller --------------------------------------------------------------------------------------------------------


def _caller_causes(facts: Facts, question: Question) -> Iterator[Cause]:
    caller = question.caller
    request = question.request
    if request.scheme == "https" and facts.mesh.catalog.called(request.host, caller.namespace) is not None:
        yield Cause(
            "https-inside",
            "the application encrypts by itself (https), so its proxy sees nothing of the request: no rule for HTTP "
            "holds for it",
            fix=f"http://{printable(request.host, 80)}: the proxies make mutual TLS of it",
            severity="warning",
        )
    if not question.described:
        yield from caller_causes(facts, caller)


def caller_causes(facts: Facts, caller: Workload) -> Iterator[Cause]:
    """What is wrong with who calls: its proxy, or that it does not use it."""
    yield from proxy_causes(facts, caller)
    if caller.unused_proxy:
        yield Cause(
            "proxy-unused",
            f"the application of {caller.name} has not used its proxy: what it sends does not come to the mesh, so no "
            "rule of the mesh holds for it",
            source=f"workload {caller.namespace}/{caller.name}",
            fix="a client that heeds HTTP_PROXY, or weft run --upstream; see docs/clients.md",
        )


def proxy_causes(facts: Facts, workload: Workload) -> Iterator[Cause]:
    """What is wrong with the proxy of a workload."""
    proxy = facts.proxy(workload.speaker)
    where = f"proxy {workload.proxy}"
    if proxy is None:
        if facts.proxies is None:
            return
        text = f"the proxy of {workload.name} is not connected to the control plane: it does what it was told last"
        yield Cause("proxy-not-connected", text, source=where, fix=f"weft logs {workload.name}", severity="warning")
        return
    if proxy.refuses:
        text = f"proxy {workload.proxy} refused its configuration (NACK), and keeps the former: {proxy.refuses}"
        yield Cause("nack", printable(text, 600), source=proxy.refuses_source or where, fix="weft problems")
    if proxy.stuck:
        text = f"proxy {workload.proxy} does not answer the control plane: it may act on an old configuration"
        yield Cause("proxy-stuck", text, source=where, severity="warning")
    if proxy.certificate_expires < facts.now:
        yield expired(workload, where)


def expired(workload: Workload, where: str) -> Cause:
    """The certificate of a workload's proxy is not valid any more."""
    return Cause(
        "certificate-expired",
        f"the certificate of {workload.name}'s proxy has expired: nobody accepts its connections, and it proves itself "
        "to nobody",
        source=where,
        fix="start its agent again: the same weft run, or weft up",
    )


# -- the host ----------------------------------------------------------------------------------------------------------


def _host_causes(facts: Facts, question: Question, out: Outgoing) -> Iterator[Cause]:
    if out.host is not None and out.host.rules:
        if out.rule is None:
            yield _no_rule(out)
        return
    yield host_cause(facts, question)


def host_cause(facts: Facts, question: Question) -> Cause:
    """Why no rule at all is for the host that is called."""
    view, host = question.view, clean_host(question.request.host)
    if isinstance(view, GatewayView):
        return _gateway_cause(view, question, host)
    frontend = facts.mesh.catalog.called(host, question.caller.namespace)
    if frontend is not None:
        return _known_service(facts, frontend, question)
    return _unknown_host(facts, question, host)


def _no_rule(out: Outgoing) -> Cause:
    near = [one for one in out.hop.tried if one.rule is not None]
    best = min(near, key=lambda one: len(one.why), default=None)
    text = "no rule of this host matches the request, so its answer is 404"
    if best is None:
        return Cause("no-route-for-calls", text)
    text += f"; nearest is one that asks for {best.match}"
    if best.why:
        text += f": {'; '.join(best.why)}"
    place = best.rule
    return Cause("no-route-for-calls", text, place.object if place else "", place.source if place else "")


def _gateway_cause(view: GatewayView, question: Question, host: str) -> Cause:
    hosts = (one for port in view.ports for server in port.servers for one in server.virtual_hosts if one.rules)
    served = sorted({name for each in hosts for name in each.domains})
    ports = ", ".join(str(port.port) for port in view.ports)
    near = nearest_name(host, served)
    text = f"the gateway serves no route for host '{printable(host, 120)}' at port {question.request.listener}"
    text += f"; it has port {ports}, and the hosts {', '.join(served[:5]) or 'none'}"
    return Cause("no-route-for-calls", text, source=view.gateway, fix=f"did you mean '{near}'?" if near else "")


def _known_service(facts: Facts, frontend: Frontend, question: Question) -> Cause:
    """The service is there, but not at this port, or not for HTTP."""
    number = question.request.port
    port = frontend.port(number) if number else None
    if port is None and not number:
        port = frontend.port(80) or (frontend.ports[0] if len(frontend.ports) == 1 else None)
    if port is not None and port.protocol is Protocol.TCP:
        index = frontend.ports.index(port)
        place = facts.place(frontend.key, "spec", "ports", index, "name") or frontend.origin
        named = f"'{port.name}'" if port.name else "not named"
        return Cause(
            "not-http",
            f"port {port.number} of {frontend.key} carries TCP, since it is {named} and has no appProtocol of HTTP: "
            "HTTP cannot be routed there",
            str(frontend.key),
            str(place),
            "name the port http, or http-SOMETHING, or set appProtocol: http",
        )
    if port is not None and not question.caller.uses:
        policies = facts.mesh.sidecars.of(question.caller)
        document = next((each for each in policies if each.spec.egress), None)
        text = f"the Sidecar of {question.caller.name} does not let {frontend.key} be called, so its proxy is not told"
        where = (str(document.key), str(document.at("spec", "egress"))) if document is not None else ("", "")
        return Cause("not-among-uses", text, *where, f"add {frontend.namespace}/{frontend.called} to its egress hosts")
    if port is not None:
        uses = ", ".join(question.caller.uses)
        text = (
            f"{question.caller.name} says what it uses ({printable(uses, 200)}), and {frontend.key} is not among it: "
        )
        text += "its proxy does not know the service"
        source = f"workload {question.caller.namespace}/{question.caller.name}"
        return Cause("not-among-uses", text, source=source, fix=f"add {frontend.name} to uses, or take uses away")
    refusal = wrong_port(frontend, ())
    ports = [one.number for one in frontend.ports]
    fix = f"http://{printable(question.request.host, 80)}:{ports[0]}" if ports else ""
    place = facts.place(frontend.key, "spec", "ports") or frontend.origin
    asked = f"port {number}" if number else "port 80, which a URL without a port means"
    return Cause("unknown-port", f"{asked}: {refusal.reason}", str(frontend.key), str(place), fix)


def _unknown_host(facts: Facts, question: Question, host: str) -> Cause:
    namespace, catalog = question.caller.namespace, facts.mesh.catalog
    service = service_of_host(host, namespace)
    shown = printable(host, 120)
    allow_any = facts.mesh.settings.outbound_policy == "ALLOW_ANY"
    text = f"no service or document of the mesh names '{shown}'"
    text += ", so it is looked up in DNS, outside the mesh" if allow_any else ", and hosts outside are not allowed: 502"
    if host in facts.unresolved:
        text += ", which does not have the name as the control plane's host sees it"
    fix = ""
    if service is not None:
        elsewhere = [one for one in sorted(catalog.by_namespace) if catalog.named(service.name, one) is not None]
        near = nearest_name(service.name, catalog.names_in(service.namespace))
        if elsewhere:
            fix = f"{service.name} is a service of namespace {', '.join(elsewhere[:3])}: {service.name}.{elsewhere[0]}"
        elif near:
            fix = f"did you mean '{near}'?"
    return Cause("unknown-host", text, fix=fix)


# -- the rule ----------------------------------------------------------------------------------------------------------


def _rule_causes(facts: Facts, rule: Rule | None) -> Iterator[Cause]:
    if rule is None:
        return
    name = str(rule.object) if rule.object else ""
    if rule.fault is not None:
        place = rule.origin
        if rule.object is not None:
            place = facts.place(rule.object, "spec", "http", rule.index, "fault") or rule.origin
        yield Cause(
            "fault-in-force",
            f"the rule injects a fault: {'; '.join(fault_texts(rule.fault))}",
            name,
            str(place),
            fault_fix(facts, name),
            "warning",
        )
    if isinstance(rule.action, Forward):
        missing = [one for one in rule.action.backends if one.backend is None and one.weight]
        if missing:
            status = rule.action.missing_status
            text = f"the rule sends to something that does not exist: that share gets {status}"
            yield Cause("missing-backend", text, name, str(rule.origin))
        retry = rule.action.retry
        if retry is not None and retry.attempts >= 3:
            text = (
                f"a failed request is tried {retry.attempts + 1} times in all, which multiplies load where it is high"
            )
            yield Cause("retry-amplification", text, name, str(rule.origin), severity="note")


def fault_fix(facts: Facts, name: str) -> str:
    """How to end a fault of this object: with the command that takes back its latest change, where that leaves nothing
    of it. Files that are followed are changed in their place."""
    fix = f"remove the fault from {name}"
    latest = next((one for one in facts.changes if one.object == name), None)
    if latest is None or latest.action != "created" or latest.source.rpartition(":")[0] in latest.who:
        return fix
    return f"{fix}: weft undo {latest.revision}"


# -- where it goes -----------------------------------------------------------------------------------------------------


def target_causes(facts: Facts, rule: Rule | None, target: Target) -> Iterator[Cause]:
    """What is wrong with a backend, its endpoints, and the connections to them."""
    backend = target.backend
    frontend = facts.mesh.catalog.by_host.get(backend.key.host)
    if target.endpoints is None:
        for name in backend.dns_names():
            if name in facts.unresolved:
                text = f"DNS does not have '{name}', as the control plane's host sees it: requests get 503"
                fix = "the right externalName" if backend.object.kind == "Service" else "the right host or endpoint"
                yield Cause("dns-fails", text, str(backend.object), str(backend.origins[0]), fix)
        return
    endpoints = target.endpoints.endpoints
    healthy = [one for one in endpoints if one.health is Health.HEALTHY]
    if frontend is not None and not healthy:
        yield from _nobody(facts, rule, target, frontend)
    for one in endpoints:
        workload = facts.workload(one.workload)
        if workload is not None:
            yield from (cause for cause in proxy_causes(facts, workload) if cause.code != "proxy-stuck")
    yield from _mismatches(facts, target)


def _credential_causes(question: Question, target: Target) -> Iterator[Cause]:
    """A credential that the calling proxy would need and does not have."""
    transport, view = target.backend.transport, question.view
    if not isinstance(transport, Tls) or not transport.credential:
        return
    if transport.credential not in [each.name for each in view.credentials]:
        text = f"the proxy is not given the credential '{transport.credential}' that {target.backend.key.host} asks for"
        where = "the namespace of the proxy"
        fix = f"a Secret '{transport.credential}' in {where}, and for a sidecar a workloadSelector that selects it"
        origin = target.backend.origins[-1]
        yield Cause("credential-not-given", text, str(target.backend.object), str(origin), fix)


def _nobody(facts: Facts, rule: Rule | None, target: Target, frontend: Frontend) -> Iterator[Cause]:
    """Why no endpoint can be chosen."""
    key = target.backend.key
    documents = facts.mesh.destination_rules.namespaces
    if key.subset:
        rules = [policies.find(key.host) for policies in documents.values()]
        found = next((one for one in rules if subset_of(one, key.subset) is not None), None)
        if found is None:
            name, place = (str(rule.object), str(rule.origin)) if rule and rule.object else ("", "")
            names = sorted({each.name for one in rules if one is not None for each in one.spec.subsets})
            near = nearest_name(key.subset, names)
            yield Cause(
                "unknown-subset",
                f"no DestinationRule of {frontend.key} has a subset '{key.subset}', so requests sent there get 503; "
                f"there {'is' if len(names) == 1 else 'are'} {', '.join(names) or 'none'}",
                name,
                place,
                f"did you mean '{near}'?" if near else f"a DestinationRule with subset '{key.subset}'",
            )
            return
    selected = facts.selected(frontend)
    what = cluster_name(key)
    if not selected:
        labels = ",".join(f"{name}={value}" for name, value in frontend.selector)
        where = facts.place(frontend.key, "spec", "selector") or frontend.origin
        text = f"no workload has the labels {labels or '(none)'} that {frontend.key} selects: {what} is empty"
        yield Cause("no-endpoint-for-calls", text, str(frontend.key), str(where), f"weft run --labels {labels} …")
    elif target.endpoints is None or not target.endpoints.endpoints:
        where = facts.place(frontend.key, "spec", "ports") or frontend.origin
        text = f"{what} has no endpoint, though {frontend.key} selects {len(selected)} of the workloads (see the list)"
        yield Cause("no-endpoint-for-calls", text, str(frontend.key), str(where), "weft get workloads")
    else:
        text = f"none of the endpoints of {what} is healthy: requests get 503"
        yield Cause("no-healthy-endpoint", text, str(frontend.key), str(frontend.origin), "weft ps; weft logs")


def _mismatches(facts: Facts, target: Target) -> Iterator[Cause]:
    """Where the caller's way of protecting the connection is not what the other side accepts."""
    backend = target.backend
    for endpoint in target.endpoints.endpoints if target.endpoints else ():
        workload = facts.workload(endpoint.workload)
        port = inbound_port(facts, workload, endpoint) if workload else None
        if workload is None or port is None:
            continue
        mode, places = facts.mesh.peers.of(workload.namespace).decide(workload.labels, port.port)
        policy = f"PeerAuthentication at {places[0]}" if places else "the default, STRICT"
        rule = backend.origins[1] if len(backend.origins) > 1 else backend.origins[0]
        said = f"tls.mode of the DestinationRule at {rule}"
        if isinstance(backend.transport, Plaintext) and mode is MutualTlsMode.STRICT:
            text = f"callers send plaintext ({said}), but {workload.name} accepts only mutual TLS ({policy})"
            yield Cause("tls-mismatch", text, str(backend.object), str(rule), "tls: {mode: ISTIO_MUTUAL}")
            return
        if isinstance(backend.transport, MutualTls) and mode is MutualTlsMode.DISABLE:
            text = f"callers speak mutual TLS ({said}), but {workload.name} accepts only plaintext ({policy})"
            yield Cause("tls-mismatch", text, str(backend.object), str(rule), "take tls out of the DestinationRule")
            return


# -- the documents -----------------------------------------------------------------------------------------------------


def _document_causes(facts: Facts, question: Question, out: Outgoing) -> Iterator[Cause]:
    """Problems of the documents concerned, and of the caller's registration."""
    keys: list[ObjectKey] = [out.rule.object] if out.rule is not None and out.rule.object is not None else []
    keys += [target.backend.object for target in out.targets]
    frontend = facts.mesh.catalog.called(question.request.host, question.caller.namespace)
    if frontend is not None:
        keys.append(frontend.key)
        keys += [
            one.key
            for one in facts.documents.values()
            if one.key.kind == "DestinationRule"
            and facts.mesh.catalog.meant(getattr(one.spec, "host", ""), one.key.namespace) == frontend.host
        ]
    source = f"workload {question.caller.namespace}/{question.caller.name}"
    own = [one for one in facts.problems if one.origin.source == source and one.code != "proxy-unused"]
    for problem in distinct((*facts.about(keys), *own)):
        elsewhere = out.rule is not None and problem.object == out.rule.object and _of_another_rule(problem, out.rule)
        yield replace(cause_of(problem), severity="note") if elsewhere else cause_of(problem)


def _of_another_rule(problem: Problem, rule: Rule) -> bool:
    """Whether it is about another rule of the same document than the one that decides."""
    index = problem.path[2] if len(problem.path) > 2 else rule.index
    return isinstance(index, int) and index != rule.index


def _refused_documents(facts: Facts, question: Question, out: Outgoing) -> Iterator[Cause]:
    """Documents that are not in force, of the namespaces concerned: what they say may be what is missed here."""
    namespaces = {question.caller.namespace, *(target.backend.object.namespace for target in out.targets)}
    names = {target.backend.object.name for target in out.targets} | {question.request.host.split(".")[0]}
    refused: dict[ObjectKey, Problem] = {}
    for problem in facts.problems:
        key = problem.object
        if key is None or key in facts.documents or problem.severity is not Severity.ERROR:
            continue
        if key.kind in _ROUTE_KINDS and key.namespace in namespaces:
            refused.setdefault(key, problem)
    ordered = sorted(refused, key=lambda key: not any(name in key.name for name in names))
    for key in ordered[:_MOST_REFUSED]:
        problem = refused[key]
        text = f"{key} is refused, so it is not in force: if it was meant for this request, that is why: "
        yield Cause("refused-document", printable(text + problem.message, 600), str(key), str(problem.origin),
                    f"did you mean '{problem.nearest}'?" if problem.nearest else "weft problems")  # fmt: skip
