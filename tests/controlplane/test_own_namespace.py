"""The namespace of a control plane is one, for its Lease, its state, its injector and what is always in view."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from weft.controlplane.settings import ServeSettings
from weft.controlplane.webhook_composition import own_namespace
from weft.settings.home import Home


def test_what_the_options_say_counts(tmp_path: Path) -> None:
    settings = ServeSettings(Home(tmp_path))
    assert own_namespace(settings) == "weft-system"
    assert own_namespace(replace(settings, shared="mesh")) == "mesh"
    assert own_namespace(replace(settings, kubernetes_writes="mesh")) == "mesh"
