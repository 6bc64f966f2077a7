"""A file of services and instances, which some other program writes: YAML or JSON, read again when it changes.

It is believed when it has been the same for one look, so it may be written in place; replacing it is better.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from weft.model.labels import labels_from_mapping
from weft.schema.yaml_nodes import parse_documents, plain_value
from weft.sources.imports.blocking import sorted_instances
from weft.sources.imports.catalogue import Catalogue, ImportedService, ImportReadError, Instance, Publish, is_wanted
from weft.sources.imports.labels import account_said, labels_of, locality_said
from weft.sources.imports.settings import ImportSettings

MOST_BYTES = 8 * 1024 * 1024
_LOOK_SECONDS = 0.2
_Signature = tuple[int, int, int]


class _Instance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    address: str
    port: int
    id: str = ""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    locality: str = ""
    weight: int = 1
    service_account: str = msgspec.field(default="", name="serviceAccount")


class _Service(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    instances: list[_Instance] = msgspec.field(default_factory=list)
    port: int = 0
    protocol: str = ""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    services: list[_Service]


class FileRegistry:
    """Follows one file."""

    def __init__(self, settings: ImportSettings, look: float = _LOOK_SECONDS) -> None:
        self._settings = settings
        self._path = Path(settings.address)
        self._look = look

    async def follow(self, publish: Publish) -> None:
        """See `Registry`."""
        seen: _Signature | None = None
        read: _Signature | None = None
        while True:
            now = await asyncio.to_thread(self._signature)
            if now != read and (now == seen or read is None):
                publish(await asyncio.to_thread(self._read))
                read = now
            seen = now
            await asyncio.sleep(self._look)

    def _signature(self) -> _Signature:
        try:
            status = self._path.stat()
        except OSError as error:
            raise ImportReadError(f"{self._path}: {error.strerror}") from error
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _read(self) -> Catalogue:
        try:
            with self._path.open("rb") as file:
                data = file.read(MOST_BYTES + 1)
            text = data.decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise ImportReadError(f"{self._path} cannot be read: {error}") from error
        if len(data) > MOST_BYTES:
            raise ImportReadError(f"{self._path} is larger than {MOST_BYTES >> 20} MiB")
        return catalogue_from_text(text, self._settings, str(self._path))


def catalogue_from_text(text: str, settings: ImportSettings, source: str) -> Catalogue:
    """The services of a file. ImportReadError names the line or the field."""
    parsed = list(parse_documents(text, source))
    problems = [problem for each in parsed for problem in each.problems]
    if problems:
        raise ImportReadError(str(problems[0]))
    roots = [each.root for each in parsed if each.root is not None]
    if len(roots) != 1:
        raise ImportReadError(f"{source} holds {len(roots)} documents; expected one with 'services'")
    value: Any = plain_value(roots[0])
    try:
        file = msgspec.convert(value, _File)
    except msgspec.ValidationError as error:
        raise ImportReadError(f"{source}: {error}") from error
    found = [_service(each, source) for each in file.services if is_wanted(each.name, settings.services)]
    if len({each.name for each in found}) != len(found):
        raise ImportReadError(f"{source}: a service is there twice")
    return tuple(sorted(found, key=lambda each: each.name))


def _service(service: _Service, source: str) -> ImportedService:
    instances = [_instance(each, service.name, source) for each in service.instances]
    return ImportedService(service.name, sorted_instances(instances, service.name), service.port, service.protocol)


def _instance(one: _Instance, service: str, source: str) -> Instance:
    where = f"{source}: service '{service}', {one.address}:{one.port}"
    labels = labels_from_mapping(one.labels)
    if labels_of((), one.labels) != labels:
        raise ImportReadError(f"{where}: its labels are no labels, or mean something to the mesh (app, weft.dev/)")
    if not 0 < one.port < 65536 or not 0 < one.weight <= 128:
        raise ImportReadError(f"{where}: expected a port of 1 to 65535 and a weight of 1 to 128")
    locality, account = locality_said({"weft-locality": one.locality}), one.service_account
    if locality != one.locality or account_said({"weft-service-account": account}) != account:
        raise ImportReadError(f"{where}: its locality or serviceAccount cannot be read")
    return Instance(one.id or f"{one.address}:{one.port}", one.address, one.port, labels, locality, one.weight, account)
