"""`weft inject` and `weft uninject`: sidecars in manifests, by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from weft.cli.failure import FailedError
from weft.cli.options import CommandT, command, home_option
from weft.settings.home import Home

if TYPE_CHECKING:
    from weft.cli.manifests import Manifest
    from weft.inject.names import Json
    from weft.inject.pod import Injected
    from weft.inject.settings import InjectionSettings
    from weft.model.document import ObjectKey
    from weft.model.origin import FieldPath


def _files(function: CommandT) -> CommandT:
    form = click.Choice(["yaml", "json"])
    for option in (
        click.option("-o", "--output", type=form, default="yaml", show_default=True, help="How it is printed."),
        click.option(
            "-f",
            "--file",
            "files",
            multiple=True,
            required=True,
            metavar="PATH",
            type=click.Path(),
            help="File, directory or - (stdin). May be given again.",
        ),
    ):
        function = option(function)
    return function


@command(
    "inject",
    "weft inject -f deployment.yaml --image registry.example/weft-proxy:0.1.0 | kubectl apply -f -",
    "kubectl get deployment web -o yaml | weft inject -f - -o json",
    "weft inject -f pod.yaml --image weft-proxy:1 --control-plane 10.0.0.1:15013 --ca-fingerprint sha256:6b0f…",
)
@_files
@home_option
@click.option("--image", default="", help="Image of the sidecar.  [default: that of the running control plane]")
@click.option(
    "--image-pull-policy",
    type=click.Choice(["Always", "IfNotPresent", "Never"]),
    default=None,
    help="When it is fetched.  [default: as the running control plane has it, else IfNotPresent]",
)
@click.option(
    "--control-plane",
    "server",
    default="",
    metavar="HOST:PORT",
    help="The agent API of the control plane, as pods reach it.  [default: that of the running one]",
)
@click.option(
    "--ca-fingerprint",
    "fingerprint",
    default="",
    help="sha256:HEX of the CA, as `weft ca status` prints it.  [default: that of the running control plane]",
)
@click.option(
    "--revision", default="", help="What labels call the control plane.  [default: as the running one has it]"
)
@click.option("--classic", is_flag=True, help="The proxy is a container, not a native sidecar.")
@click.option("--cni", is_flag=True, help="Nodes capture the pod, by `weft cni`: it needs no right for that.")
@click.option("-n", "--namespace", default="default", show_default=True, help="Of what does not say its own.")
def inject(*, files: tuple[str, ...], output: str, home: Home, namespace: str, **given: Any) -> int:
    """Put sidecars into pods: into all kinds of workloads of manifests.

    What comes out is applied with kubectl. Where the control plane injects by itself, in namespaces with the label
    `istio-injection: enabled` or `weft.dev/injection: enabled`, this is not needed; what has a sidecar already is
    refused here, and left alone there. All other documents are printed as they are, in their order. A label or an
    annotation that asks for what weft does not do is an error. Settings that are not given are those of the control
    plane that runs in the home.
    """
    from weft.cli.changes import read_sources
    from weft.cli.manifests import print_manifests, read_manifests
    from weft.cli.output import print_problems
    from weft.inject.workloads import pods_in
    from weft.model.problem import problem_mapping

    manifests = read_manifests(read_sources(files))
    settings = _settings(home, given)
    done, errors, changed = 0, [], []
    for manifest in manifests:
        value = manifest.value
        for path, about in pods_in(value):
            injected = _injected(manifest, value, path, about, settings, namespace)
            errors += [problem_mapping(each) | {"severity": "error"} for each in injected.problems]
            if injected.pod is None and not injected.problems:
                click.echo(f"{about}: no sidecar: {injected.reason}", err=True)
            if injected.pod is not None:
                value, done = _changed(value, path, injected.pod), done + 1
        changed.append(value)
    if errors:
        print_problems(errors)
        raise FailedError("nothing is printed: a sidecar would not be what these documents ask for")
    print_manifests(changed, output)
    click.echo(f"{done} {'pod' if done == 1 else 'pods'} with a sidecar", err=True)
    return 0


@command("uninject", "weft uninject -f injected.yaml", "kubectl get deployment web -o yaml | weft uninject -f -")
@_files
def uninject(*, files: tuple[str, ...], output: str) -> int:
    """Take sidecars out of manifests again.

    Containers, volumes, annotations and probes are as they were before `weft inject`. All other documents are printed
    as they are, in their order.
    """
    from weft.cli.changes import read_sources
    from weft.cli.manifests import print_manifests, read_manifests
    from weft.inject.pod import UninjectError, uninject_pod
    from weft.inject.workloads import at, pods_in

    done, changed = 0, []
    for manifest in read_manifests(read_sources(files)):
        value = manifest.value
        for path, about in pods_in(value):
            try:
                pod = uninject_pod(at(value, path))
            except UninjectError as error:
                raise FailedError(f"{manifest.lines.origin(*path)}: {about}: {error}") from error
            if pod is not None:
                value, done = _changed(value, path, pod), done + 1
        changed.append(value)
    print_manifests(changed, output)
    click.echo(f"{done} {'sidecar' if done == 1 else 'sidecars'} taken out", err=True)
    return 0


def _injected(
    manifest: Manifest, value: Json, path: FieldPath, about: ObjectKey, settings: InjectionSettings, namespace: str
) -> Injected:
    from weft.inject.decision import Namespace
    from weft.inject.findings import REFUSED, Place
    from weft.inject.pod import Injected, inject_pod, is_injected
    from weft.inject.workloads import at
    from weft.model.problem import Severity

    place, pod = Place(manifest.lines, path, about), at(value, path)
    if is_injected(pod):
        text = "it has a sidecar already"
        expected = "a pod without one: weft uninject takes it out"
        return Injected(None, text, (place.problem(Severity.ERROR, REFUSED, text, expected=expected),))
    return inject_pod(pod, Namespace(about.namespace or namespace), settings, place)


def _changed(value: Json, path: FieldPath, pod: Json) -> Json:
    from weft.inject.workloads import changed_at

    found: Json = changed_at(value, path, lambda _: pod)
    return found


def _settings(home: Home, given: dict[str, Any]) -> InjectionSettings:
    """Those that are given, and for the others those of the running control plane. UsageError if they cannot be."""
    import msgspec

    from weft.inject.settings import InjectionSettings, InjectionSettingsError, check_settings
    from weft.local.client import AdminClient, RefusedError, UnreachableError

    said: dict[str, Any] = {key: given[key] for key in ("image", "server", "fingerprint") if given[key]}
    missing = [option for option, key in _NEEDED.items() if not given[key]]
    if missing:
        try:
            said = AdminClient(home).get("injection") | said
        except (UnreachableError, RefusedError) as error:
            raise click.UsageError(f"{' and '.join(missing)} must be given: {error}") from error
    for key, value in (("pull_policy", given["image_pull_policy"]), ("revision", given["revision"])):
        if value:
            said[key] = value
    if given["classic"]:
        said["native"] = False
    if given["cni"]:
        said["cni"] = True
    try:
        return check_settings(msgspec.convert(said, InjectionSettings))
    except (InjectionSettingsError, msgspec.ValidationError) as error:
        raise click.UsageError(str(error)) from error


_NEEDED = {"--image": "image", "--control-plane": "server", "--ca-fingerprint": "fingerprint"}
