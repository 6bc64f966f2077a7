"""`weft enable` and `weft disable`, as a user calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.mesh import cli
from weft.cli.failure import FailedError
from weft.cli.services import _accounts_of_host
from weft.local.services import Files, Service


@pytest.mark.parametrize(
    ("words", "options", "said"),
    [
        (("control-plane",), ("--bnd", "::"), "No such option '--bnd'"),
        (("gateway",), ("--bind", "::"), "name '--bind'"),
        (("gateway", "public"), ("--token", "x"), "--token-file"),
        (("gateway", "public"), ("--offset", "x"), "'--offset'"),
        (("gateway", "public"), ("--labels", "a b=c"), "drop-in"),
        (("workload", "web"), ("--", "python3", "x.py"), "a unit of its own"),
        (("host", "--tokens", "x"), ("--name", "vm"), "--tokens goes with"),
        (("host",), ("--nme", "vm"), "No such option '--nme'"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(
    tmp_path: Path, words: tuple[str, ...], options: tuple[str, ...], said: str
) -> None:
    root = tmp_path / "root"
    done = cli(tmp_path, "enable", *words, "--root", str(root), "--", *options, check=False)
    assert done.returncode == 2
    assert said in done.stderr
    assert not root.exists()


def test_without_a_control_plane_elsewhere_it_is_that_of_this_host(tmp_path: Path) -> None:
    cli(tmp_path, "enable", "gateway", "public", "--root", str(tmp_path), "--", "-n", "web")
    assert (
        '"--control-plane unix:/run/weft/agents.sock -n web"' in (tmp_path / "etc/weft/gateway-public.env").read_text()
    )
    said = cli(tmp_path, "enable", "gateway", "public", "--dry-run", "--", "-n", "web").stdout
    assert "--allow-uid UID=web/public@weft-gateway@public.service" in said
    elsewhere = ("--control-plane", "10.0.0.5:15013", "--ca-fingerprint", "sha256:00")
    assert "--allow-uid" not in cli(tmp_path, "enable", "gateway", "public", "--dry-run", "--", *elsewhere).stdout


def test_who_a_host_carries_has_to_be_let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weft.local.service_files.SYSTEM", Files(tmp_path / "units", tmp_path))
    entry = {"name": "a", "serviceAccount": "pay", "command": ["true"]}
    (tmp_path / "host.yaml").write_text(json.dumps({"workloads": [entry, {**entry, "name": "b", "proxy": "sidecar"}]}))
    found = _accounts_of_host(Service("host"))
    assert found == [("default", "pay")]
    (tmp_path / "host.yaml").write_text("workloads: [{name: a}]")
    with pytest.raises(FailedError, match=r"workloads\[0\]"):
        _accounts_of_host(Service("host"))


def test_a_dry_run_shows_all_but_the_secret(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("weft-secret\n")
    done = cli(
        tmp_path, "enable", "gateway", "public", "--dry-run", "--token-file", str(token), "--", "--bind", "10.0.0.7"
    )
    assert 'WEFT_OPTIONS="--control-plane unix:/run/weft/agents.sock --bind 10.0.0.7"' in done.stdout
    assert "gateway-public.token (mode 0600)" in done.stdout
    assert "weft-secret" not in done.stdout
    assert "# run: systemctl restart weft-gateway@public.service" in done.stdout


def test_without_a_systemd_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    done = cli(tmp_path, "enable", "control-plane", "--user", check=False)
    assert done.returncode == 1
    assert "no systemd runs here" in done.stderr
    assert "--root DIR" in done.stderr
    assert not (tmp_path / "config").exists()
