"""Certificate or join token: the table of what an agent shows to a control plane on another host."""

from __future__ import annotations

import socket
import ssl

import pytest

from weft.agent.diagnosis import connection_failure
from weft.agent.http import ConnectTimeoutError, HttpError
from weft.agent.identity import Choice, Given, Held, Means, choose_identity

ROOT, OTHER = "ab" * 32, "cd" * 32
PINNED = f"sha256:{ROOT}"
GOOD = Held(frozenset({ROOT}), 1000.0, 2000.0)
FOREIGN = Held(frozenset({OTHER}), 1000.0, 2000.0)
NOW = 1500.0

TABLE = [
    # given, held, now, refused -> means, and what the reason must say
    (Given(PINNED, True), None, NOW, False, Means.TOKEN, "no certificate yet"),
    (Given(PINNED, False), None, NOW, False, Means.NOTHING, "no certificate yet"),
    (Given(PINNED, True), GOOD, NOW, False, Means.CERTIFICATE, ""),
    (Given(PINNED, False), GOOD, NOW, False, Means.CERTIFICATE, ""),
    (Given("", False), GOOD, NOW, False, Means.CERTIFICATE, ""),
    (Given("SHA256:" + ":".join(["AB"] * 32), False), GOOD, NOW, False, Means.CERTIFICATE, ""),
    (Given(PINNED, False), Held(frozenset({ROOT, OTHER}), 1000.0, 2000.0), NOW, False, Means.CERTIFICATE, ""),
    (Given(PINNED, True), FOREIGN, NOW, False, Means.TOKEN, "another authority"),
    (Given(PINNED, False), FOREIGN, NOW, False, Means.NOTHING, "another authority"),
    (Given(PINNED, True), FOREIGN, 3000.0, False, Means.TOKEN, "another authority"),
    (Given(PINNED, True), GOOD, 2000.0, False, Means.TOKEN, "expired at 1970-01-01T00:33:20Z"),
    (Given(PINNED, False), GOOD, 2000.0, False, Means.NOTHING, "expired at 1970-01-01T00:33:20Z"),
    (Given("", False), GOOD, 2000.0, True, Means.NOTHING, "expired"),
    (Given(PINNED, True), GOOD, 999.0, False, Means.TOKEN, "clock"),
    (Given(PINNED, False), GOOD, 999.0, False, Means.NOTHING, "clock"),
    (Given(PINNED, True), GOOD, NOW, True, Means.TOKEN, "no longer accepted"),
    (Given(PINNED, False), GOOD, NOW, True, Means.NOTHING, "no longer accepted"),
]


@pytest.mark.parametrize(("given", "held", "now", "refused", "means", "why"), TABLE)
def test_what_is_shown(given: Given, held: Held | None, now: float, refused: bool, means: Means, why: str) -> None:
    found = choose_identity(given, held, now, refused=refused)
    assert found.means is means
    assert why in found.why
    assert bool(found.why) is (found != Choice(Means.CERTIFICATE))


def verification(code: int) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "message"
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(-2, "Name or service not known"), "DNS"),
        (ConnectTimeoutError(), "TCP: no answer to the connection in 10 s; is a firewall"),
        (ConnectionRefusedError(111, "Connection refused"), "TCP: Connection refused: nothing listens there"),
        (OSError(113, "No route to host"), "No route to host"),
        (TimeoutError(), "connected, but there was no answer in 10 s"),
        (verification(10), "clock: its certificate has expired by this host's clock"),
        (verification(9), "clock: its certificate is not valid yet"),
        (verification(19), "another authority"),
        (verification(62), "not accepted (message)"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "is it weft's agent API"),
        (HttpError("the answer is not HTTP/1"), "not HTTP/1"),
    ],
)
def test_what_does_not_connect_is_named(error: Exception, words: str) -> None:
    assert words in connection_failure(error, 10)
