"""Issuers of tokens for tests: keys, key sets as they publish them, tokens right and wrong."""

from __future__ import annotations

import base64
import json
import threading
import time
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER = "https://issuer.example"
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def new_key(algorithm: str = "ES256", bits: int = 2048) -> PrivateKey:
    """A key that signs by `algorithm`."""
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    if algorithm in curves:
        return ec.generate_private_key(curves[algorithm])
    return rsa.generate_private_key(65537, bits)


@cache
def rsa_key(number: int = 0) -> rsa.RSAPrivateKey:
    """One of a few RSA keys: they are slow to make."""
    return rsa.generate_private_key(65537, 2048)


def jwk(key: PrivateKey, kid: str = "", **members: Any) -> dict[str, Any]:
    """The public key as a JWK."""
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        found = RSAAlgorithm.to_jwk(public, as_dict=True)
    elif isinstance(public, ec.EllipticCurvePublicKey):
        found = ECAlgorithm.to_jwk(public, as_dict=True)
    else:
        found = OKPAlgorithm.to_jwk(public, as_dict=True)
    found.pop("key_ops", None)
    return {**found, **({"kid": kid} if kid else {}), **members}


def key_set(*keys: dict[str, Any]) -> str:
    """A JWKS."""
    return json.dumps({"keys": list(keys)})


def part(value: object) -> str:
    """A part of a token: JSON in base64url."""
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


@dataclass
class Issuer:
    """Somebody who signs tokens."""

    name: str = ISSUER
    algorithm: str = "ES256"
    kid: str = "k1"
    key: PrivateKey = field(default_factory=new_key)

    def token(self, *, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token of `alice`, good for ten minutes; a claim that is None is not in it."""
        said = {"iss": self.name, "sub": "alice", "exp": int(time.time()) + 600, **claims}
        said = {name: value for name, value in said.items() if value is not None}
        head = {"kid": self.kid, **(headers or {})}
        return jwt.encode(said, self.key, algorithm=self.algorithm, headers=head)

    @property
    def jwks(self) -> str:
        """What it publishes."""
        return key_set(jwk(self.key, self.kid, alg=self.algorithm, use="sig"))


class KeyServer:
    """A web server on loopback, in a thread of its own. `pages` are what it answers by path; no page: 404."""

    def __init__(self) -> None:
        self.pages: dict[str, str] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                page = outer.pages.get(self.path)
                self.send_response(200 if page is not None else 404)
                self.send_header("Content-Length", str(len(page or "")))
                self.end_headers()
                self.wfile.write((page or "").encode())

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        """Nobody answers any more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
