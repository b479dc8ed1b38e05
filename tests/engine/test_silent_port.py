"""A submission port that answers no more: Postfix throttles a service that met Dovecot's socket away, for a minute as shipped.

No reload ends that, so certferry waits; a pair is not to blame for it, so it stays.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.certs import Pair
from tests.lab import Controller, Lab, Mail, wait_until

AUTH = "/var/spool/postfix/private/auth"
STARTTLS = "timeout 5 openssl s_client -starttls smtp -connect 127.0.0.1:587 </dev/null"
THROTTLE = f"sleep 0.5; mv {AUTH} {AUTH}.away; {STARTTLS}; mv {AUTH}.away {AUTH}; sleep 1.5"
"""A service that has its first client ends when it does not find the socket after STARTTLS, and is throttled a second later."""
OTHERS = (25, 465, 993)


@dataclass
class Scene:
    """A mail container whose submission service is throttled for 9 s and gets a new process for each client."""

    lab: Lab
    mail: Mail
    certferry: Controller

    @classmethod
    def start(cls, lab: Lab, mail: Mail, *, silent: float) -> Scene:
        """`silent`: seconds that certferry gives a silent port."""
        timing = {"settle": "2s", "verify_timeout": "3s", "probe_timeout": "3s", "resync": "1d"}
        return cls(lab, mail, lab.controller(argv=("-m", "tests.engine.impatient", str(silent), "run"), **timing))

    def renew(self) -> Pair:
        pair = self.lab.issue()
        self.lab.acme.write(pair)
        self.certferry.wait_for("target.installed", fingerprint=pair.certificate.leaf.short)
        return pair

    def reloads_since(self, before: tuple[int, int]) -> tuple[int, int]:
        now = self.mail.reloads()
        return now[0] - before[0], now[1] - before[1]

    def look_again(self) -> None:
        """Have certferry look at the container now, by an event that changes nothing."""
        self.mail.container.update(restart_policy={"Name": "no"})

    def set_up(self, *settings: str) -> None:
        """Change what Postfix is told, and have it told."""
        self.mail.run("postconf", *settings)
        self.mail.run("sh", "-c", "touch -d '2 seconds ago' /etc/postfix/main.cf; postfix reload; sleep 0.3")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    lab = Lab(tmp_path_factory.mktemp("silent"))
    try:
        mail = lab.mail(labels={"reload": f'doveadm reload; postfix reload; sh -c "test ! -e /throttle || {{ {THROTTLE}; }}"'})
        mail.wait_up()
        lab.acme.write(lab.issue())
        scene = Scene.start(lab, mail, silent=20)
        scene.certferry.wait_ready(mail.name)
        mail.run("postconf", "-P", "submission/inet/max_use=1")
        scene.set_up("-e", "service_throttle_time = 9s")
        yield scene
    finally:
        lab.close()


@pytest.fixture(autouse=True)
def _never_taken_back(scene: Scene) -> Iterator[None]:
    yield
    assert scene.certferry.events("target.rolling_back") == []


def test_silent_since_the_reload(scene: Scene) -> None:
    scene.mail.run("touch", "/throttle")
    before = scene.mail.reloads()

    pair = scene.renew()
    assert "port 587/smtp: " in scene.certferry.wait_reason(scene.mail.name, "ServedDiffers")
    assert scene.mail.serves(pair, OTHERS)
    scene.certferry.wait_ready(scene.mail.name, pair)
    scene.mail.run("rm", "/throttle")
    assert scene.mail.serves(pair)
    assert scene.reloads_since(before) == (1, 1)


def test_silent_after_it_was_proven(scene: Scene) -> None:
    before, proofs = scene.mail.reloads(), len(scene.certferry.events("target.served"))

    pair = scene.renew()
    wait_until(lambda: len(scene.certferry.events("target.served")) > proofs)
    scene.mail.run("sh", "-c", THROTTLE)
    scene.look_again()
    assert "port 587/smtp: " in scene.certferry.wait_reason(scene.mail.name, "ServedDiffers")
    scene.certferry.wait_ready(scene.mail.name, pair)
    assert scene.mail.serves(pair)
    assert scene.reloads_since(before) == (1, 1)


def test_silent_for_good(scene: Scene) -> None:
    """One more reload is tried, then none; the other ports have the new certificate, and get the next one, too."""
    scene.certferry.stop()
    scene = Scene.start(scene.lab, scene.mail, silent=4)
    scene.certferry.wait_ready(scene.mail.name)
    scene.mail.run("postconf", "-P", "submission/inet/smtpd_sasl_path=private/nowhere")
    scene.set_up("-e", "service_throttle_time = 60s")
    scene.mail.run("sh", "-c", f"{STARTTLS}; sleep 1.5")
    before = scene.mail.reloads()

    pair = scene.renew()
    wait_until(lambda: scene.reloads_since(before) == (2, 2), what="a second reload", seconds=120)
    assert "port 587/smtp" in scene.certferry.wait_reason(scene.mail.name, "VerifyFailed")
    time.sleep(3)
    assert scene.reloads_since(before) == (2, 2)
    assert scene.mail.serves(pair, OTHERS)

    newer = scene.renew()
    wait_until(lambda: scene.mail.serves(newer, OTHERS))
