"""What says nothing about a pair leaves it in place; what speaks against it brings the previous one back."""

from __future__ import annotations

import signal
from pathlib import Path, PurePosixPath

import pytest

from controller.domain.errors import EngineUnavailable
from tests.campaign.api_proxy import ApiProxy, Rule
from tests.engine.delivery import connected, litter
from tests.engine.test_leftovers import processes, replace, wait_alone
from tests.lab import MAIL_IMAGE, Lab, Mail, wait_until

QUICK = {"settle": "200ms", "verify_timeout": "20s", "resync": "1d"}
SILENT = {
    "profile": "generic",
    "cert_path": "/tls/cert.pem",
    "key_path": "/tls/key.pem",
    "probe": "off",
    "reload": "sh -c 'echo once >>/reloads'",
}


def test_a_service_that_does_not_run_costs_neither_the_pair_nor_the_other_service(lab: Lab) -> None:
    mail = lab.mail()
    mail.wait_up()
    lab.acme.write(lab.issue())
    certferry = lab.controller(**QUICK)
    certferry.wait_ready(mail.name)
    mail.run("supervisorctl", "stop", "dovecot")
    _, before = mail.reloads()

    pair = lab.issue()
    lab.acme.write(pair)
    message = certferry.wait_reason(mail.name, "NotRunning")
    assert message.startswith("Dovecot does not run")
    assert (mail.fingerprint_at("/tls/cert.pem"), mail.serves(pair, (25,))) == (pair.certificate.fingerprint, True)
    assert mail.reloads()[1] == before + 1
    assert certferry.events("target.rolling_back") == []

    mail.run("supervisorctl", "start", "dovecot")
    certferry.wait_ready(mail.name, pair)
    assert (mail.serves(pair), mail.reloads()[1]) == (True, before + 1)
    assert mail.litter() == ""


def test_ports_that_are_all_closed_are_not_ready_and_are_met_when_they_open(lab: Lab) -> None:
    mail = lab.mail(environment={"DETECTOR": "0"})
    mail.wait_up()
    mail.run("supervisorctl", "stop", "dovecot")
    mail.run("supervisorctl", "stop", "postfix")
    pair = lab.issue()
    lab.acme.write(pair)
    certferry = lab.controller(**QUICK, start_grace="1s")
    certferry.wait_reason(mail.name, "NotRunning")
    assert mail.fingerprint_at("/tls/cert.pem") == pair.certificate.fingerprint
    mail.run("supervisorctl", "start", "postfix")
    mail.run("supervisorctl", "start", "dovecot")
    certferry.wait_ready(mail.name, pair)
    assert mail.serves(pair)


def test_a_container_without_any_port_is_not_ready_unless_nothing_is_to_be_asked(lab: Lab) -> None:
    pair = lab.issue()
    lab.acme.write(pair)
    asked = Mail(lab.container(labels={name: text for name, text in SILENT.items() if name != "probe"}))
    not_asked = Mail(lab.container(labels=SILENT))
    certferry = lab.controller(**QUICK, start_grace="1s")
    certferry.wait_ready(not_asked.name, pair)
    assert "set certferry.probe=off" in certferry.wait_reason(asked.name, "NothingListens")
    assert asked.run("cat", "/reloads") == "once\n"


def test_a_full_disk_heals_itself(lab: Lab) -> None:
    mail = Mail(lab.container(labels=SILENT, tmpfs={"/tls": "size=48k"}))
    lab.acme.write(lab.issue())
    certferry = lab.controller(**QUICK, retry_max="1s")
    certferry.wait_ready(mail.name)
    mail.container.exec_run(["sh", "-c", "dd if=/dev/zero of=/tls/full bs=4096"])

    pair = lab.issue()
    lab.acme.write(pair)
    assert "is the disk full?" in certferry.wait_reason(mail.name, "WriteFailed")
    assert mail.run("cat", "/reloads") == "once\n"
    mail.run("rm", "/tls/full")
    certferry.wait_ready(mail.name, pair)
    assert litter(mail.container, "/", "/tls") == []


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("works", [True, False], ids=["the new pair works", "it does not"])
def test_an_act_that_was_cut_off_is_finished_by_the_next_certferry(lab: Lab, how: signal.Signals, works: bool) -> None:
    reload = "sh -c 'while [ -e /wait ]; do sleep 0.1; done; test ! -e /bad && doveadm reload && postfix reload'"
    mail = lab.mail(labels={"reload": reload})
    mail.wait_up()
    old = lab.issue()
    lab.acme.write(old)
    first = lab.controller(**QUICK, drain="0s")
    first.wait_ready(mail.name, old)
    mail.run("touch", "/wait", "/bad")

    new = lab.issue()
    lab.acme.write(new)
    wait_until(lambda: any("/wait" in line for line in processes(mail.container)), what="the reload has begun")
    first.process.send_signal(how)
    first.wait_end()
    assert mail.fingerprint_at("/tls/cert.pem") == new.certificate.fingerprint
    mail.run("rm", *(["/wait", "/bad"] if works else ["/wait"]))
    wait_until(lambda: not any("/wait" in line for line in processes(mail.container)), what="the reload has ended")

    certferry = lab.controller(**QUICK)
    if works:
        certferry.wait_ready(mail.name, new)
    else:
        certferry.wait_reason(mail.name, "RolledBack")
    pair = new if works else old
    assert (mail.fingerprint_at("/tls/cert.pem"), mail.serves(pair)) == (pair.certificate.fingerprint, True)
    assert mail.litter() == ""


