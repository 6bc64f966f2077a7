"""The report of a run: JSON for programs, Markdown for people."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

METHOD = {
    "data path": """\
Every round runs every arm, in turning order; the minimal pair stands before and after weft, so that each ratio
is to the mean of its neighbours, and the pair's ratio to itself is the noise of the machine. The load generator
and the backend (an Envoy that answers by itself, 1 KB) share one core, the proxies have another, every Envoy
has one worker thread. *No mesh* is the generator against the backend; *minimal pair* is the shortest pair of
Envoy configurations one would write by hand for the same service with mutual TLS 1.3 and HTTP/2 between them
(`bench/envoy/`); *weft* is the pair that `weft run` makes. CPU time is that of the proxies only, read from the
scheduler's counters in `/proc`, divided by the requests. Latency is open-loop at the fixed rate: it counts from
the moment a request was due. The highest rate is closed-loop; for *no mesh* it is the limit of generator and
backend together. Ratios are taken within a round; shown are the median and the range over the rounds.""",
    "signals": """\
Pairs of sidecars in one mesh, which differ only in their Telemetry; the two that say nothing stand first and last in
each round, and every ratio is to their mean (the last one's: to the first, which is the noise). Load, backends and
the collector that forgets all it is sent have one core, the proxies the other; CPU time is that of both proxies of a
pair, divided by the requests. *Metrics* are what a mesh without a Telemetry has: the standard metrics, with the journal
of requests that failed. Logs are of every request, in Istio's default text and JSON to a file, or OTLP over gRPC.
Requests come without a `traceparent`, so that the caller's proxy decides on each; a traced one has a span on each
side.""",
    "policies": """\
Pairs of sidecars in one mesh, called by a port on loopback, which differ only in what the documents ask: the port's
protocol, ten AuthorizationPolicies of which the last one lets the caller in (the others name another caller, method and
path), or a RateLimitPolicy of the caller's identity that is never reached. Two plain pairs stand first and last in each
round, and every ratio is to their mean (the last one's: to the first, which is the noise). CPU time is that of both
proxies of a pair, divided by the requests; the control plane, which answers *Global*, is not in it.""",
    "sidecars": """\
Resident memory of one Envoy, when it has confirmed what it was told; nothing was called. Bare: a hand-written Envoy
that answers by itself, in the same round. In the empty mesh the three callers are alike. *Uses ten* says which ten
services it uses, *on demand* says nothing, *all* is told of every service and endpoint. Allocated is what Envoy itself
counts.""",
    "shared": """\
Each round measures one proxy for all workloads of a host (`weft host`) and a sidecar for each, in turn. Memory is
proportional (PSS) of proxies, agents and, for the demo, the control plane; applications are not counted. *Start* is
until all workloads are healthy, *first page* from the command to the first page served. *Call* is the CPU time of the
proxies per request between two workloads of the host, *busy neighbour* the latency of a client with one connection
while another workload of the host is called over 32.
""",
    "propagation": """\
Twenty sidecars started by `weft run`. A VirtualService is changed at the admin API, and every sidecar is asked
through its own outbound listener, again and again, until its answer shows the change. The yardstick is one call
of the same API and one round of asking all of them, which also is the resolution of the figure. Stale answers
are old answers to questions that were asked after the waiting call had returned.""",
    "streams": """\
Simulated proxies speak delta ADS to the compiler, hub and xDS server of a control plane, each on a TLS connection with
a certificate of its own, and confirm what they are sent. Each service has ten endpoints, one of them a route. A scoped
proxy declares ten services: one that all declare, and nine of which there are a hundred different lists. Changes are
to the service that all use: one endpoint moves, its route sets another header, a service with ten endpoints is added;
*few use* means an endpoint of a service in one list. *CPU before any push* is that of the build with all streams
connected, and what a change costs besides the build when one stream is connected: the first proxy's compilation, and
one push. *CPU per push* is what every further stream adds, the compilation of other lists with it. Restart is
a new process, with clients that hold everything. *gRPC alone* is a server that pushes as many bytes to the same clients
and reads their answers, in the same layout of processes. CPU is that of the server's process, without the asking; the
clients have the other core. With two columns of code the rounds are in turn, A B B A.""",
    "size": """\
The same mesh, larger, in many namespaces, with sessions whose wire is a queue: what the control plane does without
gRPC and TLS. The time that the simulated proxies take in the same process is taken out. *CPU before any push* ends when
the first response is written; where nobody is concerned, when that is known.""",
    "registrations": """\
A real `weft serve` on a store that was filled before, with the usual lease; no lease ends. Simulated proxies connect
only for the rest *with streams*.
*State change* and *renewal* are calls of the agent API on its unix socket; CPU is that of the control plane without
its rest.""",
    "window": """\
*Memory* is resident, of a window whose every edge was busy through the whole day with one request a second (forty days
are lived, the others are copies of their bytes); *counted* is what the window itself reckons with. A report has ten
edges. Questions are about all edges, or about one; they are worked out a few milliseconds at a time. *Agent* is the
process of `weft run`, with its application's health check (TCP) and everything else that it does; *busy* is 50
requests a second.""",
    "edits": """\
Three Envoys started by `weft run`: one is told about services on demand, one about all, one about those it says it
uses. All three call six services at the fixed rate, each in turn; a request counts as failed if it is not answered with
200, by a workload that may answer, with the header that the service's rules set. Edits are calls of the admin API
and the agent API, of services that nobody calls (routes, DestinationRules with subsets, Services, endpoints, labels)
and of the six (headers, timeouts, weights, mirrors, retries, load balancing, comments, PeerAuthentication). *In force*
counts from the last edit until every Envoy answers with what it says. Memory is resident, *after* is when all was put
back and some seconds have passed. Nothing is pinned.""",
    "demo": """\
From starting the process, in a fresh data directory, until the product page has come through the gateway. The
yardstick is the start of one bare Envoy until it listens.""",
    "kubernetes": """\
A real API server with its controllers; Nodes, Pods and their status are written by hand, and nothing runs. Each Pod has
20 environment variables and stands behind one Service; four of five have a proxy of the mesh, none of which connects.
`weft serve` follows it as an administrator. *Start* is from its command until every Service is compiled. A change is
one Pod that is not ready any more, or is again, from the call of the API server on; revisions are read from the metrics
again and again, CPU is without that and without rest.""",
    "state": """\
Two stores in one process at a real API server (etcd and the server are on the same machine), with 10,000 entries of 300
bytes. A write is one entry of 300 bytes, and the next one begins when the other replica knows it; *together* are as
many at once as there are. A *start* reads everything.""",
}

TITLES = {
    "data path": "Data path",
    "signals": "Signals",
    "policies": "Policies",
    "sidecars": "Memory of a sidecar",
    "shared": "One proxy for many workloads",
    "propagation": "Propagation to 20 Envoys",
    "streams": "Streams",
    "size": "Size",
    "registrations": "Registrations",
    "window": "The window of traffic",
    "edits": "A day of edits",
    "demo": "Demo start",
    "kubernetes": "Pods of a cluster",
    "state": "State in Secrets",
}


def to_plain(value: object) -> Any:
    """Dataclasses as dictionaries, numbers rounded to what means something."""
    if is_dataclass(value) and not isinstance(value, type):
        return to_plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.5g}")
    return value


def _number(value: float) -> str:
    if isinstance(value, int) or value == int(value):
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _is_series(value: object) -> bool:
    return isinstance(value, Mapping) and set(value) == {"median", "lowest", "highest"}


def _shown(value: Any) -> str:
    if _is_series(value):
        return f"{_number(value['median'])} ({_number(value['lowest'])} to {_number(value['highest'])})"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(value)
    return str(value)


def _rows(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in section.items():
        label = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, Mapping) and not _is_series(value):
            yield from _rows(value, f"{label}: ")
        elif not isinstance(value, list):
            yield label, _shown(value)


def _arms_table(arms: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield "| median (range) | " + " | ".join(arms) + " |"
    yield "|---" * (len(arms) + 1) + "|"
    for figure in next(iter(arms.values())):
        cells = [_shown(arm[figure]) for arm in arms.values()]
        yield f"| {figure.replace('_', ' ')} | " + " | ".join(cells) + " |"
    yield ""


def render_section(name: str, section: Mapping[str, Any]) -> Iterator[str]:
    """Lines of Markdown for one section."""
    yield f"## {TITLES.get(name, name)}"
    yield ""
    if "error" in section:
        yield f"This part failed: {section['error']}"
        yield ""
        return
    rest = dict(section)
    if arms := rest.pop("arms", None):
        yield from _arms_table(arms)
    yield "| figure | median (range) |"
    yield "|---|---|"
    for label, shown in _rows(rest):
        yield f"| {label} | {shown} |"
    yield ""
    if method := METHOD.get(name):
        yield f"Method: {method}"
        yield ""


def render_report(report: Mapping[str, Any]) -> str:
    """The whole report as Markdown."""
    lines = ["# Benchmark", ""]
    machine = report["machine"]
    lines.append(", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in machine.items()) + ".")
    lines.append(
        f"weft {report['weft']}, {report['date']}, {'quick' if report['quick'] else 'full'} run, "
        f"{report['seconds']:.0f} s. Absolute figures mean little on a shared machine; the ratios are the result."
    )
    lines.append("")
    for name, section in report["sections"].items():
        lines.extend(render_section(name, section))
    return "\n".join(lines).rstrip() + "\n"


def write_report(report: Mapping[str, Any], directory: Path, name: str) -> tuple[Path, Path]:
    """Write NAME.json and NAME.md."""
    directory.mkdir(parents=True, exist_ok=True)
    plain = to_plain(report)
    as_json, as_text = directory / f"{name}.json", directory / f"{name}.md"
    as_json.write_text(json.dumps(plain, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    as_text.write_text(render_report(plain), encoding="utf-8")
    return as_json, as_text
