"""To where connections and questions are led, in tests: a proxy that says what it was told, and a responder."""

from __future__ import annotations

import contextlib
import socket
import threading

SECRET = b"nobody knows"


class Proxy:
    """Listens at both loopbacks, reads the header of each connection and answers with the destination in it."""

    def __init__(self) -> None:
        self.servers = [socket.create_server(("127.0.0.1", 0), backlog=128)]
        self.port: int = self.servers[0].getsockname()[1]
        self.servers.append(socket.create_server(("::1", self.port), family=socket.AF_INET6, backlog=128))
        for server in self.servers:
            threading.Thread(target=self._accept, args=(server,), daemon=True).start()

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(ConnectionError):
            head = connection.recv(16, socket.MSG_WAITALL)
            if len(head) < 16:
                return
            body = connection.recv(int.from_bytes(head[14:16], "big"), socket.MSG_WAITALL)
            size, family = (4, socket.AF_INET) if head[13] == 0x11 else (16, socket.AF_INET6)
            told, rest = body[size : 2 * size], body[2 * size :]
            port, secret = int.from_bytes(rest[2:4], "big"), rest[7:]
            if head[:13] == b"\r\n\r\n\0\r\nQUIT\n\x21" and secret == SECRET and connection.recv(1) == b"?":
                connection.sendall(f"{socket.inet_ntop(family, told)} {port}".encode())

    def close(self) -> None:
        """Listen no more."""
        for server in self.servers:
            server.shutdown(socket.SHUT_RDWR)
            server.close()


def answer_names(server: socket.socket) -> None:
    """Until it is told that it is over."""
    while True:
        question, where = server.recvfrom(512)
        if question == b"over":
            return
        if question != b"silence":
            server.sendto(b"answered " + question, where)
