"""A real OpenID provider on loopback, and a browser's cookies and redirects without a browser."""

from __future__ import annotations

import contextlib
import html
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urljoin, urlsplit

import pytest
from tools.providers import NotBuiltError, program

from support.envoy import free_port
from support.http import Answer, Client
from weft.testing import until

USER, PASSWORD = "ann@example.com", "correct horse battery"


def built(name: str) -> Path:
    """A program of `./run providers`. Without it the test fails, and says how to build it."""
    try:
        return program(name)
    except NotBuiltError as error:
        pytest.fail(str(error))


@contextlib.contextmanager
def identity_provider(directory: Path, secret: str, *redirects: str) -> Iterator[str]:
    """A running provider that knows the client ``shop`` and one user. Gives its issuer."""
    port = free_port()
    users = directory / "users.json"
    users.write_text(json.dumps({"ann": {"ID": "ann", "Username": USER, "Password": PASSWORD, "Email": USER}}))
    words = ["-port", str(port), "-client", "shop", "-redirects", ",".join(redirects), "-users", str(users)]
    with (directory / "identity.log").open("wb") as output:
        process = subprocess.Popen(
            [built("identity"), *words], env={**os.environ, "CLIENT_SECRET": secret}, stdout=output, stderr=output
        )
    issuer = f"http://localhost:{port}/"
    try:
        until("the provider answers", lambda: _answers(f"{issuer}.well-known/openid-configuration"))
        yield issuer
    finally:
        process.terminate()
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        return Client()(url).status == 200
    except OSError:
        return False


@dataclass
class Browser:
    """Keeps cookies by host and follows redirects, as far as it is told to."""

    cookies: dict[str, dict[str, str]] = field(default_factory=dict)
    client: Client = field(default_factory=Client)

    def open(self, url: str, *, follow: int = 0, form: Mapping[str, str] | None = None, **headers: str) -> Answer:
        """Open a page, following at most so many redirects. What it came to is `url` of `last`."""
        host = urlsplit(url).netloc
        lines = {"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
        jar = self.cookies.setdefault(host.partition(":")[0], {})
        if jar:
            lines["cookie"] = "; ".join(f"{name}={value}" for name, value in jar.items())
        body = urlencode(form).encode() if form is not None else None
        if body is not None:
            lines["content-type"] = "application/x-www-form-urlencoded"
        answer = self.client(url, "POST" if body is not None else "GET", lines, body)
        self._keep(jar, answer)
        self.last = url
        where = answer.headers.get("location")
        if follow and where and answer.status in (301, 302, 303, 307):
            return self.open(urljoin(url, where), follow=follow - 1)
        return answer

    def log_in(self, page: Answer) -> Answer:
        """Fill in the provider's form and follow where it leads; the first page after that."""
        text = page.body.decode()
        found = re.search(r'name="id"\s+value="([^"]*)"', text)
        assert found, text
        form = {"id": html.unescape(found[1]), "username": USER, "password": PASSWORD}
        return self.open(urljoin(self.last, "/login/username"), form=form, follow=6)

    def _keep(self, jar: dict[str, str], answer: Answer) -> None:
        for line in answer.set_cookies:
            name, _, rest = line.partition("=")
            value, _, attributes = rest.partition(";")
            if "max-age=0" in attributes.lower() or "expires=thu, 01 jan 1970" in attributes.lower():
                jar.pop(name, None)
            else:
                jar[name] = value
