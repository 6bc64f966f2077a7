"""The targets: every function that reads what others wrote, as one that takes bytes.

A target returns, or raises one of the errors that its callers answer with. Anything else is a defect, and so is a
result that could hurt who prints it. `seeds` are well-formed inputs, which mutation starts from.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec
import yaml

from weft.admin.history.record import Record
from weft.admin.people.oidc import role_rule
from weft.admin.registrations import check_workload
from weft.admin.replies import Refused
from weft.agent.metrics.application import parse_text
from weft.agent.request_lines import request_from_line
from weft.agent.series import parse_reading
from weft.agent.workload_api.messages import MessageError, given_bundles, given_svids
from weft.aio.fetch import FetchError
from weft.ca.cms import CmsError, read_signed
from weft.ca.request import CertificateRefusedError, public_key_from_request
from weft.ca.svid import SvidError, certificates_from_der
from weft.ca.token_check import TokenError, check_token
from weft.discovery.requests import client_version, delta_request, sotw_request
from weft.discovery.session import RefusedRequestError
from weft.local.meshfile import MeshFileError, decode_meshfile
from weft.mesh.access.paths import normalised_path
from weft.mesh.build import build_mesh
from weft.mesh.memo import Memo
from weft.model.base64url import encode_bytes
from weft.model.bundles import BundleError, bundle_from_json
from weft.model.enrolment import CertificateRequest, RegisterRequest, RenewRequest
from weft.model.identity import SpiffeId, proxy_name, spiffe_id_from_text
from weft.model.jwks import KeySetError, read_key_set
from weft.model.masking import masked_headers, masked_path
from weft.model.printable import bounded, printable
from weft.model.report import Report
from weft.model.snapshot import ConfigSnapshot
from weft.schema.cel import CelError, check_expression
from weft.schema.decode import decode_documents
from weft.schema.hosts import clean_host, covers, intersection, is_own_host, is_wildcard, service_of_host
from weft.schema.log_format import LogFormatError, check_format, secret_headers
from weft.schema.registry import KINDS, Kind
from weft.sources.kubernetes.pod_tokens import PodTokenError, claim_from, reviewed_pod
from weft.sources.openid import read_endpoints
from weft.sources.workloads import workload_from_value
from weft.traffic.edges import UnknownTrafficError
from weft.traffic.prometheus_client import PrometheusTraffic

HERE = Path(__file__).parent
ROOT = HERE.parent
CORPUS = HERE / "corpus"
"""Inputs that once broke something, a directory for each target. They are tried first, always."""
_DOCUMENTS = (ROOT / "examples", ROOT / "tests" / "support", ROOT / "tests" / "schema" / "published")
_BAD_JSON = (msgspec.DecodeError, UnicodeDecodeError, Refused)
_HOLDER = SpiffeId("cluster.local", "default", "default")


@dataclass(frozen=True)
class Target:
    """`run` takes any bytes. `allowed` are the errors that its callers answer with."""

    name: str
    run: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    allowed: tuple[type[Exception], ...] = field(default=())

    def past_crashes(self) -> list[bytes]:
        """What once broke it."""
        return [path.read_bytes() for path in sorted((CORPUS / self.name).glob("*")) if path.is_file()]


def text_of(data: bytes) -> str:
    """Any bytes as text, with what is no UTF-8 as lone surrogates, as it comes from headers and command lines."""
    return data.decode(errors="surrogateescape")


def documents(data: bytes, kind: Kind | None = None) -> None:
    """Documents are decoded and get their meaning. Of one `kind` the input is the spec, as JSON."""
    text = text_of(data)
    if kind is not None:
        try:
            given = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        head = {"apiVersion": kind.api_versions[0], "kind": kind.name, "metadata": {"name": "a"}}
        body = given if kind.flat and isinstance(given, dict) else {"spec": given}
        text = msgspec.json.encode({**head, **body}).decode()
    decoded = decode_documents(text, "f")
    for problem in decoded.problems:
        assert str(problem).isprintable()
    build_mesh(ConfigSnapshot(1, decoded.documents, problems=decoded.problems), Memo())


def json_of(shape: type[object], data: bytes) -> object:
    """A body of the agent API, decoded as its handler does."""
    return msgspec.json.decode(data, type=shape, strict=True)


def registration(data: bytes) -> None:
    """What an agent says when it registers."""
    check_workload(msgspec.json.decode(data, type=RegisterRequest, strict=True).workload)


def hosts(data: bytes) -> None:
    """Two names, one on each line."""
    first, _, second = text_of(data).partition("\n")
    clean_host(first)
    service_of_host(first, "default")
    is_own_host(first)
    if is_wildcard(first):
        covers(first, second)
    intersection(first, second)


def masked(data: bytes) -> None:
    """A path and a header. The secret that stands in it may not come out."""
    text = text_of(data)
    name, _, value = text.partition(": ")
    masked_headers({name: value})
    assert masked_path(text, 100).isprintable()


def printed(data: bytes) -> None:
    """Whatever it is, a terminal survives it."""
    text = text_of(data)
    assert printable(text).isprintable()
    assert len(bounded(text, 10)) <= 10 + len("...")


def token(data: bytes) -> None:
    """A token of a user or of an application. Nobody has the key that it would be signed with."""
    check_token(text_of(data), "here", {"a.example": ()}, 1e9)


def request_path(data: bytes) -> None:
    """A path as policies compare it."""
    path = normalised_path(text_of(data))
    assert path is None or (path.startswith("/") and path.isascii() and path.isprintable())


def prometheus_address(data: bytes) -> None:
    """An address from a command line."""
    PrometheusTraffic(text_of(data))


def log_format(data: bytes) -> None:
    """A format of access logs."""
    check_format(text_of(data))
    list(secret_headers(text_of(data)))


def _seeds_of_documents() -> dict[str, list[bytes]]:
    """The specs of all documents there are, by kind."""
    found: dict[str, list[bytes]] = {}
    for path in sorted(file for place in _DOCUMENTS for file in place.rglob("*.yaml")):
        try:
            everything = list(yaml.safe_load_all(path.read_text()))
        except (yaml.YAMLError, UnicodeDecodeError):
            continue
        for one in everything:
            if isinstance(one, dict) and isinstance(one.get("kind"), str):
                body = one.get("spec", {key: value for key, value in one.items() if key not in _HEAD})
                found.setdefault(one["kind"], []).append(json.dumps(body, default=str).encode())
    return found


_HEAD = ("apiVersion", "kind", "metadata")
_PORT = {
    "port": 8080,
    "inbound": {"host": "127.0.0.1", "port": 20000},
    "application": {"host": "127.0.0.1", "port": 8080},
}
_WORKLOAD = {
    "name": "a",
    "namespace": "default",
    "service_account": "default",
    "labels": [["app", "a"]],
    "ports": [_PORT],
}
_STAT = "weft.outbound.duration.key.200;-;;;;;;outbound|80||a.default.svc.cluster.local"
_STATS = {
    "stats": [
        {"name": "weft.inbound.all.closed", "value": 3},
        {"histograms": {"details": [{"name": _STAT, "totals": [{"lower_bound": 1, "width": 0.1, "count": 2}]}]}},
    ]
}
_METRICS = b'# TYPE a counter\na{b="c"} 1 2\n'
_CSR = (
    b"-----BEGIN CERTIFICATE REQUEST-----\nMIHNMHUCAQAwEzERMA8GA1UEAwwIYS5kZWZhdWx0\n"
    b"-----END CERTIFICATE REQUEST-----\n"
)
_LINE = {
    "time": "1700000000.123", "id": "x", "method": "GET", "host": "a", "path": "/", "status": 503, "flags": "UF",
    "ms": 3, "side": "outbound", "cluster": "outbound|80||a.default.svc.cluster.local", "object": "HTTPRoute default/a",
}  # fmt: skip


_ISSUER = "https://id.example.com"
_OPENID = json.dumps(
    {
        "issuer": _ISSUER,
        "authorization_endpoint": f"{_ISSUER}/auth",
        "token_endpoint": f"{_ISSUER}/token",
        "end_session_endpoint": f"{_ISSUER}/logout",
    }
).encode()
_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "kid": "a",
    "use": "jwt-svid",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
"""Published in RFC 7515, appendix A.3."""
_JWKS = json.dumps({"keys": [{**_KEY, "use": "sig", "alg": "ES256"}]}).encode()
_BUNDLE = json.dumps({"keys": [_KEY], "spiffe_sequence": 1, "spiffe_refresh_hint": 300}).encode()
_JWT = b"eyJhbGciOiJFUzI1NiIsImtpZCI6ImEifQ.eyJzdWIiOiJzcGlmZmU6Ly9hLmV4YW1wbGUveCIsImF1ZCI6ImhlcmUifQ.c2ln"

_POD_CLAIMS = {
    "aud": ["weft"],
    "exp": 4e9,
    "iat": 1,
    "kubernetes.io": {"namespace": "a", "pod": {"name": "b", "uid": "1"}, "serviceaccount": {"name": "c"}},
}
_POD_JWT = b".".join((_JWT.split(b".")[0], encode_bytes(json.dumps(_POD_CLAIMS).encode()).encode(), b"c2ln"))
_POD_EXTRA = {"authentication.kubernetes.io/pod-name": ["b"], "authentication.kubernetes.io/pod-uid": ["1"]}
_REVIEW = {
    "status": {
        "authenticated": True,
        "audiences": ["weft"],
        "user": {"username": "system:serviceaccount:a:c", "extra": _POD_EXTRA},
    }
}


_CMS = bytes.fromhex("308006092a864886f70d010702a0803080020101310030800000")


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _names_of_kinds() -> dict[str, Kind]:
    """Targets' names of the kinds; a name that another API group has too says which group it is of."""
    found: dict[str, Kind] = {}
    for kind in KINDS:
        name = f"kind-{kind.name}"
        found[f"{name}-{kind.api_versions[0].partition('/')[0]}" if name in found else name] = kind
    return found


