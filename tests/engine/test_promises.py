"""The promises, one by one, with real Postfix and Dovecot: each test would fail without its promise."""

from __future__ import annotations

import base64
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import pytest

from tests.certs import Pair, acme_json, key_pem, new_key, self_signed
from tests.engine.socket_proxy import SocketProxy
from tests.lab import DOMAIN, PLAIN_IMAGE, Controller, Lab, Mail, put_files, wait_until

QUICK = {"settle": "200ms", "verify_timeout": "6s", "resync": "1d"}
"""With such a resync, what a test waits for must come by an event."""
FILES_ONLY = {"profile": "generic", "cert_path": "/tls/cert.pem", "key_path": "/tls/key.pem", "probe": "off"}


@dataclass
class Scene:
    """One mail container and one certferry, for all tests that do not need their own."""

    lab: Lab
    mail: Mail
    certferry: Controller
    good: Pair

    def renew(self) -> Pair:
        """Have a new certificate carried."""
        self.good = self.lab.issue()
        self.restore()
        return self.good

    def restore(self) -> None:
        """Let the source hold the good certificate, and it alone."""
        self.lab.acme.write(self.good)
        self.certferry.wait_ready(self.mail.name, self.good)

    def untouched(self, stamp: str, reloads: tuple[int, int]) -> bool:
        """Whether nothing was written or reloaded, and the good certificate is served."""
        now = (self.mail.stamp(), self.mail.reloads(), self.mail.serves(self.good))
        assert now == (stamp, reloads, True)
        return True


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    lab = Lab(tmp_path_factory.mktemp("promises"))
    try:
        mail = lab.mail()
        mail.wait_up()
        good = lab.issue()
        lab.acme.write(good)
        yield Scene(lab, mail, lab.controller(**QUICK), good)
    finally:
        lab.close()


@pytest.fixture
def scene(shared: Scene) -> Scene:
    shared.restore()
    return shared


class TestLevelTriggered:
    def test_losing_every_event_costs_only_time(self, lab: Lab) -> None:
        pair = lab.issue()
        lab.acme.write(pair)
        certferry = lab.controller(argv=("-m", "tests.engine.deaf", "run"), resync="1s")
        certferry.wait_for("engine.connected", containers=0)

        late = lab.container(labels=FILES_ONLY)
        certferry.wait_ready(str(late.name), pair)

        newer = lab.issue()
        lab.acme.write(newer)
        certferry.wait_ready(str(late.name), newer)

    def test_looking_again_changes_nothing(self, lab: Lab) -> None:
        lab.acme.write(lab.issue())
        mail = lab.mail()
        certferry = lab.controller(resync="1s", settle="0s")
        certferry.wait_ready(mail.name)
        mail.wait_up()
        stamp, reloads, looks = mail.stamp(), mail.reloads(), _looks(certferry)

        wait_until(lambda: _looks(certferry) >= looks + 3, what="three more looks")
        assert (mail.stamp(), mail.reloads()) == (stamp, reloads)


def _looks(certferry: Controller) -> int:
    """How many looks at targets changed nothing."""
    found = re.search(r'certferry_reconciles_total\{outcome="unchanged"\} (\d+)', certferry.get("/metrics")[1])
    return int(found[1]) if found else 0


def _swapped(lab: Lab) -> Pair:
    return Pair(lab.issue().chain, lab.issue().key)


def _without_intermediate(lab: Lab) -> Pair:
    pair = lab.issue()
    return Pair(pair.certificate.leaf_pem, pair.key)


REFUSED: dict[str, tuple[Callable[[Lab], Pair], str, str]] = {
    "the key of another certificate": (_swapped, "KeyMismatch", "belongs to another certificate"),
    "another name": (lambda lab: lab.issue("www.example.test"), "NoMatchingCertificate", DOMAIN),
    "expired": (lambda lab: lab.issue(days=1, age=timedelta(days=2)), "Expired", "ended on"),
    "not yet valid": (lambda lab: lab.issue(age=timedelta(days=-1)), "NotYetValid", "begins on"),
    "older than the installed one": (lambda lab: lab.issue(age=timedelta(days=9)), "WouldDowngrade", "begins later"),
    "a weak key": (lambda lab: lab.issue(kind="rsa", bits=1024), "WeakKey", "1024 bits"),
    "a chain without its intermediate": (_without_intermediate, "UntrustedIssuer", "(ChainIncomplete) would replace"),
    "no name at all": (lambda lab: lab.issue(san=False), "NameMismatch", "subjectAltName"),
    "of less trust": (lambda _: self_signed(DOMAIN), "UntrustedIssuer", "would replace"),
}


