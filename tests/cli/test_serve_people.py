"""`weft serve`: what it is told of who may call the admin API, from the command line to its settings."""

from __future__ import annotations

import click
import pytest

from weft.cli.serve_people import remote_admin

USUAL = {
    **dict.fromkeys(("admin_bind", "kubeconfig"), ""),
    **dict.fromkeys(("admin_cert", "admin_key", "admin_client_ca", "write_status")),
    "admin_host": (),
    "kubernetes_users": False,
}
DOOR = {"admin_bind": "127.0.0.1:15081", "kubeconfig": "in-cluster", "kubernetes_users": True}


@pytest.mark.parametrize("write_status", [None, True])
def test_users_of_the_cluster_are_taken(write_status: bool | None) -> None:
    found = remote_admin({**USUAL, **DOOR, "write_status": write_status})
    assert found is not None
    assert (found.host, found.port, found.users) == ("127.0.0.1", 15081, True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kubernetes_users": True}, "--kubernetes-users goes with --admin-bind"),
        ({**DOOR, "kubeconfig": ""}, "--kubernetes-users goes with --kubeconfig"),
        ({**DOOR, "admin_cert": "a.pem"}, "--kubernetes-users goes with a certificate of the mesh"),
        ({**DOOR, "write_status": False}, "--kubernetes-users does not go with --no-write-status"),
        ({"admin_bind": "15081"}, "--admin-bind 15081: expected ADDRESS:PORT"),
    ],
)
def test_mistakes_name_their_option(options: dict[str, str | bool], message: str) -> None:
    with pytest.raises(click.UsageError) as error:
        remote_admin({**USUAL, **options})
    assert message in str(error.value)
