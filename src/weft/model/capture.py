"""What the two ends of a captured connection agree on: its holder, and its proxy. Imports nothing."""

SECRET_TYPE = 0xE7
"""The type of the field with the workload's secret in the header of a connection (PROXY protocol, version 2): one of
those that are anybody's (0xE0 to 0xEF)."""
