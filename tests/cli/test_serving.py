"""The settings of a control plane that is started again by hand in the home of a mesh that is up."""

from __future__ import annotations

from pathlib import Path

from weft.cli.serving import ServeOptions, serve_settings
from weft.local.record import UpRecord, UpState
from weft.settings.home import Home


def options(home: Home, bind: str | None = None) -> ServeOptions:
    return ServeOptions(home, (), None, bind, "", None, None, None, None, "ALLOW_ANY", 15.0, 86400.0)


def test_what_is_not_given_is_as_in_the_mesh_that_is_up(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert serve_settings(options(home)).bind == "127.0.0.1"
    UpRecord(home).write(UpState(1, "weft.yaml", ("/shop/mesh",), "shop.example", "10.0.0.5"))
    settings = serve_settings(options(home))
    assert (settings.bind, settings.mesh.trust_domain) == ("10.0.0.5", "shop.example")
    assert settings.follow == (Path("/shop/mesh"),)
    assert serve_settings(options(home, "10.0.0.6")).bind == "10.0.0.6"
