"""Spellings of paths, hosts, headers and methods as bytes on the wire: by chance from a seed, and all those of a kind.

Bytes above 127 stand in the texts as the Latin-1 characters of the same number.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from support.servers import HOST, OTHER_HOST

_T = TypeVar("_T")
SECRET = "/admin/secret.txt"
"""The denied file of which all spellings are tried in turn."""
PAGE = "/open/page.txt"
_DENIED = ("/admin/", "/admin", SECRET, "/admin/deep/secret.txt", "/api/private/secret.txt", "/secret.txt", "/")
_ALLOWED = ("/open/", "/open/deep/", "/api/public/", "/open")
_OPEN = (PAGE, "/open/", "/open/deep/page.txt", "/api/public/page.txt", "/open/../open/page.txt")
_SLASHES = (
    "/", "//", "/./", "\\", "%2f", "%2F", "%5c", "%252f", "%25252f", "%c0%af", "%e0%80%af", "%ef%bc%8f",
    "\xef\xbc\x8f",
    "%u2215", "/;/", "/;x=1/", "/%2e/", "/%252e/", "/.;/", "\xc0\xaf", ";/", "%3b/", "/%20/", "/ /", "/x/../", "?/",
    "#/",
)  # fmt: skip
_DOTS = (
    ".",
    "%2e",
    "%2E",
    "%252e",
    "%25252e",
    "%c0%ae",
    "%e0%80%ae",
    "\xc0\xae",
    "%u002e",
    "%ef%bc%8e",
    "%%32e",
    "%2%65",
)
_UPS = (
    "..", "%2e%2e", ".%2e", "%2e.", "%252e%252e", ".%252e", "..;", "..;x=1", "..;/.", "%2e%2e;", "%c0%ae%c0%ae",
    "..%00",
    "..%20", "..%09", "..%3b", "..%3bx", "..%ff", ".%00.", "..%0d%0a", "....", "...", "..%u0000", ".;.", "..#", "..?",
    ";/..", ";x/..", "%25%32e%25%32e", "..%c2%a0", ".%e2%80%8b.", "..\x0b", "x/../..", "%2e%2e%3b", "..%23", "..%3f",
)  # fmt: skip
_INSERTS = (
    ";", ";x", ";x=/..", "%00", "%20", "%09", "%0a", "%0d", "%7f", "%ff", "%", "%%", "%2", "?", "#", "*", "~", "+",
    ":",
    "\x00", "\t", "\x7f", "\xff", "\xa0", "%c2%a0", "%e2%80%8b", "%ef%bb%bf", "..", ".", "/", "&", "|", '"', "<",
    "^", "`",
)  # fmt: skip
_ENDS = (
    ".", "..", "%20", " ", "/", "/.", "/..", "//", "%00", "%00.html", ";", ";.txt", "?", "?x=/open/", "#/open/",
    "%2e",
    "::$DATA", "~", "%09", "/%2e", "%3f", "%23", "/;x", "?/../../open/page.txt", "%00/open/", ";jsessionid=1",
)  # fmt: skip
_EXTRA = (
    "X-HTTP-Method-Override: POST", "X-HTTP-Method: PUT", "X-Method-Override: DELETE", f"X-Original-URL: {SECRET}",
    f"X-Rewrite-URL: {SECRET}", f"X-Forwarded-Host: {OTHER_HOST}", f"Forwarded: host={OTHER_HOST}",
    "X-Forwarded-Proto: x",
    f"X-Forwarded-Prefix: {SECRET}", f"X-Envoy-Original-Path: {SECRET}", f"X-Accel-Redirect: {SECRET}",
    f"X-Sendfile: {SECRET}", f"Referer: http://{OTHER_HOST}/", "Connection: x-role",
    "Connection: close, x-role, host",
    "Connection: keep-alive, transfer-encoding", f"X-Host: {OTHER_HOST}", "X-Forwarded-For: 127.0.0.1", "Via: 1.1 x",
    "Max-Forwards: 0", "Upgrade: h2c", "TE: trailers", f":path: {SECRET}", f":authority: {OTHER_HOST}", "Expect: x",
    f"Destination: {SECRET}", "Content-Type: text/plain", f"x-envoy-original-host: {OTHER_HOST}", "X-Role : admin",
)  # fmt: skip
_METHODS = (
    "POST", "PUT", "DELETE", "PATCH", "get", "Get", "GETS", "G%45T", "TRACE", "OPTIONS", "PROPFIND", "FOO",
    "GET\x00", "",
    "GET,POST", "POST\t", " GET", "PRI", "\xc7ET",
)  # fmt: skip
HOSTS = (
    f"{HOST}:80", f"{HOST}.", f"{HOST}:", HOST.upper(), f"{HOST}@{OTHER_HOST}", f"{OTHER_HOST}@{HOST}",
    f"{HOST}:80@{OTHER_HOST}", f"{HOST}:{OTHER_HOST}", f"{HOST}#{OTHER_HOST}", f"{OTHER_HOST}#{HOST}",
    f"{HOST},{OTHER_HOST}",
    f"{OTHER_HOST},{HOST}", f"{HOST} {OTHER_HOST}", f"{HOST}\t{OTHER_HOST}", f"{OTHER_HOST}:80:{HOST}", f"[{HOST}]",
    "",
    OTHER_HOST, f"{OTHER_HOST}:80", f"{OTHER_HOST}.", OTHER_HOST.upper(), f"{OTHER_HOST}/{HOST}",
    f"{OTHER_HOST}?{HOST}",
    f"{OTHER_HOST}\\{HOST}", f"{OTHER_HOST}\x00{HOST}", f"{HOST}\x00{OTHER_HOST}", f"{OTHER_HOST}..",
    f".{OTHER_HOST}",
    f" {OTHER_HOST}", f"http://{OTHER_HOST}", f"{OTHER_HOST}%00{HOST}", f"{OTHER_HOST}:{HOST}", f"*.{OTHER_HOST}",
    f"{OTHER_HOST}:80.", f"{OTHER_HOST}:", f"{OTHER_HOST}:x", f"{OTHER_HOST}:99999", f"{OTHER_HOST}.:80",
    "%61dmin.example",
    f"{OTHER_HOST}\t", f"{OTHER_HOST};x", "\xc3\xa0dmin.example", "[::1]", "127.0.0.1",
)  # fmt: skip
TWICE = "header sent twice"
"""The kind of requests that come as a reader, and with the same header once more."""
ROLES: dict[str, tuple[tuple[str, ...], ...]] = {
    "header: case of the value": (("x-role: Admin",), ("x-role: ADMIN",), ("X-ROLE: aDMIN",)),
    "header: sent twice": (("x-role: reader", "x-role: admin"), ("x-role: admin", "x-role: reader"),
    ("x-role: admin",) * 2),
    "header: values joined": (
        ("x-role: reader,admin",), ("x-role: admin, reader",), ("x-role: ,admin",), ("x-role: admin,",),
        ("x-role: reader , admin",),
    ),
    "header: spaces": (
        ("x-role:admin",), ("x-role:  admin  ",), ("x-role:\tadmin",), ("x-role: admin\t",), ("x-role: \xa0admin",),
        ("x-role: admin\xa0",),
    ),
    "header: spelling of the name": (
        ("x_role: admin",), ("X_ROLE: admin",), ("x-role : admin",), ("x-role\t: admin",), (" x-role: admin",),
        ("x.role: admin",), ("x-Role: admin",), ("x-role\x00: admin",), ("x-rol\xe9: admin",),
    ),
    "header: folded, odd bytes": (
        ("x-role: reader\r\n admin",), ("x-role:\r\n admin",), ("x-role: reader\nx-role: admin",),
        ("x-role: admin\x00",),
        ("x-role: reader\rx-role: admin",), ("x-role: \x0badmin",), ("x-role: admin;q=1",), ('x-role: "admin"',),
    ),
    "header: named in Connection": (
        ("x-role: admin", "Connection: x-role"), ("Connection: x-role", "x-role: admin"),
        ("x-role: admin", "x-role: reader", "Connection: close, x-role"),
    ),
}  # fmt: skip
"""Ways to come with another role than that of a reader."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as it goes over the wire. `alone`: where it ends is not certain, so nothing follows it but one plain
    request."""

    kind: str
    wire: bytes
    alone: bool = False


def request(
    kind: str,
    target: str = PAGE,
    *headers: str,
    host: str = HOST,
    method: str = "GET",
    body: str = "",
    alone: bool = False,
) -> Sent:
    """A request of these parts, with nothing checked. Without `headers` a reader sends it."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(headers or ("x-role: reader",))]
    if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in lines):
        lines.append(f"Content-Length: {len(body)}")
    odd = alone or method == "CONNECT" or any(re.search(r"[\x00-\x08\x0a-\x1f]", line) for line in lines)
    return Sent(kind, ("\r\n".join(lines) + "\r\n\r\n" + body).encode("latin-1"), odd)


