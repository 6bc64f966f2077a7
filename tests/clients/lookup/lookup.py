"""The C library's resolver, as Python uses it: lookup.py NAME... prints each address of each name, as NAME ADDRESS."""

import socket
import sys

for name in sys.argv[1:]:
    try:
        for address in {each[4][0] for each in socket.getaddrinfo(name, 80)}:
            print(name, address)
    except socket.gaierror as error:
        print(name, error, file=sys.stderr)
