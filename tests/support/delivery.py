"""What progressive delivery is about in tests: an application whose versions say which they are, or fail."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from tools.kubernetes_access import ClusterError
from tools.kubernetes_node import NodeCluster

from support.pod_apps import IMAGE, deployment

SPACE = "delivery"
SERVER = """
import os, signal, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
version = os.environ["VERSION"]
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        bad = version.startswith("bad") and self.path != "/health"
        body = version.encode()
        self.send_response(500 if bad else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
server = ThreadingHTTPServer(("", 8080), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
"""
"""One that answers with its version; those called ``bad...`` answer 500."""

_COUNT = """
import http.client, json, sys
connection, found = http.client.HTTPConnection(sys.argv[1], timeout=10), []
for _ in range(int(sys.argv[2])):
    connection.request("GET", "/")
    answer = connection.getresponse()
    found.append(answer.read().decode())
    if answer.will_close: connection.close()
print(json.dumps(found))
"""


def template(app: str, version: str) -> dict[str, Any]:
    """Pods of a version."""
    made: dict[str, Any] = deployment(app, SPACE)["spec"]["template"]
    made["metadata"]["labels"] = {"app": app}
    made["spec"]["serviceAccountName"] = "web"
    (container,) = made["spec"]["containers"]
    assert container["image"] == IMAGE
    container |= {"command": ["python3", "-c", SERVER], "env": [{"name": "VERSION", "value": version}]}
    container["readinessProbe"] = {"httpGet": {"path": "/health", "port": "web"}, "periodSeconds": 1}
    return made


def answering(node: NodeCluster, host: str, count: int = 100) -> Counter[str]:
    """Which versions answer so many calls; AssertionError if one was not answered."""
    execute = ("exec", "-n", SPACE, "deploy/front", "-c", "app", "--")
    try:
        return Counter(json.loads(node.kubectl(*execute, "python3", "-c", _COUNT, host, str(count))))
    except ClusterError as error:
        raise AssertionError(f"not every call of {host} was answered") from error


def weights(node: NodeCluster, name: str) -> dict[str, int]:
    """What a VirtualService says, by host of the destination."""
    found = json.loads(node.kubectl("get", "virtualservices.networking.istio.io", name, "-n", SPACE, "-o", "json"))
    return {each["destination"]["host"]: each.get("weight", 0) for each in found["spec"]["http"][-1]["route"]}


def prometheus_settings(kubeconfig: Path) -> dict[str, Any]:
    """Of a Prometheus that reads every second what the proxies of the pods count."""
    pods = {"role": "pod", "kubeconfig_file": str(kubeconfig), "namespaces": {"names": [SPACE]}}
    relabel = [
        {"source_labels": ["__meta_kubernetes_pod_container_name"], "regex": "weft-proxy", "action": "keep"},
        {"source_labels": ["__meta_kubernetes_pod_container_init"], "regex": "true", "action": "keep"},
        {"source_labels": ["__meta_kubernetes_pod_ip"], "replacement": "$1:15020", "target_label": "__address__"},
        {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
    ]
    job = {"job_name": "proxies", "kubernetes_sd_configs": [pods], "relabel_configs": relabel}
    return {"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}
