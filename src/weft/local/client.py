"""A client of the admin API on the standard library alone, so that commands start fast."""

from __future__ import annotations

import http.client
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

from weft.local.cluster import Cluster, ClusterError, named_cluster, usual_cluster
from weft.local.remote import RemoteError, remote_from_environment
from weft.model.printable import printable
from weft.settings.endpoints import TOKEN_ENDS, Endpoints
from weft.settings.home import Home

if TYPE_CHECKING:
    from weft.local.door import Door

DEMO_PREFIX = "weft-demo-"
"""How the temporary home of a demo is called."""
_TIMEOUT = 30.0
_WAIT_MARGIN = 15.0
_MAX_ANSWER = 256 << 20
_UNNAMED_SECONDS = 5.0
_CHANGE_NOTHING = frozenset(("validation", "explain", "authz/check", "dashboard", "confirmation"))
"""What is asked by POST."""
VERBOSE = "WEFT_VERBOSE"
"""Where this variable says something, commands say to whom they talk."""
_COMPLETING = "_WEFT_COMPLETE"
"""Set while the shell completes a line: nobody is asked who was not named."""
_TEXTS = {"content-type": "application/vnd.weft.texts+json"}


class UnreachableError(Exception):
    """No control plane answers for this home. The text says what to do."""


