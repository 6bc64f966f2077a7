"""A name server of the network at large: ``name_server.py ADDRESS PORT``. www.outside.test is 192.0.2.1, and has no
address of IPv6; nothing else exists. Over UDP and TCP."""

from __future__ import annotations

import socketserver
import sys
import threading

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset


def answer(query: bytes) -> bytes:
    """What is said to a query."""
    response = dns.message.make_response(dns.message.from_wire(query), recursion_available=True)
    question = response.question[0]
    if question.name.to_text().lower() != "www.outside.test.":
        response.set_rcode(dns.rcode.NXDOMAIN)
    elif question.rdtype == dns.rdatatype.A:
        response.answer.append(dns.rrset.from_text(question.name, 60, "IN", "A", "192.0.2.1"))
    return response.to_wire()


class Datagram(socketserver.BaseRequestHandler):
    """One query over UDP."""

    def handle(self) -> None:
        data, socket = self.request
        socket.sendto(answer(data), self.client_address)


class Stream(socketserver.StreamRequestHandler):
    """Queries over TCP."""

    def handle(self) -> None:
        while size := self.rfile.read(2):
            said = answer(self.rfile.read(int.from_bytes(size)))
            self.wfile.write(len(said).to_bytes(2) + said)


if __name__ == "__main__":
    where = (sys.argv[1], int(sys.argv[2]))
    socketserver.ThreadingTCPServer.allow_reuse_address = True
    stream = socketserver.ThreadingTCPServer(where, Stream)
    threading.Thread(target=stream.serve_forever, daemon=True).start()
    with socketserver.ThreadingUDPServer(where, Datagram) as datagrams:
        print("ready", flush=True)
        datagrams.serve_forever()
