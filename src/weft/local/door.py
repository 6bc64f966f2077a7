"""The door to a control plane in a cluster: a tunnel to one of its pods, and TLS in it.

Where it is and by which roots it proves itself is read from the API server, whom the kubeconfig file says how to know.
Only who has proven itself by these roots is shown the user's token or certificate.
"""

from __future__ import annotations

import asyncio
import functools
import http.client
import random
import ssl
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec

from weft.local.cluster import Cluster, ClusterError
from weft.local.tunnel import Tunnel
from weft.model.door import NAME, PODS, PORT, ROOTS, door_name
from weft.sources.kubernetes.access import Access, AccessError, Credentials, Shown, load_pair
from weft.sources.kubernetes.client import ApiClient, ApiError

_LOOK_SECONDS = 20.0
_FORBIDDEN, _NOT_FOUND = 403, 404


class _Metadata(msgspec.Struct, rename="camel"):
    name: str = ""
    deletion_timestamp: str | None = None


class _Condition(msgspec.Struct):
    type: str = ""
    status: str = ""


class _Status(msgspec.Struct):
    conditions: tuple[_Condition, ...] | None = None


class _Pod(msgspec.Struct):
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)
    status: _Status = msgspec.field(default_factory=_Status)

    @property
    def ready(self) -> bool:
        ready = any(one.type == "Ready" and one.status == "True" for one in self.status.conditions or ())
        return ready and self.metadata.deletion_timestamp is None


class _Pods(msgspec.Struct):
    items: tuple[_Pod, ...] = ()


class _ConfigMap(msgspec.Struct):
    data: dict[str, str] = {}


