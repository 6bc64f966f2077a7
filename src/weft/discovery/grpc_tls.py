"""gRPC with TLS 1.3 only. Import `grpc` from here, so that the setting is in place before it is read.

gRPC's Python API cannot set a minimum TLS version. Its TLS 1.2 cipher suites can be set, for the whole process, by an
environment variable; TLS 1.3 suites are not affected. With an ECDSA server certificate and only an RSA suite for
TLS 1.2, no TLS 1.2 handshake can succeed (docs/adr/0014-xds-server.md).
"""

from __future__ import annotations

import os

os.environ["GRPC_SSL_CIPHER_SUITES"] = "ECDHE-RSA-AES128-GCM-SHA256"
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # a line for each failed hand-shake lets strangers fill the log

import grpc
import grpc.aio

__all__ = ["grpc"]
