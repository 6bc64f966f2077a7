"""Who is attached to the pods' network of a node, as the runtime has noted it: the files that libcni keeps.

containerd and CRI-O both call plugins by libcni, which writes one file for each attachment when all plugins have done
their work, and removes it with the attachment. It holds what a plugin would have been told.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from weft.agent.cni.requests import RuntimeConfig, pod_of

_LARGEST = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Attachment:
    """A pod's: its `container` of the runtime, the path of its network `namespace` on the node, its annotations, and
    the configuration by which it was attached."""

    container: str
    namespace: str
    pod: str
    annotations: Mapping[str, str]
    configuration: bytes


class _Interface(msgspec.Struct):
    sandbox: str = ""


class _Result(msgspec.Struct):
    interfaces: list[_Interface] = []


class _Record(msgspec.Struct, rename="camel"):
    container_id: str
    config: str = ""
    netns: str = ""
    cni_args: list[tuple[str, str]] = []
    capability_args: RuntimeConfig | None = None
    result: _Result | None = None


class Records:
    """The files in `directory`, each read once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read: dict[str, Attachment | None] = {}

    def attachments(self) -> tuple[Attachment, ...]:
        """Those of now of which the namespace is known, one for each container. OSError if they cannot be listed; where
        there is no directory, nothing is attached. Blocks for a moment."""
        try:
            names = sorted(each.name for each in self._directory.iterdir())
        except FileNotFoundError:
            names = []
        self._read = {name: self._read[name] if name in self._read else self._attachment(name) for name in names}
        found = {each.container: each for each in self._read.values() if each is not None}
        return tuple(found.values())

    def _attachment(self, name: str) -> Attachment | None:
        try:
            with (self._directory / name).open("rb") as file:
                return attachment_from_record(file.read(_LARGEST))
        except OSError:
            return None


def attachment_from_record(content: bytes) -> Attachment | None:
    """What a file tells of a pod; None if it is no record, or of something else."""
    try:
        record = msgspec.json.decode(content, type=_Record)
    except msgspec.MsgspecError:
        return None
    annotations = record.capability_args.annotations if record.capability_args is not None else None
    namespace = record.netns or next(_sandboxes(record), "")
    if annotations is None or not namespace:
        return None
    configuration = b""
    with contextlib.suppress(ValueError):
        configuration = base64.b64decode(record.config)
    pod = pod_of(dict(record.cni_args), record.container_id)
    return Attachment(record.container_id, namespace, pod, annotations, configuration)


def _sandboxes(record: _Record) -> Iterator[str]:
    for each in record.result.interfaces if record.result is not None else ():
        if each.sandbox:
            yield each.sandbox
