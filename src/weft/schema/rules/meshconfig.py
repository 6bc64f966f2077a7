"""Rules of mesh-wide settings."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import urlsplit

from weft.model.addresses import is_loopback
from weft.model.printable import printable
from weft.schema.findings import Finding, Rule, conflicting, duplicate, missing
from weft.schema.kinds.meshconfig import ConfigMapData, MeshConfigSpec, OtlpMetrics, ServiceAddresses
from weft.schema.kinds.providers import ExtensionProvider
from weft.schema.log_format import LogFormatError, check_format
from weft.schema.rules import locality
from weft.schema.rules.telemetry import secrets_in
from weft.schema.wording import nearest_name

BUILT_IN_PROVIDERS: Mapping[str, str] = {"envoy": "accessLogging", "prometheus": "metrics"}
"""Providers that are always there, and the signal they are for."""
_MAX_DEPTH = 8
_SHORTEST_PUSH = 1.0


def mesh_config(spec: MeshConfigSpec) -> Iterator[Finding]:
    """Default retries say how many."""
    retries = spec.default_http_retry_policy
    if retries is not None and retries.attempts is None:
        yield missing(("defaultHttpRetryPolicy",), "the field 'attempts' is missing", "attempts; 0 for no retries")


def networks(spec: MeshConfigSpec) -> Iterator[Finding]:
    """Networks are written as such, and none is what keys are never fetched from."""
    for index, text in enumerate(spec.jwks_allowed_networks):
        path = ("jwksAllowedNetworks", index)
        try:
            network = ipaddress.ip_network(text)
        except ValueError:
            yield Finding(path, f"found '{printable(text, 80)}'", "a network such as 10.20.0.0/24, or an address")
            continue
        if network.is_link_local or network.is_multicast:
            yield Finding(path, f"link-local and multicast addresses are never asked, and {network} is such", "another")


def providers(spec: MeshConfigSpec) -> Iterator[Finding]:
    """Each provider has a name of its own, and the default ones are there."""
    known = dict(BUILT_IN_PROVIDERS)
    own: set[str] = set()
    for index, provider in enumerate(spec.extension_providers):
        name = provider.name.lower()
        if name in own:
            yield duplicate(("extensionProviders", index, "name"), f"the provider '{provider.name}' is given twice")
        own.add(name)
        known[name] = signal_of(provider)
    defaults = spec.default_providers
    for signal, names in (
        ("metrics", defaults.metrics or ()),
        ("tracing", defaults.tracing),
        ("accessLogging", defaults.access_logging),
    ):
        for index, given in enumerate(names):
            path = ("defaultProviders", signal, index)
            fitting = sorted(name for name, of in known.items() if of == signal)
            if known.get(given.lower()) != signal:
                what = "is not for this signal" if given.lower() in known else "is not there"
                expected = f"one of {', '.join(fitting)}" if fitting else "a provider of extensionProviders"
                yield Finding(
                    path,
                    f"the provider '{given[:80]}' {what}",
                    expected,
                    nearest_name(given, fitting),
                    "unknown-provider",
                )
    if len(defaults.tracing) > 1:
        yield Finding(("defaultProviders", "tracing", 1), "spans go to one place", "one provider")


def signal_of(provider: ExtensionProvider) -> str:
    """The signal that a provider is for, as `defaultProviders` calls it; ``authorization`` for one that is asked."""
    if provider.prometheus is not None:
        return "metrics"
    if provider.envoy_ext_authz_http is not None or provider.envoy_ext_authz_grpc is not None:
        return "authorization"
    return "tracing" if provider.opentelemetry is not None or provider.zipkin is not None else "accessLogging"


def access_log_format(spec: MeshConfigSpec) -> Iterator[Finding]:
    """What Envoy would refuse, and what it should not write."""
    path = ("accessLogFormat",)
    try:
        texts = list(format_texts(spec))
        for text in texts:
            check_format(text)
    except LogFormatError as error:
        yield Finding(path, f"found a format that Envoy would refuse ({error})", "command operators such as %DURATION%")
        return
    for text in texts:
        yield from secrets_in(path, text)


def format_texts(spec: MeshConfigSpec) -> Iterable[str]:
    """The texts of the format. Raises LogFormatError if it should be JSON and is not."""
    if spec.access_log_encoding == "TEXT":
        return (spec.access_log_format,)
    if not spec.access_log_format:
        return ()
    try:
        found = json.loads(spec.access_log_format)
    except ValueError as error:
        raise LogFormatError(f"with JSON encoding it is a JSON object: {error}") from error
    if not isinstance(found, dict):
        raise LogFormatError("with JSON encoding it is a JSON object")
    return tuple(_leaves(found, 0))


def _leaves(value: object, depth: int) -> Iterator[str]:
    if depth > _MAX_DEPTH:
        raise LogFormatError(f"nested more than {_MAX_DEPTH} deep")
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _leaves(each, depth + 1)
    elif value is not None and not isinstance(value, int | float):
        raise LogFormatError("a value is a text, a number, or an object of these")


def config_map_data(spec: ConfigMapData) -> Iterator[Finding]:
    """The settings stand in one place."""
    if spec.mesh is not None and spec.mesh_config is not None:
        yield conflicting(("meshConfig",), "mesh and meshConfig exclude each other", "one of them")


def otlp_metrics(spec: OtlpMetrics) -> Iterator[Finding]:
    """A URL that an agent can send to: with a host, without a password, and off loopback over TLS."""
    text = f"found '{printable(spec.endpoint[:80])}'"
    expected = "a URL such as http://127.0.0.1:4318 or https://collector.example.com:4318"
    try:
        parts = urlsplit(spec.endpoint)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host, parts = "", urlsplit("")
    strange = parts.query or parts.fragment or not spec.endpoint.isascii() or not spec.endpoint.isprintable()
    if parts.scheme not in ("http", "https") or not host or strange or " " in spec.endpoint:
        yield Finding(("endpoint",), text, expected)
    elif parts.username is not None or parts.password is not None:
        yield Finding(
            ("endpoint",), "a URL with a name or a password", "one without: documents are no place for secrets"
        )
    elif parts.scheme == "http" and not is_loopback(host):
        yield Finding(("endpoint",), f"{text}, which would be plaintext on a network", "https, or a loopback address")
    if spec.interval < _SHORTEST_PUSH:
        yield Finding(("interval",), f"found {spec.interval:g} seconds", "1s or more")


def service_addresses(spec: ServiceAddresses) -> Iterator[Finding]:
    """Ranges of addresses that programs take for those of ordinary hosts, the one for IPv6 not smaller."""
    sizes: dict[str, int] = {}
    for name, text, version in (("ipv4", spec.ipv4, 4), ("ipv6", spec.ipv6, 6)):
        network = ipaddress.ip_network(text)
        first = network.network_address
        strange = first.is_loopback or first.is_multicast or first.is_link_local or first.is_unspecified
        if network.version != version:
            yield Finding((name,), f"found '{text}', a range of IPv{network.version}", f"one of IPv{version}")
        elif strange:
            yield Finding((name,), f"found '{text}', which no program calls as another host", "a range of unicast")
        elif version == 4 and not 8 <= network.prefixlen <= 28:
            yield Finding((name,), f"found '{text}'", "a prefix from /8 to /28")
        sizes[name] = network.num_addresses
    if sizes.get("ipv6", 0) < sizes.get("ipv4", 0) and len(sizes) == 2:
        yield Finding(("ipv6",), f"found '{spec.ipv6}', which is smaller than that for IPv4", "a larger range")


RULES: Mapping[type, tuple[Rule, ...]] = {
    MeshConfigSpec: (mesh_config, networks, providers, access_log_format, locality.alone),
    ConfigMapData: (config_map_data,),
    OtlpMetrics: (otlp_metrics,),
    ServiceAddresses: (service_addresses,),
}