def test_a_placeholder_that_everybody_may_read_makes_no_key_that_everybody_may_read(lab: Lab) -> None:
    """As the older tool left them: made by touch, before there was a key."""
    mail = Mail(lab.container(labels=SILENT))
    mail.run("sh", "-c", "mkdir -p /tls; touch /tls/key.pem /tls/cert.pem; chmod 666 /tls/key.pem")
    lab.acme.write(lab.issue())
    certferry = lab.controller(**QUICK)
    certferry.wait_ready(mail.name)
    assert mail.run("stat", "-c", "%a", "/tls/key.pem", "/tls/cert.pem") == "600\n644\n"


def test_what_is_left_over_where_it_cannot_be_removed_says_nothing_about_the_certificate(lab: Lab) -> None:
    volume = lab.volume().name
    writer = Mail(lab.container(labels=SILENT, volumes={volume: {"bind": "/tls"}}))
    pair = lab.issue()
    lab.acme.write(pair)
    certferry = lab.controller(**QUICK)
    certferry.wait_ready(writer.name, pair)
    certferry.stop()
    reader = Mail(lab.container(labels=SILENT, volumes={volume: {"bind": "/tls", "mode": "ro"}}))
    writer.run("sh", "-c", "mkdir -p /tls/.certferry/0123; echo x >/tls/.certferry/0123/key.pem")
    writer.container.stop(timeout=0)

    certferry = lab.controller(**QUICK)
    certferry.wait_ready(reader.name, pair)
    writer.container.start()
    certferry.wait_ready(writer.name, pair)
    wait_until(lambda: litter(writer.container, "/", "/tls") == [], what="nothing is left over")
    wait_alone(writer.container)


STARTS = b"""#!/bin/sh
[ "$1" = reload ] || exit 0
echo once >>/reloads
[ -e /starting ] || exit 0
rm /starting
echo 'postfix/postfix-script: fatal: the Postfix mail system is not running' >&2
exit 1
"""


@pytest.mark.parametrize("user", ["root", "root:mail"], ids=["in the script of the act", "by an exec of its own"])
def test_a_service_that_was_just_starting_is_reloaded_once_more(lab: Lab, user: str) -> None:
    mail = Mail(lab.container(labels=SILENT | {"reload": "postfix reload", "user": user}))
    replace(mail.container, "postfix", STARTS)
    first, second = lab.issue(), lab.issue()
    lab.acme.write(first)
    certferry = lab.controller(**QUICK)
    certferry.wait_ready(mail.name, first)
    mail.run("touch", "/starting")
    lab.acme.write(second)

    certferry.wait_ready(mail.name, second)
    assert certferry.events("target.rolling_back") == []
    assert mail.run("cat", "/reloads").count("once") == 3


async def test_a_call_that_fails_once_does_not_make_a_shell_missing(lab: Lab, tmp_path: Path) -> None:
    """The folder of the shell is a link in all images of today."""
    container = lab.container(MAIL_IMAGE)
    proxy = ApiProxy(tmp_path / "docker.sock")
    try:
        async with connected(proxy.url) as engine:
            with proxy.rule(Rule(r"^GET .*/archive", fails=True)), pytest.raises(EngineUnavailable):
                await engine.get_file(str(container.id), PurePosixPath("/bin/sh"))
            assert await engine.get_file(str(container.id), PurePosixPath("/nowhere/sh")) is None
    finally:
        proxy.close()
