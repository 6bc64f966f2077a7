"""The change history with real Envoys: which proxies a revision changed, how, and when they had confirmed; restarts."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

from support.mesh import WEFT, Mesh, until
from support.terminal import person_at_a_terminal

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{name: http, port: 80, targetPort: 8080}]}
"""
ROUTE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo}
spec: {hosts: [echo], http: [{timeout: TIMEOUT, route: [{destination: {host: echo}}]}]}
"""


def history(mesh: Mesh, count: int) -> list[dict[str, Any]]:
    """The history, latest first, when it has so many revisions that the proxies have answered."""

    def there() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = mesh.api("history")["revisions"]
        return found if len(found) == count and all(one["final"] for one in found) else []

    return until(f"{count} revisions", there)


def test_a_revision_names_its_proxies_and_survives_a_restart(mesh: Mesh) -> None:
    followed = mesh.home.parent / "followed"
    followed.mkdir()
    (followed / "service.yaml").write_text(SERVICE)
    ports = ("--xds-port", "0", "--agent-port", "0", "--admin-port", "0", "--documents", str(followed))
    mesh.serve(*ports)
    mesh.echo("echo-v1", app="echo")
    mesh.apply(ROUTE.replace("TIMEOUT", "5s"))
    mesh.apply(ROUTE.replace("TIMEOUT", "7s"))
    second, first, start = history(mesh, 3)
    assert (start["action"], start["objects"][0]["owner"]) == ("start", "file")
    for one in (first, second):
        assert (one["changed_proxies"], one["confirmed"], one["pending"]) == (1, 1, [])
        assert 0 < one["median_ms"] <= one["confirmed_ms"]
    shown = mesh.api("history/3")
    assert list(shown["proxies"]) == ["echo-v1.default"]
    (group,) = shown["resources"]
    assert group["proxies"] == ["echo-v1.default"]
    assert group["counts"] == {"routes": {"changed": 1}}
    lines = [line.replace(" ", "") for line in group["changes"][0]["diff"].splitlines()]
    assert {'-"timeout":"5s"', '+"timeout":"7s"'} <= {line.rstrip(",") for line in lines}, lines
    listed = mesh.weft("history").stdout.splitlines()
    assert listed[0].split()[:3] == ["REVISION", "TIME", "WHO"]
    assert listed[-1].split()[0] == "3", "the latest is last"
    told = mesh.weft("history", "show", "3").stdout
    assert "-  - timeout: 5s" in told or "timeout: 5s" in told
    assert "1 of 1 proxy confirmed" in told
    assert '"timeout": "7s"' in mesh.weft("diff", "2", "3", "--resources", "--proxy", "echo-v1").stdout

    undone = mesh.weft("undo", "3", "--wait", "--yes")
    assert "VirtualService default/echo configured" in undone.stdout
    assert "confirmed by 1 proxy" in undone.stderr
    shown = json.loads(mesh.weft("get", "virtualservice", "echo", "-o", "json").stdout)
    assert '"timeout": "5s"' in json.dumps(shown)
    refused = mesh.weft("undo", "1", "--yes", check=False)
    assert refused.returncode != 0

    mesh.processes["control-plane"].stop()
    (followed / "service.yaml").write_text(SERVICE.replace("port: 80,", "port: 81,"))
    mesh.serve(*ports)
    latest, *_ = history(mesh, 5)
    assert (latest["action"], [(one["name"], one["change"]) for one in latest["objects"]]) == (
        "start",
        [("echo", "changed")],
    )
    diff = mesh.api("history/5")["documents"][0]["diff"]
    assert "-    port: 80\n" in diff
    assert "+    port: 81\n" in diff
    from_file = mesh.weft("undo", "5", "--yes", "--print", check=False)
    assert from_file.returncode == 5
    assert "port: 80" in from_file.stdout
    assert "service.yaml" in from_file.stderr


def test_a_person_is_shown_the_difference_in_colours_and_asked(mesh: Mesh) -> None:
    mesh.serve("--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
    mesh.apply(SERVICE)
    mesh.apply(SERVICE.replace("port: 80,", "port: 81,"))
    history(mesh, 2)
    weft = f"{shlex.join(WEFT)} undo 2 --home {mesh.home}"
    with person_at_a_terminal() as person:
        person.types(f"unset NO_COLOR; {weft}\n")
        person.sees(re.escape("\x1b[31m-    port: 81\x1b[0m"))
        person.sees(re.escape("\x1b[32m+    port: 80\x1b[0m"))
        person.sees(re.escape("undo revision 2? [y/N]"))
        person.types("n\n")
        person.sees("nothing was changed")
        person.types(f"{weft}\n")
        person.sees(re.escape("[y/N]"))
        person.types("y\n")
        person.sees("configured")
    assert len(history(mesh, 3)) == 3