class TestNeverWorseThanBefore:
    @pytest.mark.parametrize("case", REFUSED)
    def test_refused_before_anything_is_written(self, scene: Scene, case: str) -> None:
        bad, reason, words = REFUSED[case]
        stamp, reloads, lines = scene.mail.stamp(), scene.mail.reloads(), len(scene.certferry.log)

        scene.lab.acme.write(bad(scene.lab), main=DOMAIN)
        message = scene.certferry.wait_reason(scene.mail.name, reason)

        assert words in message
        assert scene.untouched(stamp, reloads)
        said = [line for line in scene.certferry.log[lines:] if line.get("target") == scene.mail.name]
        assert [(line["event"], line["reason"], line["level"]) for line in said] == [("target.not_ready", reason, "error")]

    def test_a_name_that_is_missing_among_several_is_named(self, scene: Scene) -> None:
        both = Mail(scene.lab.container(labels=FILES_ONLY | {"domain": f"{DOMAIN},imap.example.test"}))

        assert "does not name imap.example.test" in scene.certferry.wait_reason(both.name, "NameMismatch")
        both.run("test", "!", "-e", "/tls")


NOTHING_FOR_THE_NEW = """sh -c '
    if cmp -s /tls/cert.pem /first.pem; then files="/tls/key.pem /tls/cert.pem"; else files=/etc/passwd; fi
    postconf -e "smtpd_tls_chain_files = $files"; postfix reload; doveadm reload
'"""

BROKEN: dict[str, tuple[dict[str, str], str]] = {
    "the check fails": ({"check": "sh -c 'echo no such thing; exit 3'"}, "exit code 3, no such thing"),
    "the reload fails": ({"reload": "sh -c 'echo out of order; exit 1'"}, "exit code 1, out of order"),
    "the reload does not end": ({"reload": "sleep 200"}, "`sleep` did not end within 10 s"),
    "the reload has no effect": ({"reload": "true"}, "port 993/imaps hands out"),
    "one of two services goes on with the old pair": ({"reload": "doveadm reload"}, "port 25/smtp hands out"),
    "a service offers no TLS any more": ({"reload": NOTHING_FOR_THE_NEW}, "port 25/smtp"),
}


ROLLED_BACK = "RolledBack", "the previous files are back and in use", True
"""The reason, the end of the message, and whether the way back is told; a check fails before anybody has loaded anything."""


class TestRollback:
    """Each of these containers has a self-signed pair, which is to be there again in the end."""

    @pytest.fixture(scope="class")
    @classmethod
    def rolling(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, tuple[Mail, str]], Controller]]:
        lab = Lab(tmp_path_factory.mktemp("rollback"))
        try:
            names = {case: f"m{number}.rollback.test" for number, case in enumerate(BROKEN)}
            mails = {
                case: lab.mail(hostname=names[case], labels={"domain": names[case], **labels})
                for case, (labels, _) in BROKEN.items()
            }
            for mail in mails.values():
                mail.wait_up()
                mail.run("cp", "/tls/cert.pem", "/first.pem")
            before = {case: (mail, mail.served(993)) for case, mail in mails.items()}
            lab.acme.write(*map(lab.issue, names.values()))
            yield before, lab.controller(exec_timeout="10s", workers=str(len(BROKEN)), **QUICK)
        finally:
            lab.close()

    @pytest.mark.parametrize("case", BROKEN)
    def test_the_previous_pair_is_back(self, rolling: tuple[dict[str, tuple[Mail, str]], Controller], case: str) -> None:
        mails, certferry = rolling
        mail, before = mails[case]
        reason, back, told = ("CheckFailed", "the previous files are back", False) if "check" in case else ROLLED_BACK
        message = certferry.wait_reason(mail.name, reason)

        assert BROKEN[case][1] in message
        assert message.endswith(back)
        assert mail.fingerprint_at("/tls/cert.pem") == before
        if case == "one of two services goes on with the old pair":
            mail.run("postfix", "reload")  # certferry was not told to; a process that began with the new pair would keep it
        wait_until(lambda: {mail.served(port) for port in (25, 465, 587, 993)} == {before}, what="the old pair is served")
        assert mail.litter() == ""
        said = [line for line in certferry.log if line.get("target") == mail.name and line["level"] != "info"]
        assert [(line["event"], line["level"]) for line in said] == [
            *([("target.rolling_back", "warning")] if told else []),
            ("target.not_ready", "error"),
        ]
        assert f'certferry_target_ready{{reason="{reason}",target="{mail.name}"}} 0.0' in certferry.get("/metrics")[1]


