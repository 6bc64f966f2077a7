"""What weft.yaml says of the control plane's doors and keys: understood, told about, and given to `weft serve`."""

from __future__ import annotations

from pathlib import Path

import pytest

from weft.cli.serve import serve
from weft.local.commands import mesh_launches
from weft.local.difference import refusal
from weft.local.meshfile import MeshFileError, decode_meshfile
from weft.settings.home import Home

WHOLE = """\
remoteAdmin:
  bind: "[::1]:15443"
  hosts: [mesh.example, admin.example]
  certificate: admin.pem
  key: keys/admin.key
  clientCa: clients.pem
oidc:
  issuer: https://id.example
  audience: weft
  roles: ["groups=sre:operator", "groups=shop:editor:shop,payments"]
  nameClaim: email
  caFile: id.pem
storeKey: env:SHOP_KEY
formerStoreKey: file:old.key
identityFrom: unix:/run/spire/agent.sock
workloads:
  - {name: web, command: [web], proxyAuth: on, identityFrom: spire}
  - {name: db, command: [db], proxyAuth: "off"}
gateways:
  - {name: front, identityFrom: spire}
"""


def arguments(text: str) -> dict[str, tuple[str, ...]]:
    mesh = decode_meshfile(text, "weft.yaml")
    return {one.name: one.arguments for one in mesh_launches(Home(Path("/home")), mesh, Path("/base"))}


def options(words: tuple[str, ...], prefix: str) -> list[str]:
    return [f"{one}={words[at + 1]}" for at, one in enumerate(words) if one.startswith(prefix)]


def test_everything_is_said_to_the_control_plane(tmp_path: Path) -> None:
    found = arguments(WHOLE)
    words = found["control-plane"]
    assert options(words, "--admin") == [
        "--admin-bind=[::1]:15443",
        "--admin-host=mesh.example",
        "--admin-host=admin.example",
        "--admin-cert=/base/admin.pem",
        "--admin-key=/base/keys/admin.key",
        "--admin-client-ca=/base/clients.pem",
    ]
    assert options(words, "--oidc") == [
        "--oidc-issuer=https://id.example",
        "--oidc-audience=weft",
        "--oidc-role-claim=groups=sre:operator",
        "--oidc-role-claim=groups=shop:editor:shop,payments",
        "--oidc-name-claim=email",
        "--oidc-ca-file=/base/id.pem",
    ]
    assert options(words, "--store") + options(words, "--former") == [
        "--store-key=env:SHOP_KEY",
        "--former-store-key=file:/base/old.key",
    ]
    assert options(words, "--identity") == ["--identity-from=unix:/run/spire/agent.sock"]
    assert options(found["web"], "--proxy-auth") + options(found["web"], "--identity") == [
        "--proxy-auth=on",
        "--identity-from=spire",
    ]
    assert options(found["db"], "--proxy-auth") == ["--proxy-auth=off"]
    assert options(found["front"], "--identity") == ["--identity-from=spire"]
    for name in ("admin.pem", "admin.key", "clients.pem", "id.pem"):
        (tmp_path / name).touch()
    here = [word.replace("/base/keys", str(tmp_path)).replace("/base", str(tmp_path)) for word in words[1:]]
    serve.make_context("serve", here)  # the command line takes all of it


def test_what_is_said_nowhere_is_not_said_to_the_control_plane() -> None:
    assert arguments("workloads: []\n")["control-plane"] == ("serve", "--home", "/home")


def test_a_program_beside_the_file_is_found_there() -> None:
    assert options(arguments("storeKey: command:./kms wrap me\n")["control-plane"], "--store") == [
        "--store-key=command:/base/kms wrap me"
    ]
    assert options(arguments("storeKey: command:kms\n")["control-plane"], "--store") == ["--store-key=command:kms"]


