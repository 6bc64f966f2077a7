"""What does not connect, in words: name resolution, TCP, TLS, the other side's authority, the clock."""

from __future__ import annotations

import os
import socket
import ssl

from weft.agent.http import ConnectTimeoutError, HttpError

_WHOSE = "; is it weft's agent API (port 15013 if not chosen otherwise)?"
_EXPIRED = 10
_NOT_YET_VALID = 9
_UNTRUSTED = frozenset({18, 19, 20, 21})
"""X509_V_ERR_* of OpenSSL: see ``openssl verify -help`` and X509_STORE_CTX_get_error(3)."""
_REFUSED = frozenset(
    {
        "TLSV1_ALERT_UNKNOWN_CA",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "SSLV3_ALERT_BAD_CERTIFICATE",
    }
)
"""The alerts (RFC 8446, 6.2) by which a server says that."""


def is_other_authority(error: Exception) -> bool:
    """Whether `error` says that the other side's certificate leads to a root that we do not know."""
    return isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _UNTRUSTED


def is_certificate_refused(error: Exception) -> bool:
    """Whether `error` says that the other side does not accept our certificate."""
    return isinstance(error, ssl.SSLError) and error.reason in _REFUSED


def connection_failure(error: Exception, timeout: float = 0.0) -> str:
    """Why a connection failed, by kind, with what to look at. `timeout` in seconds is what was waited."""
    if isinstance(error, ssl.SSLError):
        return _tls_failure(error)
    if isinstance(error, HttpError):
        return f"{error}{_WHOSE}"
    if isinstance(error, TimeoutError):
        if isinstance(error, ConnectTimeoutError):
            where = "is a firewall in between, is the address right?"
            return f"TCP: no answer to the connection in {timeout:g} s; {where}"
        return f"connected, but there was no answer in {timeout:g} s"
    if isinstance(error, socket.gaierror):
        return f"DNS: the name does not resolve ({error.strerror})"
    errno = error.errno if isinstance(error, OSError) else None  # asyncio's own words are "Connect call failed"
    text = os.strerror(errno) if errno else str(error) or type(error).__name__
    return f"TCP: {text}: nothing listens there" if isinstance(error, ConnectionRefusedError) else text


def _tls_failure(error: ssl.SSLError) -> str:
    if not isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {error}{_WHOSE}"
    if error.verify_code in (_EXPIRED, _NOT_YET_VALID):
        word = "has expired" if error.verify_code == _EXPIRED else "is not valid yet"
        return f"clock: its certificate {word} by this host's clock; compare the clocks of both hosts"
    if error.verify_code in _UNTRUSTED:
        return "TLS: its certificate is of another authority"
    return f"TLS: its certificate is not accepted ({error.verify_message})"
