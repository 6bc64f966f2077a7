"""Kubeconfig files and the files of a pod."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from pathlib import Path
from typing import Any

import pytest
from tools.kubernetes_pki import make_authority

from weft.sources.kubernetes.access import Access, AccessError, Credentials, Given
from weft.sources.kubernetes.kubeconfig import context_of, in_cluster_access, kubeconfig_access, personal_access

SERVER = "https://10.0.0.1:6443"


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    authority = make_authority(tmp_path / "pki")
    authority.issue("admin", "admin")
    return authority.directory


def write(
    path: Path, cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None, mode: int = 0o600
) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "preferences": {},
        "current-context": "prod",
        "contexts": [
            {"name": "prod", "context": {"cluster": "c", "user": "u", "namespace": "shop"}},
            {"name": "lost", "context": {"cluster": "nowhere", "user": "u"}},
        ],
        "clusters": [{"name": "c", "cluster": {"server": SERVER, **(cluster or {})}}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(json.dumps(config))
    path.chmod(mode)
    return path


def shown(access: Access) -> Any:
    return Credentials(lambda: access).current()


def test_files_are_from_where_the_kubeconfig_is(tmp_path: Path, pki: Path) -> None:
    user = {"client-certificate": "pki/admin.crt", "client-key": "pki/admin.key"}
    path = write(tmp_path / "config", {"certificate-authority": "pki/ca.crt", "tls-server-name": "api"}, user)
    access = kubeconfig_access(path)
    assert (access.name, access.server, access.server_name) == ("prod", SERVER, "api")
    assert set(access.files) == {path, *(pki / name for name in ("ca.crt", "admin.crt", "admin.key"))}
    now = shown(access)
    assert now.headers == {}
    assert isinstance(now.tls, ssl.SSLContext)
    assert now.tls.verify_mode is ssl.CERT_REQUIRED
    assert now.tls.check_hostname


async def test_files_are_read_once_for_all_who_begin_together(tmp_path: Path, pki: Path) -> None:
    read: list[Access] = []

    def access() -> Access:
        read.append(Access("prod", SERVER, Given(file=pki / "ca.crt")))
        return read[-1]

    credentials = Credentials(access)
    found = await asyncio.gather(*(credentials.shown() for _ in range(40)))
    assert (len(read), len({id(one) for one in found})) == (1, 1)


def test_data_stand_in_the_file(tmp_path: Path, pki: Path) -> None:
    data = {name: base64.b64encode((pki / name).read_bytes()).decode() for name in ("ca.crt", "admin.crt", "admin.key")}
    user = {"client-certificate-data": data["admin.crt"], "client-key-data": data["admin.key"], "token": "abc"}
    access = kubeconfig_access(write(tmp_path / "config", {"certificate-authority-data": data["ca.crt"]}, user))
    assert shown(access).headers == {"Authorization": "Bearer abc"}
    assert "abc" not in repr(access)
    assert "PRIVATE" not in repr(access)
    with pytest.raises(AccessError, match=r"open to other users.*chmod 600"):
        kubeconfig_access(write(tmp_path / "config", {}, user, mode=0o644))
    kubeconfig_access(write(tmp_path / "config", {}, {}, mode=0o644))


def test_a_token_is_read_again_when_its_file_is_another(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    token.chmod(0o600)
    path = write(tmp_path / "config", {}, {"tokenFile": "token"})
    credentials = Credentials(lambda: kubeconfig_access(path))
    now = credentials.current()
    assert now.headers == {"Authorization": "Bearer first"}
    assert credentials.current() is now
    fresh = tmp_path / "fresh"
    fresh.write_text("second")
    fresh.chmod(0o600)
    fresh.rename(token)
    assert credentials.current().headers == {"Authorization": "Bearer second"}
    token.unlink()
    with pytest.raises(AccessError, match="token"):
        credentials.current()


@pytest.mark.parametrize(
    ("cluster", "user", "why"),
    [
        ({"insecure-skip-tls-verify": True}, {}, "give certificate-authority"),
        ({"proxy-url": "http://p:3128"}, {}, "proxy-url"),
        ({"server": "http://10.0.0.1:8080"}, {}, "expected https://HOST:PORT"),
        ({"server": ""}, {}, "no https URL"),
        ({"certificate-authority-data": "?"}, {}, "no base64"),
        ({}, {"exec": {"command": "aws"}}, "exec: weft serve runs no credential plugins; give a tokenFile"),
        ({}, {"auth-provider": {"name": "gcp"}}, "auth-provider"),
        ({}, {"username": "me", "password": "x"}, "no passwords"),
        ({}, {"as": "root"}, "account of its own"),
        ({}, {"client-certificate": "a.crt"}, "a client certificate or its key, and not both"),
    ],
)
def test_what_is_refused(tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any], why: str) -> None:
    with pytest.raises(AccessError, match=why):
        kubeconfig_access(write(tmp_path / "config", cluster, user))


def test_what_is_not_there(tmp_path: Path) -> None:
    path = write(tmp_path / "config")
    with pytest.raises(AccessError, match="context 'dev' is not there; there is lost, prod"):
        kubeconfig_access(path, "dev")
    with pytest.raises(AccessError, match="cluster 'nowhere' is not there"):
        kubeconfig_access(path, "lost")
    with pytest.raises(AccessError, match="cannot be read: No such file"):
        kubeconfig_access(tmp_path / "nothing")
    path.write_text("- a\n- list\n")
    with pytest.raises(AccessError, match="no kubeconfig file"):
        kubeconfig_access(path)
    path.write_text("clusters: []\n")
    with pytest.raises(AccessError, match="no current-context; say which with --context"):
        kubeconfig_access(path)


def test_plain_http_is_for_loopback(tmp_path: Path) -> None:
    access = kubeconfig_access(write(tmp_path / "config", {"server": "http://127.0.0.1:8001/"}))
    assert access.server == "http://127.0.0.1:8001"
    assert shown(access).tls is None


def test_a_pod_has_a_service_account(tmp_path: Path, pki: Path) -> None:
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(AccessError, match="this is no pod with a service account"):
        in_cluster_access(tmp_path, environment)
    (tmp_path / "token").write_text("of-the-pod")
    (tmp_path / "ca.crt").write_bytes((pki / "ca.crt").read_bytes())
    access = in_cluster_access(tmp_path, environment)
    assert access.server == "https://[fd00::1]:443"
    assert shown(access).headers == {"Authorization": "Bearer of-the-pod"}
    with pytest.raises(AccessError, match="this is no pod"):
        in_cluster_access(tmp_path, {})


@pytest.mark.parametrize("token", ["two words", "two\nlines", "\x07"])
def test_a_token_is_one_line(tmp_path: Path, token: str) -> None:
    path = write(tmp_path / "config", {}, {"token": token})
    with pytest.raises(AccessError, match="not one line of printable text"):
        shown(kubeconfig_access(path))


def plugin(path: Path, said: str, *, code: int = 0) -> dict[str, Any]:
    """A plugin that notes what it was told, and says something."""
    path.write_text(
        f'#!/bin/sh\necho "$KUBERNETES_EXEC_INFO $SHOP $1" >> "$0.told"\ncat <<END\n{said}\nEND\nexit {code}\n'
    )
    path.chmod(0o700)
    return {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": f"./{path.name}",
        "args": ["login"],
        "env": [{"name": "SHOP", "value": "open"}],
        "provideClusterInfo": True,
        "interactiveMode": "Never",
    }


def credential(**status: str) -> str:
    return json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status})


def test_a_person_s_plugin_is_asked_until_its_answer_ends(tmp_path: Path, pki: Path) -> None:
    ended = credential(token="first", expirationTimestamp="2024-01-01T00:00:00Z")
    user = {"exec": plugin(tmp_path / "login", ended)}
    path = write(tmp_path / "config", {"certificate-authority": "pki/ca.crt"}, user)
    credentials = Credentials(lambda: personal_access([path]))
    assert credentials.current().headers == {"Authorization": "Bearer first"}
    plugin(tmp_path / "login", credential(token="second", expirationTimestamp="2124-01-01T00:00:00Z"))
    assert credentials.current().headers == {"Authorization": "Bearer second"}
    assert credentials.current().headers == {"Authorization": "Bearer second"}
    told = (tmp_path / "login.told").read_text().splitlines()
    assert len(told) == 2
    about, _, rest = told[0].rpartition("} ")
    assert rest == "open login"
    spec = json.loads(about + "}")["spec"]
    assert (spec["interactive"], spec["cluster"]["server"]) == (False, SERVER)
    assert base64.b64decode(spec["cluster"]["certificate-authority-data"]) == (pki / "ca.crt").read_bytes()


def test_a_plugin_gives_a_certificate(tmp_path: Path, pki: Path) -> None:
    certificate, key = ((pki / f"admin.{end}").read_text() for end in ("crt", "key"))
    said = credential(clientCertificateData=certificate, clientKeyData=key)
    path = write(
        tmp_path / "config", {"certificate-authority": "pki/ca.crt"}, {"exec": plugin(tmp_path / "login", said)}
    )
    access = personal_access([path])
    assert access.certificate.read().decode() == certificate
    assert shown(access).headers == {}
    assert "PRIVATE" not in repr(access)


@pytest.mark.parametrize(
    ("said", "code", "why"),
    [
        ("?", 0, "prints no ExecCredential"),
        (credential(), 0, "neither a token nor a certificate"),
        (credential(clientCertificateData="x"), 0, "a certificate or its key, and not both"),
        (credential(token="t", expirationTimestamp="soon"), 0, "no time of RFC 3339"),
        (credential(token="t").replace("/v1", "/v1beta1"), 0, "expected ExecCredential of client"),
        ("", 3, "exit code 3"),
    ],
)
def test_a_plugin_that_is_of_no_use(tmp_path: Path, said: str, code: int, why: str) -> None:
    path = write(tmp_path / "config", {}, {"exec": plugin(tmp_path / "login", said, code=code)})
    with pytest.raises(AccessError, match=why):
        personal_access([path])


def test_a_plugin_that_is_not_there(tmp_path: Path) -> None:
    of = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "no-such-login",
        "installHint": "get it at example",
    }
    with pytest.raises(AccessError, match="cannot be run: No such file or directory; get it at example"):
        personal_access([write(tmp_path / "config", {}, {"exec": of})])
    with pytest.raises(AccessError, match="apiVersion 'v0': expected client"):
        personal_access([write(tmp_path / "config", {}, {"exec": {**of, "apiVersion": "v0"}})])


def test_of_several_files_the_first_counts(tmp_path: Path) -> None:
    first = write(tmp_path / "first", {"server": "https://first:1"}, {"token": "one"})
    second = write(tmp_path / "second", {"server": "https://second:1"}, {"token": "two"})
    second.write_text(second.read_text().replace('"lost"', '"other"').replace('"nowhere"', '"c"'))
    assert personal_access([first, second]).server == "https://first:1"
    assert personal_access([second, first], "other").server == "https://second:1"
    assert context_of([first, second]) == ("prod", "shop")
    assert context_of([first, second], "other") == ("other", "")
    with pytest.raises(AccessError, match="there is lost, other, prod"):
        personal_access([first, second], "nothing")