def test_the_variable_of_a_key_is_for_the_control_plane_only() -> None:
    launches = mesh_launches(Home(Path("/home")), decode_meshfile(WHOLE, "weft.yaml"), Path("/base"))
    assert {one.name: one.hidden for one in launches} == {
        "control-plane": (),
        "web": ("SHOP_KEY",),
        "db": ("SHOP_KEY",),
        "front": ("SHOP_KEY",),
    }


def test_doors_and_keys_change_while_the_mesh_is_up_and_nothing_else_is_restarted() -> None:
    def launches(text: str) -> dict[str, object]:
        mesh = decode_meshfile(text, "weft.yaml")
        return {one.name: one for one in mesh_launches(Home(Path("/home")), mesh, Path("/base"))}

    before = launches("workloads: [{name: web, command: [web]}]\n")
    after = launches("workloads: [{name: web, command: [web]}]\nstoreKey: env:KEY\nremoteAdmin: {bind: '10.0.0.7:1'}\n")
    assert refusal(before, tuple(after.values())) == ""  # type: ignore[arg-type]
    assert before["web"] == after["web"]
    assert before["control-plane"] != after["control-plane"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("remoteAdmin: {bind: mesh.example}\n", ["weft.yaml:1", "remoteAdmin.bind", "such as 10.0.0.7:15443"]),
        ("remoteAdmin: {bind: '10.0.0.7:99999'}\n", ["remoteAdmin.bind", "ADDRESS:PORT"]),
        ("remoteAdmin: {bind: '10.0.0.7:1', certificat: x}\n", ["remoteAdmin.certificat", "'certificate'"]),
        ("remoteAdmin:\n  bind: 10.0.0.7:1\n  key: x\n", ["weft.yaml:3", "'key' stands without 'certificate'"]),
        ("remoteAdmin: {hosts: [x]}\n", ["'bind' is missing"]),
        ("oidc: {issuer: https://x, audience: y}\n", ["'roles' is missing"]),
        ("oidc: {issuer: https://x, audience: y, roles: []}\n", ["oidc.roles", "nobody has a role"]),
        ("oidc: {issuer: ftp://x, audience: y, roles: [a=b:viewer]}\n", ["oidc.issuer", "over https"]),
        ("oidc:\n  issuer: https://x\n  audience: y\n  roles:\n    - a=b:boss\n", ["weft.yaml:5", "oidc.roles[0]"]),
        ("storeKey: fil:x\n", ["weft.yaml:1", "storeKey", "'file:'"]),
        ("storeKey: 'env:'\n", ["storeKey", "'env:' names nothing"]),
        ("identityFrom: tcp:127.0.0.1:1\n", ["identityFrom", "unix:/PATH of a Workload API"]),
        ("workloads:\n  - {name: a, command: [a], proxyAuth: yes}\n", ["weft.yaml:2", "proxyAuth"]),
        ("workloads:\n  - {name: a, command: [a], identityFrom: x}\n", ["weft.yaml:2", "workloads[0].identityFrom"]),
        ("gateways:\n  - {name: a, identityFrom: x}\n", ["weft.yaml:2", "gateways[0].identityFrom"]),
    ],
)
def test_mistakes_are_told_with_their_line(text: str, told: list[str]) -> None:
    with pytest.raises(MeshFileError) as caught:
        decode_meshfile(text, "weft.yaml")
    assert [words for words in told if words not in str(caught.value)] == []


def test_a_key_that_stands_there_by_mistake_is_not_repeated() -> None:
    secret = "c2VjcmV0IG9mIHRoZSBzaG9wLCAzMiBieXRlcyBsb25n"
    for text in (f"storeKey: {secret}\n", f"storeKey: '{secret}:x'\n", f"formerStoreKey: {secret}\n"):
        with pytest.raises(MeshFileError) as caught:
            decode_meshfile(text, "weft.yaml")
        assert secret not in str(caught.value)
        assert "a key itself has no place in this file" in str(caught.value)
