"""What is printed for another host: commands that a shell understands, units that systemd does."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from weft.local.join import Invitation, Joining, join_command, systemd_script

INVITATION = Invitation("[fd00::1]:15013", "sha256:" + "ab" * 32, "weft-secret")
AWKWARD = ("sh", "-c", "echo \"$HOME\" 100% 'x' \\n;\n# END")


def shell(text: str, directory: Path, **programs: str) -> subprocess.CompletedProcess[str]:
    """Run `text` as a person pastes it, with stand-ins for programs."""
    for name, script in programs.items():
        (directory / name).write_text(f"#!/bin/sh\n{script}\n")
        (directory / name).chmod(0o755)
    environment = {"PATH": f"{directory}:{os.environ['PATH']}"}
    return subprocess.run(["sh", "-c", text], env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_works_as_printed(tmp_path: Path) -> None:
    joining = Joining("shop", "reviews", "reviews-vm1", ("app=reviews,v=1",), ("http=9080:auto",), AWKWARD)
    text = join_command(joining, INVITATION)
    assert joining.open_fields == ()
    found = shell(text, tmp_path, weft='echo "$WEFT_TOKEN"; for one; do printf "<%s>" "$one"; done').stdout
    words = ["run", "--control-plane", "[fd00::1]:15013", "--ca-fingerprint", INVITATION.fingerprint]
    words += ["--namespace", "shop", "--service-account", "reviews", "--name", "reviews-vm1"]
    words += ["--labels", "app=reviews,v=1", "--port", "http=9080:auto", "--", *AWKWARD]
    assert found == "weft-secret\n" + "".join(f"<{word}>" for word in words)
    assert "weft-secret" not in repr(INVITATION)


def test_what_is_left_open_stands_in_capitals() -> None:
    joining = Joining("default", "reviews")
    assert joining.open_fields == ("NAME", "KEY=VALUE", "PORT", "COMMAND")
    assert join_command(joining, INVITATION).endswith("--name NAME --labels KEY=VALUE --port PORT \\\n  -- COMMAND")
    with pytest.raises(ValueError, match="NAME"):
        systemd_script(joining, INVITATION)
    gateway = Joining("default", "public", "public", gateway=True)
    assert gateway.open_fields == ("IP",)
    with pytest.raises(ValueError, match="IP"):
        systemd_script(gateway, INVITATION)


def test_the_script_writes_a_unit_and_keeps_the_token_apart(tmp_path: Path) -> None:
    """Run in a directory that stands for the root of the file system."""
    joining = Joining("shop", "reviews", "reviews-vm1", ("app=reviews",), ("9080",), AWKWARD)
    text = systemd_script(joining, INVITATION)
    (tmp_path / "etc/systemd/system").mkdir(parents=True)
    asked = f'echo "$0 $*" >>{tmp_path}/asked'
    done = shell(
        text.replace("/etc/", f"{tmp_path}/etc/"),
        tmp_path,
        weft="exit 0",
        id="exit 1",
        useradd=asked,
        runuser="exit 0",
        systemctl=asked,
    )
    assert done.returncode == 0, done.stderr
    secret = tmp_path / "etc/weft/reviews-vm1.shop.env"
    assert secret.read_text() == "WEFT_TOKEN=weft-secret\n"
    assert (secret.stat().st_mode & 0o777, secret.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    unit = (tmp_path / "etc/systemd/system/weft-reviews-vm1.shop.service").read_text()
    assert "weft-secret" not in unit
    start = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    assert start.startswith(f'ExecStart={tmp_path}/weft run --control-plane "[fd00::1]:15013" ')
    assert start.endswith(' -- sh -c "echo \\"$$HOME\\" 100%% \'x\' \\\\n;\\n# END"')
    for line in (
        "Restart=always",
        "SuccessExitStatus=143",
        "KillMode=process",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "NoNewPrivileges=yes",
    ):
        assert line in unit.splitlines()
    calls = [line.rpartition("/")[2] for line in (tmp_path / "asked").read_text().splitlines()]
    assert calls[-1] == "systemctl restart weft-reviews-vm1.shop.service"


def test_the_script_says_when_weft_is_not_there(tmp_path: Path) -> None:
    text = systemd_script(Joining("default", "public", "public", gateway=True, bind="10.0.0.7"), INVITATION)
    assert "gateway --control-plane" in text
    done = shell(text.replace("command -v weft", "command -v no-weft-here"), tmp_path, systemctl="exit 1")
    assert (done.returncode, done.stderr) == (1, "there is no weft on the PATH\n")
