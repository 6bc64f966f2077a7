"""The checks: for each finding, facts that cause it; facts that are well; and the command that mends it."""

from __future__ import annotations

import datetime
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from findings.worlds import service, subject, workload
from weft.findings.catalogue.lookup import CHAPTERS
from weft.findings.checks.check import CHECKS, check, exit_code
from weft.findings.checks.wording import lasting
from weft.findings.facts import ControlPlaneFact, EdgeFact, Facts, ProxyFact, RequestFact, WorkloadFact
from weft.findings.finding import Finding, finding, finding_from_problem, finding_mapping
from weft.model.document import ObjectKey
from weft.model.origin import Origin
from weft.model.problem import Problem, Severity
from weft.model.workload import WorkloadState
from weft.schema.decode import decode_documents

NOW = 1_000_000.0
HOUR, DAY = 3600.0, 86400.0
PLANE = ControlPlaneFact("1.0", 0.01, 0.1, 90 << 30, 100 << 30, NOW + 3650 * DAY, NOW + 30 * DAY, NOW + 12 * HOUR)
PROXY = ProxyFact("a.default", 5, 5, NOW + 20 * HOUR, NOW - HOUR, "1.40.0")
HERE = WorkloadFact(workload("a"), connected=True, ahead=0.1, version="1.0")
WELL = Facts(
    NOW,
    PLANE,
    (PROXY,),
    (HERE,),
    subject=subject(service("a"), workload("a")),
    edges=(EdgeFact("default/b", "default/a", 100, 0, {"200": 100}, {}, True),),
    tried_envoy="1.40.0",
    command="1.0",
)
EDGE = EdgeFact("default/b", "default/a", 100, 0)
KEY = ObjectKey("", "Service", "default", "a")


def test_all_is_well() -> None:
    checked = check(WELL)
    assert checked.findings == ()
    assert len(checked.passed) == len(CHECKS)
    assert exit_code(checked) == 0


