"""Secrets of a whole run: none of them stands anywhere but in the file that is for it, and a lost key stops nothing."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import signal
import socket
import ssl
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from support.envoy import free_port
from support.http import Client, tls_context
from support.mesh import Mesh, until
from weft.local.report import ask_envoy

MESH = """
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec:
  gatewayClassName: weft
  listeners:
    - {name: https, port: PORT, protocol: HTTPS, hostname: shop.example, tls: {certificateRefs: [{name: shop}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec: {parentRefs: [{name: front}], rules: [{backendRefs: [{name: echo, port: 80}]}]}
"""
PASSWORD = "pw" + secrets.token_hex(12)
HEADER_PASSWORD = "basic" + secrets.token_hex(12)
COOKIE = "cookie" + secrets.token_hex(12)
JWT = "eyJhbGciOiJFUzI1NiJ9." + base64.urlsafe_b64encode(secrets.token_bytes(30)).decode() + "." + secrets.token_hex(20)
API_KEY = "query" + secrets.token_hex(12)
WRONG = {
    "a value that is no base64": "data: {password: '%s!'}",
    "a value that is a list": "stringData: {password: ['%s']}",
    "a field that is none": "stringdata: {password: %s}",
    "a key that is none": "stringData: {'pass word': %s}",
    "YAML that ends too early": "stringData: {password: %s",
    "a value where a mapping is expected": "stringData: %s",
    "the same key twice": "stringData: {password: %s, password: %s}",
    "a wrong type": "type: {x: %s}",
    "a wrong indentation": "stringData:\n password: %s\n  other: x",
    "a name that is none": "immutable: '%s'",
}


def certificate(directory: Path, name: str) -> str:
    """A Secret `name` for shop.example; its PEM files are ``NAME.crt`` and ``NAME.key`` in `directory`."""
    chain, key = directory / f"{name}.crt", directory / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
         "-subj", "/CN=shop.example", "-addext", "subjectAltName=DNS:shop.example",
         "-keyout", str(key), "-out", str(chain)],
        check=True, capture_output=True,
    )  # fmt: skip
    return tls_secret(name, chain, key)


def tls_secret(name: str, chain: Path, key: Path) -> str:
    """A Secret of two PEM files."""
    data = {"tls.crt": chain.read_text(), "tls.key": key.read_text()}
    about = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "kubernetes.io/tls"}
    return json.dumps({**about, "stringData": data})


def key_body(text: str) -> str:
    """The secret part of a key in PEM (SEC 1, PKCS 8; also within JSON) in one line."""
    return "".join(line for line in text.replace("\\n", "\n").splitlines() if "-----" not in line)[40:80]


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    found = Mesh(tmp_path / "run" / "home", tmp_path / "run" / "logs")
    try:
        yield found
    finally:
        found.stop()


PORTS = ("--xds-port", "0", "--agent-port", "0", "--admin-port", "0", "--metrics-port", "0")


def start(mesh: Mesh, material: Path, port: int) -> None:
    material.mkdir(exist_ok=True)
    mesh.serve(*PORTS)
    mesh.apply(certificate(material, "shop") + "\n---\n" + MESH.replace("PORT", str(port)))
    mesh.echo("echo")
    mesh.gateway("front")


def served(port: int, ca: Path) -> bytes:
    """The certificate that the gateway serves, once a page came with it; empty if none does."""
    context = tls_context(str(ca))
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), 30) as raw,
        context.wrap_socket(raw, server_hostname="shop.example") as tls,
    ):
        tls.sendall(b"GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")
        if tls.recv(50).startswith(b"HTTP/1.1 200"):
            return tls.getpeercert(binary_form=True) or b""
    return b""


@pytest.mark.timeout(400)
def test_a_lost_key_stops_nothing_that_runs(mesh: Mesh, tmp_path: Path) -> None:
    """The control plane starts without the key, the gateway keeps its certificate; with the key all is as before."""
    port, material = free_port(), tmp_path / "material"
    start(mesh, material, port)
    ca, key = material / "shop.crt", mesh.home / "control-plane" / "store.key"
    wanted = ssl.PEM_cert_to_DER_cert(ca.read_text())
    until("HTTPS", lambda: served(port, ca) == wanted)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    database = mesh.home / "control-plane" / "weft.db"
    before = json.loads(mesh.weft("secrets", "status", "-o", "json").stdout)
    assert (before["clear"], before["unreadable"], before["error"]) == (0, 0, None)
    assert before["sealed"] >= 2

    mesh.processes["control-plane"].stop()
    key.rename(tmp_path / "store.key")
    mesh.serve(*PORTS)
    mesh.wait_healthy("echo", "front")
    until("it is told", lambda: {"secrets-sealed", "secret-unreadable"} <= {one["code"] for one in mesh.problems()})
    (named,) = [one for one in mesh.problems() if one["code"] == "secret-unreadable"]
    assert (named["object"]["namespace"], named["object"]["name"]) == ("default", "shop")
    status = mesh.weft("secrets", "status", check=False)
    assert status.returncode == 1
    assert "documents /Secret/default/shop" in status.stdout
    assert not key.exists(), "a lost key is not made anew"
    refused = mesh.weft("apply", "-f", "-", stdin=certificate(material, "other"), check=False)
    assert refused.returncode != 0
    assert "nothing was written" in refused.stderr
    mesh.apply("apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {selector: {app: x}, ports: [{port: 80}]}\n")
    until("the gateway has confirmed all", lambda: "front" in mesh.weft("proxy", "status").stdout)
    for _ in range(20):
        assert served(port, ca) == wanted, "the gateway keeps its certificate"

    mesh.processes["control-plane"].stop()
    (tmp_path / "store.key").rename(key)
    mesh.serve(*PORTS)
    mesh.wait_healthy("echo", "front")
    assert "secrets-sealed" not in {one["code"] for one in mesh.problems()}
    first = key.read_bytes()
    rotated = json.loads(mesh.weft("secrets", "rotate-key", "-o", "json").stdout)
    assert rotated["key"] != before["key"]
    assert key.read_bytes() != first
    assert served(port, ca) == wanted
    mesh.apply(certificate(material, "shop"))
    renewed = ssl.PEM_cert_to_DER_cert(ca.read_text())
    until("the new certificate", lambda: served(port, ca) == renewed)
    held = database.read_bytes() + database.with_name("weft.db-wal").read_bytes()
    for text in ("PRIVATE", key_body((material / "shop.key").read_text())):
        assert text.encode() not in held
        assert base64.b64encode(text.encode())[:40] not in held


class Secrets:
    """What must not be found: values, and the files in which each may stand."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[bytes, tuple[str, ...]]] = {}

    def add(self, name: str, value: str | bytes, *allowed: str) -> None:
        raw = value.encode() if isinstance(value, str) else value
        assert len(raw) >= 16, name
        self.values[name] = (raw, allowed)

    def found_in(self, directory: Path) -> list[str]:
        """Everything that holds a secret and may not."""
        found = []
        for path in sorted(directory.rglob("*")):
            if not path.is_file():
                continue
            data = path.read_bytes()
            squeezed = data.replace(b"\\n", b"").replace(b"\n", b"")
            place = str(path.relative_to(directory))
            for name, (value, allowed) in self.values.items():
                if any(Path(place).match(one) for one in allowed):
                    assert stat.S_IMODE(path.stat().st_mode) == 0o600, place
                    continue
                if any(form in data or form in squeezed for form in _forms(value)):
                    found.append(f"{name} in {place}")
        return found


def _forms(value: bytes) -> set[bytes]:
    """A value in clear, in hex, and in base64 wherever it stands in a longer text."""
    forms = {value, value.hex().encode(), value.hex().upper().encode()}
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for shift in range(3):
            text = encode(b"\0" * shift + value)
            forms.add(text[(0, 2, 3)[shift] : -4])
    return forms


def test_what_is_looked_for_would_be_found(tmp_path: Path) -> None:
    known = Secrets()
    known.add("it", "0123456789abcdefghi", "its.file")
    value = b"0123456789abcdefghi"
    forms = [value, b"x" + value, value.hex().encode(), b"01234\\n56789abc\ndefghi"]
    forms += [base64.b64encode(b"y" * shift + value + b"z" * 5) for shift in range(4)]
    for number, form in enumerate(forms):
        (tmp_path / f"{number:02}").write_bytes(b"before " + form + b" after")
    own = tmp_path / "its.file"
    own.write_bytes(value)
    own.chmod(0o600)
    assert known.found_in(tmp_path) == [f"it in {number:02}" for number in range(len(forms))]


@pytest.mark.timeout(400)
def test_no_secret_of_a_run_stands_anywhere_but_in_its_file(mesh: Mesh, tmp_path: Path) -> None:
    port, material, run = free_port(), tmp_path / "material", tmp_path / "run"
    start(mesh, material, port)
    outputs = run / "outputs"
    outputs.mkdir()
    known = Secrets()
    _know_files(known, mesh, material)
    mesh.apply(_opaque(f"stringData: {{password: {PASSWORD}}}", "app"))
    annotated = _opaque(f"stringData: {{password: {PASSWORD}}}", "annotated")
    last = json.dumps(f'{{"data": {{"password": "{base64.b64encode(PASSWORD.encode()).decode()}"}}}}')
    mesh.apply(annotated.replace("annotated}", f"annotated, annotations: {{kubectl.kubernetes.io/last: {last}}}}}"))
    known.add("the password of a Secret", PASSWORD)
    _use_tokens(known, mesh)
    _send_requests(known, mesh)
    _provoke_errors(mesh, material, outputs)
    until("the gateway answers", lambda: served(port, material / "shop.crt") != b"")
    _collect(mesh, outputs)
    assert known.found_in(run) == []
    mesh.stop()
    assert known.found_in(run) == [], "also not by stopping"


def _opaque(body: str, name: str) -> str:
    return f"apiVersion: v1\nkind: Secret\nmetadata: {{name: {name}}}\n{body}\n"


def _know_files(known: Secrets, mesh: Mesh, material: Path) -> None:
    """Keys and tokens that have a file of their own."""
    plane = mesh.home / "control-plane"
    known.add("the gateway's key", key_body((material / "shop.key").read_text()))
    for name in ("admin.token", "prometheus.token", "store.key"):
        value = (plane / name).read_text().split()[-1]
        known.add(name, value, f"home/control-plane/{name}")
    raw = base64.b64decode((plane / "store.key").read_text().split()[-1])
    known.add("the store's key itself", raw, "home/control-plane/store.key")
    keys = [path for path in mesh.home.rglob("*") if path.is_file() and b"PRIVATE KEY" in path.read_bytes()]
    assert len(keys) >= 4, "root, intermediate, and two workloads"
    for path in keys:
        place = str(path.relative_to(mesh.home.parent))
        known.add(f"the key in {place}", key_body(path.read_text()), place)


def _use_tokens(known: Secrets, mesh: Mesh) -> None:
    """A principal's token, a join token, a page's code, key and cookie: used right and wrong."""
    token = mesh.weft("token", "create", "--role", "viewer", "--name", "ci").stdout.strip()
    known.add("a principal's token", token)
    joined = json.loads(mesh.weft("token", "create", "--service-account", "x", "-o", "json").stdout)["token"]
    known.add("a join token", joined)
    direct, admin = Client(), mesh.endpoints()["admin"]
    for path, given in (("self", token), ("principals", token), ("self", token[:-1]), ("tokens", joined)):
        direct(f"{admin}/v1/{path}", headers={"Authorization": f"Bearer {given}"})
    direct(f"{admin}/v1/principals", "POST", {"Authorization": f"Bearer {token}"}, b'{"name": "x"}')
    prometheus = (mesh.home / "control-plane" / "prometheus.token").read_text().strip()
    for url in (f"{admin}/v1/documents", f"{admin}/v1/metrics", mesh.endpoints()["metrics"]):
        direct(url, headers={"Authorization": f"Bearer {prometheus}"})
    for path in (f"principals/{token}", f"tokens/{joined}"):
        direct(f"{admin}/v1/{path}", "DELETE", {"Authorization": f"Bearer {token}"})
    mesh.weft("token", "revoke", joined)
    url = json.loads(mesh.weft("dashboard", "-o", "json").stdout)["url"]
    code = parse_qs(urlsplit(url).query)["code"][0]
    known.add("a page's code", code)
    opened = direct(url)
    known.add("a page's key", opened.headers["location"].partition("key=")[2])
    known.add("a page's cookie", opened.headers["set-cookie"].partition("=")[2].partition(";")[0])
    direct(url)
    direct(f"{admin}/v1/history/1/undo", "POST", {"Cookie": opened.headers["set-cookie"].partition(";")[0]})
    mesh.weft("token", "revoke", "ci")
    direct(f"{admin}/v1/self", headers={"Authorization": f"Bearer {token}"})


def _send_requests(known: Secrets, mesh: Mesh) -> None:
    """Requests with credentials, which fail and are noted, while somebody watches."""
    known.add("a JSON web token", JWT)
    known.add("a password in a header", HEADER_PASSWORD)
    known.add("a cookie", COOKIE)
    known.add("an API key in a query", API_KEY)
    tap = mesh.spawn("tap", "tap", "echo", "--seconds", "120", "--headers")
    user = base64.b64encode(f"user:{HEADER_PASSWORD}".encode()).decode()
    headers = [{"Authorization": f"Bearer {JWT}", "Cookie": f"session={COOKIE}"}, {"Authorization": f"Basic {user}"}]
    outbound = Client(mesh.proxy_of("echo"))

    def watched() -> bool:
        for one in headers:
            outbound(f"http://echo/status/503?api_key={API_KEY}", headers={**one, "X-Api-Key": API_KEY})
        return "/status/503" in tap.output()

    until("requests are seen by who watches", watched)
    tap.stop(2)
    until("requests are noted", lambda: bool(mesh.items("requests")))


def _provoke_errors(mesh: Mesh, material: Path, outputs: Path) -> None:
    """Wrong documents with a secret in them, one that proxies refuse, and what is no request at all."""
    wrong = material / "wrong"
    wrong.mkdir()
    for number, body in enumerate(WRONG.values()):
        (wrong / f"{number}.yaml").write_text(_opaque(body.replace("%s", PASSWORD), f"wrong{number}"))
    for words in (("apply", "-f"), ("apply", "--dry-run", "-f"), ("validate",), ("validate", "--against-mesh")):
        done = mesh.weft(*words, str(wrong), check=False)
        assert done.returncode
        assert done.stderr.count("wrong") + done.stdout.count("wrong") >= len(WRONG) - 2, done
        _keep(outputs, "-".join(words), done)
    key, nonsense = material / "shop.key", material / "nonsense"
    nonsense.write_text("no certificate")
    for number, chain in enumerate((nonsense, key)):
        _keep(
            outputs, f"broken{number}", mesh.weft("apply", "-f", "-", stdin=tls_secret("shop", chain, key), check=False)
        )
    certificate(material, "other")
    mixed = tls_secret("shop", material / "other.crt", key)
    _keep(outputs, "mixed", mesh.weft("apply", "-f", "-", "--wait", "--timeout", "10", stdin=mixed, check=False))
    _keep(outputs, "nack", mesh.weft("problems", check=False))
    mesh.apply(tls_secret("shop", material / "shop.crt", key))


def _keep(outputs: Path, name: str, done: subprocess.CompletedProcess[str]) -> None:
    (outputs / name).write_text(done.stdout + done.stderr)


def _collect(mesh: Mesh, outputs: Path) -> None:
    """Everything that people can have printed, and what Envoys tell of themselves."""
    for words in (
        "get secrets -o yaml", "get secret app -o json",
        "get secret annotated -o yaml", "get all", "describe secret shop", "problems -o json",
        "check -o json", "history -o json", "history show 1 -o json", "diff 1 -o json", "audit -o json", "audit export",
        "audit verify -o json", "token list -o json", "requests -o json", "stat", "edges -o json", "analyze -o json",
        "proxy config front all -o json", "proxy config front secrets -o json", "proxy config echo all -o json",
        "proxy status -o json", "secrets status -o json", "report --application-logs --file OUTPUTS/report.tar.gz",
    ):  # fmt: skip
        done = mesh.weft(*words.replace("OUTPUTS", str(outputs)).split(), check=False)
        assert "Usage:" not in done.stderr, (words, done.stderr)
        _keep(outputs, words.replace(" ", "_").replace("/", "-")[:60], done)
    subprocess.run(["tar", "xzf", str(outputs / "report.tar.gz"), "-C", str(outputs)], check=True)
    for admin in mesh.home.rglob("admin.sock"):
        for path in ("/config_dump", "/certs", "/stats"):
            (outputs / f"envoy-{admin.parent.name}{path.replace('/', '-')}").write_text(ask_envoy(admin, path))
    for path in ("documents", "events", "principals", "tokens", "openapi.json", "history"):
        (outputs / f"api-{path}").write_text(json.dumps(mesh.api(path)))
    envoy = mesh.state("echo")["envoy"]["pid"]
    os.kill(envoy, signal.SIGABRT)
    until("Envoy has left its trace", lambda: "Caught Aborted" in (_directory(mesh, "echo") / "envoy.log").read_text())


def _directory(mesh: Mesh, name: str) -> Path:
    return mesh.home / "workloads" / "default" / name
