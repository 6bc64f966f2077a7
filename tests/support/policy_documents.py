"""AuthorizationPolicies and requests by chance, and what the documents say of the requests as Istio's reference reads.

The names are few and nasty (dots, stars, plus signs, slashes, letters that are no ASCII, names that begin alike), so
that policies and requests meet often. `reading` looks at the documents only: it knows nothing of how they are compiled.
https://istio.io/latest/docs/reference/config/security/authorization-policy/
"""

from __future__ import annotations

import ipaddress
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from weft.mesh.access.paths import normalised_path

Json = dict[str, Any]
TRUST_DOMAIN = "cluster.local"
PORT = 8080
PROVIDER = "says-no"
"""Who is asked about calls, and refuses each of them."""
CALLERS = ("shop/web", "shop/web-2", "sh/web", "sa/web", "shop-x/admin", "shop/sa", "")
"""Namespace and service account of those who call; the last has no certificate."""
ADDRESSES = ("127.0.0.1", "127.0.0.2")
SERVER_NAMES = ("reviews.example", "reviews-example")
PATHS = (
    "/", "/a", "/a/b", "/a/b/c", "/a.b", "/axb", "/a+b", "/aab", "/a*b", "/A", "/a/", "//a", "/a/./b", "/x/../a",
    "/a;x=1", "/%61", "/api/v1/users", "/api/v1/users/7", "/api/v1/users/7/x", "/api//users", "/api/v1.2/users",
    "/infox", "/info", "/%C3%A9", "/a%20b", "/a?x=/b", "/a|b", "/api/v1/us%25ers", "/.a", "/a%zz",
    "/a/%2e%2e;x/b", "/a/..%3b",
)  # fmt: skip
WRITTEN_PATHS = (
    "/", "/a", "/a/b", "/a.b", "/a+b", "/A", "/a/", "/info", "/api/v1/users", "/%C3%A9", "/a;x=1", "/aab", "/a|b",
    "/a%20b",
)  # fmt: skip
TEMPLATES = ("/api/{*}/users", "/api/{**}", "/{*}", "/{*}/b", "/api/{*}/users/{**}", "/a/{*}", "/{*}/{*}", "/{**}")
HOSTS = (
    "a.example.com", "A.Example.Com", "a.example.com:8080", "b.example.com", "axexample.com", "a.example.com.evil.org",
    "reviews", "[::1]:80", "[::1]", "a.example.com:", "a.example.com:80:90", "a.example.com.",
    "a.example.com..", "a.example.com.:80", "A.EXAMPLE.COM.:", "a.example.com:x", ".a.example.com", "a..example.com",
    "[0:0::1]", "[::1].", "[FE80::A]:1", "a.example.com:99999", "b.example.com,a.example.com", "a.example.com..:80",
    ".",
)  # fmt: skip
WRITTEN_HOSTS = (
    "a.example.com",
    "A.example.com",
    "a.example.com:8080",
    "*.example.com",
    "reviews",
    "a.*",
    "[::1]",
    "*",
)
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH")
HEADERS = ("x-id", "x-name", "accept")
VALUES = ("1", "one", "o.e", "oxe", "a,b", "a", "b", "é", "", "a+b", "x*y")
WRITTEN_VALUES = ("1", "one", "o.e", "a,b", "a", "b", "é", "a+b")
CLIENTS = ("10.1.2.3", "10.1.2.4", "192.0.2.7", "2001:db8::1")
NETWORKS = (
    "127.0.0.1",
    "127.0.0.2/32",
    "127.0.0.0/8",
    "10.0.0.0/8",
    "10.1.2.3",
    "192.0.2.0/24",
    "2001:db8::/32",
    "::1",
)
TOKENS: tuple[Json | None, ...] = (
    None,
    {
        "iss": "https://id.example/x",
        "sub": "alice",
        "aud": ["a", "b.c"],
        "azp": "cli",
        "groups": ["dev", "ops.x"],
        "realm": {"roles": ["r", "admin"]},
        "name": "al.ice",
    },
    {"iss": "me", "sub": "a/b", "aud": "a"},
    {"iss": "me", "sub": "bob", "aud": ["bxc"], "groups": "dev", "azp": "cli2", "name": "alxice"},
)
CLAIMS = (("groups",), ("realm", "roles"), ("name",), ("missing",))


