"""Where a workload's outbound proxy asks for its secret, and where that is kept."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from weft.agent.proxy_secret import ProxySecret, is_shared, wants_secret

ROOT = (0, "/bin/bash")
SERVICE = (33, "/bin/sh")
NOBODY = (65534, "/bin/sh")


@pytest.mark.parametrize(
    ("own", "accounts", "running", "shared"),
    [
        (1000, [ROOT, SERVICE, NOBODY, (1000, "/bin/zsh")], [0, 33, 1000], False),
        (1000, [ROOT, (1000, "/bin/zsh"), (1001, "/bin/bash")], [0], True),
        (1000, [ROOT, (1000, "/bin/zsh"), (1001, "/usr/sbin/nologin"), (1002, "/bin/false")], [0], False),
        (1000, [ROOT, (1000, "/bin/zsh")], [0, 1000, 30001], True),
        (0, [ROOT, SERVICE], [0, 33, 65534], False),
        (0, [ROOT, (1000, "/bin/bash")], [0], True),
    ],
)
def test_a_host_is_shared_if_somebody_else_can_log_in_or_runs_something(
    own: int, accounts: list[tuple[int, str]], running: list[int], shared: bool
) -> None:
    assert is_shared(own, accounts, running) is shared


def test_what_runs_keeps_what_it_was_given(tmp_path: Path) -> None:
    assert wants_secret("auto", tmp_path, running=True) is False
    ProxySecret(tmp_path).make(15001)
    assert wants_secret("auto", tmp_path, running=True) is True
    assert wants_secret("off", tmp_path, running=True) is False
    assert wants_secret("on", tmp_path, running=False) is True


def test_a_secret_stays_until_it_is_removed(tmp_path: Path) -> None:
    secret = ProxySecret(tmp_path)
    url = secret.make(15001)
    assert url.startswith("http://weft:")
    assert url.endswith("@127.0.0.1:15001")
    assert secret.make(15001) == url
    assert secret.url_file.read_text().strip() == url
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in tmp_path.iterdir())
    secret.remove()
    assert not any(tmp_path.iterdir())
    assert secret.make(15001) != url
