"""Whatever has certbot's folder mounted: certbot itself is often gone between two runs."""

from __future__ import annotations

from pathlib import PurePosixPath

from controller.domain.container import Container
from controller.domain.proxy import NOTHING, Files, KeptStore, Verdict

FOLDER = PurePosixPath("/etc/letsencrypt")
_LIVE = FOLDER / "live"


def recognise(container: Container, files: Files) -> Verdict:
    """See `controller.domain.proxy.Recogniser`."""
    if container.mount_of(FOLDER) is None:
        return NOTHING
    if _LIVE not in files:
        return Verdict(wanted=(_LIVE,))
    how = f"certbot's folder, mounted at {FOLDER} and with {_LIVE} in it"
    return NOTHING if files[_LIVE] is None else Verdict((KeptStore("certbot", FOLDER, how),))
