"""What a pod's environment may say, and by which words it is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from weft.agent.errors import EXIT_USAGE, AgentError
from weft.agent.parameters import ControlPlane
from weft.agent.pod.environment import pod_parameters
from weft.agent.pod.probes import GrpcCheck, Header, HttpGet, Probe, ProbesError, TcpSocket, probes_from_text

GOOD = {
    "POD_NAME": "web-5d9c-x7k2p",
    "POD_NAMESPACE": "shop",
    "POD_IP": "10.1.2.3",
    "POD_SERVICE_ACCOUNT": "web",
    "WEFT_SERVER": "weft.weft-system.svc:15013",
    "WEFT_CA_FINGERPRINT": f"sha256:{'ab' * 32}",
    "WEFT_HOME": "/var/lib/weft",
    "WEFT_TOKEN_FILE": "/var/run/secrets/weft.dev/token/token",
}
READY = "/app-health/web/readyz"


def test_everything_that_is_said_is_taken() -> None:
    probe = {
        "httpGet": {"port": 8080, "path": "/x", "scheme": "HTTPS", "httpHeaders": [{"name": "Host", "value": "a"}]},
        "timeoutSeconds": 7,
    }
    more = {"WEFT_POD_PROBES": json.dumps({READY: probe}), "WEFT_DRAIN_SECONDS": "0", "WEFT_GRACE_SECONDS": "120"}
    found = pod_parameters({**GOOD, **more})
    assert (found.name, found.namespace, found.address, found.service_account) == (
        "web-5d9c-x7k2p", "shop", "10.1.2.3", "web"
    )  # fmt: skip
    assert found.control_plane.address == ("weft.weft-system.svc", 15013)
    assert found.control_plane.token_file == GOOD["WEFT_TOKEN_FILE"]
    assert str(found.home.root) == "/var/lib/weft/home", "below the volume, which is everybody's"
    assert (found.drain, found.grace) == (0, 120)
    asked = HttpGet(8080, "/x", "HTTPS", (Header("Host", "a"),))
    assert found.probes == {READY: Probe(http_get=asked, timeout_seconds=7)}
    usual = pod_parameters(GOOD)
    assert (usual.drain, usual.grace, usual.probes) == (5, 30, {})


def test_whatever_is_missing_is_told_at_once() -> None:
    with pytest.raises(AgentError, match=r"POD_IP \(its IP address\), WEFT_SERVER \(HOST:PORT") as raised:
        pod_parameters({**GOOD, "POD_IP": "", "WEFT_SERVER": ""})
    assert raised.value.exit_code == EXIT_USAGE


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"POD_NAME": "Web"}, "POD_NAME: found 'Web', expected lower-case"),
        ({"POD_IP": "127.0.0.1"}, "POD_IP: found '127.0.0.1', expected the IP address"),
        ({"POD_IP": "::"}, "POD_IP: found '::'"),
        ({"POD_IP": "node"}, "POD_IP: found 'node'"),
        ({"WEFT_SERVER": "weft"}, "WEFT_SERVER: found 'weft', expected HOST:PORT"),
        ({"WEFT_SERVER": "weft:0"}, "WEFT_SERVER: found 'weft:0'"),
        ({"WEFT_CA_FINGERPRINT": "ab" * 32}, "WEFT_CA_FINGERPRINT: found"),
        ({"WEFT_CA_FINGERPRINT": "sha256:abc"}, "WEFT_CA_FINGERPRINT: found 'sha256:abc', expected sha256: and 64"),
        ({"WEFT_HOME": "weft"}, "WEFT_HOME: found 'weft', expected an absolute path"),
        ({"WEFT_DRAIN_SECONDS": "soon"}, "WEFT_DRAIN_SECONDS: found 'soon', expected seconds"),
        ({"WEFT_GRACE_SECONDS": "-1"}, "WEFT_GRACE_SECONDS: found '-1'"),
        ({"WEFT_GRACE_SECONDS": "nan"}, "WEFT_GRACE_SECONDS: found 'nan'"),
        ({"WEFT_POD_PROBES": "{"}, "WEFT_POD_PROBES: "),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(wrong: Mapping[str, str], text: str) -> None:
    with pytest.raises(AgentError) as raised:
        pod_parameters({**GOOD, **wrong})
    assert str(raised.value).startswith(text)


@pytest.mark.parametrize(
    ("probes", "text"),
    [
        ({READY: {}}, "found 0 kinds, expected one of httpGet, tcpSocket and grpc"),
        ({READY: {"tcpSocket": {"port": 1}, "grpc": {"port": 1}}}, "found 2 kinds"),
        ({READY: {"tcpSocket": {"port": 0}}}, "`$[...].tcpSocket.port`"),
        ({READY: {"tcpSocket": {"port": "http"}}}, "Expected `int`, got `str` - at `$[...].tcpSocket.port`"),
        ({READY: {"httpGet": {"port": 1, "host": "x"}}}, "unknown field `host`"),
        ({READY: {"httpGet": {"port": 1}, "periodSeconds": 1}}, "unknown field `periodSeconds`"),
        ({READY: {"httpGet": {"port": 1, "protocol": "HTTP2"}}}, "'HTTP2'"),
        ({READY: {"grpc": {"port": 1, "mode": "TLS"}}}, "'TLS'"),
        ({READY: {"httpGet": {"port": 1, "scheme": "FTP"}}}, "'FTP'"),
        ({READY: {"httpGet": {"port": 1, "httpHeaders": [{"name": "A b"}]}}}, "'A b', which is no header"),
        ({READY: {"httpGet": {"port": 1, "httpHeaders": [{"name": "A", "value": "b\r\nC: d"}]}}}, "no header"),
        ({"/metrics": {"tcpSocket": {"port": 1}}}, "'/metrics', expected a path such as"),
        ({"/app-health/web/../readyz": {"tcpSocket": {"port": 1}}}, "expected a path such as"),
    ],
)
def test_probes_that_cannot_be_made_are_refused(probes: Mapping[str, object], text: str) -> None:
    with pytest.raises(ProbesError) as raised:
        probes_from_text(json.dumps(probes))
    assert text in str(raised.value)


def test_a_probe_of_each_kind_is_read() -> None:
    for kind, probe in (
        ({"tcpSocket": {"port": 65535}}, Probe(tcp_socket=TcpSocket(65535))),
        ({"grpc": {"port": 1, "service": None, "mode": "Plaintext"}}, Probe(grpc=GrpcCheck(1, mode="Plaintext"))),
        ({"httpGet": {"port": 1, "protocol": "HTTP1"}}, Probe(http_get=HttpGet(1, protocol="HTTP1"))),
    ):
        assert probes_from_text(json.dumps({READY: kind})) == {READY: probe}


def test_the_token_is_read_at_each_use_and_is_one_word(tmp_path: Path) -> None:
    file = tmp_path / "token"
    plane = ControlPlane("weft:15013", "sha256:00", token_file=str(file))
    assert plane.has_token
    with pytest.raises(AgentError, match=f"cannot read the token in {file}: No such file"):
        plane.read_token()
    for text in ("first.of.three\n", "second"):
        file.write_text(text)
        assert plane.read_token() == text.strip()
    for text in ("", "two words", "a\r\nX: b", "\u00e4"):
        file.write_text(text)
        with pytest.raises(AgentError, match="found no token, expected one word"):
            plane.read_token()
    assert "second" not in repr(plane)
