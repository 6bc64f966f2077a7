"""The features that a GatewayClass tells."""

from __future__ import annotations

import pytest

from weft.admin.kubernetes.features import EXPERIMENTAL, FEATURES, MESH_FEATURES


@pytest.mark.parametrize("features", [FEATURES, MESH_FEATURES])
def test_they_stand_once_in_the_order_of_their_names(features: tuple[str, ...]) -> None:
    """As the definition of GatewayClass asks, which also has room for 64."""
    assert list(features) == sorted(set(features))
    assert len(features) <= 64


def test_those_of_a_mesh_are_no_matter_of_a_class() -> None:
    assert not [each for each in FEATURES if each.startswith("Mesh")]
    assert set(FEATURES) >= EXPERIMENTAL