def all_targets() -> tuple[Target, ...]:
    """Every target, by name."""
    by_kind = _seeds_of_documents()
    of_kinds = [
        Target(name, partial(documents, kind=kind), tuple(by_kind.get(kind.name, ())) or (b"{}",))
        for name, kind in _names_of_kinds().items()
    ]
    texts = tuple(path.read_bytes() for path in sorted((ROOT / "examples").glob("*.yaml")))
    register = {"workload": _WORKLOAD, "csr": "x"}
    others = (
        Target("yaml", documents, texts),
        Target(
            "meshfile",
            lambda data: decode_meshfile(text_of(data), "weft.yaml"),
            (
                b"workloads:\n  a: {command: [x], ports: ['80']}\n",
                b"remoteAdmin: {bind: '10.0.0.7:1'}\noidc: {issuer: https://x, audience: y, roles: [a=b:viewer]}\n"
                b"storeKey: env:KEY\nidentityFrom: spire\n",
            ),
            (MeshFileError,),
        ),
        Target(
            "csr",
            lambda data: public_key_from_request(text_of(data), _HOLDER, proxy_name("a", "default")),
            (_CSR,),
            (CertificateRefusedError,),
        ),
        Target("cms", read_signed, (_CMS,), (CmsError,)),
        Target("svid-chain", certificates_from_der, (b"\x30\x03\x02\x01\x01",), (SvidError,)),
        Target("workload-api-svids", given_svids, (b"\n\t\n\x01a\x12\x01b\x1a\x01c",), (MessageError,)),
        Target("workload-api-bundles", given_bundles, (b"\x12\x06\n\x01a\x12\x01b",), (MessageError,)),
        Target("xds-delta", delta_request, (b"\n\x05\n\x03a.b\x12\x01t\x1a\x01n",), (RefusedRequestError,)),
        Target("xds-sotw", sotw_request, (b"\x12\x05\n\x03a.b\x1a\x01n",), (RefusedRequestError,)),
        Target("xds-version", partial(client_version, delta=True), (b"\n\x07\n\x01a2\x0212",)),
        Target("registration", registration, (_json(register),), _BAD_JSON),
        Target("renewal", partial(json_of, RenewRequest), (_json({"state": "healthy"}),), _BAD_JSON),
        Target("certificate-request", partial(json_of, CertificateRequest), (_json({"csr": "x"}),), _BAD_JSON),
        Target("report", partial(json_of, Report), (_json({"instance": "a", "cells": []}),), _BAD_JSON),
        Target("stored-workload", workload_from_value, (_json(_WORKLOAD),), (ValueError,)),
        Target("history-record", partial(json_of, Record), (_json({"revision": 1}),), _BAD_JSON),
        Target("cel", lambda data: check_expression(text_of(data)), (b"response.code >= 400",), (CelError,)),
        Target("log-format", log_format, (b"%REQ(X-A?Y):10% %DURATION%",), (LogFormatError,)),
        Target("request-line", request_from_line, (_json(_LINE),)),
        Target("envoy-statistics", parse_reading, (_json(_STATS),), (ValueError,)),
        Target("application-metrics", lambda data: parse_text(text_of(data)), (_METRICS,), (ValueError,)),
        Target("prometheus-address", prometheus_address, (b"https://a:b@c:9090/x",), (UnknownTrafficError, ValueError)),
        Target("jwks", lambda data: read_key_set(text_of(data)), (_JWKS,), (KeySetError,)),
        Target("jwt", token, (_JWT, b"a.b.c"), (TokenError,)),
        Target("pod-token", lambda data: claim_from(text_of(data), 0.0), (_JWT, _POD_JWT), (PodTokenError,)),
        Target("token-review", reviewed_pod, (_json(_REVIEW),), (PodTokenError, *_BAD_JSON)),
        Target("trust-bundle", lambda data: bundle_from_json("a.example", text_of(data)), (_BUNDLE,), (BundleError,)),
        Target("openid-endpoints", lambda data: read_endpoints(_ISSUER, data), (_OPENID,), (FetchError,)),
        Target("role-rule", lambda data: role_rule(text_of(data)), (b"groups=admins:admin",), (ValueError,)),
        Target("request-path", request_path, (b"/a/../b//c/%2e%2e/d;x=1?q", b"/{*}/x")),
        Target("spiffe-id", lambda data: spiffe_id_from_text(text_of(data)), (b"spiffe://cluster.local/ns/a/sa/b",)),
        Target("hosts", hosts, (b"*.a.default.svc.cluster.local\nx.a.default.svc.cluster.local", b"a.b\nc")),
        Target("masking", masked, (b"authorization: Bearer eyJhbGciOi.eyJzdWIi.sig", b"/x?token=abc&y=1")),
        Target("printable", printed, (b"\x1b[31mred\x1b[0m \xe2\x80\xae",)),
    )  # fmt: skip
    return (*others, *of_kinds)


def named(names: Iterable[str]) -> tuple[Target, ...]:
    """The targets of these names, or all. KeyError names one that is not there."""
    known = {target.name: target for target in all_targets()}
    return tuple(known[name] for name in names) or tuple(known.values())
