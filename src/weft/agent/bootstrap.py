"""Envoy's bootstrap, from the answer to the registration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from weft.model.canonical import canonical_service
from weft.model.enrolment import RegisterResponse
from weft.model.workload import SocketAddress, Workload
from weft.xds.bootstrap import BootstrapParameters, build_bootstrap
from weft.xds.policies.tls import MESH_PLACE, CredentialPlace


@dataclass(frozen=True, slots=True)
class BootstrapInputs:
    """What is known when the bootstrap is written."""

    workload: Workload
    enrolment: RegisterResponse
    admin_socket: Path
    place: CredentialPlace = MESH_PLACE
    capture: tuple[SocketAddress, ...] = ()
    capture_secret: str = field(default="", repr=False)


BuildBootstrap = Callable[[BootstrapInputs], str]


def bootstrap_text(inputs: BootstrapInputs) -> str:
    """The bootstrap as JSON: an Envoy that gets all else from the control plane."""
    return build_bootstrap(
        BootstrapParameters(
            node_id=inputs.workload.proxy,
            xds=inputs.enrolment.xds,
            xds_identity=inputs.enrolment.xds_identity,
            admin=str(inputs.admin_socket.absolute()),
            trust_domain=inputs.enrolment.trust_domain,
            service=canonical_service(inputs.workload),
            edge=inputs.workload.gateway is not None,
            place=inputs.place,
            capture=inputs.capture,
            capture_secret=inputs.capture_secret,
            shared=inputs.workload.node is not None,
        )
    )
