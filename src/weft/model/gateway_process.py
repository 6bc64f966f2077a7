"""How the process of a Gateway is called and found in a cluster.

https://gateway-api.sigs.k8s.io/geps/gep-1762/
"""

from __future__ import annotations

import hashlib

from weft.model.labels import Labels

GATEWAY_NAME = "gateway.networking.k8s.io/gateway-name"
"""The label of everything that belongs to a Gateway: its name."""
GATEWAY_CLASS = "gateway.networking.k8s.io/gateway-class-name"
"""Beside it the name of its class."""
_LONGEST = 63


def process_name(gateway: str, gateway_class: str) -> str:
    """How the objects of a Gateway are called, and the service account of its process: ``GATEWAY-CLASS``, cut where
    that is no name any more."""
    name = f"{gateway}-{gateway_class}"
    if len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: _LONGEST - 9].rstrip('-.')}-{digest}"


def served_gateway(labels: Labels, account: str) -> str:
    """The Gateway whose process a Pod with these labels is, in its own namespace; empty if it is none. The service
    account has to be that of the process: who may have another one may not be given the Gateway's secrets."""
    named = dict(labels)
    gateway, of_class = named.get(GATEWAY_NAME, ""), named.get(GATEWAY_CLASS, "")
    return gateway if gateway and of_class and account == process_name(gateway, of_class) else ""
