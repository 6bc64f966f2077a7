"""Who else of this host may use the agent API: other users, each for the identities that it is given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from weft.model.identity import is_dns_label

_SYSTEM = "/system.slice/"


class LocalUserError(ValueError):
    """What cannot be read as ``UID=NAMESPACE/SERVICE-ACCOUNT[@UNIT]``."""


@dataclass(frozen=True, slots=True)
class LocalUser:
    """User `uid` may register workloads as this service account; with a `cgroup` only from a process in it or below."""

    uid: int
    namespace: str
    service_account: str
    cgroup: str = ""


def local_user_from_text(text: str) -> LocalUser:
    """``UID=NAMESPACE/SERVICE-ACCOUNT``, with ``@NAME.service`` for a unit of the system's systemd, or ``@/PATH`` for a
    control group. Raises LocalUserError."""
    who, _, what = text.partition("=")
    identity, at, unit = what.partition("@")
    namespace, _, account = identity.partition("/")
    if not who.isdecimal() or not who.isascii() or not is_dns_label(namespace) or not is_dns_label(account):
        raise LocalUserError(f"'{text}': expected UID=NAMESPACE/SERVICE-ACCOUNT[@UNIT], such as 1001=shop/cart")
    if at and not (unit.startswith("/") or (unit.endswith((".service", ".scope")) and "/" not in unit)):
        raise LocalUserError(f"'{text}': expected @NAME.service, a unit of systemd, or @/PATH, a control group")
    cgroup = unit if unit.startswith("/") or not unit else _SYSTEM + unit
    return LocalUser(int(who), namespace, account, cgroup.rstrip("/"))


def allowed(users: Iterable[LocalUser], uid: int, cgroup: str) -> tuple[tuple[str, str], ...]:
    """The identities (namespace, service account) that a process of `uid` in `cgroup` may have."""
    return tuple(
        (one.namespace, one.service_account)
        for one in users
        if one.uid == uid and (not one.cgroup or cgroup == one.cgroup or cgroup.startswith(one.cgroup + "/"))
    )


def cgroup_of(pid: int, root: Path = Path("/proc")) -> str:
    """The control group of a process (version 2), empty if that cannot be known: then it is in none that counts."""
    try:
        lines = (root / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return ""
    return next((line[3:] for line in lines if line.startswith("0::/")), "")
