"""The cluster that commands speak to: by which kubeconfig files, which of their contexts, and where weft is in it.

``weft --kubeconfig`` and its kin set the variables; commands and the processes that they start read them here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from weft.model.revisions import DEFAULT

if TYPE_CHECKING:
    from weft.sources.kubernetes.access import Access, Credentials

KUBECONFIG = "WEFT_KUBECONFIG"
CONTEXT = "WEFT_CONTEXT"
NAMESPACE = "WEFT_KUBE_NAMESPACE"
USUAL_NAMESPACE = "weft-system"
_KUBECTLS = "KUBECONFIG"
_USUAL_FILE = ".kube/config"


class ClusterError(Exception):
    """The cluster is not to be found, or cannot be asked; the message says why and what to do. `forbidden`: it knows
    who asks, and they may not."""

    def __init__(self, message: str, *, forbidden: bool = False) -> None:
        super().__init__(message)
        self.forbidden = forbidden


@dataclass(frozen=True, slots=True)
class Cluster:
    """See the module. Of several `files` the first that says something counts, as for kubectl; `context` empty: the
    current one; `namespace` is that of weft itself, and `revision` whose door is meant."""

    files: tuple[Path, ...]
    context: str = ""
    namespace: str = USUAL_NAMESPACE
    revision: str = DEFAULT

    def access(self) -> Access:
        """Where its API server is, and who we are there; runs the user's credential plugin. AccessError."""
        from weft.sources.kubernetes.kubeconfig import personal_access  # noqa: PLC0415

        return personal_access(self.files, self.context)

    def credentials(self) -> Credentials:
        """The same for a client (``ApiClient``), kept as long as it is good."""
        from weft.sources.kubernetes.access import Credentials  # noqa: PLC0415

        return Credentials(self.access)

    def names(self) -> tuple[str, str]:
        """The name of the context, and the namespace that it names ("": none). ClusterError."""
        from weft.sources.kubernetes.access import AccessError  # noqa: PLC0415
        from weft.sources.kubernetes.kubeconfig import context_of  # noqa: PLC0415

        try:
            return context_of(self.files, self.context)
        except AccessError as error:
            raise ClusterError(str(error)) from error

    def contexts(self) -> tuple[str, ...]:
        """The names of all contexts. ClusterError."""
        from weft.sources.kubernetes.access import AccessError  # noqa: PLC0415
        from weft.sources.kubernetes.kubeconfig import contexts_of  # noqa: PLC0415

        try:
            return contexts_of(self.files)
        except AccessError as error:
            raise ClusterError(str(error)) from error


def named_cluster(environment: Mapping[str, str] = os.environ) -> Cluster | None:
    """The cluster that was asked for; None: none was. ClusterError if there is no kubeconfig file."""
    given = (environment.get(KUBECONFIG, ""), environment.get(CONTEXT, ""), environment.get(NAMESPACE, ""))
    return wanted_cluster(environment) if any(given) else None


def wanted_cluster(environment: Mapping[str, str] = os.environ) -> Cluster:
    """The cluster that was asked for, else kubectl's. ClusterError if there is no kubeconfig file."""
    file, context, namespace = (environment.get(name, "") for name in (KUBECONFIG, CONTEXT, NAMESPACE))
    files = (Path(file).expanduser().absolute(),) if file else usual_files(environment)
    if not files:
        raise ClusterError(
            f"there is no kubeconfig file: neither {KUBECONFIG} nor {_KUBECTLS} names one, and ~/{_USUAL_FILE} is not "
            "there; give --kubeconfig FILE"
        )
    return Cluster(files, context, namespace or USUAL_NAMESPACE)


def usual_cluster(environment: Mapping[str, str] = os.environ) -> Cluster | None:
    """The current context of kubectl's files, if there are any."""
    files = usual_files(environment)
    return Cluster(files) if files else None


def usual_files(environment: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """The files that kubectl would read: those of ``KUBECONFIG`` that are there, else ``~/.kube/config``."""
    named = [Path(part).expanduser().absolute() for part in environment.get(_KUBECTLS, "").split(os.pathsep) if part]
    home = environment.get("HOME", "")
    usual = [Path(home) / _USUAL_FILE] if home and not named else []
    return tuple(path for path in (*named, *usual) if path.is_file())
