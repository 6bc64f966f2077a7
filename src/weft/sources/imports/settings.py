"""Which registries are imported: what ``weft serve --import`` and the files of ``--imports`` say, checked."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from weft.aio.fetch import FetchError, Network, split_url
from weft.model.addresses import is_loopback
from weft.schema.wording import nearest_name

KINDS = ("consul", "nomad", "dns", "file")
PROTOCOLS = ("http", "http2", "grpc", "tcp", "tls", "https")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
_SRV = re.compile(r"_[A-Za-z0-9-]{1,62}\._[A-Za-z0-9-]{1,62}(\._?[A-Za-z0-9-]{1,62})+\.?")
"""RFC 2782. A name without the underscores is another, which seldom has such records: a service without instances."""
_SHORTEST_POLL, _LONGEST_POLL = 0.1, 3600.0
_MOST_FILE_BYTES = 1 << 20


class ImportSettingsError(ValueError):
    """What was given is no import; the message names the place, what was found and what was expected."""


@dataclass(frozen=True, slots=True)
class Called:
    """By which port and protocol callers name a service (0 and empty: not said)."""

    port: int = 0
    protocol: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportSettings:
    """One import.

    `kind` is one of KINDS, `name` its own name, and the `namespace` of what it brings if nothing else is said.
    `address` is a URL (consul, nomad), a path (file), or names of SRV records, with commas (dns). `services` are
    patterns of what is imported (none: all), `tags` what each instance has to have. `called` says for services by name
    how they are called, `usual` for all others. `networks` are the only ones in which instances are believed
    (none: everywhere but on loopback and link-local addresses). `poll` is how often is asked where a registry cannot
    tell of changes. `group` is the WorkloadGroup of the namespace as whose probe says instances are asked for health.
    """

    kind: str
    address: str
    name: str
    namespace: str
    services: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    datacenter: str = ""
    registry_namespace: str = ""
    stale: bool = True
    token_file: Path | None = None
    ca_file: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server: str = ""
    usual: Called = Called(80, "http")
    called: Mapping[str, Called] = field(default_factory=dict)
    networks: tuple[Network, ...] = ()
    poll: float = 10.0
    group: str = ""

    @property
    def title(self) -> str:
        """What people are told."""
        return f"import {self.name}"


_OPTIONS = {
    "address", "name", "namespace", "services", "tags", "datacenter", "registry_namespace", "stale", "token_file",
    "ca_file", "certificate", "key", "server", "port", "protocol", "called", "networks", "poll", "group",
}  # fmt: skip
_ONLY = {
    "tags": ("consul", "nomad"),
    "datacenter": ("consul", "nomad"),
    "registry_namespace": ("consul", "nomad"),
    "stale": ("consul", "nomad"),
    "token_file": ("consul", "nomad"),
    "ca_file": ("consul", "nomad"),
    "certificate": ("consul", "nomad"),
    "key": ("consul", "nomad"),
    "server": ("dns",),
}
_LISTS = ("services", "tags", "networks")


def import_from_text(text: str, directory: Path) -> ImportSettings:
    """``KIND=ADDRESS[?OPTION=VALUE&...]``; relative paths are below `directory`."""
    kind, equals, where = text.partition("=")
    if not equals or not where:
        raise ImportSettingsError(f"'{text}' is not KIND=ADDRESS, for example consul=https://consul.example:8501")
    address, _, query = where.partition("?")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=64)
    except ValueError as error:
        raise ImportSettingsError(f"'{query}' is not OPTION=VALUE&OPTION=VALUE") from error
    values: dict[str, Any] = {"address": address}
    for name, value in pairs:
        if name in values and name not in _LISTS:
            raise ImportSettingsError(f"'{name}' is given twice")
        if name in _LISTS:
            values[name] = [*values.get(name, []), *value.split(",")]
        else:
            values[name] = _typed(name, value)
    return _settings(kind, values, directory, "")


def imports_from_file(path: Path) -> tuple[ImportSettings, ...]:
    """The tables ``[[import]]`` of a TOML file; relative paths are below its directory."""
    try:
        if path.stat().st_size > _MOST_FILE_BYTES:
            raise ImportSettingsError(f"{path} is larger than 1 MiB")
        found = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ImportSettingsError(f"{path} cannot be read: {error}") from error
    tables = found.pop("import", [])
    if found:
        raise ImportSettingsError(f"{path}: '{next(iter(found))}' is not known; expected tables [[import]]")
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise ImportSettingsError(f"{path}: expected tables [[import]]")
    made = []
    for number, table in enumerate(tables, 1):
        kind = table.pop("kind", None)
        if not isinstance(kind, str):
            raise ImportSettingsError(f"{path}: import {number} has no kind; one of {', '.join(KINDS)}")
        made.append(_settings(kind, table, path.absolute().parent, f"{path}: import {number}: "))
    return tuple(made)


def check_names(imports: Iterable[ImportSettings]) -> tuple[ImportSettings, ...]:
    """`imports`; ImportSettingsError if two have one name."""
    found: dict[str, ImportSettings] = {}
    for each in imports:
        if found.setdefault(each.name, each) is not each:
            raise ImportSettingsError(f"two imports are called '{each.name}'; give one another name=")
    return tuple(found.values())


def _typed(name: str, value: str) -> Any:
    if name == "stale" and value in ("true", "false"):
        return value == "true"
    if name in ("port", "poll"):
        try:
            return float(value) if name == "poll" else int(value)
        except ValueError:
            return value
    return value


def _settings(kind: str, values: dict[str, Any], directory: Path, where: str) -> ImportSettings:
    def fail(text: str) -> ImportSettingsError:
        return ImportSettingsError(f"{where}{text}")

    if kind not in KINDS:
        near = nearest_name(kind, KINDS)
        raise fail(f"there is no kind '{kind}'" + (f"; did you mean '{near}'?" if near else f": {', '.join(KINDS)}"))
    for name in values:
        if name not in _OPTIONS:
            near = nearest_name(name, _OPTIONS)
            raise fail(f"there is no option '{name}'" + (f"; did you mean '{near}'?" if near else ""))
        if kind not in _ONLY.get(name, KINDS):
            raise fail(f"'{name}' means nothing for {kind}")
    read = _Values(values, fail)
    name = read.text("name") or kind
    address = read.text("address")
    made = ImportSettings(
        kind=kind,
        address=address,
        name=_checked(name, fail, "name"),
        namespace=_checked(read.text("namespace") or name, fail, "namespace"),
        services=read.texts("services"),
        tags=read.texts("tags"),
        datacenter=read.text("datacenter"),
        registry_namespace=read.text("registry_namespace"),
        stale=read.flag("stale", usual=True),
        server=read.text("server"),
        usual=read.called(values, Called(80, "http")),
        called=read.table(),
        networks=read.networks(),
        poll=read.poll(),
        group=_checked(read.text("group"), fail, "group") if read.text("group") else "",
        **{option: read.path(option, directory) for option in ("token_file", "ca_file", "certificate", "key")},
    )
    if (made.certificate is None) != (made.key is None):
        raise fail("certificate and key go together")
    return _placed(made, directory, fail)


def _placed(made: ImportSettings, directory: Path, fail: Any) -> ImportSettings:
    """With an address that can be asked."""
    if not made.address:
        raise fail("address is missing")
    if made.kind == "file":
        return replace(made, address=str(directory / made.address))
    if made.kind == "dns":
        for name in made.address.split(","):
            if not _SRV.fullmatch(name) or len(name) > 253:
                raise fail(
                    f"'{name}' is no name of SRV records: expected _service._proto.name, such as _http._tcp.web.example"
                )
        return made
    try:
        parts = split_url(made.address)
    except FetchError as error:
        raise fail(f"address '{made.address}': {error}") from error
    host = parts.hostname or ""
    if parts.scheme == "http" and host != "localhost" and not is_loopback(host):
        raise fail(f"address '{made.address}': http is for loopback only; expected https://")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise fail(f"address '{made.address}' has a path; expected https://HOST:PORT")
    return replace(made, address=f"{parts.scheme}://{urlsplit(made.address).netloc}")


def _checked(name: str, fail: Any, what: str) -> str:
    if not _NAME.fullmatch(name):
        raise fail(f"{what} '{name}' has to be of lower-case letters, digits and hyphens, 40 at most")
    return name


class _Values:
    """Reads options by their types; `fail` makes the error."""

    def __init__(self, values: Mapping[str, Any], fail: Any) -> None:
        self._values = values
        self._fail = fail

    def text(self, name: str) -> str:
        value = self._values.get(name, "")
        if not isinstance(value, str) or not value.isprintable():
            raise self._fail(f"{name} has to be text")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._values.get(name, [])
        if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
            raise self._fail(f"{name} has to be a list of texts")
        return tuple(value)

    def flag(self, name: str, *, usual: bool) -> bool:
        value = self._values.get(name, usual)
        if not isinstance(value, bool):
            raise self._fail(f"{name} has to be true or false")
        return value

    def poll(self) -> float:
        value = self._values.get("poll", 10.0)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not _SHORTEST_POLL <= value <= _LONGEST_POLL
        ):
            raise self._fail(f"poll '{value}' has to be seconds, {_SHORTEST_POLL:g} to {_LONGEST_POLL:g}")
        return float(value)

    def path(self, name: str, directory: Path) -> Path | None:
        value = self.text(name)
        return directory / value if value else None

    def networks(self) -> tuple[Network, ...]:
        try:
            return tuple(ipaddress.ip_network(each) for each in self.texts("networks"))
        except ValueError as error:
            raise self._fail(f"networks: {error}; expected such as 10.0.0.0/8") from error

    def table(self) -> dict[str, Called]:
        value = self._values.get("called", {})
        if not isinstance(value, dict):
            raise self._fail(
                "called has to be a table of services, such as called.db = {port = 5432, protocol = 'tcp'}"
            )
        made = {}
        for name, one in value.items():
            if not isinstance(one, dict) or not set(one) <= {"port", "protocol"}:
                raise self._fail(f"called.{name} has to be a table of port and protocol")
            made[name] = self.called(one, Called())
        return made

    def called(self, values: Mapping[str, Any], usual: Called) -> Called:
        port, protocol = values.get("port", usual.port), values.get("protocol", usual.protocol)
        if isinstance(port, bool) or not isinstance(port, int) or not (0 < port < 65536 or port == usual.port):
            raise self._fail(f"port '{port}' has to be 1 to 65535")
        if protocol not in PROTOCOLS and protocol != usual.protocol:
            raise self._fail(f"protocol '{protocol}' has to be one of {', '.join(PROTOCOLS)}")
        return Called(port, protocol)
