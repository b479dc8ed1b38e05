"""What the commands and pages say, held against what is really there; and the end by SIGTERM."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta

import pytest

from tests.engine.socket_proxy import SocketProxy
from tests.engine.test_leftovers import processes
from tests.lab import DOMAIN, MAIL_PORTS, AcmeJson, Controller, Lab, Mail, wait_until

FILES = {"profile": "generic", "cert_path": "/tls/cert.pem", "key_path": "/tls/key.pem", "probe": "off"}


class TestOnce:
    def test_it_brings_all_to_their_end_and_then_has_nothing_to_do(self, lab: Lab) -> None:
        pair = lab.issue()
        lab.acme.write(pair)
        mail, plain = lab.mail(), Mail(lab.container(labels=FILES))
        mail.wait_up()
        before = mail.reloads()

        first = lab.command("once", settle="200ms")
        stamps = (mail.stamp(), plain.stamp())
        second = lab.command("once", "--json", settle="200ms")

        assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
        assert re.search(rf"{mail.name} .*ready .*{pair.certificate.leaf.short} ", first.stdout)
        assert [target["condition"]["ready"] for target in json.loads(second.stdout)["targets"]] == [True, True]
        assert (mail.stamp(), plain.stamp()) == stamps
        assert mail.reloads() == (before[0] + 1, before[1] + 1)
        assert mail.serves(pair)

    def test_it_fails_when_one_is_not_ready_and_serves_the_others(self, lab: Lab) -> None:
        lab.acme.write(lab.issue())
        good, bad = Mail(lab.container(labels=FILES)), Mail(lab.container(labels=FILES | {"domain": "www.example.test"}))

        done = lab.command("once", "--json")

        ready = {target["name"]: target["condition"]["ready"] for target in json.loads(done.stdout)["targets"]}
        assert (done.returncode, ready) == (1, {good.name: True, bad.name: False})

    def test_it_fails_when_its_source_cannot_be_read(self, lab: Lab) -> None:
        mail = Mail(lab.container(labels=FILES))

        done = lab.command("once", "--json")

        condition = json.loads(done.stdout)["targets"][0]["condition"]
        assert (done.returncode, condition["reason"]) == (1, "SourceUnavailable")
        assert str(lab.acme.path) in condition["message"]
        mail.run("test", "!", "-e", "/tls")


class TestPlan:
    @pytest.fixture
    def second(self, lab: Lab) -> AcmeJson:
        """Two sources with a certificate of every fate."""
        lab.acme.write(
            lab.issue(age=timedelta(hours=5)),
            lab.issue("*.example.test"),
            lab.issue(age=timedelta(days=3), days=1),
            lab.issue(age=timedelta(days=-2)),
            lab.issue("www.example.test"),
        )
        second = AcmeJson(lab.folder / "second.json")
        second.write(lab.issue(), lab.issue(kind="rsa", age=timedelta(hours=9)))
        return second

    def test_it_shows_what_lost_and_why_and_does_nothing(self, lab: Lab, second: AcmeJson) -> None:
        mail = Mail(lab.container(labels=FILES | {"reload": "touch /reloaded"}))
        urls = f"{lab.acme.url} {second.url}?name=second"

        done = lab.command("plan", "--json", sources=urls)
        as_text = lab.command("plan", sources=urls)

        assert (done.returncode, as_text.returncode) == (0, 0)
        plan = json.loads(done.stdout)[0]
        lost = {(c["source"], c["key_type"], c["names"][0], c["lost"].split(" second:")[0]) for c in plan["candidates"]}
        assert {(source, kind, name, re.sub(r" on .*", "", why)) for source, kind, name, why in lost} == {
            ("second", "ecdsa", DOMAIN, ""),
            ("second", "rsa", DOMAIN, "it is older than"),
            ("traefik", "ecdsa", DOMAIN, "it is older than"),
            ("traefik", "ecdsa", "*.example.test", "it fits by a wildcard,"),
            ("traefik", "ecdsa", DOMAIN, "ended"),
            ("traefik", "ecdsa", DOMAIN, "begins"),
        }
        assert (plan["write"], plan["run"]) == (["/tls/key.pem", "/tls/cert.pem"], ["touch"])
        for words in ("chosen", "it is older than", "would write /tls/cert.pem", "would run   touch /reloaded"):
            assert words in as_text.stdout
        mail.run("sh", "-c", "! ls -d /tls /reloaded")

    def test_what_stands_in_the_way_is_its_exit_code(self, lab: Lab) -> None:
        lab.acme.write(lab.issue("www.example.test"))
        lab.container(labels=FILES)

        done = lab.command("plan")

        assert (done.returncode, done.stderr) == (1, "")
        assert f"would do nothing: NoMatchingCertificate: no source holds a certificate for {DOMAIN}" in " ".join(
            done.stdout.split()
        )


class TestTheRunningController:
    @pytest.fixture(scope="class")
    @classmethod
    def lab(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
        lab = Lab(tmp_path_factory.mktemp("running"))
        yield lab
        lab.close()

    @pytest.fixture(scope="class")
    @classmethod
    def mail(cls, lab: Lab) -> Mail:
        mail = lab.mail()
        mail.wait_up()
        return mail

    @pytest.fixture(scope="class")
    @classmethod
    def certferry(cls, lab: Lab, mail: Mail) -> Controller:
        lab.acme.write(lab.issue())
        certferry = lab.controller(settle="200ms", resync="1d")
        certferry.wait_ready(mail.name)
        return certferry

    def test_status_and_health_ask_it(self, lab: Lab, mail: Mail, certferry: Controller) -> None:
        http = certferry.wait_for("controller.started")["http"]

        status, health = lab.command("status", http=http), lab.command("health", http=http)

        assert (status.returncode, health.returncode, health.stdout) == (0, 0, "healthy\n")
        assert re.search(rf"{mail.name} .*ready", status.stdout)
        assert "source   traefik: up, 1 certificates" in status.stdout
        page = json.loads(lab.command("status", "--json", http=http).stdout)
        assert {served["port"]: served["fingerprint"] for served in page["targets"][0]["served"]} == {
            port: mail.served(port) for port in MAIL_PORTS
        } | {4190: mail.served(993)}

    def test_status_fails_while_a_target_is_not_ready(self, lab: Lab, certferry: Controller) -> None:
        other = Mail(lab.container(labels=FILES | {"domain": "www.example.test"}))
        certferry.wait_reason(other.name, "NoMatchingCertificate")
        http = certferry.wait_for("controller.started")["http"]

        assert lab.command("status", http=http).returncode == 1
        assert certferry.get("/readyz")[0] == 200, "it works; what is wrong is not here"
        other.container.remove(force=True)
        certferry.wait_for("target.left", target=other.name)
        assert lab.command("status", http=http).returncode == 0

    def test_metrics_show_the_renewal(self, lab: Lab, mail: Mail, certferry: Controller) -> None:
        before = self.metrics(certferry)
        pair = lab.issue()
        lab.acme.write(pair)
        certferry.wait_ready(mail.name, pair)
        after = self.metrics(certferry)

        changed = 'certferry_reconciles_total{outcome="changed"}'
        leaf = pair.certificate.leaf
        ends = [value for name, value in after.items() if "not_after" in name and f'fingerprint="{leaf.short}"' in name]
        assert after[changed] - before[changed] == 1
        assert after[f'certferry_target_ready{{reason="",target="{mail.name}"}}'] == 1
        assert after['certferry_source_up{source="traefik"}'] == after['certferry_source_certificates{source="traefik"}'] == 1
        assert ends == [leaf.not_after.timestamp()] * (1 + 1 + 8), "in the source, installed, and on eight ports"
        assert not [name for name in after if "not_after" in name and leaf.short not in name]
        assert after["certferry_engine_up"] == 1

    @staticmethod
    def metrics(certferry: Controller) -> dict[str, float]:
        lines = (line.rsplit(" ", 1) for line in certferry.get("/metrics")[1].splitlines() if not line.startswith("#"))
        return {name: float(value) for name, value in lines}


def test_health_without_a_controller(lab: Lab) -> None:
    done = lab.command("health", http="127.0.0.1:9")

    assert (done.returncode, done.stdout) == (1, "")
    assert "no controller answers at 127.0.0.1:9" in done.stderr
    assert "is `certferry run` running?" in done.stderr


def test_it_starts_before_docker_and_says_what_it_waits_for(lab: Lab) -> None:
    proxy = SocketProxy(lab.folder / "docker.sock")
    proxy.cut()
    lab.acme.write(lab.issue())
    plain = Mail(lab.container(labels=FILES))
    certferry = lab.controller(docker_host=proxy.url)
    certferry.wait_for("engine.unavailable")
    status, body = certferry.get("/readyz")
    assert (status, "the Docker Engine" in body, certferry.get("/healthz")[0]) == (503, True, 200)

    proxy.mend()
    certferry.wait_ready(plain.name)
    assert certferry.get("/readyz")[0] == 200
    assert certferry.stop() == 0
    proxy.close()


class TestSigterm:
    def test_what_is_begun_is_brought_to_its_end(self, lab: Lab) -> None:
        mail = Mail(lab.container(labels=FILES | {"reload": "sh -c 'sleep 1.5; echo once >>/reloads'"}))
        lab.acme.write(lab.issue())
        certferry = lab.controller(resync="1d", drain="60s")
        certferry.wait_for("target.installed")

        assert certferry.stop() == 0
        assert certferry.events("target.reloaded")
        assert certferry.log[-1]["event"] == "controller.stopped"
        assert (mail.run("cat", "/reloads"), mail.litter()) == ("once\n", "")

    def test_what_takes_too_long_is_left_to_the_next_one(self, lab: Lab) -> None:
        mail = Mail(
            lab.container(labels=FILES | {"reload": "sh -c 'until [ -e /go ]; do sleep 0.1; done; echo once >>/reloads'"})
        )
        pair = lab.issue()
        lab.acme.write(pair)
        certferry = lab.controller(resync="1d", drain="100ms")
        wait_until(lambda: any("until" in line for line in processes(mail.container)), what="the reload has begun")

        assert certferry.stop() == 0
        assert certferry.events("controller.cut_short")
        assert certferry.events("reconcile.crashed") == []

        mail.run("touch", "/go")
        certferry = lab.controller(resync="1d")
        certferry.wait_ready(mail.name, pair)
        assert mail.fingerprint_at("/tls/cert.pem") == pair.certificate.fingerprint
        wait_until(lambda: mail.run("cat", "/reloads") == "once\nonce\n", what="the first one went on alone inside")
        assert mail.litter() == ""