def _kind(headers: Sequence[str]) -> str:
    lines = "\n".join(headers).lower()
    return TWICE if "x-role: reader\n" in f"{lines}\n" and len(re.findall("x.role", lines)) > 1 else "header"


class Mutator:
    """Requests for what the recommended shape of a policy does not allow, spelt by chance."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._makers: list[Callable[[], Sent]] = [self._path] * 14
        self._makers += [self._host] * 3 + [self._role] * 2 + [self._method, self._mixed, self._framed]

    def requests(self, count: int) -> list[Sent]:
        """So many of them."""
        return [self._one(self._makers)() for _ in range(count)]

    def _one(self, among: Sequence[_T]) -> _T:
        return among[int(self._random.random() * len(among))]

    def _extra(self) -> tuple[str, ...]:
        return (self._one(_EXTRA),) if self._random.random() < 0.2 else ()

    def _target(self) -> str:
        """A denied path, mutated up to four times, and mostly with a way to it from where one may go."""
        path = self._one(_DENIED)
        if self._random.random() < 0.6:
            start, ups = self._one(_ALLOWED), 1 + int(self._random.random() * 4)
            up = self._one(_UPS)
            slash = self._one(_SLASHES) if self._random.random() < 0.3 else "/"
            path = start.rstrip("/") + slash + slash.join([up] * ups) + path
        for _ in range(int(self._random.random() * 5)):
            path = self._mutated(path)
        if self._random.random() < 0.05:
            scheme = self._one(("http://", "https://", "HTTP://", "//", "ftp://", ""))
            path = f"{scheme}{self._one((HOST, OTHER_HOST))}{path}"
        return path.replace("\r", "").replace("\n", "")

    def _mutated(self, path: str) -> str:
        at = int(self._random.random() * len(path)) if path else 0
        sign = path[at : at + 1]
        chance = self._random.random()
        if sign == "/" and chance < 0.8:
            put = self._one(_SLASHES)
        elif sign == "." and chance < 0.8:
            put = self._one(_DOTS)
        elif chance < 0.3:
            put = self._one(
                (f"%{ord(sign or '/'):02x}", f"%25{ord(sign or '/'):02x}", sign.swapcase() if sign.isascii() else sign)
            )
        elif chance < 0.6:
            put = self._one(_INSERTS) + sign
        else:
            return path + self._one(_ENDS)
        return path[:at] + put + path[at + 1 :]

    def _path(self) -> Sent:
        return request(
            "path", self._target(), "x-role: reader", *self._extra(), method=self._one(("GET", "GET", "HEAD"))
        )

    def _host(self) -> Sent:
        host, second = self._one(HOSTS), self._one((HOST, OTHER_HOST))
        target = self._one(_OPEN)
        shape = self._random.random()
        if shape < 0.3:
            return request("host", f"{self._one(('http', 'https', 'HTTP'))}://{second}{target}", host=host)
        if shape < 0.5:
            name = self._one(("Host", "host", "HOST", "Host ", ":authority", "X-Forwarded-Host"))
            return request("host", target, "x-role: reader", f"{name}: {second}", host=host)
        return request("host", target, "x-role: reader", *self._extra(), host=host)

    def _role(self) -> Sent:
        headers = self._one(self._one(tuple(ROLES.values())))
        with_reader = self._one((headers, ("x-role: reader", *headers), (*headers, "x-role: reader")))
        return request(_kind(with_reader), self._one(_OPEN), *with_reader, *self._extra())

    def _method(self) -> Sent:
        return request(
            "method", self._one(_OPEN), "x-role: reader", *self._extra(), method=self._one(_METHODS), alone=True
        )

    def _mixed(self) -> Sent:
        headers = ("x-role: reader", *self._one(self._one(tuple(ROLES.values()))))
        return request(TWICE, self._target(), *headers, *self._extra(), host=self._one(HOSTS))

    def _framed(self) -> Sent:
        """A request whose end is told in two ways, with another one inside."""
        inner = f"GET {SECRET} HTTP/1.1\r\nHost: {HOST}\r\nx-role: reader\r\n\r\n"
        length = f"Content-Length: {self._one((0, 4, len(inner), len(inner) + 5))}"
        coding = self._one(
            (
                "chunked",
                "Chunked",
                "chunked, identity",
                "xchunked",
                " chunked",
                "chunked\t",
                "identity",
                "\x0bchunked",
                "gzip",
            )
        )
        headers = [length, f"Transfer-Encoding: {coding}", f"Content-Length: {len(inner)}"]
        chosen = headers[int(self._random.random() * 2) : 1 + int(self._random.random() * 3)] or headers
        return request("framing", PAGE, "x-role: reader", *chosen, body=f"0\r\n\r\n{inner}", alone=True)


def of_paths() -> Iterator[tuple[str, str]]:
    """Every spelling of SECRET with its kind, for a rule that denies it."""
    for kind, targets in _path_kinds().items():
        for target in dict.fromkeys(targets):
            yield f"path: {kind}", target


def _everywhere(old: str, among: Iterable[str]) -> list[str]:
    """SECRET with `old` replaced, at each place and at all of them."""
    found = []
    for new in among:
        found += [SECRET[: at.start()] + new + SECRET[at.end() :] for at in re.finditer(re.escape(old), SECRET)]
        found.append(SECRET.replace(old, new))
    return found


def _path_kinds() -> dict[str, list[str]]:
    inside = [SECRET[:at] + sign + SECRET[at:] for sign in _INSERTS[3:25] for at in (1, 3, 6, 7, 10, len(SECRET))]
    letters = [
        SECRET[:at] + f"%{ord(SECRET[at]):02x}" + SECRET[at + 1 :] for at in range(1, len(SECRET)) if SECRET[at] != "/"
    ]
    return {
        "dot segments": ["/." + SECRET, "/x/.." + SECRET, "/open/.." + SECRET, *_everywhere("/", ("/./", "/x/../"))],
        "escaped dot segments": ["/%2e" + SECRET, "/x/%2e%2e" + SECRET, "/x/.%2E" + SECRET, *_everywhere("/",
        ("/%2e/",))],
        "slashes repeated": _everywhere("/", ("//", "///")),
        "slashes escaped, backslashes": _everywhere("/", ("%2f", "%2F", "\\", "%5c", "/\\")),
        "letters escaped": letters,
        "escaped twice": [text.replace("%", "%25") for text in letters] + _everywhere("/", ("%252f", "/%252e/")),
        "overlong and wide characters": _everywhere("/", ("%c0%af", "%e0%80%af", "%ef%bc%8f", "%u2215",
        "\xef\xbc\x8f"))
        + _everywhere(".", ("%c0%ae", "%e0%80%ae", "%ef%bc%8e", "%u002e")) + [SECRET.replace("i", "%c4%b1")],
        "parameters": _everywhere("/", ("/;x/", "/;/", ";x/", ";/", "/..;/"))
        + [SECRET + end for end in (";", ";x=1", ";jsessionid=1")] + ["/open/..;x" + SECRET, "/;x=1" + SECRET],
        "case": [SECRET.upper(), SECRET.title(), SECRET.replace("a", "A"), SECRET.replace("s",
        "S"), SECRET.replace("t", "T")],
        "something behind it": [SECRET + end for end in _ENDS if ";" not in end],
        "something inside it": inside,
        "whole URLs": [f"{scheme}://{host}{SECRET}" for scheme in ("http", "https", "HTTP") for host in (HOST,
        f"{HOST}:80", HOST.upper())]
        + [f"http://x@{HOST}{SECRET}", f"//{HOST}{SECRET}"],
    }  # fmt: skip


def denied_ones() -> list[Sent]:
    """Every spelling of a denied path, host, method and header value, for rules that deny them."""
    found = [request(kind, target, "x-kind: path") for kind, target in of_paths()]
    found += [request("host", PAGE, "x-kind: host", host=host) for host in HOSTS if OTHER_HOST in host.lower()]
    found += [
        request("host", f"http://{OTHER_HOST}{PAGE}", "x-kind: host", host=host) for host in (HOST, OTHER_HOST, "")
    ]
    found += [request(kind, PAGE, *headers) for kind, every in ROLES.items() for headers in every]
    found += [
        request("method", PAGE, "x-kind: method", method=method, alone=True)
        for method in ("POST", "post", "Post", "POSTS")
    ]
    overrides = (
        "X-HTTP-Method-Override: POST",
        "X-HTTP-Method: POST",
        f"X-Original-URL: {SECRET}",
        f"X-Rewrite-URL: {SECRET}",
    )
    return found + [request("overriding headers", PAGE, line) for line in overrides]
