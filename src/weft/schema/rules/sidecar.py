"""Rules of Sidecar: each port once, and one listener at most for all other ports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from weft.schema.findings import Finding, Rule, duplicate, no_effect
from weft.schema.kinds.sidecar import SidecarSpec


def sidecar(spec: SidecarSpec) -> Iterator[Finding]:
    """Ports of listeners."""
    served: set[int] = set()
    for index, listener in enumerate(spec.ingress):
        if listener.port.number in served:
            yield duplicate(("ingress", index, "port", "number"), f"port {listener.port.number} is given twice")
        served.add(listener.port.number)
    called: set[int] = set()
    for index, egress in enumerate(spec.egress):
        number = egress.port.number if egress.port else 0
        if number in called:
            message = f"port {number} is given twice" if number else "there are two listeners without a port"
            yield duplicate(("egress", index, "port" if number else "hosts"), message)
        called.add(number)
        for place, host in enumerate(egress.hosts):
            if host == "~/*" and len(egress.hosts) > 1:
                message = "'~/*' stands for no host, so it changes nothing beside others"
                yield no_effect(("egress", index, "hosts", place), message)


RULES: Mapping[type, tuple[Rule, ...]] = {SidecarSpec: (sidecar,)}
"""What a type cannot say."""
