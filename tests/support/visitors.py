"""Who calls a cluster from outside: from the node's network, without a sidecar and without a name of the mesh."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from tools.kubernetes_node import NodeCluster

from support.mesh import until

_VISIT = """
import json, sys, time, urllib.error, urllib.request
asked, found = json.loads(sys.argv[1]), []
for _ in range(asked["count"]):
    request = urllib.request.Request(asked["url"], headers=asked["headers"], method=asked["method"])
    begun = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status, body = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, body = error.code, error.read()
    except OSError as error:
        status, body = 0, repr(error).encode()
    found.append((status, body.decode(), time.monotonic() - begun))
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Answer:
    """One; `status` 0: none. `seconds` from the call to its end."""

    status: int
    body: str
    seconds: float


def visit(
    node: NodeCluster, url: str, count: int = 1, headers: Mapping[str, str] | None = None, method: str = "GET"
) -> list[Answer]:
    """What so many calls get, one after the other."""
    asked = json.dumps({"url": url, "count": count, "headers": dict(headers or {}), "method": method})
    said = node.in_node([sys.executable, "-c", _VISIT, asked], timeout=300)
    return [Answer(*each) for each in json.loads(said)]


def balance(node: NodeCluster, namespace: str, service: str, address: str) -> None:
    """Do what a load balancer does for a Service, once that is there: give it an address, which kube-proxy leads to
    its pods."""
    about = ("get", "service", service, "-n", namespace, "-o", "name", "--ignore-not-found")
    until(f"the Service {service} is there", lambda: node.kubectl(*about))
    status = json.dumps({"status": {"loadBalancer": {"ingress": [{"ip": address}]}}})
    node.kubectl("patch", "service", service, "-n", namespace, "--subresource=status", "--type=merge", "-p", status)
