"""What a package manager runs: users before the first start, and after an upgrade services that take over in place."""

from __future__ import annotations

_USERS = """\
if command -v systemd-sysusers >/dev/null 2>&1; then
    systemd-sysusers weft.conf
else
    for user in weft weft-proxy; do
        id -u "$user" >/dev/null 2>&1 ||
            useradd --system --user-group --home-dir /nonexistent --shell /usr/sbin/nologin "$user"
    done
fi
"""
_FOLLOW = """\
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    # Agents take over their Envoys, and Envoys of this package those of the one before: no request is lost.
    systemctl try-restart weft-control-plane.service || true
    systemctl try-reload-or-restart weft-host.service 'weft-gateway@*.service' 'weft-workload@*.service' || true
fi
"""
_END = """\
if [ -d /run/systemd/system ]; then
    systemctl stop weft-host.service 'weft-gateway@*.service' 'weft-workload@*.service' || true
    systemctl stop weft-control-plane.service || true
    systemctl disable weft-host.service weft-control-plane.service || true
fi
"""

AFTER_INSTALL = _USERS + _FOLLOW
BEFORE_REMOVAL = _END
