"""`weft get`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from weft.cli.addresses import KINDS as ADDRESSED
from weft.cli.addresses import WIDE, addresses_of
from weft.cli.complete import complete_kind, complete_name
from weft.cli.failure import FailedError
from weft.cli.options import command, home_option, namespace_option, wide_output_option
from weft.cli.output import print_table, print_value, styled
from weft.cli.outside_columns import COLUMNS as OUTSIDE_COLUMNS
from weft.settings.home import Home

if TYPE_CHECKING:
    from weft.schema.registry import Kind


@command(
    "get",
    "weft get httproutes",
    "weft get virtualservice reviews -o yaml",
    "weft get services -A",
    "weft get services -o wide",
    "weft get workloads",
    "weft get all -A",
)
@click.argument("kind", required=False, shell_complete=complete_kind)
@click.argument("name", required=False, shell_complete=complete_name)
@home_option
@namespace_option
@click.option("-A", "--all-namespaces", is_flag=True, help="Show those of every namespace.")
@wide_output_option
def get(*, kind: str | None, name: str | None, home: Home, namespace: str, all_namespaces: bool, output: str) -> int:
    """Show documents, workloads or services.

    KIND is a kind of document (httproutes, virtualservice, dr, ...), `workloads`, or `all`. Secrets show their keys
    only. Services tell how many of their endpoints are healthy, routes whether their parents accepted them (ACCEPTED:
    True, False and why, how many of several, or in part) and whether all they refer to is there, Gateways whether a
    process serves them (PROGRAMMED). -o yaml gives the whole `status`: endpoints, or conditions in the Gateway API's
    form; `weft describe` the reasons.
    """
    from weft.cli.kinds import ALL, is_workloads, kind_of_word

    where = None if all_namespaces else namespace
    if kind is not None and kind.lower() == ALL:
        if name is not None:
            raise click.UsageError("`all` takes no NAME")
        return _get_all(home, where, output)
    if kind is not None and is_workloads(kind):
        return _get_workloads(home, name, where, output)
    return _get_documents(home, kind_of_word(kind, "workloads", ALL), name, where, output)


def _get_all(home: Home, namespace: str | None, output: str) -> int:
    """Every kind of which there is something, and the workloads."""
    from weft.local.client import AdminClient
    from weft.schema.registry import KINDS

    documents = map(with_status, AdminClient(home).get("documents", namespace=namespace)["documents"])
    held = {(one["apiVersion"].rpartition("/")[0], one["kind"]) for one in documents}
    kinds = [kind for kind in KINDS if (kind.group, kind.name) in held]
    if output not in ("table", "wide"):
        value: dict[str, Any] = {kind.plural_word: _documents(home, kind, namespace, None)[1] for kind in kinds}
        print_value(value | {"workloads": _workloads(home, namespace)}, output)
        return 0
    for kind in kinds:
        click.echo(styled(kind.plural_word.upper(), "good"))
        _get_documents(home, kind, None, namespace, output)
        click.echo()
    click.echo(styled("WORKLOADS", "good"))
    return _get_workloads(home, None, namespace, output)


def _documents(
    home: Home, kind: Kind, namespace: str | None, name: str | None
) -> tuple[list[Mapping[str, Any]], list[dict[str, Any]]]:
    """The documents of a kind as the API gives them, and as they are shown: with what the mesh says of them."""
    from weft.local.client import AdminClient

    client = AdminClient(home)
    where = namespace if kind.namespaced else None
    found = client.get("documents", kind=kind.word, namespace=where, name=name)["documents"]
    shown = [with_status(document) for document in found]
    if kind.name in ADDRESSED and found:
        services = client.get("services")["services"]
        endpoints = {
            (one["namespace"], one["name"]): _endpoints(one) for one in services if one.get("kind") != "ServiceEntry"
        }
        for one in shown:
            key = (one["metadata"].get("namespace"), one["metadata"]["name"])
            told = {"endpoints": endpoints.get(key, [])} if kind.name == "Service" else one.get("status", {})
            one["status"] = {**told, "addresses": addresses_of(services, kind.name, one)}
    if kind.name == "WorkloadGroup" and found:
        members = client.get("workloads")["workloads"]
        for one in shown:
            key = (one["metadata"].get("namespace"), one["metadata"]["name"])
            there = [each for each in members if (each["namespace"], each.get("group")) == key]
            one["status"] = {"workloads": [{"name": each["name"], "state": each["state"]} for each in there]}
    return found, shown


def _endpoints(service: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The endpoints of all ports of a service."""
    return [
        {"workload": one["workload"], "port": port["port"], "address": one["address"], "health": one["health"]}
        for port in service["ports"]
        for one in port["endpoints"]
    ]