class TestAfterAFailedReload:
    def test_the_next_certificate_is_tried_at_once_and_the_same_one_is_not(self, lab: Lab) -> None:
        mail = Mail(lab.container(labels=FILES_ONLY | {"reload": "sh -c 'echo once >>/reloads; test ! -e /out-of-order'"}))
        first, second, third = (lab.issue() for _ in range(3))
        lab.acme.write(first)
        certferry = lab.controller(**QUICK)
        certferry.wait_ready(mail.name, first)
        mail.run("touch", "/out-of-order")
        lab.acme.write(second)
        certferry.wait_reason(mail.name, "ReloadFailed")
        assert mail.fingerprint_at("/tls/cert.pem") == second.certificate.fingerprint, "no port speaks against it"
        tries = mail.run("cat", "/reloads").count("once")
        mail.run("rm", "/out-of-order")

        lab.acme.write(second, lab.issue("www.example.test"))
        time.sleep(1.5)
        assert mail.run("cat", "/reloads").count("once") == tries
        lab.acme.write(third)
        certferry.wait_ready(mail.name, third)
        assert mail.run("cat", "/reloads").count("once") == tries + 1


class TestProof:
    def test_a_port_that_was_dead_before_does_not_cost_the_others_their_certificate(self, lab: Lab) -> None:
        """It is reported, but a new pair is not to blame for it."""
        mail = lab.mail(labels={"probe": "993/imaps,2525/smtp"})
        mail.wait_up()
        before = mail.reloads()
        pair = lab.issue()
        lab.acme.write(pair)
        certferry = lab.controller(**QUICK)

        assert "port 2525/smtp" in certferry.wait_reason(mail.name, "ServedDiffers")
        assert mail.serves(pair)
        assert mail.reloads() == (before[0] + 1, before[1] + 1)
        assert certferry.events("target.rolling_back") == []

    def test_a_service_that_uses_other_files_is_found_out(self, lab: Lab) -> None:
        """Both reload commands exit with 0; Dovecot hands out the new certificate, Postfix goes on with a copy of the old."""
        mail = lab.mail()
        mail.wait_up()
        before = mail.served(993)
        mail.run("cp", "-r", "/tls", "/other")
        mail.run("postconf", "-e", "smtpd_tls_chain_files = /other/key.pem /other/cert.pem")
        lab.acme.write(lab.issue())
        certferry = lab.controller(**QUICK)

        message = certferry.wait_reason(mail.name, "RolledBack")
        assert "port 25/smtp hands out" in message
        assert "993" not in message
        assert {mail.served(port) for port in (25, 993)} == {before}

    def test_ready_means_that_every_port_serves_it(self, scene: Scene) -> None:
        pair = scene.renew()

        assert scene.mail.serves(pair)
        assert "served on 25/smtp, 465/smtps, 587/smtp, 143/imap" in scene.certferry.condition(scene.mail.name)["message"]


class TestNoNeedlessReload:
    def test_the_same_content_again_changes_nothing(self, scene: Scene) -> None:
        stamp, reloads = scene.mail.stamp(), scene.mail.reloads()
        time.sleep(0.5)

        begun = time.monotonic()
        for _ in range(3):
            scene.lab.acme.write(scene.good)
        os.utime(scene.lab.acme.path)
        scene.lab.acme.path.chmod(0o640)
        scene.lab.acme.path.chmod(0o600)
        time.sleep(1)
        wait_until(lambda: scene.certferry.source()["age_seconds"] < time.monotonic() - begun, what="it is read again")
        assert scene.untouched(stamp, reloads)

    def test_another_domain_changes_nothing(self, scene: Scene) -> None:
        stamp, reloads = scene.mail.stamp(), scene.mail.reloads()

        for entries in (2, 3):
            scene.lab.acme.write(scene.good, *(scene.lab.issue(f"w{n}.example.test") for n in range(1, entries)))
            wait_until(lambda entries=entries: scene.certferry.source()["entries"] == entries)  # type: ignore[misc]
        time.sleep(0.7)
        assert scene.untouched(stamp, reloads)

    def test_many_renewals_at_once_cost_one_reload(self, scene: Scene) -> None:
        dovecot, postfix = scene.mail.reloads()
        pairs = [scene.lab.issue() for _ in range(5)]

        for pair in pairs:
            scene.lab.acme.write(pair)
            time.sleep(0.02)
        scene.certferry.wait_ready(scene.mail.name, pairs[-1])
        scene.good = pairs[-1]
        assert scene.mail.reloads() == (dovecot + 1, postfix + 1)

    def test_several_certificates_of_one_target_cost_one_reload(self, lab: Lab) -> None:
        """A container with a pair of each key type gets both by one reload."""
        log = "sh -c 'echo once >>/reloads'"
        alternative = {"alt_cert_path": "/tls/alt.pem", "alt_key_path": "/tls/alt-key.pem", "reload": log}
        mail = Mail(lab.container(labels=FILES_ONLY | alternative))
        lab.acme.write(lab.issue(), lab.issue(kind="rsa"))
        certferry = lab.controller(**QUICK)
        certferry.wait_ready(mail.name)

        assert mail.run("cat", "/reloads") == "once\n"


