"""weft: a service mesh that programs Envoy proxies over xDS."""

__version__ = "0.1.0"