def _get_documents(home: Home, kind: Kind, name: str | None, namespace: str | None, output: str) -> int:
    from weft.local.client import AdminClient

    where = namespace if kind.namespaced else None
    found, shown = _documents(home, kind, namespace, name)
    if name is not None and not found:
        every = AdminClient(home).get("documents", kind=kind.word)["documents"]
        raise FailedError(missing_text(kind.name, name, where, [with_status(one)["metadata"] for one in every]))
    if output not in ("table", "wide"):
        print_value(shown[0] if name is not None and len(shown) == 1 else shown, output)
        return 0
    headings, cells = _COLUMNS.get(kind.full_word) or _COLUMNS.get(kind.name, ((), lambda _: ()))
    more, further = WIDE.get(kind.name, ((), lambda _: ())) if output == "wide" else ((), lambda _: ())
    spaces = kind.namespaced and namespace is None
    rows = [
        (
            *((document["metadata"].get("namespace", ""),) if spaces else ()),
            document["metadata"]["name"],
            *(_unreadable(headings) if original.get("unreadable") else cells(_spec_and_status(document))),
            *further(_spec_and_status(document)),
            _source(original),
        )
        for document, original in zip(shown, found, strict=True)
    ]
    empty = f"no {kind.plural_word}" + (f" in namespace {where}" if where else "")
    print_table((*(("NAMESPACE",) if spaces else ()), "NAME", *headings, *more, "SOURCE"), rows, empty=empty)
    return 0


def missing_text(kind: str, name: str, namespace: str | None, every: Iterable[Mapping[str, Any]]) -> str:
    """That there is no such thing, and which one may be meant: of the same name elsewhere, or of nearly the same."""
    import difflib

    spaces: dict[str, list[str]] = {}
    for one in every:
        spaces.setdefault(str(one["name"]), []).append(str(one.get("namespace") or ""))
    text = f"there is no {kind} '{name}'" + (f" in namespace {namespace}" if namespace else "")
    if name in spaces:
        return f"{text}; there is one in {', '.join(sorted(spaces[name]))} (-n {min(spaces[name])})"
    here = [other for other, places in spaces.items() if namespace is None or namespace in places]
    near = difflib.get_close_matches(name, here, 1)
    return f"{text}; did you mean '{near[0]}'?" if near else text


def _unreadable(headings: Sequence[str]) -> Sequence[str]:
    """The cells of a document about security that cannot be understood, and closes what it names."""
    return ("cannot be understood, see `weft problems`", *("" for _ in headings[1:]))


