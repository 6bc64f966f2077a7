"""A security document that cannot be understood: told everywhere, and closed where no good version of it is known."""

from __future__ import annotations

from pathlib import Path

from support.http import Client
from support.mesh import Mesh, until

SERVICE = (
    "apiVersion: v1\nkind: Service\nmetadata: {name: echo}\nspec: {selector: {app: echo}, ports: [{port: 8080}]}\n"
)
PEER = """
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: NAME}
spec: {SELECTORmtls: {mode: MODE}}
"""
WIDE = PEER.replace("NAME", "wide").replace("SELECTOR", "")
ECHO = PEER.replace("NAME", "echo").replace("SELECTOR", "selector: {matchLabels: {app: echo}}, ")


def test_it_closes_what_it_names_unless_a_good_version_is_known(mesh: Mesh, tmp_path: Path) -> None:
    files = tmp_path / "documents"
    files.mkdir()
    (files / "mesh.yaml").write_text(SERVICE + "---" + WIDE.replace("MODE", "PERMISSIVE"))
    mesh.serve("--documents", str(files))
    mesh.echo("echo", app="echo")
    host, port = mesh.inbound_of("echo")

    def plaintext() -> int:
        try:
            return Client()(f"http://{host}:{port}/").status
        except OSError:
            return 0

    def codes() -> list[str]:
        return [problem["code"] for problem in mesh.problems()]

    assert plaintext() == 200
    (files / "mesh.yaml").write_text(SERVICE + "---" + WIDE.replace("MODE", "PERMISIVE"))
    until("the mistake is told", lambda: codes() == ["bad-value"])
    assert plaintext() == 200, "the last good version is in force"
    assert "PERMISSIVE" in mesh.weft("get", "peerauthentications").stdout

    (files / "echo.yaml").write_text(ECHO.replace("MODE", "PERMISIVE"))
    until("it is closed", lambda: plaintext() == 0)
    assert sorted(codes()) == ["bad-value", "bad-value", "policy-unreadable"]
    assert "echo  cannot be understood" in mesh.weft("get", "peerauthentications").stdout
    assert "accept mutual TLS only until it is mended" in mesh.weft("problems", check=False).stderr

    checked = mesh.weft("validate", str(files), check=False)
    assert checked.returncode == 1
    assert "accept mutual TLS only until it is mended" in checked.stderr
    refused = mesh.weft("apply", "-f", "-", stdin=ECHO.replace("NAME", "new").replace("MODE", "X"), check=False)
    assert refused.returncode == 1
    assert "nothing was changed" in refused.stderr
    (files / "echo.yaml").write_text(ECHO.replace("MODE", "PERMISSIVE"))
    until("it is mended", lambda: plaintext() == 200)