class TestNoLostUpdate:
    def test_what_happened_while_the_event_stream_was_cut_is_found(self, lab: Lab) -> None:
        proxy = SocketProxy(lab.folder / "docker.sock")
        lab.acme.write(lab.issue())
        certferry = lab.controller(docker_host=proxy.url, retry_min="200ms", **QUICK)
        certferry.wait_for("engine.connected")
        before = lab.container(labels=FILES_ONLY)
        certferry.wait_ready(str(before.name))

        proxy.cut()
        certferry.wait_for("engine.unavailable")
        meanwhile, newer = lab.container(labels=FILES_ONLY), lab.issue()
        before.remove(force=True)
        lab.acme.write(newer)
        wait_until(lambda: not certferry.status()["engine"]["up"])
        proxy.mend()

        certferry.wait_ready(str(meanwhile.name), newer)
        wait_until(lambda: certferry.condition(str(before.name)) == {}, what="the removed container is forgotten")
        proxy.close()

    def test_a_renewal_while_another_one_is_carried_is_not_lost(self, scene: Scene) -> None:
        first, second = scene.lab.issue(), scene.lab.issue()
        lines = len(scene.certferry.log)
        scene.lab.acme.write(first)
        scene.certferry.wait_for("target.installed", after=lines, fingerprint=first.certificate.leaf.short)
        scene.lab.acme.write(second)
        scene.certferry.wait_ready(scene.mail.name, second)
        scene.good = second

        assert scene.mail.serves(second)


def _cut_off(lab: Lab, good: Pair) -> None:
    lab.acme.write_raw(acme_json(good)[:-400])


def _empty(lab: Lab, _: Pair) -> None:
    lab.acme.write_raw(b"")


def _deleted(lab: Lab, _: Pair) -> None:
    lab.acme.path.unlink()


UNREADABLE = {
    "cut off": (_cut_off, "SourceMalformed", "ends in the middle"),
    "empty": (_empty, "SourceMalformed", "is empty, and was not before"),
    "deleted": (_deleted, "SourceUnavailable", "does not exist"),
}


class TestUnreadableIsNotEmpty:
    @pytest.mark.parametrize("case", UNREADABLE)
    def test_the_certificate_stays_and_the_source_heals(self, scene: Scene, case: str) -> None:
        spoil, reason, words = UNREADABLE[case]
        stamp, reloads, lines = scene.mail.stamp(), scene.mail.reloads(), len(scene.certferry.log)

        spoil(scene.lab, scene.good)
        assert words in scene.certferry.wait_degraded(reason)
        told = scene.certferry.wait_for("source.degraded", after=lines, reason=reason)
        assert (words in told["message"], told["level"]) == (True, "warning")
        assert scene.certferry.source()["entries"] == 1
        assert 'certferry_source_up{source="traefik"} 0.0' in scene.certferry.get("/metrics")[1]
        assert scene.certferry.condition(scene.mail.name)["ready"] is True
        assert scene.untouched(stamp, reloads)

        scene.renew()
        assert scene.certferry.source()["up"] is True
        assert len([line for line in scene.certferry.log[lines:] if line["event"] == "source.degraded"]) == 1

    def test_a_certificate_that_vanishes_is_not_removed(self, scene: Scene) -> None:
        stamp, reloads = scene.mail.stamp(), scene.mail.reloads()

        scene.lab.acme.write()
        scene.certferry.wait_reason(scene.mail.name, "NoMatchingCertificate")
        assert scene.untouched(stamp, reloads)


