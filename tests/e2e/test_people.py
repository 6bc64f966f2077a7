"""People and programs at a real control plane: from another host over TLS, each with what is theirs to do."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.mesh import Mesh, cli, until

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: a, namespace: NAMESPACE}
spec: {selector: {app: a}, ports: [{port: 80}]}
"""


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    root = tmp_path_factory.mktemp("people")
    found = Mesh(root / "home", root / "logs")
    ports = ("--xds-port", "0", "--agent-port", "0", "--admin-port", "0", "--metrics-port", "0")
    key = os.urandom(32).hex()
    words = (
        "serve",
        *ports,
        "--admin-bind",
        "127.0.0.1:0",
        "--admin-host",
        "localhost",
        "--store-key",
        "env:STORE_KEY",
    )
    proc = found.spawn("control-plane", *words, env={"STORE_KEY": key})
    try:
        until("control plane answers", lambda: found.died(proc) or found.api("health"))
        yield found
    finally:
        found.stop()


def fingerprint(mesh: Mesh) -> str:
    made = mesh.weft("token", "create", "--service-account", "x", "-o", "json").stdout
    return str(json.loads(made)["fingerprint"])


def test_an_editor_works_from_another_host(mesh: Mesh, tmp_path: Path) -> None:
    token = tmp_path / "ci.token"
    made = mesh.weft("token", "create", "--role", "editor", "--namespace", "shop", "--name", "ci", "--expires", "1h")
    token.write_text(made.stdout)
    token.chmod(0o600)
    url = mesh.endpoints()["remote_admin"]
    assert url.startswith("https://localhost:")
    elsewhere = tmp_path / "another home"

    def weft(*words: str, stdin: str = "", pin: str = fingerprint(mesh)) -> tuple[int, str]:
        given = ("--server", url, "--token-file", str(token), "--ca-fingerprint", pin)
        done = cli(elsewhere, *given, *words, stdin=stdin, check=False)
        return done.returncode, done.stdout + done.stderr

    assert weft("token", "whoami")[1].splitlines()[1].split()[1:] == ["editor", "of", "shop"]
    code, said = weft("apply", "-f", "-", stdin=SERVICE.replace("NAMESPACE", "shop"))
    assert (code, "created" in said) == (0, True), said
    code, said = weft("apply", "-f", "-", stdin=SERVICE.replace("NAMESPACE", "pay"))
    assert code == 1
    assert "Service pay/a: ci is editor of shop" in said
    assert weft("tap", "x")[0] == 1
    assert weft("token", "whoami", pin="00" * 32)[0] == 1
    assert not elsewhere.exists()
    rows = json.loads(mesh.weft("audit", "--who", "ci", "-o", "json").stdout)
    done = [(one["action"], one["object"]) for one in rows if one["outcome"] == "done"]
    assert done == [("create", "Service shop/a")]
    assert {one["detail"].partition(":")[0] for one in rows if one["outcome"] == "refused"} == {"foreign-document"}
    mesh.weft("token", "revoke", "ci")
    code, said = weft("token", "whoami")
    assert (code, "was revoked" in said) == (1, True), said


def test_the_store_s_key_is_nobody_else_s(mesh: Mesh) -> None:
    """A key of the environment is not inherited, and no key file is made."""
    status = json.loads(mesh.weft("secrets", "status", "-o", "json").stdout)
    assert (status["wrapper"], status["error"]) == ("variable STORE_KEY", None)
    assert not (mesh.home / "control-plane" / "store.key").exists()


def test_the_audit_is_followed_and_verified(mesh: Mesh) -> None:
    mesh.weft("token", "create", "--role", "viewer", "--name", "old-one")
    follower = mesh.spawn("audit", "audit", "-f", "-o", "jsonl")
    until("it follows", lambda: "old-one" in follower.output())
    mesh.weft("token", "create", "--role", "viewer", "--name", "new-one")
    until("what happens is seen", lambda: "new-one" in follower.output())
    follower.stop(2)

    def covered() -> bool:
        found = json.loads(mesh.weft("audit", "verify", "-o", "json").stdout)
        return bool(found["intact"] and found["covered"] >= 2)

    until("the chain covers it", covered)
