"""What people do on the pages that tests follow: requests at a gateway by host, over TLS by name, and connections."""

from __future__ import annotations

import json
import socket
import ssl
from contextlib import closing
from typing import Any

from support.certificates import Leaf
from support.http import Answer, Client

Address = tuple[str, int]


def get(address: Address, path: str, host: str, method: str = "GET", **headers: str) -> Answer:
    """The answer at an address to a request for a host."""
    client = Client()
    try:
        named = {"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return client(f"http://{address[0]}:{address[1]}{path}", method=method, headers=named)
    finally:
        client.close()


def seen(answer: Answer) -> dict[str, str]:
    """The headers that the echo application saw, in lower case."""
    return {name.lower(): value for name, value in answer.json()["headers"]}


def get_over_tls(address: Address, path: str, host: str, authority: bytes, client: str = "") -> int:
    """The status of a request over TLS, 0 where the handshake or the request is refused. `authority` (PEM) has to vouch
    for the server; `client` is a file with the certificate and key that is shown."""
    context = ssl.create_default_context(cadata=authority.decode())
    if client:
        context.load_cert_chain(client)
    try:
        with (
            socket.create_connection(address, timeout=10) as opened,
            context.wrap_socket(opened, server_hostname=host) as secured,
        ):
            return _status(secured, path, host)
    except OSError:
        return 0


def get_through(opened: socket.socket, path: str, host: str, authority: bytes) -> int:
    """The same over a connection that is open already."""
    context = ssl.create_default_context(cadata=authority.decode())
    try:
        with opened, context.wrap_socket(opened, server_hostname=host) as secured:
            return _status(secured, path, host)
    except OSError:
        return 0


def _status(secured: ssl.SSLSocket, path: str, host: str) -> int:
    secured.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    head = b""
    while b"\r\n" not in head:
        piece = secured.recv(4096)
        if not piece:
            return 0
        head += piece
    return int(head.split(b" ")[1])


def greeting(address: Address) -> str:
    """What a server says first at an address; empty if the connection is closed instead."""
    with closing(socket.create_connection(address, timeout=10)) as opened:
        said = b""
        try:
            while not said.endswith(b"\n"):
                piece = opened.recv(64)
                if not piece:
                    return ""
                said += piece
        except OSError:
            return ""
        return said.decode().strip()


def secret(name: str, leaf: Leaf, namespace: str = "default", **more: bytes) -> str:
    """A Secret with a certificate, its key and what else it holds (``ca_crt`` is its ``ca.crt``)."""
    data: dict[str, Any] = {"tls.crt": leaf.chain.decode(), "tls.key": leaf.key.decode()}
    data |= {key.replace("_", "."): value.decode() for key, value in more.items()}
    metadata = {"name": name, "namespace": namespace}
    return "\n---\n" + json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data})
