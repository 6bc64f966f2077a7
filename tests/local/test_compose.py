"""Compose projects: what is read of them, what is generated, and how mistakes are told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from weft.cli.compose import compose
from weft.local.compose.generation import CONTROL_PLANE, Generated, generate
from weft.local.compose.interpolation import InterpolationError, interpolate, read_env_file
from weft.local.compose.project import ComposeError, ComposeService, Project, read_project, usual_files
from weft.schema.decode import decode_documents

EXAMPLE = Path(__file__).parents[2] / "examples" / "compose" / "compose.yaml"


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("$A-$A", "1-1"),
        ("${A}b$$A", "1b$A"),
        ("${NO}", ""),
        ("${NO:-x}${EMPTY:-x}${EMPTY-x}", "xx"),
        ("${NO:-${ALSO:-deep}}", "deep"),
        ("${A:+yes}${NO:+no}${EMPTY:+no}${EMPTY+there}", "yesthere"),
        ("${A:?why}", "1"),
    ],
)
def test_variables_are_filled_in(text: str, result: str) -> None:
    assert interpolate(text, {"A": "1", "EMPTY": ""}) == result


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NO:?give it}", "NO is not set: give it"),
        ("${EMPTY:?}", "EMPTY is not set"),
        ("${A", "'${' is not closed"),
        ("${A/b}", "'${A/' is not known"),
        ("${-a}", "'${' names no variable"),
        ("a$ b", "'$ ' begins no variable; '$$' stands for '$'"),
        ("${A" + ":-${NO" * 40 + "}" * 41, "go too deep"),
    ],
)
def test_what_cannot_be_filled_in_is_told(text: str, message: str) -> None:
    with pytest.raises(InterpolationError) as error:
        interpolate(text.replace("${A:-", "${NO:-"), {"A": "1", "EMPTY": ""})
    assert message in str(error.value)


def test_env_files_are_read_as_compose_does() -> None:
    text = '# a\nA=1\nexport B = two words # c\nC="x # y"\n\nD=\n'
    assert read_env_file(text, ".env") == {"A": "1", "B": "two words", "C": "x # y", "D": ""}
    with pytest.raises(InterpolationError, match=r"\.env:2: expected NAME=VALUE"):
        read_env_file("A=1\nnonsense\n", ".env")


def project(tmp_path: Path, text: str, **variables: str) -> Project:
    path = tmp_path / "compose.yaml"
    path.write_text(text)
    return read_project([path], variables)


def service(tmp_path: Path, lines: str, **variables: str) -> ComposeService:
    [found] = project(
        tmp_path, "services:\n  a:\n" + "".join(f"    {line}\n" for line in lines.splitlines()), **variables
    ).services
    return found


@pytest.mark.parametrize(
    ("lines", "ports"),
    [
        ('ports: ["80"]', [80]),
        ('ports: ["8080:80", "127.0.0.1:9000:90/tcp", "53:53/udp"]', [80, 90]),
        ('ports: ["[::1]:8080-8081:80-81"]', [80, 81]),
        ("ports: [{target: 80, published: 8080}, {target: 53, protocol: udp}]", [80]),
        ("ports: ['127.0.0.1::80', '0:81', '8000-8009:82', '7:7/sctp']", [80, 81, 82]),
        ("expose: [5432, '9000-9002']", [5432, 9000, 9001, 9002]),
        ("ports: ['${P:-1}:${T}']", [7]),
        ("image: x", []),
    ],
)
def test_ports_are_those_of_the_container(tmp_path: Path, lines: str, ports: list[int]) -> None:
    assert [port.number for port in service(tmp_path, lines, T="7").ports] == ports


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "services:\n  a:\n    ports: [x]\n",
            "compose.yaml:3: services.a.ports: found 'x', expected [[ADDRESS:]HOST:]",
        ),
        ("services:\n  a:\n    ports: {a: 1}\n", "compose.yaml:3: services.a.ports: expected a list"),
        ("services:\n  a:\n    ports: ['0']\n", "found '0'"),
        ("services:\n  a:\n    expose: ['1-1000']\n", "found '1-1000': '1-1000' is more than 64 ports; expected PORT"),
        ("services:\n  a:\n    expose: ['1:2']\n", "services.a.expose: found '1:2'"),
        ("services:\n  a:\n    ports: ['70000:80']\n", "found '70000:80': '70000' is no port, which is 1 to 65535"),
        ("services:\n  a:\n    ports: ['80:70000']\n", "found '80:70000': '70000' is no port"),
        ("services:\n  a:\n    ports: ['x:80']\n", "compose.yaml:3: services.a.ports: found 'x:80': 'x' is no port"),
        ("services:\n  a:\n    ports: ['host:1:80']\n", "'host' is no address of the host"),
        ("services:\n  a:\n    ports: ['80/http']\n", "there is no protocol 'http', only tcp, udp, sctp"),
        ("services:\n  a:\n    ports: ['80/']\n", "found '80/', expected"),
        ("services:\n  a:\n    ports: ['1-3:80-81']\n", "3 ports of the host for 2 of the container"),
        (
            "services:\n  a:\n    ports:\n    - target: 80\n      published: 70000\n",
            "compose.yaml:5: services.a.ports.published: '70000' is no port, which is 1 to 65535",
        ),
        ("services:\n  a:\n    ports: [{published: 80}]\n", "compose.yaml:3: services.a.ports: '' is no port"),
        ("services:\n  a:\n    ports: [{target: 80, host_ip: x}]\n", "services.a.ports.host_ip: 'x' is no address"),
        (
            "services:\n  a:\n    network_mode: '${M:?say it}'\n",
            "compose.yaml:3: services.a.network_mode: M is not set: say it",
        ),
        ("services: [a]\n", "compose.yaml:1: services: expected a mapping"),
        ("services:\n  a: [b]\n", "compose.yaml:2: services.a: expected a mapping"),
        ("services:\n  'a b': {}\n", "services.a b: this is no name of a service"),
        ("services: {}\n", "there are no services"),
        ("services:\n  a: {extends: b}\n", "compose.yaml:2: services.a.extends: there is no service 'b'"),
        ("services:\n  a: {extends: a}\n", "services extend each other"),
        ("include: [compose.yaml]\nservices: {a: {}}\n", "files that include each other"),
        ("include: [other.yaml]\n", "other.yaml: No such file or directory"),
        ("services:\n  a: {\n", "compose.yaml:"),
        ("a: 1\n---\nb: 2\n", "compose.yaml holds 2 documents; expected one"),
    ],
)
def test_mistakes_are_told_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ComposeError) as error:
        project(tmp_path, text)
    assert message in str(error.value)


def test_files_are_laid_over_each_other(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("services:\n  common: {expose: ['1'], networks: [x]}\n")
    (tmp_path / "more.yaml").write_text("services:\n  extra: {ports: ['9:9']}\n")
    (tmp_path / "compose.yaml").write_text(
        "include: [{path: more.yaml}]\n"
        "x-common: &common {profiles: [debug]}\n"
        "services:\n"
        "  a: {<<: *common, extends: {service: common, file: base.yaml}, expose: ['2'],\n"
        "      networks: {y: {aliases: [z]}}}\n"
        "  b: {deploy: {replicas: 3}}\n"
    )
    (tmp_path / "compose.override.yml").write_text(
        "services:\n  a: {expose: ['3'], environment: [http_proxy=x]}\n  b: {scale: 1}\n"
    )
    files = usual_files(tmp_path)
    assert [path.name for path in files] == ["compose.yaml", "compose.override.yml"]
    found = {one.name: one for one in read_project(files, {}).services}
    assert set(found) == {"a", "b", "extra"}
    a = found["a"]
    assert ([port.number for port in a.ports], a.networks, a.profiles, a.proxied) == (
        [1, 2, 3],
        ("x", "y"),
        ("debug",),
        True,
    )
    assert found["b"].replicas == 3
    with pytest.raises(ComposeError, match=r"has no compose\.yaml, .* or docker-compose\.yml"):
        usual_files(tmp_path / "empty")


def made(tmp_path: Path, text: str) -> tuple[Generated, dict[str, Any]]:
    generated = generate(project(tmp_path, text))
    return generated, yaml.safe_load(generated.compose)["services"]


def test_every_service_gets_a_sidecar_in_its_network_namespace() -> None:
    generated = generate(read_project([EXAMPLE], {}))
    services = yaml.safe_load(generated.compose)["services"]
    assert set(services) == {CONTROL_PLANE, "web", "web-weft", "catalog", "catalog-weft", "db", "db-weft"}
    assert set(services["web"]) == {"environment"}, "nothing else of the project's own services is changed"
    assert services["web"]["environment"]["http_proxy"] == "http://127.0.0.1:15001"
    sidecar = services["catalog-weft"]
    assert sidecar["network_mode"] == "service:catalog"
    words = sidecar["command"]
    assert words[words.index("--port") + 1] == "9080"
    assert words[words.index("--outbound-port") + 1] == "15001"
    users = {sidecar["user"].partition(":")[0] for name, sidecar in services.items() if name.endswith("-weft")}
    assert len(users) == 3
    assert "0" not in users
    control = services[CONTROL_PLANE]["command"]
    allowed = [control[place + 1] for place, word in enumerate(control) if word == "--allow-uid"]
    assert f"{sidecar['user'].partition(':')[0]}=default/catalog" in allowed
    assert services[CONTROL_PLANE]["networks"] == ["back", "front"]
    documents = {one.key.name: one.spec for one in decode_documents(generated.documents, "services.yaml").documents}
    assert set(documents) == {"web", "catalog", "db"}
    assert "service 'tools' stays outside of the mesh: network_mode 'none'" in generated.left_out[0]
    assert any("service 'db': callers of port 5432 go around the mesh" in note for note in generated.notes)


def test_what_cannot_be_in_the_mesh_is_told_and_left_as_it_is(tmp_path: Path) -> None:
    text = (
        "services:\n"
        "  a: {network_mode: host}\n"
        "  b: {deploy: {replicas: 2}}\n"
        "  c_d: {image: x}\n"
        "  weft-control-plane: {image: x}\n"
        "  ok: {environment: {HTTP_PROXY: x}, profiles: [p],\n"
        "       ports: [{target: 9, app_protocol: http2}, {target: 5432, app_protocol: http}]}\n"
    )
    generated, services = made(tmp_path, text)
    assert set(services) == {CONTROL_PLANE, "ok", "ok-weft"}
    assert [line.partition(": ")[2][:12] for line in generated.left_out] == [
        "service 'a' ", "service 'b' ", "service 'c_d", "service 'wef",
    ]  # fmt: skip
    assert "'c-d' could" in generated.left_out[2]
    assert services["ok-weft"]["profiles"] == ["p"]
    assert services[CONTROL_PLANE]["networks"] == ["default"]
    assert any("its HTTP_PROXY is replaced" in note for note in generated.notes)
    assert "http2-9" in generated.documents
    assert "http-5432" in generated.documents


@pytest.mark.parametrize(
    ("a", "b", "both"),
    [
        ("'80:1'", "'80:2'", True),
        ("'127.0.0.1:80:1'", "'80:2'", True),
        ("'127.0.0.1:80:1'", "'127.0.0.2:80:2'", False),
        ("'80-82:1-3'", "{target: 9, published: '82'}", True),
        ("'80-82:1'", "'82:2'", False),
        ("'80:1'", "'80:1/udp'", False),
        ("'1'", "'1'", False),
        ("'80:1', '80:2'", "'3'", True),
        ("'80:1', '80:1'", "'3'", False),
    ],
)
def test_a_port_of_the_host_that_is_published_twice_is_told(tmp_path: Path, a: str, b: str, both: bool) -> None:
    text = f"services:\n  a:\n    ports: [{a}]\n  b:\n    ports: [{b}]\n"
    told = [note for note in made(tmp_path, text)[0].notes if "an engine starts only one" in note]
    assert bool(told) is both
    assert all(
        re.search(r"compose\.yaml:[35]: services\.[ab]\.ports: service '[ab]' publishes port 8", note) for note in told
    )


def test_services_that_never_run_together_may_publish_one_port(tmp_path: Path) -> None:
    def notes(*profiles: str) -> str:
        services = (
            f"  {name}: {{ports: ['80:1'], profiles: [{each}]}}\n" for name, each in zip("ab", profiles, strict=True)
        )
        return str(made(tmp_path, "services:\n" + "".join(services))[0].notes)

    assert "only one" not in notes("x", "y")
    assert "only one" in notes("x", "y, x")
    assert "only one" in notes("x", "")


def test_users_stay_when_services_come_and_go(tmp_path: Path) -> None:
    def user(text: str) -> str:
        return str(made(tmp_path, text)[1]["web-weft"]["user"])

    assert user("services: {web: {}}") == user("services: {web: {}, api: {}, db: {}}")


def test_the_command_writes_the_files_and_says_how_to_start(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {web: {ports: ['${PORT}:80']}}\n")
    (tmp_path / ".env").write_text("PORT=8080\n")
    done = CliRunner().invoke(compose, ["generate", "-f", str(tmp_path / "compose.yaml"), "-o", "json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["command"][-2:] == ["-f", str(tmp_path / ".weft" / "compose.weft.yaml")]
    assert "published ports lead to the application itself" in said["notes"][0]
    assert (
        f"{tmp_path}/.weft/services.yaml:/etc/weft/services.yaml:ro"
        in (tmp_path / ".weft/compose.weft.yaml").read_text()
    )


def test_up_starts_the_first_engine_that_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "compose.yaml").write_text("services: {web: {}}\n")
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for name, text in (("docker", "exit 1"), ("podman", f'[ "$2" = version ] || echo "$@" >{tmp_path}/said; exit 7')):
        (binaries / name).write_text(f'#!/bin/sh\n[ {name} = podman ] && [ "$2" = version ] && exit 0\n{text}\n')
        (binaries / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{binaries}:/bin:/usr/bin")
    done = CliRunner().invoke(compose, ["up", "-f", str(tmp_path / "compose.yaml"), "--", "-d"], standalone_mode=False)
    assert done.return_value == 7, done.output
    assert (tmp_path / "said").read_text().split()[-2:] == ["up", "-d"]
    (binaries / "podman").unlink()
    monkeypatch.setenv("PATH", str(binaries))
    done = CliRunner().invoke(compose, ["up", "-f", str(tmp_path / "compose.yaml")], standalone_mode=False)
    assert "none of docker compose, podman compose, docker-compose, podman-compose is there" in str(done.exception)
