"""IP addresses as text: what kind they are, and how they are written."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether `host` (a name or an IP address) names this host's loopback interface."""
    try:
        return ipaddress.ip_address(plain_address(host.strip("[]"))).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_ip_address(host: str) -> bool:
    """Whether `host` is an IP address, without brackets."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def plain_address(address: str) -> str:
    """An IP address as others write it: a dual-stack socket shows IPv4 peers as ``::ffff:10.0.0.7``."""
    try:
        mapped = ipaddress.IPv6Address(address).ipv4_mapped
    except ValueError:
        return address
    return str(mapped or address)


def is_wildcard(host: str) -> bool:
    """Whether `host` stands for every address of this host."""
    try:
        return ipaddress.ip_address(plain_address(host.strip("[]"))).is_unspecified
    except ValueError:
        return False


def host_and_port(host: str, port: int | str) -> str:
    """``HOST:PORT``, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
