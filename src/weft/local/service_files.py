"""Writing and removing the files of services, and telling systemd of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from weft.local.services import (
    PACKAGED,
    SYSTEM,
    WRITTEN,
    Files,
    Service,
    host_file,
    options_text,
    token_drop_in,
    unit_text,
)
from weft.settings.private import write_atomically

_USERS = ("weft", "weft-proxy")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is written (path, text, mode), what is removed, and which commands follow."""

    write: tuple[tuple[Path, str, int], ...] = ()
    remove: tuple[Path, ...] = ()
    commands: tuple[tuple[str, ...], ...] = ()


def enabling(
    service: Service,
    weft: str,
    options: tuple[str, ...],
    token: str,
    root: Path | None,
    *,
    start: bool,
    tokens: Path | None = None,
) -> Plan:
    """What makes `service` run, which gets a `token`, or all that are in a directory `tokens`. With a `root` only files
    below that are written. ServiceError for words that cannot be options."""
    files = _files(service, root)
    text = unit_text(service.kind, weft, own=service.own)
    write = [(files.settings / f"{service.stem}.env", options_text(options), 0o644)]
    packaged = (root or Path("/")) / PACKAGED.relative_to("/") / service.unit_file
    if service.own or not packaged.exists():
        write.append((files.units / service.unit_file, WRITTEN + text, 0o644))
    if tokens is not None:
        write.append((_drop_in(files, service), token_drop_in(tokens.absolute()), 0o644))
    if token:
        secret = files.settings / f"{service.stem}.token"
        inside = secret if root is None else Path("/") / secret.relative_to(root)
        write += [(secret, f"{token}\n", 0o600), (_drop_in(files, service), token_drop_in(inside), 0o644)]
    commands: list[tuple[str, ...]] = []
    if root is None:
        commands += () if service.own else [_new_user(user) for user in _USERS if _uid(user) is None]
        commands += [_systemctl(service, "daemon-reload")]
        commands += [_systemctl(service, "enable", service.unit)]
        commands += [_systemctl(service, "restart", service.unit)] if start else []
    return Plan(tuple(write), commands=tuple(commands))


def disabling(service: Service, root: Path | None) -> Plan:
    """What ends `service` and removes what `enabling` has written of it. Its state stays."""
    files = _files(service, root)
    remove = [files.settings / f"{service.stem}.{suffix}" for suffix in ("env", "token")]
    drop_in = _drop_in(files, service)
    remove += [drop_in, drop_in.parent]
    others = [path for path in files.settings.glob(f"{service.kind}-*.env") if path != remove[0]]
    unit = files.units / service.unit_file
    if not others and _is_ours(unit):
        remove.append(unit)
    commands = () if root is not None else (_systemctl(service, "disable", "--now", service.unit),)
    return Plan(remove=tuple(path for path in remove if path.exists()), commands=commands)


def carry_out(plan: Plan) -> None:
    """Write, remove, and run the commands where a systemd runs. OSError when something cannot be written,
    CalledProcessError when a command fails. Blocks."""
    before = [command for command in plan.commands if "disable" in command]
    for command in before:
        subprocess.run(command, check=True)
    for path, text, mode in plan.write:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        write_atomically(path, text, mode)
    for path in sorted(plan.remove, key=Path.is_dir):
        if path.is_dir():
            with contextlib.suppress(OSError):  # what somebody else has written there stays
                path.rmdir()
        else:
            path.unlink()
    for command in plan.commands:
        if command not in before:
            subprocess.run(command, check=True)
    if before:
        subprocess.run([*before[0][: before[0].index("disable")], "daemon-reload"], check=True)


def systemd_runs(*, own: bool) -> bool:
    """Whether there is a systemd to tell of it (sd_booted(3)), that of this user if it is its `own`."""
    if not own:
        return Path("/run/systemd/system").is_dir()
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    return bool(runtime) and (Path(runtime) / "systemd").is_dir()


def _files(service: Service, root: Path | None) -> Files:
    base = root or Path("/")
    if not service.own:
        return Files(*(base / path.relative_to("/") for path in (SYSTEM.units, SYSTEM.settings)))
    configuration = root or Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Files(configuration / "systemd" / "user", configuration / "weft")


def _drop_in(files: Files, service: Service) -> Path:
    return files.units / f"{service.unit}.d" / "50-weft-token.conf"


def _is_ours(path: Path) -> bool:
    try:
        return path.read_text().startswith(WRITTEN)
    except OSError:
        return False


def _systemctl(service: Service, *words: str) -> tuple[str, ...]:
    return ("systemctl", *(("--user",) if service.own else ()), *words)


def host_file_of(service: Service) -> Path:
    """Where the workloads of a host stand, for the service of it."""
    return host_file(_files(service, None))


def proxy_uid() -> int | None:
    """The user that gateways and proxies of this host are; None if there is none yet."""
    return _uid("weft-proxy")


def _uid(name: str) -> int | None:
    import pwd  # noqa: PLC0415 - there is none on every system

    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def _new_user(name: str) -> tuple[str, ...]:
    shell = shutil.which("nologin", path="/usr/sbin:/sbin") or "/usr/sbin/nologin"
    return ("useradd", "--system", "--user-group", "--home-dir", "/nonexistent", "--shell", shell, name)
