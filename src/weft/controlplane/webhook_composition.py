"""What the webhook server is made of: who judges at which path, and who keeps the roots by which it is checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from weft.admin.kubernetes.admission import Admission
from weft.ca.authority import Authority
from weft.controlplane.injector import PATH as INJECT
from weft.controlplane.injector import Injector
from weft.controlplane.settings import ServeError, ServeSettings
from weft.controlplane.validator import PATH as VALIDATE
from weft.controlplane.validator import Validator
from weft.controlplane.webhook_roots import WebhookRoots
from weft.controlplane.webhooks import Reviewer
from weft.inject.settings import InjectionSettings, InjectionSettingsError, check_settings
from weft.model.addresses import host_and_port, is_wildcard
from weft.model.snapshot import ConfigSnapshot
from weft.sources.collector import Collector
from weft.sources.kubernetes.access import Credentials
from weft.sources.kubernetes.kubeconfig import in_cluster_namespace

_NAMESPACE = "weft-system"


@dataclass(frozen=True, slots=True)
class Webhooks:
    """`reviewers` by path; `injection` are the settings of now, None where no image is known; `running` have tasks."""

    reviewers: Mapping[str, Reviewer]
    injection: Callable[[], InjectionSettings | None]
    running: tuple[WebhookRoots, ...] = ()


def build_webhooks(
    settings: ServeSettings,
    authority: Authority,
    collector: Collector,
    agent_api: str,
) -> Webhooks:
    """What `settings` want of it. `agent_api` is where the agent API listens (``HOST:PORT``). ServeError if sidecars
    could not be told of the control plane."""
    wanted, file = settings.webhooks, settings.kubernetes
    if wanted is None or file is None:
        return Webhooks({}, lambda: None)
    injection = _injection(settings, authority, agent_api) if wanted.image else None
    credentials = Credentials(file.access)

    def snapshot() -> ConfigSnapshot:
        return collector.snapshot

    reviewers: dict[str, Reviewer] = {VALIDATE: Validator(Admission(snapshot))}
    if injection is not None:
        reviewers[INJECT] = Injector(injection, snapshot, credentials)
    changes = authority.changes
    roots = WebhookRoots(file.title, credentials, lambda: authority.bundle, changes, wanted.revision)
    return Webhooks(reviewers, injection or (lambda: None), (roots,) if wanted.serves else ())


def own_namespace(settings: ServeSettings) -> str:
    """The namespace that the control plane is in, or would be: that of its Lease and its state, where it has one."""
    said = settings.shared or settings.kubernetes_writes
    in_pod = settings.kubernetes is not None and settings.kubernetes.in_cluster
    return said or (in_cluster_namespace() if in_pod else "") or _NAMESPACE


def _injection(settings: ServeSettings, authority: Authority, agent_api: str) -> Callable[[], InjectionSettings]:
    """The settings, with the fingerprint of the root that proves the control plane at the time."""
    wanted = settings.webhooks
    assert wanted is not None  # noqa: S101 - only then there is injection
    host = settings.advertise or ("" if is_wildcard(settings.bind) else settings.bind)
    if not host:
        raise ServeError("--sidecar-image: sidecars need to know the control plane; give --advertise HOST")
    namespace = own_namespace(settings)

    def now() -> InjectionSettings:
        return InjectionSettings(
            wanted.image,
            host_and_port(host, agent_api.rpartition(":")[2]),
            authority.fingerprint,
            pull_policy=wanted.pull_policy,
            revision=wanted.revision.name,
            tags=wanted.revision.tags,
            namespace=namespace,
            native=wanted.native,
            cni=wanted.cni,
        )

    try:
        check_settings(now())
    except InjectionSettingsError as error:
        raise ServeError(f"--sidecar-image: {error}") from error
    return now