@pytest.mark.parametrize(
    ("code", "told", "fix", "facts"),
    [
        (
            "event-loop-lag",
            "0.8 s late",
            "weft logs control-plane",
            replace(WELL, control_plane=replace(PLANE, late=0.8)),
        ),
        ("build-slow", "took 3.0 s", "weft report", replace(WELL, control_plane=replace(PLANE, build=3.0))),
        ("disk-nearly-full", "42 MB of", "df -h", replace(WELL, control_plane=replace(PLANE, free=42 << 20))),
        (
            "ca-expires",
            "the root certificate ends in 20 days",
            "weft ca status",
            replace(WELL, control_plane=replace(PLANE, root_ends=NOW + 20 * DAY)),
        ),
        (
            "ca-expires",
            "the intermediate certificate ends in 10 days",
            "weft ca status",
            replace(WELL, control_plane=replace(PLANE, intermediate_ends=NOW + 10 * DAY, own_root=False)),
        ),
        (
            "server-certificate-expires",
            "ends in 5 minutes",
            "weft logs control-plane",
            replace(WELL, control_plane=replace(PLANE, server_ends=NOW + 300)),
        ),
        ("weft-versions-differ", "this command is 0.9", "weft restart control-plane", replace(WELL, command="0.9")),
        (
            "weft-versions-differ",
            "the agents of a run 0.8",
            "weft restart a",
            replace(WELL, workloads=(replace(HERE, version="0.8"),)),
        ),
        (
            "envoy-versions-differ",
            "Envoy 1.39.2 runs in 1 of 1 proxies (a.default); 1.40.0 was tried",
            "weft restart a",
            replace(WELL, proxies=(replace(PROXY, envoy="1.39.2"),)),
        ),
        (
            "certificate-expires",
            "the certificate of a.default ends in 4 minutes",
            "weft restart a",
            replace(WELL, proxies=(replace(PROXY, certificate_ends=NOW + 240),)),
        ),
        (
            "certificate-expires",
            "the certificate of a.default ended 1 minute ago",
            "weft restart a",
            replace(WELL, workloads=(replace(HERE, begins=NOW - DAY, ends=NOW - 60),)),
        ),
        (
            "calls-slow",
            "5% of 100 requests took longer than 7.0 s",
            "weft explain --from b http://a/",
            replace(WELL, edges=(replace(EDGE, p95=7012.0),)),
        ),
        (
            "no-route-for-calls",
            "100 of 100 requests met no rule (NR)",
            "weft requests b --failed",
            replace(WELL, edges=(replace(EDGE, destination="", flags={"NR": 100}),)),
        ),
        (
            "clock-differs",
            "the clock of a is 1 minute behind the control plane's",
            "timedatectl",
            replace(WELL, workloads=(replace(HERE, ahead=-95.0),)),
        ),
        (
            "proxy-behind",
            "has confirmed revision 4, it was offered 5",
            "weft proxy status",
            replace(WELL, proxies=(replace(PROXY, confirmed=4),)),
        ),
        (
            "proxy-not-connected",
            "its proxy is not connected",
            "weft logs --proxy a",
            replace(WELL, workloads=(replace(HERE, connected=False),)),
        ),
        (
            "pod-not-connected",
            "Pod a is in the mesh, but its proxy is not connected",
            "kubectl logs --namespace default a --container weft-proxy",
            replace(WELL, workloads=(replace(HERE, workload=replace(workload("a"), pod="5f0d"), connected=False),)),
        ),
        (
            "no-healthy-endpoint",
            "its only workload is not healthy: a is starting",
            "weft logs a",
            replace(WELL, workloads=(replace(HERE, workload=workload("a", state=WorkloadState.STARTING)),)),
        ),
        (
            "workload-unhealthy",
            "a does not pass its health check",
            "weft logs a",
            replace(
                WELL,
                workloads=(HERE, replace(HERE, workload=workload("a", state=WorkloadState.UNHEALTHY))),
            ),
        ),
        (
            "endpoint-unreachable",
            "a is not reached at 127.0.0.1:1 from the control plane: Connection refused",
            "weft logs --proxy a",
            replace(WELL, unreachable=(("a.default", "127.0.0.1:1", "Connection refused"),)),
        ),
        (
            "high-error-rate",
            "12% of 100 requests failed (503: 12), in 60 s",
            "weft explain --from b http://a/",
            replace(WELL, edges=(replace(EDGE, failures=12, codes={"200": 88, "503": 12}),)),
        ),
        *(
            (code, f"9 of 100 requests {told} ({flag})", "", replace(WELL, edges=(edge,)))
            for flag, code, told in (
                ("URX", "retry-storm", "used up their retries"),
                ("UO", "overload", "were refused by a limit"),
                ("UH", "no-endpoint-for-calls", "found no healthy endpoint"),
                ("UF", "connections-fail", "met a failed connection"),
                ("UT", "calls-time-out", "took too long"),
                ("DF", "dns-fails", "failed because the name has no address"),
                ("NR", "no-route-for-calls", "met no rule"),
            )
            for edge in (replace(EDGE, flags={flag: 4, f"{flag},XX": 5}),)
        ),
        (
            "plaintext-traffic",
            "came without mutual TLS",
            "weft describe service a -n default",
            replace(WELL, edges=(replace(EDGE, mtls=False),)),
        ),
        (
            "unknown-subset",
            "no such subset; expected v1; did you mean 'v1'?",
            "${EDITOR:-vi} +7 routes.yaml && weft apply -f routes.yaml --wait",
            replace(
                WELL,
                problems=(
                    Problem(
                        Severity.ERROR,
                        "unknown-subset",
                        "no such subset",
                        Origin("routes.yaml", 7),
                        KEY,
                        (),
                        "v1",
                        "v1",
                    ),
                ),
            ),
        ),
        (
            "proxy-stuck",
            "has not answered",
            "weft restart a",
            replace(
                WELL,
                problems=(Problem(Severity.WARNING, "proxy-stuck", "has not answered", Origin("proxy a.default")),),
            ),
        ),
        (
            "a-code-of-another-version",
            "what is it",
            "",
            replace(WELL, problems=(Problem(Severity.ERROR, "a-code-of-another-version", "what is it", Origin("x")),)),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)
def test_what_is_found(code: str, told: str, fix: str, facts: Facts) -> None:
    checked = check(facts)
    assert [one.code for one in checked.findings] == [code], checked.findings
    assert told in checked.findings[0].message
    assert fix in checked.findings[0].fix
    assert len(checked.passed) == len(CHECKS) - 1
    assert exit_code(checked) == (2 if checked.findings[0].severity is Severity.ERROR else 1)


def secret(days: float) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    start = datetime.datetime.fromtimestamp(NOW - 100 * DAY, datetime.UTC)
    chain = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + datetime.timedelta(days=100 + days))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        .decode()
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    text = "".join(f"    {line}\n" for line in ("|", *chain.splitlines()))
    return (
        "apiVersion: v1\nkind: Secret\nmetadata: {name: tls}\ntype: kubernetes.io/tls\nstringData:\n"
        f"  tls.crt: {text.strip()}\n".replace("    -----END", "    -----END")
        + "  tls.key: |\n"
        + "".join(f"    {line}\n" for line in pem.splitlines())
    )


GATEWAY = """---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec:
  gatewayClassName: weft
  listeners: [{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: tls}]}}]
"""


@pytest.mark.parametrize(
    ("days", "severity", "told"),
    [(6.0, Severity.WARNING, "ends in 6 days"), (-2.0, Severity.ERROR, "ended 2 days ago"), (90.0, None, "")],
)
def test_certificates_of_gateways(days: float, severity: Severity | None, told: str) -> None:
    decoded = decode_documents(secret(days) + GATEWAY, "tls.yaml")
    assert not decoded.problems, [str(one) for one in decoded.problems]
    checked = check(replace(WELL, documents=decoded.documents))
    assert [one.severity for one in checked.findings] == ([severity] if severity else [])
    assert all(told in one.message and one.fix == "weft apply -f tls.yaml --wait" for one in checked.findings)


def test_a_secret_that_nobody_names_is_told() -> None:
    decoded = decode_documents(secret(90.0), "tls.yaml")
    (found,) = check(replace(WELL, documents=decoded.documents)).findings
    assert (found.code, found.fix) == ("unused-document", "weft delete secret tls -n default --wait")


def test_a_secret_that_a_policy_names_is_used() -> None:
    policy = """
---
apiVersion: weft.dev/v1alpha1
kind: CredentialPolicy
metadata: {name: keys}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: front}]
  apiKey: {from: {headers: [x-key]}, secretRefs: [{name: tls}]}
"""
    decoded = decode_documents(secret(90.0) + policy, "tls.yaml")
    assert not decoded.failed
    assert check(replace(WELL, documents=decoded.documents)).findings == ()


def test_errors_come_first_and_each_is_there_once() -> None:
    one = Problem(Severity.WARNING, "not-served", "nothing listens", Origin("x.yaml", 1), KEY)
    other = Problem(Severity.ERROR, "unknown-host", "no such host", Origin("x.yaml", 2), KEY)
    checked = check(replace(WELL, problems=(one, other, one)))
    assert [found.code for found in checked.findings] == ["unknown-host", "not-served"]
    assert exit_code(checked) == 2


def test_what_requests_met_is_not_told_again_where_its_document_is_named_for_it() -> None:
    documents = """
kind: VirtualService
apiVersion: networking.istio.io/v1
metadata: {name: a}
spec:
  hosts: [a]
  http: [{fault: {delay: {fixedDelay: 2s, percentage: {value: 100}}}, route: [{destination: {host: a}}]}]
"""
    key = ObjectKey("networking.istio.io", "VirtualService", "default", "a")
    met = RequestFact("b.default", "fault-in-force", "a rule delayed the request", 3, key)
    other = RequestFact("b.default", "overload", "too many", 3, key)
    mesh = subject(f"{service('a')}---{documents}", workload("a"))
    checked = check(replace(WELL, subject=mesh, requests=(met, other)))
    told = [(one.code, one.message) for one in checked.findings]
    assert ("fault-in-force", "of the requests to a 100% are delayed by 2s, on purpose") in told
    assert [code for code, _ in told].count("fault-in-force") == 1 and "overload" in dict(told)


def test_a_request_that_was_seen_is_explained_by_its_id() -> None:
    met = RequestFact("b.default", "no-route-for-calls", "no rule matches the request", 1, id="4f1c; x")
    assert [one.fix for one in check(replace(WELL, requests=(met,))).findings] == ["weft explain '4f1c; x'"]


def test_a_followed_file_needs_no_apply() -> None:
    problem = Problem(Severity.ERROR, "unknown-host", "no such host", Origin("a b.yaml", 3), KEY)
    assert finding_from_problem(problem, frozenset([KEY])).fix == "${EDITOR:-vi} +3 'a b.yaml'"


def test_a_document_without_a_file_is_fetched_first() -> None:
    found = finding_from_problem(Problem(Severity.ERROR, "unknown-host", "no", Origin("<stdin>", 3), KEY))
    assert found.fix == (
        "weft get service a -n default -o yaml > a.yaml && ${EDITOR:-vi} a.yaml && weft apply -f a.yaml --wait"
    )


def test_a_finding_as_programs_see_it() -> None:
    found = finding("nack", "refused", object=KEY, origin=Origin("x.yaml", 2))
    assert finding_mapping(found) == {
        "code": "nack",
        "number": "WEFT0601",
        "severity": "error",
        "message": "refused",
        "object": {"group": "", "kind": "Service", "namespace": "default", "name": "a"},
        "about": "",
        "source": "x.yaml:2",
        "fix": "weft history --limit 5",
        "page": "docs/findings.md#nack",
    }
    assert finding_mapping(Finding(Severity.NOTE, "other", "x"))["number"] == ""


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (3 * DAY, "ends in 3 days"),
        (HOUR, "ends in 1 hour"),
        (-61.0, "ended 1 minute ago"),
        (0.5, "ends in less than a second"),
    ],
)
def test_times_are_told_in_their_largest_unit(seconds: float, told: str) -> None:
    assert told in lasting(seconds)