class RefusedError(Exception):
    """The admin API answered with an error; `problems` are those of the documents, if that was it, and `detail` is the
    whole answer."""

    def __init__(
        self,
        status: int,
        message: str,
        problems: Sequence[Mapping[str, Any]] = (),
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problems = tuple(problems)
        self.detail = detail or {}


@dataclass(frozen=True, slots=True)
class Source:
    """A text with documents, and the file name that problems in it carry."""

    name: str
    text: str


def read_endpoints(home: Home) -> Endpoints | None:
    """The addresses a control plane of `home` wrote, or None; it may have died since."""
    try:
        value = json.loads(home.endpoints.read_text("utf-8"))
        known = {name: value[name] for name in ("admin", "xds", "agent_api", "agent_socket", "pid")}
        metrics, remote, bundle = (str(value.get(name, "")) for name in ("metrics", "remote_admin", "bundle"))
        return Endpoints(**known, metrics=metrics, remote_admin=remote, bundle=bundle)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def alive(pid: int) -> bool:
    """Whether a process `pid` of this user exists. One of another user is no control plane of ours: whoever listens at
    its port must not be shown the token."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


_told: set[str] = set()


def _tell_end(ends: str | None) -> None:
    """Say on standard error, once, that the token that was shown ends soon."""
    if ends and ends not in _told:
        _told.add(ends)
        sys.stderr.write(f"note: your token ends at {printable(ends)[:40]}; ask for another one (weft token create)\n")


class AdminClient:
    """Calls the admin API of the control plane that serves `home`; where another host's is named (`weft.local.remote`),
    that one, unless only the one that is `here` is meant; or that of `cluster`.

    Every method raises UnreachableError when nothing answers and RefusedError when the answer is an error. `door` is
    what the last call went through, if the control plane is in a cluster.
    """

    def __init__(
        self, home: Home, *, timeout: float = _TIMEOUT, here: bool = False, cluster: Cluster | None = None
    ) -> None:
        self.home = home
        self._timeout = timeout
        self._here = here
        self.door: Door | None = None
        self._remote = None if here else remote_from_environment()
        self._cluster = None if here else cluster or named_cluster()
        if self._remote is not None and self._cluster is not None:
            raise RemoteError(f"--server {self._remote.server} and a cluster (--context, --kubeconfig): name one")

    def apply(
        self, *sources: Source, namespace: str = "default", dry_run: bool = False, wait: float | None = None
    ) -> dict[str, Any]:
        """Apply the documents of all sources, or none; `wait` seconds for the proxies' confirmation (None: do not)."""
        query = {"namespace": namespace, "dry_run": "1" if dry_run else None, "wait": wait}
        answer: dict[str, Any] = self.call("POST", "documents", query, body=_body(sources), headers=_TEXTS, wait=wait)
        return answer

    def validate(self, *sources: Source, namespace: str = "default") -> dict[str, Any]:
        """What would be wrong if the documents of all sources were in force; nothing is changed."""
        answer: dict[str, Any] = self.call(
            "POST", "validation", {"namespace": namespace}, body=_body(sources), headers=_TEXTS
        )
        return answer

    def delete(self, kind: str, namespace: str, name: str, *, wait: float | None = None) -> dict[str, Any]:
        """Delete one document; `namespace` empty for cluster-scoped kinds."""
        path = "/".join(("documents", *(quote(part, safe="") for part in (kind, namespace or "-", name))))
        answer: dict[str, Any] = self.call("DELETE", path, {"wait": wait}, wait=wait)
        return answer

    def undo(
        self, revision: int, *, force: bool = False, dry_run: bool = False, wait: float | None = None
    ) -> dict[str, Any]:
        """Apply the documents as they were before a revision; answers as `apply` does."""
        query = {"force": "1" if force else None, "dry_run": "1" if dry_run else None, "wait": wait}
        answer: dict[str, Any] = self.call("POST", f"history/{revision}/undo", query, wait=wait)
        return answer

    def get(self, path: str, **query: str | None) -> Any:
        """The JSON at `path` below ``/v1``."""
        return self.call("GET", path, query)

    def text(self, path: str) -> str:
        """The text at `path` below ``/v1``, where that is no JSON."""
        return str(self.call("GET", path, {}, plain=True))

    def healthy(self) -> bool:
        """Whether the control plane answers that it is well."""
        try:
            self.call("GET", "health", {})
        except (UnreachableError, RefusedError):
            return False
        return True

    def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, object],
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        wait: float | None = None,
        plain: bool = False,
    ) -> Any:
        """One call; the answer's JSON, or None if it is empty; with `plain` its text. A tuple in the query is a
        parameter given again."""
        given = {name: value for name, value in query.items() if value not in (None, ())}
        target = f"/v1/{path}" + (f"?{urlencode(given, doseq=True)}" if given else "")
        timeout = self._timeout if wait is None else wait + _WAIT_MARGIN
        connection, credentials, where = self._open(timeout, changes=method != "GET" and path not in _CHANGE_NOTHING)
        try:
            connection.request(method, target, body, {**(headers or {}), **credentials})
            response = connection.getresponse()
            raw = response.read(_MAX_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(f"the control plane ({where}) does not answer: {error}") from error
        finally:
            connection.close()
        _tell_end(response.headers.get(TOKEN_ENDS))
        if plain and response.status < 400:
            return raw.decode("utf-8", "replace")
        return _answer(response.status, raw)

    def lines(self, path: str, query: Mapping[str, object]) -> Iterator[bytes]:
        """The lines of an answer that goes on, as they come. What is refused is refused at once."""
        given = {name: str(value) for name, value in query.items() if value is not None}
        connection, credentials, where = self._open(self._timeout)
        try:
            connection.request("GET", f"/v1/{path}?{urlencode(given)}", None, credentials)
            response = connection.getresponse()
            if response.status >= 400:
                _answer(response.status, response.read(_MAX_ANSWER))
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise UnreachableError(_gone(where, error)) from error
        except BaseException:
            connection.close()
            raise
        return _lines(connection, response, where)

    def _open(self, timeout: float, *, changes: bool = False) -> tuple[http.client.HTTPConnection, dict[str, str], str]:
        """A connection to the control plane, what proves who we are, and where it is, for messages. Who `changes`
        something there has to have named the cluster, if it is one."""
        found = self._way(timeout, changes=changes)
        if os.environ.get(VERBOSE) and found[2] not in _told:
            _told.add(found[2])
            sys.stderr.write(f"weft: talking to {found[2]}\n")
        return found

    def _way(self, timeout: float, *, changes: bool) -> tuple[http.client.HTTPConnection, dict[str, str], str]:
        if self._cluster is not None:
            return self._through(self._cluster, timeout)
        if self._remote is not None:
            try:
                connection = self._remote.connection(timeout)
            except OSError as error:
                raise UnreachableError(f"the control plane ({self._remote.server}) does not answer: {error}") from error
            return connection, self._remote.credentials(), self._remote.server
        endpoints = read_endpoints(self.home)
        if endpoints is None or not alive(endpoints.pid):
            if not self._here and _COMPLETING not in os.environ and (cluster := usual_cluster()) is not None:
                return self._unnamed(cluster, timeout, changes=changes)
            raise UnreachableError(self._advice())
        where = urlsplit(endpoints.admin)
        connection = http.client.HTTPConnection(where.hostname or "127.0.0.1", where.port, timeout=timeout)
        return connection, self._credentials(), f"pid {endpoints.pid}, {endpoints.admin}"

    def _unnamed(
        self, cluster: Cluster, timeout: float, *, changes: bool
    ) -> tuple[http.client.HTTPConnection, dict[str, str], str]:
        """As `_way`, where nothing runs here and no cluster was named: kubectl's current one, if weft is there."""
        from weft.local.door import door_of  # noqa: PLC0415

        door = door_of(cluster)
        try:
            door.look(_UNNAMED_SECONDS)
        except ClusterError as error:
            raise UnreachableError(f"{self._advice()}\n  or name a cluster:    --context NAME ({error})") from error
        if changes:
            text = f"there is {door.title}: to change something there say so, with --context NAME"
            raise UnreachableError(f"{self._advice()}\n  {text}")
        if door.title not in _told:
            _told.add(door.title)
            sys.stderr.write(f"note: no control plane runs here; asking {door.title}\n")
        return self._through(cluster, timeout)

    def _through(self, cluster: Cluster, timeout: float) -> tuple[http.client.HTTPConnection, dict[str, str], str]:
        from weft.local.door import door_of  # noqa: PLC0415

        self.door = door_of(cluster)
        try:
            return self.door.connection(timeout), self.door.credentials(), self.door.title
        except (ClusterError, OSError) as error:
            raise UnreachableError(str(error)) from error

    def _credentials(self) -> dict[str, str]:
        try:
            return {"authorization": f"Bearer {self.home.admin_token.read_text('ascii').strip()}"}
        except OSError as error:
            raise UnreachableError(
                f"cannot read the admin token {self.home.admin_token}: {error.strerror}; "
                "run this as the user who runs the control plane"
            ) from error

    def _advice(self) -> str:
        from weft.local.command_line import command_line  # noqa: PLC0415

        home = str(self.home.root)
        lines = [
            f"no control plane is running in {home}",
            f"  start one:          {command_line('serve', '--home', home)}     (or: weft up, weft demo)",
            "  or name its home:   --home DIR, or WEFT_HOME",
        ]
        lines += [f"  a demo runs in:     {other}" for other in running_demos() if other != home]
        return "\n".join(lines)


def _body(sources: Sequence[Source]) -> bytes:
    texts = [{"source": source.name, "text": source.text} for source in sources]
    return json.dumps(texts, ensure_ascii=False).encode()


def running_demos() -> list[str]:
    """The temporary homes of the demos that this user runs."""
    found = []
    for place in sorted(Path(tempfile.gettempdir()).glob(f"{DEMO_PREFIX}*")):
        if place.lstat().st_uid != os.geteuid():
            continue
        endpoints = read_endpoints(Home(place))
        if endpoints is not None and alive(endpoints.pid):
            found.append(str(place))
    return found


def _lines(connection: http.client.HTTPConnection, response: http.client.HTTPResponse, admin: str) -> Iterator[bytes]:
    try:
        while line := response.readline():
            yield line
    except (OSError, http.client.HTTPException) as error:
        raise UnreachableError(_gone(admin, error)) from error
    finally:
        connection.close()


def _gone(admin: str, error: Exception) -> str:
    return f"the control plane ({admin}) does not answer any more: {error}"


def _answer(status: int, raw: bytes) -> Any:
    try:
        value = json.loads(raw) if raw.strip() else None
    except ValueError:
        value = None
    if status < 400:
        return value
    found = value if isinstance(value, dict) else {}
    problems = found.get("problems")
    message = str(found.get("error") or f"the control plane answered {status}")
    raise RefusedError(status, message, problems if isinstance(problems, list) else (), found)
