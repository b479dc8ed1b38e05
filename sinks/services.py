"""Mail services that certferry knows by the command that reloads them: how to ask whether they run. Pure.

A service that does not run says nothing about a certificate, so after a failed reload its own state decides, never a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from controller.domain.target import Reload


@dataclass(frozen=True, slots=True)
class Service:
    """`question` is shell text that ends with 0 where it runs; run as root."""

    name: str
    question: str


DOVECOT = Service(
    "Dovecot",
    'b=$(doveconf -h base_dir 2>/dev/null); read -r p <"${b:-/run/dovecot}/master.pid"'
    ' && read -r c <"/proc/$p/comm" && [ "$c" = dovecot ]',
)
"""Its master writes the file at its start and removes it at its end; one that was killed leaves it (doveadm(1))."""
POSTFIX = Service("Postfix", "postfix status")
"""postfix(1)."""

_BY_PROGRAM = {"doveadm": DOVECOT, "dovecot": DOVECOT, "postfix": POSTFIX}


def service_of(step: Reload) -> Service | None:
    """The service that a step reloads; ``None`` where that is not known."""
    return _BY_PROGRAM.get(PurePosixPath(step.argv[0]).name) if step.argv else None


def waits_for_dovecot(steps: Sequence[Reload]) -> bool:
    """Whether Postfix is reloaded after Dovecot, whose socket it asks who may log in."""
    services = [service_of(step) for step in steps]
    return DOVECOT in services and POSTFIX in services[services.index(DOVECOT) :]
