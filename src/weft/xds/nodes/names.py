"""Names within an Envoy that carries several workloads: each resource and statistic of a workload begins with a prefix
of the workload's own, and its files stand in the workload's own directory.

A prefix holds a character that no name of a workload can have, so none is the beginning of another.
"""

from __future__ import annotations

from dataclasses import dataclass

END = "~"
"""What separates the parts of a prefix, and stands in no name of a sidecar's."""


@dataclass(frozen=True, slots=True)
class CarriedName:
    """Whose things they are. `directory` is where the files of the workload stand, as seen from that of the node, in
    which Envoy is started: those of all workloads of a host lie side by side, by namespace and name."""

    name: str
    namespace: str

    @property
    def prefix(self) -> str:
        """What the workload's names begin with."""
        return f"{self.name}{END}{self.namespace}{END}"

    @property
    def directory(self) -> str:
        """Where its files stand, with a slash at the end."""
        return f"../../{self.namespace}/{self.name}/"


def carried_name(proxy: str) -> CarriedName:
    """That of the workload whose proxy has this name."""
    name, _, namespace = proxy.partition(".")
    return CarriedName(name, namespace)


def generation_mark(generation: str) -> str:
    """What the names of listeners end in that are in a network namespace: Envoy opens the file once, when the listener
    comes, and one that is there already under its name stays in the namespace that the file was then."""
    return f"|{generation}"
