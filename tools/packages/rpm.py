"""A package of Fedora, Red Hat and SUSE, made with rpmbuild."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tools.packages.payload import PYTHON, Payload
from tools.packages.scripts import AFTER_INSTALL, BEFORE_REMOVAL

_SPEC = """\
%global __os_install_post %{{nil}}
%global debug_package %{{nil}}
%global _build_id_links none
Name: weft
Version: {version}
Release: 1
Summary: Service mesh on Envoy
License: Apache-2.0
Requires: /usr/bin/{python}, shadow-utils
AutoReqProv: no
%description
A control plane that programs Envoy proxies over xDS, and agents that run Envoy beside applications. Envoy is included.
%install
cp -a {root}/. %{{buildroot}}/
%post
{post}
%preun
[ "$1" = 0 ] || exit 0
{preun}
%files
{files}
"""


def build_rpm(payload: Payload, root: Path, target: Path, work: Path) -> Path:
    """Build what is staged below `root` into `target`. CalledProcessError of rpmbuild."""
    work.mkdir()
    files = [path for path in sorted(root.rglob("*")) if path.is_symlink() or path.is_file()]
    listed = [f'"/{path.relative_to(root)}"' for path in files]
    own = [f'%dir "/{path.relative_to(root)}"' for path in sorted(root.rglob("*")) if _is_own(path, root)]
    spec = work / "weft.spec"
    spec.write_text(
        _SPEC.format(
            version=payload.version.replace("-", "~"),
            python=PYTHON,
            root=root,
            post=AFTER_INSTALL,
            preun=BEFORE_REMOVAL,
            files="\n".join(["%defattr(-,root,root,-)", *own, *listed]),
        )
    )
    defined = {
        "_topdir": str(work / "top"),
        "_buildhost": "localhost",
        "use_source_date_epoch_as_buildtime": "1",
        "clamp_mtime_to_source_date_epoch": "1",
        "_binary_payload": "w1T0.xzdio",
        "_rpmfilename": "%{NAME}-%{VERSION}-%{RELEASE}.%{ARCH}.rpm",
        "_rpmdir": str(target),
    }
    words = [word for name, value in defined.items() for word in ("--define", f"{name} {value}")]
    subprocess.run(
        ["rpmbuild", "-bb", "--quiet", "--target", payload.architecture, *words, str(spec)],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(payload.epoch)},
    )
    return target / f"weft-{payload.version.replace('-', '~')}-1.{payload.architecture}.rpm"


def _is_own(path: Path, root: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and str(path.relative_to(root)).startswith("usr/lib/weft")
