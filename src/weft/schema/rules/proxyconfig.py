"""Rules of ProxyConfig: which variables of a proxy's environment mean something."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from weft.model.printable import printable
from weft.schema.findings import Finding, Rule, no_effect
from weft.schema.kinds.proxyconfig import HTTP10, ProxyConfig, ProxyConfigSpec
from weft.schema.wording import nearest_name

_NEEDLESS = {"ISTIO_META_ENABLE_SELF_DISCOVERY": "zoneAwareLbSetting works without it"}
_NOBODY = "Envoy reads no variables, and Istio's agent, which does, is not there"


def environment(spec: ProxyConfigSpec) -> Iterator[Finding]:
    """Variables of the workloads' proxies."""
    yield from _variables("environmentVariables", spec.environment_variables)


def metadata(spec: ProxyConfig) -> Iterator[Finding]:
    """Variables of every proxy."""
    yield from _variables("proxyMetadata", spec.proxy_metadata)


def _variables(where: str, values: Mapping[str, str]) -> Iterator[Finding]:
    for name, value in values.items():
        if name in _NEEDLESS:
            yield no_effect((where, name), f"'{name}' has no effect in weft: {_NEEDLESS[name]}")
        elif name != HTTP10:
            message = f"'{printable(name, 80)}' is not supported by weft: {_NOBODY}"
            near = nearest_name(name, (HTTP10,))
            yield Finding((where, name), message, f"{HTTP10}, or nothing", near, code="unsupported-field")
        elif value not in ("0", "1"):
            yield Finding((where, name), f"found '{printable(value, 80)}'", "'1' (HTTP/1.0 is accepted) or '0'")


RULES: Mapping[type, tuple[Rule, ...]] = {ProxyConfigSpec: (environment,), ProxyConfig: (metadata,)}
"""What a type cannot say."""
