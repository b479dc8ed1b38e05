"""The proof: TLS handshakes that read what a mail server serves, over the network or from inside its container.

`failure` says why not, `lookup` finds a host's addresses, `connect` takes the first of them that answers, `channel` is the
connection, `starttls` what is said before TLS, `network` and `inside` (by exec) the two ways, `reach` the addresses that may be
dialled, `container` the `Probe` port that chooses between the ways, `examine` the same for any host, `verdict` what a client
says of it.
"""

from controller.probe.container import ContainerProbe
from controller.probe.examine import examine, examine_all
from controller.probe.failure import Failure, HandshakeError
from controller.probe.inside import Execute
from controller.probe.network import Handshake, handshake
from controller.probe.reach import Nearby, Reach
from controller.probe.verdict import Judgement, Verdict, judge

__all__ = [
    "ContainerProbe",
    "Execute",
    "Failure",
    "Handshake",
    "HandshakeError",
    "Judgement",
    "Nearby",
    "Reach",
    "Verdict",
    "examine",
    "examine_all",
    "handshake",
    "judge",
]
