"""Any container: the labels say where the files go and how they are taken up; every usual mail port that listens is probed."""

from __future__ import annotations

from controller.domain.mail_ports import STANDARD_PORTS
from controller.domain.profile import Profile

GENERIC = Profile(name="generic", probe=STANDARD_PORTS)
