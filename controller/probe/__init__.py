"""The proof: TLS handshakes that read what a mail server serves, over the network or from inside its container.

`failure` says why not, `starttls` is what is said before TLS, `channel` the connection, `network` and `inside`
(by exec) the two ways, `container` the `Probe` port that chooses between them, `examine` the same for any host.
"""

from controller.probe.container import ContainerProbe
from controller.probe.examine import Verdict, examine, judge
from controller.probe.failure import Failure, HandshakeError
from controller.probe.inside import Execute
from controller.probe.network import Handshake, handshake

__all__ = ["ContainerProbe", "Execute", "Failure", "Handshake", "HandshakeError", "Verdict", "examine", "handshake", "judge"]