@dataclass(frozen=True)
class Sent:
    """A request: who sends it from where, by which connection, and what it says. `headers` may name one twice. Without
    a method it is a connection, of which nobody knows what is sent."""

    caller: str
    address: str
    server_name: str
    method: str
    target: str
    host: str
    headers: tuple[tuple[str, str], ...] = ()
    client: str = ""
    token: int = 0

    @property
    def principal(self) -> str:
        namespace, _, account = self.caller.partition("/")
        return f"{TRUST_DOMAIN}/ns/{namespace}/sa/{account}" if namespace else ""

    @property
    def path(self) -> str:
        return normalised_path(self.target) or ""

    @property
    def named_host(self) -> str:
        """Without the dot at its end, which the proxy takes off."""
        return re.sub(r"\.(:\d*)?$", r"\1", self.host)

    @property
    def claims(self) -> Json | None:
        return TOKENS[self.token]

    def header(self, name: str) -> tuple[str, ...]:
        """The values as they are sent."""
        return tuple(value for key, value in self.headers if key == name)


@dataclass
class Maker:
    """Makes documents and requests."""

    dice: random.Random
    count: int = field(default=0)
    custom: bool = False
    """Whether there are policies that ask PROVIDER, too."""

    def one(self, items: Sequence[Any]) -> Any:
        return self.dice.choice(items)

    def often(self, share: float) -> bool:
        return self.dice.random() < share

    def some(self, items: Sequence[Any], most: int = 3) -> list[Any]:
        return list(dict.fromkeys(self.one(items) for _ in range(self.dice.randint(1, most))))

    def texts(self, items: Sequence[str], most: int = 3) -> list[str]:
        """Values as they are, their beginnings, their ends, or anything."""
        return list(dict.fromkeys(self.text(self.one(items)) for _ in range(self.dice.randint(1, most))))

    def text(self, value: str) -> str:
        if "*" in value or self.often(0.55):
            return value or "*"
        if self.often(0.15) or len(value) < 2:
            return "*"
        cut = self.dice.randint(1, len(value) - 1)
        return value[:cut] + "*" if self.often(0.5) else "*" + value[cut:]

    def source(self) -> Json:
        principals = [f"{TRUST_DOMAIN}/ns/{one.replace('/', '/sa/')}" for one in CALLERS if one]
        fields = {
            "principals": lambda: self.texts((*principals, f"{TRUST_DOMAIN}/ns/sho./sa/web")),
            "namespaces": lambda: self.texts(("shop", "sh", "sa", "shop-x", "s")),
            "serviceAccounts": lambda: self.some(("shop/web", "sh/web", "shop/sa", "sa/web", "shop/we")),
            "trustDomains": lambda: self.some(
                (TRUST_DOMAIN, "cluster.loca", "clus*", "other.*", "cluster.local.*", "*")
            ),
            "requestPrincipals": lambda: self.texts(("https://id.example/x/alice", "me/bob", "me/a/b")),
            "ipBlocks": lambda: self.some(NETWORKS),
            "remoteIpBlocks": lambda: self.some(NETWORKS),
        }
        found = self._fields(fields)
        if {"serviceAccounts", "notServiceAccounts"} & set(found):  # may not stand beside these two
            for name in ("principals", "notPrincipals", "namespaces", "notNamespaces"):
                found.pop(name, None)
        return found

    def operation(self) -> Json:
        fields = {
            "hosts": lambda: self.some(WRITTEN_HOSTS),
            "ports": lambda: self.some(("8080", "80", "9090")),
            "methods": lambda: self.some(METHODS),
            "paths": lambda: self.some(TEMPLATES) if self.often(0.3) else self.texts(WRITTEN_PATHS),
        }
        return self._fields(fields)

    def _fields(self, fields: Mapping[str, Any]) -> Json:
        names = self.some(list(fields), 2)
        return {(f"not{name[0].upper()}{name[1:]}" if self.often(0.3) else name): fields[name]() for name in names}

    def condition(self) -> Json:
        claim = self.one(CLAIMS)
        pools: dict[str, Any] = {
            f"request.headers[{self.one(HEADERS)}]": lambda: self.texts(WRITTEN_VALUES),
            "source.ip": lambda: self.some(NETWORKS),
            "remote.ip": lambda: self.some(NETWORKS),
            "source.namespace": lambda: self.texts(("shop", "sh", "sa")),
            "source.principal": lambda: self.texts((f"{TRUST_DOMAIN}/ns/shop/sa/web", f"{TRUST_DOMAIN}/ns/sa/sa/web")),
            "source.serviceAccount": lambda: self.some(("shop/web", "sh/web", "shop/sa", "sa/web", "shop/we")),
            "request.auth.principal": lambda: self.texts(("me/bob", "https://id.example/x/alice")),
            "request.auth.audiences": lambda: self.texts(("a", "b.c")),
            "request.auth.presenter": lambda: self.texts(("cli", "cli2")),
            "request.auth.claims" + "".join(f"[{part}]" for part in claim): lambda: self.texts(
                ("dev", "ops.x", "r", "admin", "al.ice")
            ),
            "destination.ip": lambda: self.some(NETWORKS),
            "destination.port": lambda: self.some(("8080", "80")),
            "connection.sni": lambda: self.texts(SERVER_NAMES),
        }
        key = self.one(list(pools))
        which = self.one(("values", "notValues", "both"))
        found: Json = {"key": key}
        if which != "notValues":
            found["values"] = pools[key]()
        if which != "values":
            found["notValues"] = pools[key]()
        return found

    def rule(self) -> Json:
        rule: Json = {}
        if self.often(0.6):
            rule["from"] = [{"source": self.source()} for _ in range(self.dice.randint(1, 2))]
        if self.often(0.6):
            rule["to"] = [{"operation": self.operation()} for _ in range(self.dice.randint(1, 2))]
        if self.often(0.35):
            rule["when"] = [self.condition() for _ in range(self.dice.randint(1, 2))]
        return rule

    def document(self, namespace: str) -> Json:
        self.count += 1
        action = self.one(("ALLOW", "ALLOW", "ALLOW", "DENY", "DENY", "AUDIT", *("CUSTOM",) * self.custom))
        rules = [self.rule() for _ in range(self.one((0, 1, 1, 1, 2, 3)) or (action != "ALLOW"))]
        metadata: Json = {"name": f"{self.one(('a.b', 'a', 'z'))}-{self.count}", "namespace": namespace}
        if self.often(0.1) and action not in ("AUDIT", "CUSTOM"):
            metadata["annotations"] = {"istio.io/dry-run": "true"}
        spec: Json = {"action": action} | ({"provider": {"name": PROVIDER}} if action == "CUSTOM" else {})
        if rules:
            spec["rules"] = rules
        return {
            "apiVersion": "security.istio.io/v1",
            "kind": "AuthorizationPolicy",
            "metadata": metadata,
            "spec": spec,
        }

    def documents(self, namespace: str) -> list[Json]:
        return [self.document(namespace) for _ in range(self.one((0, 1, 1, 2, 2, 3)))]

    def sent(self, caller: str, address: str, server_name: str) -> Sent:
        headers = tuple((self.one(HEADERS), self.one(VALUES)) for _ in range(self.one((0, 0, 1, 2))))
        return Sent(
            caller,
            address,
            server_name,
            self.one(METHODS),
            self.one(PATHS),
            self.one(HOSTS),
            headers,
            self.one(CLIENTS) if self.often(0.3) else "",
            self.one(range(len(TOKENS))),
        )


