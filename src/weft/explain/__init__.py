"""Explain: why a request was answered as it was: from the compiled mesh, and from what proxies noted. No I/O."""