ShapeT = TypeVar("ShapeT")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the control plane is: one of its ready pods, the same as long as it is there, since sessions of browsers
    are its own; and what the ConfigMap says."""

    pod: str
    ready: tuple[str, ...]
    roots: str
    name: str
    port: int


class Door:
    """The control plane in one cluster, for the commands of one process."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._credentials = Credentials(self._read)
        self._access: Access | None = None
        self._place: _Place | None = None
        self._config_map = door_name(cluster.revision)

    @property
    def title(self) -> str:
        """What people call it."""
        context = self._access.name if self._access is not None else self._cluster.context or "the current context"
        return f"weft in namespace {self._cluster.namespace} of the cluster '{context}'"

    def look(self, patience: float = _LOOK_SECONDS) -> None:
        """Find it, if it was not found yet. ClusterError."""
        if self._place is None:
            self._place = self._find(self._shown(), patience)

    def pods(self) -> tuple[str, ...]:
        """The names of its pods that are ready. ClusterError."""
        return self._place_now().ready

    def connection(self, timeout: float) -> http.client.HTTPConnection:
        """A connection to the admin API, by a tunnel of its own. ClusterError, OSError."""
        self.look(min(timeout, _LOOK_SECONDS))
        return _Connection(self._place_now().name, self._place_now().port, self._secured(timeout, shows=True), timeout)

    def unproven(self, timeout: float) -> ssl.SSLSocket:
        """The same without HTTP, for strangers: the user's certificate is not shown. ClusterError, OSError."""
        return self._secured(timeout, shows=False)

    def _secured(self, timeout: float, *, shows: bool) -> ssl.SSLSocket:
        tunnel = self.tunnel()
        place = self._place_now()
        tunnel.near.settimeout(timeout)
        try:
            return self._context(place, shows=shows).wrap_socket(tunnel.near, server_hostname=place.name)
        except (OSError, ssl.SSLError) as error:
            tunnel.near.close()
            if isinstance(error, ssl.SSLCertVerificationError):
                text = f"{self.title} is not who the cluster says: its certificate is not by the roots of"
                raise ClusterError(
                    f"{text} {self._config_map} ({error.verify_message}); nothing was sent to it"
                ) from error
            raise ClusterError(f"{self.title} does not answer: {tunnel.failure or error}") from error

    def tunnel(self) -> Tunnel:
        """A tunnel to one of its pods. Where that one has gone it is looked for once more. ClusterError."""
        self.look()
        for again in (False, True):
            place, shown = self._place_now(), self._shown()
            try:
                return Tunnel(shown, f"/api/v1/namespaces/{self._cluster.namespace}/pods/{place.pod}", place.port)
            except ClusterError as error:
                self._place = None
                if again or error.forbidden:
                    raise ClusterError(f"{self.title}: {error}") from error
                self._credentials.forget()
                self.look()
        raise AssertionError

    def credentials(self) -> dict[str, str]:
        """The header that proves who the user is; none where a certificate does. ClusterError."""
        return dict(self._shown().headers)

    def _place_now(self) -> _Place:
        self.look()
        assert self._place is not None  # noqa: S101 - it was found
        return self._place

    def _read(self) -> Access:
        self._access = self._cluster.access()
        return self._access

    def _shown(self) -> Shown:
        try:
            return self._credentials.current()
        except AccessError as error:
            raise ClusterError(str(error)) from error

    def _context(self, place: _Place, *, shows: bool) -> ssl.SSLContext:
        """Trusts the roots of the mesh, and `shows` the user's certificate to who has proven itself."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        try:
            context.load_verify_locations(cadata=place.roots)
            if shows and self._access is not None and self._access.certificate.there:
                load_pair(context, self._access.certificate.read(), self._access.key.read())
        except (OSError, ssl.SSLError) as error:
            raise ClusterError(f"{self.title}: a certificate cannot be read: {error}") from error
        return context

    def _find(self, shown: Shown, patience: float) -> _Place:
        namespace = self._cluster.namespace
        home = f"/api/v1/namespaces/{namespace}"
        try:
            told, pods = asyncio.run(
                _read_place(self._credentials, f"{home}/configmaps/{self._config_map}", f"{home}/pods", patience)
            )
        except TimeoutError as error:
            raise ClusterError(f"the API server at {shown.server} does not answer within {patience:g} s") from error
        except ApiError as error:
            raise ClusterError(self._refused(error, shown)) from error
        missing = [name for name in (PODS, ROOTS, NAME, PORT) if not told.data.get(name)]
        if missing or not told.data[PORT].isdecimal():
            text = f"the ConfigMap {namespace}/{self._config_map} does not say {' and '.join(missing) or 'a port'} yet"
            raise ClusterError(f"{text}: the control plane fills it in when it is ready")
        ready = tuple(pod.metadata.name for pod in pods.items if pod.ready)
        if not ready:
            raise ClusterError(
                f"no pod of {self.title} is ready; see: kubectl get pods -n {namespace} -l '{told.data[PODS]}'"
            )
        return _Place(random.choice(ready), ready, told.data[ROOTS], told.data[NAME], int(told.data[PORT]))  # noqa: S311

    def _refused(self, error: ApiError, shown: Shown) -> str:
        namespace = self._cluster.namespace
        if error.status == _NOT_FOUND:
            return (
                f"{self.title} is not there, or has no door for users of the cluster: no ConfigMap {namespace}/"
                f"{self._config_map}; --kube-namespace says where weft is, users.enabled of its chart opens the door"
            )
        if error.status == _FORBIDDEN:
            return (
                f"{self.title}: {error}; the Role {self._config_map} has what is needed to reach it: kubectl create "
                f"rolebinding NAME -n {namespace} --role={self._config_map} --user=…"
            )
        return f"the API server at {shown.server}: {error}"


class _Connection(http.client.HTTPConnection):
    """HTTP over a socket that is there already."""

    def __init__(self, host: str, port: int, connected: ssl.SSLSocket, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout)
        self.sock: Any = connected

    def connect(self) -> None:
        """There is no second one."""
        raise OSError("the connection has ended")


async def _read_place(credentials: Credentials, told: str, pods: str, patience: float) -> tuple[_ConfigMap, _Pods]:
    async with ApiClient(credentials) as client, asyncio.timeout(patience):
        found = _decoded((await client.get(told)).body, _ConfigMap)
        if not found.data.get(PODS):
            return found, _Pods()
        query = urlencode({"labelSelector": found.data[PODS]})
        return found, _decoded((await client.get(f"{pods}?{query}")).body, _Pods)


def _decoded(body: bytes, shape: type[ShapeT]) -> ShapeT:
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.MsgspecError as error:
        raise ApiError(f"its answer cannot be read: {error}") from error


@functools.cache
def door_of(cluster: Cluster) -> Door:
    """The door to a cluster's control plane, one for each process."""
    return Door(cluster)