DENIED = "reviews-v1.default denied GET /x from page-v1.default: no rule of an ALLOW policy matches it"


def denied(requests: int, codes: dict[str, int], count: int = 1, peer: str = "page-v1.default") -> list[str]:
    """What is told of calls of page to reviews of which a policy denied some."""
    mesh = subject(service("reviews"), workload("reviews-v1", "reviews"), workload("page-v1", "page"))
    key = ObjectKey("security.istio.io", "AuthorizationPolicy", "default", "reviews")
    met = RequestFact("reviews-v1.default", "access-denied", DENIED, count, key, Origin("a.yaml", 3), peer=peer)
    edge = EdgeFact("default/page-v1", "default/reviews", requests, 0, codes)
    checked = check(replace(WELL, subject=mesh, requests=(met,), edges=(edge,)))
    return [f"{one.code}: {one.message} ({one.fix})" for one in checked.findings if one.object == key]


def test_a_caller_whose_every_call_a_policy_denies_is_told() -> None:
    assert denied(7, {"403": 7}) == [
        f"calls-denied: all 7 calls from default/page-v1 to default/reviews in 60 s: {DENIED} "
        "(weft authz check default/page-v1 default/reviews:80)"
    ]
    assert denied(7, {"200": 7}, count=7), "gRPC has its own status"


