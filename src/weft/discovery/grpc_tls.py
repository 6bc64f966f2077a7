"""gRPC with TLS 1.3 only. Import `grpc` from here, so that the setting is in place before it is read.

gRPC's Python API cannot set a minimum TLS version. Its TLS 1.2 cipher suites can be set, for the whole process, by an
environment variable; TLS 1.3 suites are not affected. With an ECDSA server certificate and only an RSA suite for
TLS 1.2, no TLS 1.2 handshake can succeed (docs/adr/0014-xds-server.md).

The variable is read when gRPC is loaded. Where somebody else has loaded it before, this import fails: a server that
takes TLS 1.2 without a word would be worse.
"""

from __future__ import annotations

import os
import sys

_VARIABLE, _SUITES = "GRPC_SSL_CIPHER_SUITES", "ECDHE-RSA-AES128-GCM-SHA256"
if "grpc" in sys.modules and os.environ.get(_VARIABLE) != _SUITES:
    raise ImportError("gRPC was loaded before weft could shut TLS 1.2 out: import weft.discovery.grpc_tls first")
os.environ[_VARIABLE] = _SUITES
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # a line for each failed hand-shake lets strangers fill the log

import grpc  # noqa: E402 - reads the variable
import grpc.aio  # noqa: E402

__all__ = ["grpc"]
