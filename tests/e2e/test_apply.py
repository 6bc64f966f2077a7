"""What `apply --wait` promises, and what bad documents get."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from support.http import Client
from support.mesh import Mesh, until

TO = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: switch}
spec: {hosts: [echo], http: [{route: [{destination: {host: echo, subset: %s}}]}]}
"""


@pytest.mark.quick
def test_not_one_of_500_requests_follows_the_old_rule(world: Mesh, client: Client) -> None:
    fresh = [Client(world.proxy_of("client")) for _ in range(3)]
    for one in (client, *fresh):
        assert one("http://echo/").status == 200
    try:
        for version in ("v1", "v2", "v1"):
            world.apply(TO % version)
            got = Counter(one("http://echo/").json()["workload"] for _ in range(125) for one in (client, *fresh))
            assert got == {f"echo-{version}": 500}
    finally:
        world.delete(TO % "v1")
    with world.applied((TO % "v1").replace("{route:", "{directResponse: {status: 410}} ] }\n#")):
        assert client("http://echo/").status == 410
    got = Counter(client("http://echo/").status for _ in range(500))
    assert got == {200: 500}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind: [", ["<stdin>:2", "YAML"]),
        (TO.replace("destination:", "destinaton:") % "v1", ["<stdin>:5", "destinaton", "destination"]),
        (TO.replace("hosts: [echo]", "hosts: echo") % "v1", ["<stdin>:5", "hosts", "list"]),
        ("apiVersion: kuma.io/v1alpha1\nkind: MeshTimeout\nmetadata: {name: x}\n", ["<stdin>:2", "Kuma"]),
        ("apiVersion: networking.istio.io/v1\nkind: VirtualServce\nmetadata: {name: x}\nspec: {}\n",
         ["VirtualServce", "VirtualService"]),
    ],
)  # fmt: skip
def test_bad_documents_are_refused_and_nothing_changes(
    world: Mesh, client: Client, text: str, expected: list[str]
) -> None:
    before = world.api("documents")
    done = world.weft("apply", "-f", "-", stdin=text, check=False)
    assert done.returncode == 1
    for word in expected:
        assert word in done.stderr, done.stderr
    assert world.api("documents") == before
    assert client("http://echo/").status == 200


def test_what_is_no_business_of_the_mesh_is_left_out_and_the_rest_applied(world: Mesh) -> None:
    text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n---\n" + TO % "v1"
    done = world.apply(text)
    try:
        assert "note: Deployment x is left out" in done.stderr
        assert "VirtualService default/switch created" in done.stdout
    finally:
        world.delete(TO % "v1")


def test_a_text_with_nothing_for_the_mesh_is_no_error(world: Mesh) -> None:
    text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n"
    done = world.weft("apply", "-f", "-", "--wait", stdin=text)
    assert "note: Deployment x is left out" in done.stderr
    empty = world.weft("apply", "-f", "-", stdin="# nothing\n", check=False)
    assert (empty.returncode, "there are no documents" in empty.stderr) == (1, True)


def test_a_dangling_subset_is_named_and_the_rest_works(world: Mesh, client: Client) -> None:
    text = TO.replace("http: [", "http: [{match: [{uri: {exact: /ok}}], route: [{destination: {host: echo}}]},") % "v9"
    done = world.weft("apply", "-f", "-", "--wait", stdin=text, check=False)
    try:
        assert "v9" in done.stderr + done.stdout
        assert any("v9" in problem["message"] for problem in world.problems())
        assert client("http://echo/ok").status == 200
        assert client("http://echo/").status == 503
    finally:
        world.delete(text)


def test_the_younger_document_for_a_host_loses(world: Mesh, client: Client) -> None:
    world.apply(TO % "v1")
    second = (TO % "v2").replace("name: switch", "name: a-younger")
    try:
        world.weft("apply", "-f", "-", "--wait", stdin=second, check=False)
        conflicts = [problem for problem in world.problems() if problem["code"] == "host-conflict"]
        assert len(conflicts) == 1
        assert "switch" in conflicts[0]["message"]
        assert {client("http://echo/").json()["workload"] for _ in range(20)} == {"echo-v1"}
    finally:
        world.delete(second)
        world.delete(TO % "v1")


def test_a_nack_names_the_document_and_keeps_the_last_good_version(world: Mesh, client: Client, tmp_path: Path) -> None:
    """A second gateway listener on a port that is taken is something only Envoy can refuse."""
    taken = world.inbound_of("other")[1]
    broken = f"""
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: front}}
spec:
  gatewayClassName: weft
  listeners:
    - {{name: http, port: 80, protocol: HTTP}}
    - {{name: clash, port: {taken}, protocol: HTTP}}
"""
    good = broken.replace(broken.splitlines()[-1], "")
    file = tmp_path / "gateway.yaml"
    file.write_text(broken)
    binding = world.workload("front")["gateway"]["ports"][0][1]
    page = f"http://{binding['host']}:{binding['port']}/"
    try:
        done = world.weft("apply", "-f", str(file), "--wait", "--timeout", "20", check=False)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "front" in done.stderr
        assert "gateway.yaml:" in done.stderr
        assert "address" in done.stderr.lower()
        assert Client()(page).status == 404  # the first listener still answers
        assert any(problem["code"] == "nack" for problem in world.problems())
    finally:
        world.apply(good)
    until("the NACK is gone", lambda: not any(problem["code"] == "nack" for problem in world.problems()))


def test_dry_run_shows_a_diff_and_changes_nothing(world: Mesh) -> None:
    before = world.api("documents")
    done = world.weft("apply", "-f", "-", "--dry-run", stdin=TO % "v1")
    assert "+" in done.stdout
    assert "switch" in done.stdout
    assert world.api("documents") == before


def test_followed_files_and_half_saved_ones(mesh: Mesh, tmp_path: Path) -> None:
    directory = tmp_path / "docs"
    directory.mkdir()
    service = (
        "apiVersion: v1\nkind: Service\nmetadata: {name: echo}\n"
        "spec: {selector: {app: echo}, ports: [{port: 80, targetPort: 8080, name: http}]}\n"
    )
    (directory / "service.yaml").write_text(service)
    rule = (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: echo}\n"
        "spec: {hosts: [echo], http: [{directResponse: {status: %d}}]}\n"
    )
    mesh.serve("--documents", str(directory), "--xds-port", "0", "--agent-port", "0", "--admin-port", "0")
    mesh.echo("echo")
    client = Client(mesh.proxy_of("echo"))
    until("the service answers", lambda: client("http://echo/").status == 200)
    file = directory / "rule.yaml"
    file.write_text(rule % 418)
    until("a new file is in force", lambda: client("http://echo/").status == 418)
    file.write_text((rule % 410)[:60])  # half saved
    until("the half-saved file is reported", lambda: any("rule.yaml" in p["source"] for p in mesh.problems()))
    assert client("http://echo/").status == 418
    temporary = directory / ".rule.yaml.swp"
    temporary.write_text(rule % 410)
    temporary.rename(file)
    until("a renamed-over file is in force", lambda: client("http://echo/").status == 410)
    assert not mesh.problems()
    owned = mesh.weft("apply", "-f", "-", stdin=rule % 200, check=False)
    assert owned.returncode == 1
    assert "rule.yaml" in owned.stderr
    file.unlink()
    until("a deleted file is out of force", lambda: client("http://echo/").status == 200)
    listed = json.loads(mesh.weft("get", "services", "-o", "json").stdout)
    assert listed
