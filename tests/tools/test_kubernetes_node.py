"""What a node says that cannot be: it names what is missing, and how to get it."""

from __future__ import annotations

from pathlib import Path

from tools.kubernetes_node import missing


def test_missing_commands_are_named_with_their_packages(tmp_path: Path) -> None:
    said = missing(path=str(tmp_path), root=True)
    assert "apt-get install" in said
    for package in ("containerd", "runc", "nftables", "iproute2"):
        assert package in said.split("apt-get install ")[1]


def test_who_is_not_root_is_told(tmp_path: Path) -> None:
    for command in ("unshare", "nsenter", "mount", "ip", "nft", "containerd", "ctr", "runc"):
        (tmp_path / command).touch(mode=0o755)
    assert "root" in missing(path=str(tmp_path), networks=str(tmp_path), root=False)
    assert missing(path=str(tmp_path), networks=str(tmp_path), root=True) == ""
