"""A workload whose name is longer than a common name of a certificate may be, as those of Deployments' Pods are."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from support.http import Client
from support.kubernetes import service
from support.mesh import Mesh, until

NAME = "frontend-of-the-shop-with-a-release-name-7d9f8c6b5d-x2x4k-abcde"


def test_a_callee_knows_a_caller_by_its_long_name(tmp_path: Path) -> None:
    assert len(f"{NAME}.default") > 64
    mesh = Mesh(tmp_path / "home", tmp_path / "logs")
    try:
        mesh.serve()
        mesh.weft("apply", "-f", "-", stdin=json.dumps(service("callee", "default")))
        mesh.echo("callee")
        mesh.echo(NAME)
        client = Client(mesh.proxy_of(NAME))
        until("it is answered", lambda: client("http://callee/").status == 200)
        address = mesh.workload("callee")["metrics"]
        metrics = f"http://{address['host']}:{address['port']}/metrics"

        def is_named() -> bool:
            with urllib.request.urlopen(metrics, timeout=10) as answer:
                body = answer.read().decode()
            return f'reporter="destination",source_workload="{NAME}"' in body

        until("Envoy has its name from the certificate", is_named)
        assert mesh.weft("identity", "list").stdout.count(NAME)
    finally:
        mesh.stop()
