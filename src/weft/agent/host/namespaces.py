"""The network namespaces in which workloads of a host live: which one stands under each path now, and who waits."""

from __future__ import annotations

import dataclasses
import logging

from weft.agent.parameters import NamespaceParameters, RunParameters
from weft.agent.state import Waiting
from weft.processes.namespaces import NamespaceError, check_loopback, namespace_at

_LOG = logging.getLogger(__name__)
Key = tuple[str, str]


class Namespaces:
    """`placed` looks, and says in the log what is wrong when that is news. `waiting` are those whose namespace could
    not be used when it looked last."""

    def __init__(self) -> None:
        self.waiting: tuple[Waiting, ...] = ()
        self._usable: dict[str, str] = {}

    def placed(self, wanted: tuple[RunParameters, ...]) -> tuple[RunParameters, ...]:
        """The same, each with the namespace that is there now. Blocks for a moment."""
        if not any(each.network_namespace for each in wanted):
            self.waiting = ()
            return wanted
        before = {(each.namespace, each.name): each.why for each in self.waiting}
        found, waiting = [], []
        for each in wanted:
            where = each.network_namespace
            if where is not None:
                generation, why = self._look(where.path)
                where = dataclasses.replace(where, generation=generation)
                if why:
                    waiting.append(Waiting(each.namespace, each.name, why))
                _say((each.namespace, each.name), where, why, before)
            found.append(dataclasses.replace(each, network_namespace=where))
        self.waiting = tuple(waiting)
        return tuple(found)

    def _look(self, path: str) -> tuple[str, str]:
        """Which namespace is there, or why it cannot be used."""
        try:
            generation = namespace_at(path)
            if self._usable.get(path) != generation:
                check_loopback(path)
                self._usable[path] = generation
        except NamespaceError as error:
            self._usable.pop(path, None)
            return "", f"{path} {error}"
        return generation, ""


def _say(key: Key, where: NamespaceParameters, why: str, before: dict[Key, str]) -> None:
    name = key[1]
    if why and why != before.get(key):
        _LOG.warning("%s: %s: %s; it waits, and the others go on", name, where.place or "networkNamespace", why)
    elif not why and key in before:
        _LOG.info("%s: %s can be used", name, where.path)