def key_traces(*keys: bytes) -> set[str]:
    """Pieces by which a private key would be recognised, plain or wrapped in base64 once more as in ``acme.json``."""
    traces = set()
    for key in keys:
        body = b"".join(key.splitlines()[1:-1])
        der = base64.b64decode(body)
        secret = der[36:]  # what comes before is the same in every key of a kind
        for text in (body[48:].decode(), base64.b64encode(key).decode()[80:], secret.hex()):
            traces |= {text[at : at + 20] for at in range(0, len(text) - 20, 4)}
    return traces


class TestKeysStaySecret:
    def test_no_key_shows_anywhere(self, lab: Lab) -> None:
        good, foreign, weak = lab.issue(), lab.issue(), lab.issue(kind="rsa", bits=1024)
        encrypted = Pair(good.chain, key_pem(new_key(), b"secret"))
        mail = Mail(lab.container(labels=FILES_ONLY | {"reload": "postfix reload"}))
        put_files(mail.container, {"/usr/local/bin/postfix": b"#!/bin/sh\n[ $1 = status ] || test ! -e /fail\n"}, mode=0o755)
        since = int(time.time())
        lab.acme.write(good)
        certferry = lab.controller(log_level="debug", **QUICK)
        certferry.wait_ready(mail.name)
        for bad, reason in ((Pair(good.chain, foreign.key), "KeyMismatch"), (weak, "WeakKey"), (encrypted, "SourceMalformed")):
            lab.acme.write(bad, main=DOMAIN)
            certferry.wait_reason(mail.name, reason)
        for content in (acme_json(good)[:-100], acme_json(good).replace(b"certificate", b"certi\0"), b"{" + good.key):
            lab.acme.write_raw(content)
            certferry.wait_degraded("SourceMalformed")
        mail.run("touch", "/fail")
        last = lab.issue()
        lab.acme.write(last)
        certferry.wait_for("target.rolling_back")
        shown = {
            "the log": certferry.text,
            **{page: certferry.get(page)[1] for page in ("/status", "/metrics", "/readyz", "/healthz")},
            **{" ".join(argv): lab.command(*argv).stdout for argv in (["plan", "--json"], ["sources", "--json"], ["plan"])},
            "Docker's events": _events(lab, since),
        }
        certferry.stop()

        traces = key_traces(good.key, foreign.key, weak.key, encrypted.key, last.key)
        assert len(traces) > 500
        assert {where for where, text in shown.items() for trace in traces if trace in text} == set()
        assert [where for where, text in shown.items() if not text.strip()] == []
        assert mail.run("stat", "-c", "%a", "/tls/key.pem") == "600\n"

    def test_the_traces_find_a_key(self, lab: Lab) -> None:
        """The test above is worth something only if this holds."""
        pair = lab.issue()
        traces = key_traces(pair.key)

        assert any(trace in acme_json(pair).decode() for trace in traces)
        assert any(trace in pair.key.decode() for trace in traces)
        assert not any(trace in pair.chain.decode() for trace in traces)
        assert not any(trace in lab.issue().key.decode() for trace in traces)


def _events(lab: Lab, since: int) -> str:
    return "".join(map(str, lab.docker.events(since=since, until=int(time.time()) + 1, filters={"type": "container"})))


class TestAnImageCannotHelpItselfToAKey:
    def test_labels_of_the_image_are_ignored(self, lab: Lab) -> None:
        stolen = {"domain": "www.example.test", "cert_path": "/stolen/cert.pem", "key_path": "/stolen/key.pem"}
        labels = [f"LABEL {name}={value}" for name, value in lab.labels(**stolen).items() if name.startswith(lab.prefix)]
        bare = lab.docker.containers.create(PLAIN_IMAGE, labels=lab.labels())
        image = bare.commit(changes=labels)
        try:
            greedy = Mail(lab.docker.containers.run(image.id, labels=lab.labels(), detach=True))
            # The operator's own domain does not make the image's paths count.
            half = Mail(lab.container(image.id, labels={"profile": "generic"}))
            full = Mail(lab.container(image.id, labels=FILES_ONLY))
            pair = lab.issue()
            lab.acme.write(pair, lab.issue("www.example.test"))
            certferry = lab.controller(**QUICK)
            certferry.wait_ready(full.name, pair)

            assert certferry.wait_for("labels.ignored")["target"] == greedy.name
            assert certferry.condition(greedy.name) == {}
            assert "cert-path" in certferry.wait_reason(half.name, "InvalidLabels")
            for mail in (greedy, half, full):
                mail.run("test", "!", "-e", "/stolen")
        finally:
            for container in lab.docker.containers.list(all=True, filters={"ancestor": image.id}, ignore_removed=True):
                container.remove(force=True)
            lab.docker.images.remove(image.id)