def test_that_some_calls_are_denied_is_what_policies_are_for() -> None:
    assert denied(7, {"403": 6, "200": 1}) == []
    assert denied(7, {"403": 7}, peer="other.default") == []


NO_PROBLEMS = {"Analysis", "Traffic", "Requests", "Clusters"}
"""Chapters whose codes come of checks alone."""


@pytest.mark.parametrize("chapter", [title for title, _ in CHAPTERS if title not in NO_PROBLEMS])
def test_a_problem_of_every_chapter_is_told(chapter: str) -> None:
    entry = next(entries[0] for title, entries in CHAPTERS if title == chapter)
    problem = Problem(Severity.WARNING, entry.code, "something", Origin("weft"))
    assert entry.code in {one.code for one in check(replace(WELL, problems=(problem,))).findings}


def test_pods_of_another_revision_are_connected_there() -> None:
    def told(**labels: str) -> set[str]:
        away = replace(workload("a"), pod="5f0d", labels=tuple(labels.items()))
        facts = replace(WELL, workloads=(replace(HERE, workload=away, connected=False),), revisions=("canary", "prod"))
        return {each.code for each in check(facts).findings} & {"pod-not-connected"}

    assert told(**{"weft.dev/rev": "canary"})
    assert told(app="a")
    assert not told(**{"weft.dev/rev": "default"})
