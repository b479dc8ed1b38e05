"""certferry is killed at every step of the act; the next one brings the target to its end, with one reload in total."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from controller.x509.keys import key_fits
from controller.x509.leaves import parse_leaf
from tests.certs import Pair
from tests.engine.kill_at import STEPS
from tests.engine.test_leftovers import wait_alone
from tests.lab import Lab, Mail, wait_until

QUICK = {"settle": "200ms", "verify_timeout": "20s", "resync": "1d"}
UNPROVABLE = {
    "profile": "generic",
    "cert_path": "/tls/cert.pem",
    "key_path": "/tls/key.pem",
    "probe": "off",
    "reload": "sh -c 'echo once >>/reloads'",
}
ANOTHER_USER = {"user": "root:mail"}
"""Commands of another user than the one who writes files are run by an exec of their own."""


@dataclass
class Scene:
    """A container with its certificate, and no certferry."""

    lab: Lab
    mail: Mail

    def carry(self, pair: Pair) -> None:
        """Have a certificate carried by a healthy certferry."""
        self.lab.acme.write(pair)
        certferry = self.lab.controller(**QUICK)
        certferry.wait_ready(self.mail.name, pair)
        assert certferry.stop() == 0

    def die(self, step: str, pair: Pair) -> None:
        """Have a certificate carried by one that dies."""
        self.lab.acme.write(pair)
        certferry = self.lab.controller(argv=("-m", "tests.engine.kill_at", step, "run"), **QUICK)
        assert certferry.wait_end() == -signal.SIGKILL, certferry.text


@pytest.fixture(scope="module")
def provable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Postfix and Dovecot: what they serve tells whether they were reloaded."""
    lab = Lab(tmp_path_factory.mktemp("kill"))
    try:
        scene = Scene(lab, lab.mail(labels=ANOTHER_USER))
        scene.mail.wait_up()
        scene.carry(lab.issue())
        yield scene
    finally:
        lab.close()


@pytest.fixture(scope="module")
def unprovable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """No port tells anything: only a mark beside the files can."""
    lab = Lab(tmp_path_factory.mktemp("kill"))
    try:
        scene = Scene(lab, Mail(lab.container(labels=UNPROVABLE | ANOTHER_USER)))
        scene.carry(lab.issue())
        yield scene
    finally:
        lab.close()


@pytest.mark.parametrize("step", STEPS)
def test_the_next_certferry_ends_what_was_begun(provable: Scene, step: str) -> None:
    mail, pair = provable.mail, provable.lab.issue()
    before = mail.served(993)
    dovecot, postfix = mail.reloads()

    new = pair.certificate.fingerprint
    swapped, reloaded = list(STEPS).index(step) >= 2, list(STEPS).index(step) >= 3

    provable.die(step, pair)
    if reloaded:  # Dovecot was told, and takes its time
        wait_until(lambda: mail.served(993) == new, what="the reload has its effect")
    assert (mail.fingerprint_at("/tls/cert.pem"), mail.served(993)) == (new if swapped else before, new if reloaded else before)
    provable.carry(pair)

    assert mail.serves(pair)
    assert mail.reloads() == (dovecot + 1, postfix + 1)
    assert mail.litter() == ""


@pytest.mark.parametrize("step", STEPS)
def test_where_no_port_can_be_asked_a_mark_tells_of_the_missing_reload(unprovable: Scene, step: str) -> None:
    mail, pair = unprovable.mail, unprovable.lab.issue()
    before = _reloads(mail)

    unprovable.die(step, pair)
    unprovable.carry(pair)

    # Once the command ran and nobody wrote that down, nobody can know: then it runs once more.
    unknowable = 1 if list(STEPS).index(step) >= 3 else 0
    assert mail.fingerprint_at("/tls/cert.pem") == pair.certificate.fingerprint
    assert _reloads(mail) == before + 1 + unknowable
    assert mail.litter() == ""


def _reloads(mail: Mail) -> int:
    return mail.run("cat", "/reloads").count("once")


def test_killed_while_its_commands_run_in_the_container(lab: Lab) -> None:
    """What was begun inside goes on alone; the next certferry meets it half-way."""
    mail = Mail(lab.container(labels=UNPROVABLE | {"reload": "sh -c 'sleep 1; echo once >>/reloads'"}))
    lab.acme.write(lab.issue())
    first = lab.controller(**QUICK)
    first.wait_for("target.installed")
    first.kill()
    last = lab.controller(**QUICK)
    last.wait_ready(mail.name)

    wait_until(lambda: _reloads(mail) >= 1)
    assert mail.litter() == ""


def test_killed_again_and_again_at_any_moment(lab: Lab) -> None:
    """At every death key and certificate belong together, and the last certferry ends ready."""
    mail = Mail(lab.container(labels=UNPROVABLE))
    lab.acme.write(lab.issue())
    certferry = lab.controller(**QUICK)
    certferry.wait_ready(mail.name)
    for number in range(6):
        lab.acme.write(lab.issue())
        time.sleep(0.25 + 0.07 * number)  # reading and batching take 0.3 s, the act 0.3 s
        certferry.kill()
        wait_alone(mail.container)  # a swap that was begun goes on to its end
        chain, key = (mail.run("cat", f"/tls/{name}.pem").encode() for name in ("cert", "key"))
        assert key_fits(parse_leaf(chain), key)
        certferry = lab.controller(**QUICK)
        certferry.wait_for("engine.connected")
    pair = lab.issue()
    lab.acme.write(pair)
    certferry.wait_ready(mail.name, pair)
    assert mail.litter() == ""
