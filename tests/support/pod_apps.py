"""Applications for pods of a real node: what they are, how they are asked, and load that counts what fails."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tools.kubernetes_node import NodeCluster

IMAGE = "weft.test/weft:1"
SERVER = """
import json, os, signal, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        under_way.add(self)
        body = json.dumps({"app": os.environ["APP"], "pod": os.environ["HOSTNAME"], "path": self.path,
                           "headers": {k.lower(): v for k, v in self.headers.items()}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        under_way.discard(self)
    def log_message(self, *_): pass
under_way = set()
server = ThreadingHTTPServer(("", 8080), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
while under_way: time.sleep(0.05)
"""
"""What an application is that says who it is: on 8080, until it is asked to stop, and has answered."""

SAYS_WHO = """
import os, signal, socketserver, threading
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        if self.rfile.readline(): self.wfile.write(os.environ["HOSTNAME"].encode() + b"\\n")
socketserver.ThreadingTCPServer.allow_reuse_address = True
server = socketserver.ThreadingTCPServer(("", 5432), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever()
"""
"""What an application is that tells its name to whoever connects and sends a line: on 5432."""

CONNECT = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        print(connection.recv(1000).decode())
except OSError: pass
"""
"""What a connection says that a line was sent to; nothing where it was refused."""

ASK = """
import sys, urllib.error, urllib.request
try:
    with urllib.request.urlopen(urllib.request.Request(sys.argv[1]), timeout=10) as answer:
        print(answer.status); print(answer.read().decode())
except urllib.error.HTTPError as error:
    print(error.code); print(error.read().decode())
except Exception as error:
    print(0); print(repr(error))
"""

LOAD = """
import collections, http.client, json, sys, threading, time
hosts, rate, stop = sys.argv[1].split(","), float(sys.argv[2]), sys.argv[3]
import os
counts, lock, first = collections.Counter(), threading.Lock(), []
def one(host):
    connection = None
    while not os.path.exists(stop):
        begun = time.monotonic()
        try:
            if connection is None:
                connection = http.client.HTTPConnection(host, timeout=20)
            connection.request("GET", "/")
            answer = connection.getresponse(); answer.read()
            key = str(answer.status)
            said = dict(answer.getheaders())
            if answer.will_close: connection.close(); connection = None
        except Exception as error:
            key, said = type(error).__name__, str(error)
            connection = None
        with lock:
            counts[key] += 1
            if key != "200" and len(first) < 5: first.append((time.time(), key, str(said)[:200]))
        time.sleep(max(0, 8 / rate - (time.monotonic() - begun)))
threads = [threading.Thread(target=one, args=(hosts[each % len(hosts)],)) for each in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
print(json.dumps({"counts": counts, "first": first}))
"""
"""Requests at a rate (8 connections, in turn to hosts with commas between them), until a file is there. What became of
them, by status or error."""


def deployment(
    name: str, namespace: str, *, app: str = "", version: str = "v1", replicas: int = 1, **pod: Any
) -> dict[str, Any]:
    """A Deployment of the server, and the service account that it has the name of."""
    labels = {"app": app or name, "version": version}
    container = {
        "name": "app",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": ["python3", "-c", SERVER],
        "env": [{"name": "APP", "value": name}],
        "ports": [{"name": "web", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/", "port": "web"}, "periodSeconds": 1},
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", "2"]}}},
        "securityContext": {"runAsUser": 1000, "allowPrivilegeEscalation": False},
    }
    spec = {"serviceAccountName": app or name, "terminationGracePeriodSeconds": 15, "containers": [container], **pod}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def stateful_set(name: str, namespace: str, replicas: int) -> dict[str, Any]:
    """A StatefulSet of the server and of one that is asked by TCP, behind the headless Service of its name."""
    made = deployment(name, namespace, replicas=replicas)
    template = made["spec"]["template"]
    (server,) = template["spec"]["containers"]
    data = {key: server[key] for key in ("image", "imagePullPolicy", "lifecycle", "securityContext")}
    data |= {"name": "data", "command": ["python3", "-c", SAYS_WHO]}
    data["ports"] = [{"name": "tcp-data", "containerPort": 5432}]
    template["spec"]["containers"].append(data)
    spec = {key: made["spec"][key] for key in ("replicas", "selector", "template")}
    spec |= {"serviceName": name, "podManagementPolicy": "Parallel"}
    return {**made, "kind": "StatefulSet", "spec": spec}


def job(name: str, namespace: str, account: str, script: str, url: str, native: str = "true") -> dict[str, Any]:
    """A Job that runs a script once; `native` is what it says of its sidecar."""
    annotations = {"sidecar.istio.io/nativeSidecar": native}
    container = {
        "name": "app",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "command": ["python3", "-c", script, url],
        "securityContext": {"runAsUser": 1000},
    }
    pod = {"serviceAccountName": account, "restartPolicy": "Never", "containers": [container]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"backoffLimit": 0, "template": {"metadata": {"annotations": annotations}, "spec": pod}},
    }


def cron_job(name: str, namespace: str, account: str, script: str, url: str) -> dict[str, Any]:
    """A CronJob that runs a script each minute; its pods have the label ``cron`` with its name, and stay."""
    spec = job(name, namespace, account, script, url)["spec"]
    spec["template"]["metadata"]["labels"] = {"cron": name}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "schedule": "* * * * *",
            "concurrencyPolicy": "Forbid",
            "successfulJobsHistoryLimit": 100,
            "jobTemplate": {"spec": spec},
        },
    }


def disruption_budget(name: str, namespace: str, selector: str) -> dict[str, Any]:
    """A PodDisruptionBudget: one at a time of the pods with this label (``KEY=VALUE``)."""
    key, _, value = selector.partition("=")
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {key: value}}},
    }


def account(name: str, namespace: str) -> dict[str, Any]:
    """A ServiceAccount."""
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}


def namespace_of(name: str, **labels: str) -> dict[str, Any]:
    """A Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def make_room(node: NodeCluster, namespace: str) -> None:
    """Take away the pods of a room of tests: a node has processors for some twenty proxies, and rooms come in any
    order."""
    node.kubectl("delete", "namespace", namespace, "--wait=false")


def as_list(*objects: Mapping[str, Any]) -> dict[str, Any]:
    """Several objects as one."""
    return {"apiVersion": "v1", "kind": "List", "items": list(objects)}


def answer_of(said: str) -> tuple[int, dict[str, Any] | str]:
    """What `ASK` printed: the status (0: none), and the body, decoded if it is JSON."""
    status, _, body = said.partition("\n")
    try:
        return int(status), json.loads(body)
    except ValueError:
        return int(status), body
