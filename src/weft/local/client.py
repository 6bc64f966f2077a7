"""A client of the admin API on the standard library alone, so that commands start fast."""

from __future__ import annotations

import http.client
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from weft.settings.endpoints import Endpoints
from weft.settings.home import Home

DEMO_PREFIX = "weft-demo-"
"""How the temporary home of a demo is called."""
_TIMEOUT = 30.0
_WAIT_MARGIN = 15.0
_MAX_ANSWER = 256 << 20
_TEXTS = {"content-type": "application/vnd.weft.texts+json"}


class UnreachableError(Exception):
    """No control plane answers for this home. The text says what to do."""


class RefusedError(Exception):
    """The admin API answered with an error; `problems` are those of the documents, if that was it."""

    def __init__(self, status: int, message: str, problems: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Source:
    """A text with documents, and the file name that problems in it carry."""

    name: str
    text: str


def read_endpoints(home: Home) -> Endpoints | None:
    """The addresses a control plane of `home` wrote, or None; it may have died since."""
    try:
        value = json.loads(home.endpoints.read_text("utf-8"))
        return Endpoints(**{name: value[name] for name in ("admin", "xds", "agent_api", "agent_socket", "pid")})
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


class AdminClient:
    """Calls the admin API of the control plane that serves `home`.

    Every method raises UnreachableError when nothing answers and RefusedError when the answer is an error.
    """

    def __init__(self, home: Home, *, timeout: float = _TIMEOUT) -> None:
        self.home = home
        self._timeout = timeout

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

    def get(self, path: str, **query: str | None) -> Any:
        """The JSON at `path` below ``/v1``."""
        return self.call("GET", path, query)

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
    ) -> Any:
        """One call; the answer's JSON, or None if it is empty."""
        endpoints = read_endpoints(self.home)
        if endpoints is None or not alive(endpoints.pid):
            raise UnreachableError(self._advice())
        given = {name: str(value) for name, value in query.items() if value is not None}
        target = f"/v1/{path}" + (f"?{urlencode(given)}" if given else "")
        timeout = self._timeout if wait is None else wait + _WAIT_MARGIN
        where = urlsplit(endpoints.admin)
        connection = http.client.HTTPConnection(where.hostname or "127.0.0.1", where.port, timeout=timeout)
        try:
            connection.request(method, target, body, {**(headers or {}), **self._credentials()})
            response = connection.getresponse()
            raw = response.read(_MAX_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(
                f"the control plane (pid {endpoints.pid}, {endpoints.admin}) does not answer: {error}"
            ) from error
        finally:
            connection.close()
        return _answer(response.status, raw)

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
    raise RefusedError(status, message, problems if isinstance(problems, list) else ())