def reading(documents: Iterable[Json], sent: Sent) -> bool:
    """Whether the documents of one namespace allow a request."""
    enforced = [one for one in documents if "istio.io/dry-run" not in one["metadata"].get("annotations", {})]
    deciding = [one for one in enforced if one["spec"]["action"] != "AUDIT"]
    looks = any("osts" in str(list(_keys(one["spec"]))) for one in deciding)
    if looks and sent.method and not _is_host(sent.named_host):
        return False
    looks = any("aths" in str(list(_keys(one["spec"]))) for one in deciding)
    if looks and sent.method and any(re.match(r"\.\.?(;|%3[bB])", part) for part in sent.path.split("/")):
        return False
    by_action = {
        action: [rule for one in enforced if one["spec"]["action"] == action for rule in one["spec"].get("rules", [])]
        for action in ("ALLOW", "DENY", "CUSTOM")
    }
    if any(_rule(rule, sent, unknown=True) for rule in (*by_action["CUSTOM"], *by_action["DENY"])):
        return False
    return not any(one["spec"]["action"] == "ALLOW" for one in enforced) or any(
        _rule(rule, sent, unknown=False) for rule in by_action["ALLOW"]
    )


def _is_host(host: str) -> bool:
    """A name of letters, digits and dashes in parts, or an address, and at most a port."""
    name = re.sub(r":\d*$", "", host)
    if name.startswith("["):
        return re.fullmatch(r"\[[0-9a-fA-F:.]+\]", name) is not None
    return name == "" or all(re.fullmatch(r"[\w~-]+", part) for part in name.split("."))


def _keys(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner)


def _rule(rule: Json, sent: Sent, *, unknown: bool) -> bool:
    """Whether a rule is met. `unknown`: so counts what is asked of requests, where there is a connection only."""
    sources = [one["source"] for one in rule.get("from", [])]
    operations = [one["operation"] for one in rule.get("to", [])]
    return (
        (not sources or any(_all(one, sent, _SOURCE, unknown) for one in sources))
        and (not operations or any(_all(one, sent, _OPERATION, unknown) for one in operations))
        and all(_when(one, sent, unknown) for one in rule.get("when", []))
    )


def _all(fields: Json, sent: Sent, known: Mapping[str, Any], unknown: bool) -> bool:
    for name, values in fields.items():
        negated = name.startswith("not")
        plain = name[3].lower() + name[4:] if negated else name
        if not sent.method and plain in ("requestPrincipals", "hosts", "methods", "paths"):
            if not unknown:
                return False
        elif any(known[plain](value, sent) for value in values) is negated:
            return False
    return True


