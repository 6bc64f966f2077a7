"""Makes one connection after another for tests: many_connections.py HOST PORT COUNT asks for / on each over HTTP, and
prints how many were not answered with 200."""

from __future__ import annotations

import http.client
import sys


def main() -> None:
    """All of them."""
    failed = []
    for _ in range(int(sys.argv[3])):
        connection = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=10)
        try:
            connection.request("GET", "/")
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                failed.append(str(answer.status))
        except OSError as error:
            failed.append(str(error))
        finally:
            connection.close()
    print(len(failed), *failed[:3])


main()
