"""The documents of a catalogue: a Service for each service, and a WorkloadEntry for each instance that it selects."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from weft.model.document import Document, ObjectKey
from weft.model.origin import FieldLines
from weft.schema.annotations import GROUP
from weft.schema.decode import canonical_json, decode_stored
from weft.sources.imports.catalogue import MOST_INSTANCES, Catalogue, ImportedService, Instance
from weft.sources.imports.networks import address_refusal
from weft.sources.imports.settings import Called, ImportSettings

IMPORT_LABEL = "weft.dev/import"
"""Its value is the name of the import that an object comes from."""
_MESHED = "security.istio.io/tlsMode"


@dataclass(frozen=True, slots=True)
class ImportedDocuments:
    """`documents` by key, and what was left out and why; `instances` is how many there are."""

    documents: tuple[Document[object], ...] = ()
    left_out: tuple[str, ...] = ()
    instances: int = 0


@dataclass(slots=True)
class DocumentBuilder:
    """Makes documents, and the same object again for what has not changed."""

    settings: ImportSettings
    _made: Mapping[str, Document[object]] = field(default_factory=dict)

    def build(self, catalogue: Catalogue) -> ImportedDocuments:
        """The documents of a catalogue. Pure but for what is kept of the last call."""
        left_out: list[str] = []
        made: dict[str, Document[object]] = {}
        keys: dict[ObjectKey, str] = {}
        count = 0
        for service in catalogue:
            name = object_name(service.name)
            if not name:
                left_out.append(f"service '{service.name[:80]}' has a name that no Service can have")
                continue
            for text in self._texts(service, name, left_out, MOST_INSTANCES - count):
                count += "WorkloadEntry" in text
                document, why = (self._made[text], "") if text in self._made else _decoded(text, self.settings)
                if document is None:
                    left_out.append(f"service '{service.name[:80]}' or an instance of it is no document: {why}")
                elif keys.setdefault(document.key, text) is not text:
                    left_out.append(f"service '{service.name[:80]}' has the name of another one here: {name}")
                    break
                else:
                    made[text] = document
        self._made = made
        ordered = sorted(made.values(), key=lambda document: document.key)
        return ImportedDocuments(tuple(ordered), tuple(left_out), count)

    def _texts(self, service: ImportedService, name: str, left_out: list[str], room: int) -> Iterator[str]:
        yield canonical_json(self._service(service, name))
        for instance in service.instances:
            refusal = address_refusal(instance.address, self.settings.networks)
            if not 0 < instance.port < 65536:
                refusal = f"has port {instance.port}"
            if refusal:
                left_out.append(
                    f"instance '{instance.id[:80]}' of '{service.name[:80]}': {instance.address[:60]} {refusal}"
                )
            elif room <= 0:
                left_out.append(
                    f"there are more than {MOST_INSTANCES} instances; from '{service.name[:80]}' on they are left out"
                )
                return
            else:
                room -= 1
                yield canonical_json(self._entry(service, name, instance))

    def _service(self, service: ImportedService, name: str) -> dict[str, Any]:
        settings = self.settings
        said, registry = settings.called.get(service.name, Called()), Called(service.port, service.protocol)
        port = said.port or registry.port or settings.usual.port
        protocol = said.protocol or registry.protocol or settings.usual.protocol
        only = {"name": protocol, "port": port, "targetPort": protocol}
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": settings.namespace, "labels": {IMPORT_LABEL: settings.name}},
            "spec": {"selector": {"app": name}, "ports": [only]},
        }

    def _entry(self, service: ImportedService, name: str, instance: Instance) -> dict[str, Any]:
        settings = self.settings
        digest = hashlib.sha256(f"{settings.name}\n{service.name}\n{instance.id}".encode()).hexdigest()[:10]
        said = settings.called.get(service.name, Called()).protocol or service.protocol or settings.usual.protocol
        labels = {**dict(instance.labels), "app": name, IMPORT_LABEL: settings.name}
        spec: dict[str, Any] = {"address": instance.address, "ports": {said: instance.port}, "labels": labels}
        if instance.account:
            labels[_MESHED] = "istio"
            spec["serviceAccount"] = instance.account
        if instance.locality:
            spec["locality"] = instance.locality
        if instance.weight != 1:
            spec["weight"] = instance.weight
        return {
            "apiVersion": "networking.istio.io/v1",
            "kind": "WorkloadEntry",
            "metadata": {
                "name": f"{name[:52]}-{digest}",
                "namespace": settings.namespace,
                "labels": {IMPORT_LABEL: settings.name},
                "annotations": {
                    "instance.weft.dev/id": instance.id[:200],
                    **({GROUP: settings.group} if settings.group else {}),
                },
            },
            "spec": spec,
        }


def object_name(name: str) -> str:
    """A service's name as an object may have it; empty if nothing of it is left."""
    found = re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")[:63].strip("-")
    return f"s-{found}"[:63] if found and not found[0].isalpha() else found


def _decoded(text: str, settings: ImportSettings) -> tuple[Document[object] | None, str]:
    """A document, or why it is none."""
    decoded = decode_stored(text, FieldLines(settings.title), default_namespace=settings.namespace)
    if len(decoded.documents) == 1 and not decoded.failed:
        return decoded.documents[0], ""
    return None, "; ".join(problem.message for problem in decoded.problems[:1])
