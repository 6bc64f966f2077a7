"""The secret of a workload's outbound proxy: who else is on this host, the secret in the application's environment, and
its hash where Envoy reads it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import pwd
import secrets
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from weft.agent.parameters import ProxyAuth
from weft.model.workload import PROXY_USERS_FILE
from weft.settings.private import write_atomically

_USER = "weft"
_URL_FILE = "proxy.url"
_SECRET_FILE = "proxy.secret"  # noqa: S105 - its name
_PEOPLE = 501 if sys.platform == "darwin" else 1000
"""The first user id that systems give to people; what is below are services of the system."""
_NOBODY = 65534
_NO_SHELLS = ("nologin", "false", "sync")


def is_shared(own: int, accounts: Iterable[tuple[int, str]], running: Iterable[int]) -> bool:
    """Whether the host of a process of user `own` has other users: an account of a person with a login shell, or a
    process of one. `accounts` are user ids with their shells, `running` the user ids of processes. Root needs no
    outbound port."""
    people = {uid for uid, shell in accounts if Path(shell).name not in _NO_SHELLS}
    return any(uid >= _PEOPLE and uid not in (_NOBODY, own) for uid in people | set(running))


def host_is_shared() -> bool:
    """Whether this host has other users than the one who runs this process, and root."""
    return is_shared(os.geteuid(), ((one.pw_uid, one.pw_shell) for one in pwd.getpwall()), _running())


def _running() -> Iterator[int]:
    """The user ids of the processes that can be seen, where the system shows them as files."""
    with contextlib.suppress(OSError):
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    yield entry.stat().st_uid


class ProxySecret:
    """Files of one workload's directory, all 0600: the secret, the address with it, and its hash for Envoy. They are
    made with the application and go with it, so an agent that adopts both finds them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def url_file(self) -> Path:
        """Holds the proxy's address with the secret, for people."""
        return self._directory / _URL_FILE

    @property
    def exists(self) -> bool:
        """Whether a proxy of this directory was given one."""
        return (self._directory / _SECRET_FILE).exists()

    def make(self, port: int) -> str:
        """The address of the proxy with its secret, which is made if there is none."""
        path = self._directory / _SECRET_FILE
        if not path.exists():
            write_atomically(path, secrets.token_urlsafe(32))
        secret = path.read_text()
        digest = base64.b64encode(hashlib.sha1(secret.encode(), usedforsecurity=False).digest()).decode()
        write_atomically(self._directory / PROXY_USERS_FILE, f"{_USER}:{{SHA}}{digest}\n")
        url = f"http://{_USER}:{secret}@127.0.0.1:{port}"
        write_atomically(self.url_file, url + "\n")
        return url

    def remove(self) -> None:
        """Leave nothing behind."""
        for name in (_SECRET_FILE, _URL_FILE, PROXY_USERS_FILE):
            (self._directory / name).unlink(missing_ok=True)


def wants_secret(asked: ProxyAuth, directory: Path, *, running: bool) -> bool:
    """Whether a workload's proxy asks for its secret. ``auto``: where the host has other users; what is `running`
    already keeps what it has."""
    if asked != "auto":
        return asked == "on"
    return ProxySecret(directory).exists if running else host_is_shared()
