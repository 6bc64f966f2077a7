"""``weft host``: one Envoy and one agent for many workloads of a host."""
