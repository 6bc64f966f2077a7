"""What the plugin asks the agent of its node, and what it is answered: JSON, one of each on a connection.

The plugin is tools/cni/plugin; codes are those of https://www.cni.dev/docs/spec/#error.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

CAPABILITY = "io.kubernetes.cri.pod-annotations"
"""What a plugin declares to be told a pod's annotations, by containerd and CRI-O alike."""
ADD, CHECK, DEL, READY = "ADD", "CHECK", "DEL", "READY"
UNKNOWN, CONTENT, AGAIN, NOT_READY, REFUSED = 4, 6, 11, 50, 100


class RuntimeConfig(msgspec.Struct, frozen=True):
    """What a runtime adds to the configuration, of that which the plugin has declared."""

    annotations: Mapping[str, str] | None = msgspec.field(default=None, name=CAPABILITY)


class Configuration(msgspec.Struct, frozen=True, rename={"runtime": "runtimeConfig"}):
    """Of a plugin's configuration, what is read."""

    runtime: RuntimeConfig = RuntimeConfig()


class Request(msgspec.Struct, frozen=True):
    """`command` is that of the specification, or ``READY``; `namespace` the path of the pod's network namespace, on the
    node; `arguments` are ``CNI_ARGS``."""

    command: str
    container: str = ""
    namespace: str = ""
    arguments: str = ""
    configuration: Configuration = Configuration()

    @property
    def pod(self) -> str:
        """``NAMESPACE/NAME``; the container's number if the runtime does not say."""
        return pod_of(dict(each.split("=", 1) for each in self.arguments.split(";") if "=" in each), self.container)


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """With a `code` of 0 it is done."""

    code: int = 0
    msg: str = ""
    details: str = ""


def pod_of(arguments: Mapping[str, str], container: str) -> str:
    """How a pod is called in messages."""
    namespace, name = arguments.get("K8S_POD_NAMESPACE", ""), arguments.get("K8S_POD_NAME", "")
    return f"{namespace}/{name}" if namespace and name else f"container {container[:12]}"
