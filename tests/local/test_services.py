"""Services of systemd: what their units say, judged by systemd's own tools, and what is written and removed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from weft.local.service_files import Plan, carry_out, disabling, enabling
from weft.local.services import KINDS, PACKAGED, Kind, Service, ServiceError, options_text, unit_file, unit_text

DOCS = Path(__file__).parent.parent.parent / "docs" / "services.md"


def analyzed(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("kind", KINDS)
def test_systemd_understands_every_line(kind: Kind, tmp_path: Path) -> None:
    unit = tmp_path / unit_file(kind).replace("@", "@x")
    unit.write_text(unit_text(kind, "/bin/true"))
    done = analyzed("verify", "--man=no", "--recursive-errors=no", str(unit))
    assert (done.returncode, done.stderr) == (0, "")
    unit.write_text(unit.read_text().replace("NoNewPrivileges", "NoNewPrivilege"))
    assert "NoNewPrivilege" in analyzed("verify", "--man=no", "--recursive-errors=no", str(unit)).stderr


@pytest.mark.parametrize("kind", KINDS)
def test_exposure_is_what_the_docs_say(kind: Kind, tmp_path: Path) -> None:
    unit = tmp_path / unit_file(kind)
    unit.write_text(unit_text(kind, "/bin/true"))
    said = analyzed("security", "--offline=true", "--no-pager", str(unit)).stdout
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", said)
    assert found is not None, said
    told = re.search(rf"`{unit_file(kind)}` \| ([0-9.]+) ", DOCS.read_text())
    assert told is not None
    assert float(found[1]) <= float(told[1])


@pytest.mark.parametrize("kind", KINDS)
def test_the_rules_that_taking_over_needs(kind: Kind) -> None:
    text = unit_text(kind, "/usr/bin/weft")
    assert "RemoveIPC" not in text, "it would remove the shared memory of the user's other proxies"
    assert ("KillMode=process" in text) is (kind != "control-plane")
    assert "User=weft-proxy" in text if kind != "control-plane" else "User=weft\n" in text
    own = unit_text(kind, "/usr/bin/weft", own=True)
    assert "User=" not in own
    assert "WantedBy=default.target" in own


def test_options_are_words() -> None:
    assert options_text(("--bind", "10.0.0.5")).splitlines()[-1] == 'WEFT_OPTIONS="--bind 10.0.0.5"'
    for word in ("a b", "a'b", 'a"b', "a$b", "a%b", "a\\b", "a\nb", ""):
        with pytest.raises(ServiceError, match="drop-in"):
            options_text((word,))


def test_names() -> None:
    assert Service("gateway", "public").unit == "weft-gateway@public.service"
    assert Service("control-plane").unit == "weft-control-plane.service"
    for kind, name in (
        ("gateway", ""),
        ("control-plane", "x"),
        ("gateway", "A"),
        ("gateway", "a/b"),
        ("gateway", "-a"),
    ):
        with pytest.raises(ServiceError):
            Service(kind, name)  # type: ignore[arg-type]


def written(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): path.stat().st_mode & 0o777 for path in root.rglob("*") if path.is_file()}


def test_what_is_written_is_removed(tmp_path: Path) -> None:
    one, two = Service("gateway", "one"), Service("gateway", "two")
    carry_out(enabling(one, "/opt/weft", ("--bind", "::"), "weft-secret", tmp_path, start=True))
    carry_out(enabling(two, "/opt/weft", (), "", tmp_path, start=True))
    assert written(tmp_path) == {
        "etc/systemd/system/weft-gateway@.service": 0o644,
        "etc/systemd/system/weft-gateway@one.service.d/50-weft-token.conf": 0o644,
        "etc/weft/gateway-one.env": 0o644,
        "etc/weft/gateway-one.token": 0o600,
        "etc/weft/gateway-two.env": 0o644,
    }
    drop_in = (tmp_path / "etc/systemd/system/weft-gateway@one.service.d/50-weft-token.conf").read_text()
    assert "LoadCredential=weft.token:/etc/weft/gateway-one.token" in drop_in
    assert not [path for path in tmp_path.rglob("*.env") if "secret" in path.read_text()]
    own = tmp_path / "etc/systemd/system/weft-gateway@one.service.d/override.conf"
    own.write_text("[Service]\n")  # by `systemctl edit`
    carry_out(disabling(one, tmp_path))
    assert set(written(tmp_path)) == {
        "etc/systemd/system/weft-gateway@.service",
        "etc/systemd/system/weft-gateway@one.service.d/override.conf",
        "etc/weft/gateway-two.env",
    }
    own.unlink()
    carry_out(disabling(one, tmp_path))
    assert set(written(tmp_path)) == {"etc/systemd/system/weft-gateway@.service", "etc/weft/gateway-two.env"}
    carry_out(disabling(two, tmp_path))
    assert written(tmp_path) == {}
    assert disabling(two, tmp_path) == Plan()


def test_a_host_is_handed_the_tokens_of_its_workloads(tmp_path: Path) -> None:
    host = Service("host")
    carry_out(enabling(host, "/opt/weft", (), "", tmp_path, start=True, tokens=Path("/etc/weft/tokens")))
    drop_in = tmp_path / "etc/systemd/system/weft-host.service.d/50-weft-token.conf"
    assert "LoadCredential=weft.token:/etc/weft/tokens" in drop_in.read_text()
    assert "ExecStart=/opt/weft host $WEFT_OPTIONS /etc/weft/host.yaml" in unit_text("host", "/opt/weft")
    carry_out(disabling(host, tmp_path))
    assert written(tmp_path) == {}


def test_units_of_a_package_are_left_alone(tmp_path: Path) -> None:
    packaged = tmp_path / PACKAGED.relative_to("/") / "weft-control-plane.service"
    packaged.parent.mkdir(parents=True)
    packaged.write_text("[Service]\n")
    carry_out(enabling(Service("control-plane"), "/usr/bin/weft", (), "", tmp_path, start=True))
    carry_out(disabling(Service("control-plane"), tmp_path))
    assert set(written(tmp_path)) == {str(packaged.relative_to(tmp_path))}


def test_a_service_of_a_user_needs_no_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    plan = enabling(Service("workload", "web", own=True), "/opt/weft", (), "", None, start=False)
    assert [str(path.relative_to(tmp_path)) for path, _, _ in plan.write] == [
        "weft/workload-web.env",
        "systemd/user/weft-workload@.service",
    ]
    assert plan.commands == (
        ("systemctl", "--user", "daemon-reload"),
        ("systemctl", "--user", "enable", "weft-workload@web.service"),
    )
