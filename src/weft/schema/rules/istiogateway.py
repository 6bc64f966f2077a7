"""Rules of Istio's Gateway, as Istio checks them, and against words that would have no effect."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Iterator, Mapping

from weft.model.problem import Severity
from weft.schema.findings import Finding, Rule, conflicting, duplicate, missing, no_effect
from weft.schema.kinds.istiogateway import (
    PROTOCOLS,
    REQUESTS,
    GatewayServerPort,
    GatewayServerSpec,
    IstioGatewaySpec,
    ServerTls,
)
from weft.schema.wording import nearest_name

ENDS = ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL")
"""Modes that end TLS with certificates from Secrets."""
ASKS = ("MUTUAL", "OPTIONAL_MUTUAL")
"""Modes that ask clients for certificates, which a Secret vouches for."""
STRONG_CIPHERS = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
WEAK_CIPHERS = (
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
)
"""What Envoy knows beside, without forward secrecy or authenticated encryption (RFC 9325, 4.1)."""
_TLS13_CIPHERS = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
_STRONG = "ECDHE with AES-GCM or CHACHA20-POLY1305"
_OLD = ("TLSV1_0", "TLSV1_1")
_HASH = re.compile(r"(?:[0-9a-fA-F]{2}:?){31}[0-9a-fA-F]{2}")


def istio_gateway(spec: IstioGatewaySpec) -> Iterator[Finding]:
    """Port names differ, so do the hosts of servers that the name in the handshake chooses."""
    names: set[str] = set()
    hosts: dict[tuple[int, str, str], int] = {}
    for index, server in enumerate(spec.servers):
        name = server.port.name
        if name and name in names:
            yield duplicate(("servers", index, "port", "name"), f"the port name '{name}' is given twice")
        names.add(name)
        if server.tls is None or server.port.protocol in REQUESTS:
            continue
        for place, host in enumerate(server.hosts):
            key = (server.port.number, server.bind, host.rpartition("/")[2])
            if key in hosts:
                message = f"server {hosts[key]} has the same host on port {server.port.number}"
                yield duplicate(("servers", index, "hosts", place), message)
            hosts.setdefault(key, index)


def server_port(spec: GatewayServerPort) -> Iterator[Finding]:
    """A protocol that gateways carry."""
    if spec.protocol in PROTOCOLS:
        return
    if spec.protocol == "UDP":
        message = "UDP is not supported at Istio's Gateways, by Istio neither"
        yield Finding(("protocol",), message, "a UDPRoute and a Gateway of the Gateway API", code="unsupported-value")
        return
    near = nearest_name(spec.protocol, PROTOCOLS)
    yield Finding(("protocol",), f"found '{spec.protocol}'", " or ".join(PROTOCOLS), near)


def server(spec: GatewayServerSpec) -> Iterator[Finding]:
    """TLS stands where the protocol has it, and only there."""
    protocol, tls = spec.port.protocol, spec.tls
    if protocol in ("HTTPS", "TLS") and tls is None:
        yield missing((), f"a server with protocol {protocol} needs 'tls'", "tls with a mode")
    if protocol in REQUESTS and tls is not None and tls != ServerTls(https_redirect=tls.https_redirect):
        message = f"a server with protocol {protocol} has no TLS but httpsRedirect"
        yield conflicting(("tls",), message, "protocol HTTPS, or httpsRedirect alone")
    if protocol not in REQUESTS and tls is not None and tls.https_redirect:
        yield no_effect(
            ("tls", "httpsRedirect"), f"protocol {protocol} redirects nobody", "a server with protocol HTTP"
        )
    if spec.bind.startswith("unix:"):
        yield Finding(("bind",), "a Unix socket is not supported by weft", "an IP address", code="unsupported-value")
    elif spec.bind and not _is_address(spec.bind):
        yield Finding(("bind",), f"found '{spec.bind}'", "an IP address")


def server_tls(spec: ServerTls) -> Iterator[Finding]:
    """What goes with the mode, and what does not."""
    mode = spec.mode
    named = bool(spec.credential_name or spec.credential_names)
    if spec.credential_name and spec.credential_names:
        yield conflicting(("credentialNames",), "credentialName and credentialNames exclude each other", "one of them")
    if len(set(spec.credential_names)) < len(spec.credential_names):
        yield duplicate(("credentialNames",), "a credential is named twice")
    if mode in ENDS and not named:
        yield missing((), f"mode {mode} needs a certificate", "credentialName, the name of a Secret")
    if mode not in ENDS and named:
        where = "credentialName" if spec.credential_name else "credentialNames"
        yield conflicting((where,), f"mode {mode} shows no certificate of a Secret", " or ".join(ENDS))
    for name, given in (
        ("caCertCredentialName", spec.ca_cert_credential_name),
        ("subjectAltNames", spec.subject_alt_names),
        ("verifyCertificateSpki", spec.verify_certificate_spki),
        ("verifyCertificateHash", spec.verify_certificate_hash),
    ):
        if given and mode not in ASKS:
            yield conflicting((name,), f"mode {mode} takes no certificate of clients", " or ".join(ASKS))
    if mode not in ENDS:
        for name, written in (
            ("minProtocolVersion", spec.min_protocol_version != "TLS_AUTO"),
            ("maxProtocolVersion", spec.max_protocol_version != "TLS_AUTO"),
            ("cipherSuites", bool(spec.cipher_suites)),
        ):
            if written:
                why = "the mesh's own TLS is 1.3" if mode == "ISTIO_MUTUAL" else "TLS does not end here"
                yield conflicting((name,), f"mode {mode} does not choose it: {why}", " or ".join(ENDS))
    yield from _versions(spec)
    yield from _ciphers(spec)
    yield from _pins(spec)


def _versions(spec: ServerTls) -> Iterator[Finding]:
    for name, version in (
        ("minProtocolVersion", spec.min_protocol_version),
        ("maxProtocolVersion", spec.max_protocol_version),
    ):
        if version in _OLD:
            message = f"{version} is not supported by weft: RFC 8996 forbids it"
            yield Finding((name,), message, "TLSV1_2 or TLSV1_3", code="unsupported-value")
    if (spec.min_protocol_version, spec.max_protocol_version) == ("TLSV1_3", "TLSV1_2"):
        yield conflicting(("maxProtocolVersion",), "it is below minProtocolVersion", "TLSV1_3")


def _ciphers(spec: ServerTls) -> Iterator[Finding]:
    known = (*STRONG_CIPHERS, *WEAK_CIPHERS)
    seen: set[str] = set()
    for index, name in enumerate(spec.cipher_suites):
        path = ("cipherSuites", index)
        if name in seen:
            yield duplicate(path, f"{name} is given twice")
        seen.add(name)
        if name in _TLS13_CIPHERS:
            yield no_effect(
                path, "the suites of TLS 1.3 cannot be chosen, all three are always offered", "no such name"
            )
        elif name not in known:
            yield Finding(
                path, f"found '{name}'", "a cipher suite of TLS 1.2 that Envoy knows", nearest_name(name, known)
            )
        elif name in WEAK_CIPHERS:
            message = f"{name} has no forward secrecy or no authenticated encryption (RFC 9325)"
            yield Finding(path, message, _STRONG, code="weak-cipher", severity=Severity.WARNING)
    if spec.cipher_suites and spec.min_protocol_version == "TLSV1_3":
        yield no_effect(
            ("cipherSuites",), "they are of TLS 1.2, which clients may not speak", "minProtocolVersion TLSV1_2"
        )


def _pins(spec: ServerTls) -> Iterator[Finding]:
    for index, pin in enumerate(spec.verify_certificate_spki):
        try:
            good = len(base64.b64decode(pin, validate=True)) == 32
        except binascii.Error:
            good = False
        if not good:
            yield Finding(("verifyCertificateSpki", index), "it is no hash", "a SHA-256 hash in base64")
    for index, pin in enumerate(spec.verify_certificate_hash):
        if _HASH.fullmatch(pin) is None:
            yield Finding(("verifyCertificateHash", index), "it is no hash", "a SHA-256 hash in hexadecimal digits")


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


RULES: Mapping[type, tuple[Rule, ...]] = {
    IstioGatewaySpec: (istio_gateway,),
    GatewayServerPort: (server_port,),
    GatewayServerSpec: (server,),
    ServerTls: (server_tls,),
}
