"""The files that docker-mailserver's ``SSL_TYPE=self-signed`` wants to find (its documentation, "Self-Signed Certificates")."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

from controller.domain.errors import WriteRefused
from sources.self_signed_authority import Authority


def write_files(name: str, folder: Path, *, days: int, force: bool, now: datetime) -> tuple[Path, ...]:
    """Make an authority and a leaf for a host name, and write them below a folder; returns the files.

    The key of the authority is thrown away: nobody, not even we, can sign anything else with it.

    Raises:
        WriteRefused: files are there already and `force` is not set, or they cannot be written.
    """
    authority = Authority.make(now)
    pem, key = authority.issue((name,), None, now, timedelta(days=days))
    contents = {
        folder / f"{name}-key.pem": key,
        folder / f"{name}-cert.pem": pem,
        folder / f"{name}-combined.pem": key + pem,
        folder / "demoCA" / "cacert.pem": authority.pem,
    }
    if not force and (present := [path for path in contents if path.exists()]):
        raise WriteRefused(f"{', '.join(map(str, present))} exist already; add --force to replace them")
    try:
        for path, content in contents.items():
            write_file(path, content, mode=0o600 if key in content else 0o644)
    except OSError as error:
        raise WriteRefused(f"{error.filename} cannot be written ({error.strerror})") from error
    return tuple(contents)


def write_file(path: Path, content: bytes, *, mode: int) -> None:
    """Write a file beside its place and rename it, so that nobody ever reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stage = path.with_name(f".{path.name}.new")
    stage.unlink(missing_ok=True)
    with os.fdopen(os.open(stage, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)  # whatever the umask
        file.write(content)
    stage.rename(path)