def _when(condition: Json, sent: Sent, unknown: bool) -> bool:
    if not sent.method and condition["key"].startswith("request."):
        return unknown

    def fits(value: str, every: bool = False) -> bool:
        key = condition["key"]
        name, bracket, rest = key.partition("[")
        if name == "request.headers":
            found = sent.header(rest[:-1])
            found = (",".join(filter(None, found)),) if rest == "accept]" and found else found
            return (all if every and found else any)(_text(value, one) for one in found)
        if bracket:
            return _claim(tuple(re.findall(r"\[([^\]]+)\]", key)), value, sent)
        return _WHEN[key](value, sent)

    # What lets a caller in (not `unknown`) has to fit all values of a header, what keeps it out only one of them.
    if "values" in condition and not any(fits(value, not unknown) for value in condition["values"]):
        return False
    return not any(fits(value, unknown) for value in condition.get("notValues", []))


def _text(wanted: str, value: str) -> bool:
    if wanted == "*":
        return value != ""
    if wanted.endswith("*"):
        return value.startswith(wanted[:-1])
    if wanted.startswith("*"):
        return value.endswith(wanted[1:])
    return value == wanted


def _path(wanted: str, sent: Sent) -> bool:
    if "{" not in wanted:
        return _text(wanted, sent.path)
    parts = re.split(r"(\{\*+\})", wanted)
    operators = {"{*}": "[^/]+", "{**}": ".*"}
    return re.fullmatch("".join(operators.get(part) or re.escape(part) for part in parts), sent.path) is not None


def _host(wanted: str, sent: Sent) -> bool:
    """A host without a port means any port; case never matters."""
    wanted, host = wanted.lower(), sent.named_host.lower()
    bare = host[: host.index("]") + 1] if host.startswith("[") else host.partition(":")[0]
    has_port = ":" in wanted.rpartition("]")[2]
    return _text(wanted, host) or (not has_port and bare != host and not wanted.endswith("*") and _text(wanted, bare))


def _address(block: str, address: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(block, strict=False)


def _namespace(wanted: str, sent: Sent) -> bool:
    return sent.caller != "" and _text(wanted, sent.caller.partition("/")[0])


def _principal(wanted: str, sent: Sent) -> bool:
    return sent.principal != "" and _text(wanted, sent.principal)


def _token(wanted: str, sent: Sent) -> bool:
    """Issuer and subject are compared each for itself, divided at the last slash of what is written."""
    if sent.claims is None:
        return False
    issuer, slash, subject = wanted.rpartition("/")
    if not slash:
        if wanted == "*":
            return True
        return _text(wanted, sent.claims["iss"] if wanted.endswith("*") else sent.claims["sub"])
    return _text(issuer or "*", sent.claims["iss"]) and _text(subject or "*", sent.claims["sub"])


def _claim(path: Sequence[str], wanted: str, sent: Sent) -> bool:
    found: Any = sent.claims
    for part in path:
        found = found.get(part) if isinstance(found, dict) else None
    values = found if isinstance(found, list) else [found] if isinstance(found, str) else []
    return any(_text(wanted, value) for value in values)


Fits = Callable[[str, Sent], bool]
_SOURCE: dict[str, Fits] = {
    "principals": _principal,
    "namespaces": _namespace,
    "serviceAccounts": lambda wanted, sent: sent.caller == wanted,
    "trustDomains": lambda wanted, sent: sent.caller != "" and _text(wanted, TRUST_DOMAIN),
    "requestPrincipals": _token,
    "ipBlocks": lambda wanted, sent: _address(wanted, sent.address),
    "remoteIpBlocks": lambda wanted, sent: _address(wanted, sent.client or sent.address),
}
_OPERATION: dict[str, Fits] = {
    "hosts": _host,
    "ports": lambda wanted, sent: wanted == str(PORT),
    "methods": lambda wanted, sent: _text(wanted, sent.method),
    "paths": _path,
}
_WHEN: dict[str, Fits] = {
    "source.ip": _SOURCE["ipBlocks"],
    "remote.ip": _SOURCE["remoteIpBlocks"],
    "source.namespace": _namespace,
    "source.principal": _principal,
    "source.serviceAccount": _SOURCE["serviceAccounts"],
    "request.auth.principal": _token,
    "request.auth.audiences": lambda wanted, sent: _claim(("aud",), wanted, sent),
    "request.auth.presenter": lambda wanted, sent: _claim(("azp",), wanted, sent),
    "destination.ip": lambda wanted, sent: _address(wanted, "127.0.0.1"),
    "destination.port": lambda wanted, sent: wanted == str(PORT),
    "connection.sni": lambda wanted, sent: sent.caller != "" and _text(wanted, sent.server_name),
}