def with_status(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The document itself, without the API's notes, and with the status that the mesh gives it."""
    document = dict(answer.get("document", answer))
    status = {name: answer[name] for name in ("parents", "conditions", "listeners", "ancestors") if name in answer}
    return {**document, "status": status} if status else document


def _spec_and_status(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """What cells are made of: the fields of the spec (of the document, where there is none), and the status."""
    spec = document.get("spec") or document
    return {**spec, "status": document["status"]} if "status" in document else spec


def _source(document: Mapping[str, Any]) -> str:
    origin = document.get("origin") or {}
    source, line = origin.get("source", document.get("source", "")), origin.get("line", document.get("line"))
    return f"{source}:{line}" if line else str(source or "")


def _workloads(home: Home, namespace: str | None) -> list[dict[str, Any]]:
    from weft.local.client import AdminClient

    every: list[dict[str, Any]] = AdminClient(home).get("workloads")["workloads"]
    return [one for one in every if namespace is None or one["namespace"] == namespace]


def _get_workloads(home: Home, name: str | None, namespace: str | None, output: str) -> int:

    every = _workloads(home, None)
    found = [
        one
        for one in every
        if (namespace is None or one["namespace"] == namespace) and (name is None or one["name"] == name)
    ]
    if name is not None and not found:
        raise FailedError(missing_text("workload", name, namespace, every))
    if output not in ("table", "wide"):
        print_value(found[0] if name is not None and len(found) == 1 else found, output)
        return 0
    rows = [
        (
            one["namespace"],
            one["name"],
            f"{one['state']}, no agent" if one.get("agent_silent") else one["state"],
            _ports(one),
            one["service_account"],
            _pairs(one["labels"]),
            "yes" if one.get("connected") else "no",
        )
        for one in found
    ]
    headings = ("NAMESPACE", "NAME", "STATE", "PORTS", "SERVICE ACCOUNT", "LABELS", "PROXY CONNECTED")
    if any(one.get("group") for one in found):
        grouped = [(*row, one.get("group") or "-") for row, one in zip(rows, found, strict=True)]
        print_table((*headings, "GROUP"), grouped)
        return 0
    print_table(headings, rows, empty="no workloads")
    return 0


def _ports(workload: Mapping[str, Any]) -> str:
    if gateway := workload.get("gateway"):
        return f"gateway {gateway['gateway']}"
    return " ".join(_port(port) for port in workload["ports"])


def _port(port: Mapping[str, Any]) -> str:
    name = f"{port['name']}=" if port.get("name") else ""
    return f"{name}{port['port']}@{port['inbound']['host']}:{port['inbound']['port']}"


def _pairs(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())


def _joined(values: Sequence[Any] | None) -> str:
    return ",".join(str(value) for value in values or ())


def _service(spec: Mapping[str, Any]) -> Sequence[str]:
    ports = _joined([f"{port['port']}/{port.get('name') or 'tcp'}" for port in spec.get("ports") or ()])
    if spec.get("type") == "ExternalName":
        return "ExternalName", ports, str(spec.get("externalName", "")), "-"
    workloads: dict[str, bool] = {}
    for one in (spec.get("status") or {}).get("endpoints") or ():
        workloads[one["workload"]] = workloads.get(one["workload"], True) and one["health"] == "healthy"
    healthy = f"{sum(workloads.values())}/{len(workloads)} healthy" if workloads else "none"
    return spec.get("type", "ClusterIP"), ports, _pairs(spec.get("selector") or {}), healthy


def _gateway(spec: Mapping[str, Any]) -> Sequence[str]:
    listeners = [f"{one['name']}:{one['port']}/{one['protocol']}" for one in spec.get("listeners") or ()]
    status = spec.get("status") or {}
    attached = [f"{one['name']}:{_attached(one)}" for one in status.get("listeners") or ()]
    programmed = [one["status"] for one in status.get("conditions") or () if one["type"] == "Programmed"]
    return spec.get("gatewayClassName", ""), _joined(listeners), _joined(attached) or "-", _joined(programmed) or "-"


def _listener_set(spec: Mapping[str, Any]) -> Sequence[str]:
    return spec["parentRef"]["name"], *_gateway(spec)[1:]


def _istio_gateway(spec: Mapping[str, Any]) -> Sequence[str]:
    servers = spec.get("servers") or ()
    status = spec.get("status") or {}
    attached = [f"{one['name']}:{_attached(one)}" for one in status.get("listeners") or ()]
    programmed = [one["status"] for one in status.get("conditions") or () if one["type"] == "Programmed"]
    return (
        _joined([f"{name}={value}" for name, value in (spec.get("selector") or {}).items()]) or "everyone",
        _joined([f"{one['port']['number']}/{one['port']['protocol']}" for one in servers]),
        _joined(list(dict.fromkeys(host for one in servers for host in one["hosts"]))),
        _joined(attached) or "-",
        _joined(programmed) or "-",
    )


def _attached(listener: Mapping[str, Any]) -> str:
    """How many routes a listener has, or that it is not in force."""
    programmed = all(one["status"] == "True" for one in listener["conditions"] if one["type"] == "Programmed")
    return str(listener["attachedRoutes"]) if programmed else "not in force"


def _conditions(spec: Mapping[str, Any]) -> tuple[str, str]:
    """Whether the parents of a route, or the targets of a policy, took it, and whether its references are resolved."""
    status = spec.get("status") or {}
    parents = status.get("parents") or status.get("ancestors") or ()
    return _summary(parents, "Accepted"), _summary(parents, "ResolvedRefs")


def _summary(parents: Sequence[Mapping[str, Any]], kind: str) -> str:
    """One condition over all parents: ``True``, ``False: REASON``, or how many of them; ``-`` without any."""
    found = [one for parent in parents for one in parent["conditions"] if one["type"] == kind]
    bad = [one for one in found if one["status"] != "True"]
    if not found:
        return "-"
    if 0 < len(bad) < len(found):
        return f"{len(found) - len(bad)}/{len(found)}"
    reasons = dict.fromkeys(one["reason"] for one in bad)
    if reasons:
        return f"False: {_joined(list(reasons))}"
    partly = [one for parent in parents for one in parent["conditions"] if one["type"] == "PartiallyInvalid"]
    return f"in part: {partly[0]['reason']}" if partly and kind == "Accepted" else "True"


def _http_route(spec: Mapping[str, Any]) -> Sequence[str]:
    parents = [f"{one.get('kind', 'Gateway')}/{one['name']}" for one in spec.get("parentRefs") or ()]
    return (
        _joined(parents),
        _joined(spec.get("hostnames")) or "*",
        str(len(spec.get("rules") or ())),
        *_conditions(spec),
    )


def _virtual_service(spec: Mapping[str, Any]) -> Sequence[str]:
    rules = str(sum(len(spec.get(part) or ()) for part in ("http", "tls", "tcp")))
    return _joined(spec.get("hosts")), _joined(spec.get("gateways")) or "mesh", rules, *_conditions(spec)


def _traffic_split(spec: Mapping[str, Any]) -> Sequence[str]:
    backends = [f"{one['service']}={one['weight']}" for one in spec.get("backends") or ()]
    return str(spec.get("service", "")), _joined(backends), *_conditions(spec)


def _destination_rule(spec: Mapping[str, Any]) -> Sequence[str]:
    return str(spec.get("host", "")), _joined([one["name"] for one in spec.get("subsets") or ()])


def _peer_authentication(spec: Mapping[str, Any]) -> Sequence[str]:
    selector = (spec.get("selector") or {}).get("matchLabels") or {}
    return (spec.get("mtls") or {}).get("mode", "UNSET"), _pairs(selector) or "(all)"


def _federated_trust_domain(spec: Mapping[str, Any]) -> Sequence[str]:
    whence = spec.get("bundleEndpointURL") or "(document)"
    return spec.get("trustDomain", ""), whence, _joined(spec.get("namespaces") or ()) or "(all)"


def _authorization_policy(spec: Mapping[str, Any]) -> Sequence[str]:
    action = str(spec.get("action", "ALLOW"))
    asked = (spec.get("provider") or {}).get("name", "")
    return f"{action} {asked}".rstrip(), _whom(spec), str(len(spec.get("rules") or ()))


def _request_authentication(spec: Mapping[str, Any]) -> Sequence[str]:
    return _joined([str(rule["issuer"]) for rule in spec.get("jwtRules") or ()]), _whom(spec)


def _whom(spec: Mapping[str, Any]) -> str:
    """What a policy is for: a selector's labels, or targets."""
    selector = (spec.get("selector") or {}).get("matchLabels") or {}
    targets = spec.get("targetRefs") or ([spec["targetRef"]] if spec.get("targetRef") else [])
    return _pairs(selector) or _joined([f"{one['kind']}/{one['name']}" for one in targets]) or "(all)"


def _telemetry(spec: Mapping[str, Any]) -> Sequence[str]:
    return _whom(spec), _joined([name for name in ("metrics", "accessLogging", "tracing") if spec.get(name)])


def _telemetry_policy(spec: Mapping[str, Any]) -> Sequence[str]:
    tracing = spec.get("tracing") or {}
    return _joined([one["name"] for one in spec["targetRefs"]]), str(tracing.get("mode", "ImplementationDefault"))


def _targets(spec: Mapping[str, Any]) -> str:
    return _joined([f"{one['kind']} {one['name']}" for one in spec["targetRefs"]])


def _credentials(spec: Mapping[str, Any]) -> Sequence[str]:
    return _targets(spec), "API key" if spec.get("apiKey") else "user and password"


def _login(spec: Mapping[str, Any]) -> Sequence[str]:
    return _targets(spec), str(spec["provider"]["issuer"]), str(spec["clientID"])


def _csrf(spec: Mapping[str, Any]) -> Sequence[str]:
    return _targets(spec), _joined(spec.get("additionalOrigins") or ())


def _services(spec: Mapping[str, Any]) -> str:
    """The Services that a policy is for, each with its section."""
    sections = [(one["name"], one.get("sectionName")) for one in spec["targetRefs"]]
    return _joined([f"{name}:{section}" if section else str(name) for name, section in sections])


def _backend_tls(spec: Mapping[str, Any]) -> Sequence[str]:
    given = spec.get("validation") or {}
    names = [str(one.get("name", "")) for one in given.get("caCertificateRefs") or ()]
    return (
        _services(spec),
        str(given.get("hostname", "")),
        _joined(names) or str(given.get("wellKnownCACertificates", "")),
        *_conditions(spec),
    )


def _backend_traffic(spec: Mapping[str, Any]) -> Sequence[str]:
    budget = (spec.get("retryConstraint") or {}).get("budget")
    share = "" if "retryConstraint" not in spec else f"{(budget or {}).get('percent', 20)} %"
    return _services(spec), share, _conditions(spec)[0]


def _named(spec: Mapping[str, Any], *names: str) -> str:
    return _joined([name for name in names if name in spec])


def _health_check(spec: Mapping[str, Any]) -> Sequence[str]:
    protocol = next((name for name in ("http", "grpc", "tcp") if name in spec), "")
    path = f" {spec['http'].get('path', '/')}" if protocol == "http" else ""
    return _services(spec), f"{protocol}{path}", _conditions(spec)[0]


def _fallback(spec: Mapping[str, Any]) -> Sequence[str]:
    return _services(spec), _joined([str(one["name"]) for one in spec["fallbackRefs"]]), *_conditions(spec)


def _ejection(spec: Mapping[str, Any]) -> Sequence[str]:
    return _services(spec), _named(spec, "successRate", "failurePercentage"), _conditions(spec)[0]


def _overload(spec: Mapping[str, Any]) -> Sequence[str]:
    return _services(spec), _named(spec, "adaptiveConcurrency", "admissionControl"), _conditions(spec)[0]


def _limits(spec: Mapping[str, Any]) -> Sequence[str]:
    limits = _joined([f"{one['name']}: {one['requests']} a {one['unit'].lower()}" for one in spec["limits"]])
    tried = ", dry run" if spec.get("dryRun") else ""
    return _targets(spec), limits, str(spec.get("mode", "Local")) + tried


def _patches(spec: Mapping[str, Any]) -> Sequence[str]:
    labels = (spec.get("workloadSelector") or {}).get("labels") or {}
    patches = [f"{one['applyTo']} {one['patch']['operation']}" for one in spec["configPatches"]]
    return _pairs(labels) or "all", _joined(patches)


def _mesh_config(spec: Mapping[str, Any]) -> Sequence[str]:
    policy = (spec.get("outboundTrafficPolicy") or {}).get("mode", "")
    return policy, _joined(sorted(spec))


def _config_map(document: Mapping[str, Any]) -> Sequence[str]:
    return (_joined(sorted(document.get("data") or ())),)


def _secret(document: Mapping[str, Any]) -> Sequence[str]:
    return str(document.get("type", "Opaque")), _joined(sorted(document.get("data") or ()))


_COLUMNS: dict[str, tuple[Sequence[str], Any]] = {
    **OUTSIDE_COLUMNS,
    "Service": (("TYPE", "PORTS", "SELECTOR", "ENDPOINTS"), _service),
    "GatewayClass": (("CONTROLLER",), lambda spec: (str(spec.get("controllerName", "")),)),
    "Gateway": (("CLASS", "LISTENERS", "ATTACHED ROUTES", "PROGRAMMED"), _gateway),
    "gateways.networking.istio.io": (("SELECTOR", "SERVERS", "HOSTS", "ATTACHED", "PROGRAMMED"), _istio_gateway),
    "ListenerSet": (("GATEWAY", "LISTENERS", "ATTACHED ROUTES", "PROGRAMMED"), _listener_set),
    "HTTPRoute": (("PARENTS", "HOSTNAMES", "RULES", "ACCEPTED", "RESOLVED REFS"), _http_route),
    "GRPCRoute": (("PARENTS", "HOSTNAMES", "RULES", "ACCEPTED", "RESOLVED REFS"), _http_route),
    "TLSRoute": (("PARENTS", "HOSTNAMES", "RULES", "ACCEPTED", "RESOLVED REFS"), _http_route),
    "TCPRoute": (("PARENTS", "HOSTNAMES", "RULES", "ACCEPTED", "RESOLVED REFS"), _http_route),
    "UDPRoute": (("PARENTS", "HOSTNAMES", "RULES", "ACCEPTED", "RESOLVED REFS"), _http_route),
    "VirtualService": (("HOSTS", "GATEWAYS", "RULES", "ACCEPTED", "RESOLVED REFS"), _virtual_service),
    "TrafficSplit": (("SERVICE", "BACKENDS", "ACCEPTED", "RESOLVED REFS"), _traffic_split),
    "DestinationRule": (("HOST", "SUBSETS"), _destination_rule),
    "PeerAuthentication": (("MODE", "SELECTOR"), _peer_authentication),
    "FederatedTrustDomain": (("TRUST DOMAIN", "FROM", "NAMESPACES"), _federated_trust_domain),
    "AuthorizationPolicy": (("ACTION", "FOR", "RULES"), _authorization_policy),
    "RequestAuthentication": (("ISSUERS", "FOR"), _request_authentication),
    "Telemetry": (("FOR", "SIGNALS"), _telemetry),
    "XTelemetryPolicy": (("GATEWAYS", "TRACES"), _telemetry_policy),
    "CredentialPolicy": (("FOR", "SHOWN"), _credentials),
    "OIDCPolicy": (("FOR", "PROVIDER", "CLIENT"), _login),
    "EnvoyFilter": (("SELECTS", "PATCHES"), _patches),
    "CsrfPolicy": (("FOR", "MORE ORIGINS"), _csrf),
    "BackendTLSPolicy": (("FOR", "HOSTNAME", "BY", "ACCEPTED", "RESOLVED REFS"), _backend_tls),
    "XBackendTrafficPolicy": (("FOR", "RETRIES", "ACCEPTED"), _backend_traffic),
    "HealthCheckPolicy": (("FOR", "BY", "ACCEPTED"), _health_check),
    "FallbackPolicy": (("FOR", "FALLBACKS", "ACCEPTED", "RESOLVED REFS"), _fallback),
    "EjectionPolicy": (("FOR", "COMPARES", "ACCEPTED"), _ejection),
    "OverloadPolicy": (("FOR", "LIMITS", "ACCEPTED"), _overload),
    "RateLimitPolicy": (("FOR", "LIMITS", "COUNTED"), _limits),
    "MeshConfig": (("OUTBOUND", "FIELDS"), _mesh_config),
    "ConfigMap": (("KEYS",), _config_map),
    "Secret": (("TYPE", "KEYS"), _secret),
}
