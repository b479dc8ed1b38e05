"""``certferry deliver``: acts now, through every wait, step by step, and beside no other act."""

from __future__ import annotations

import json
import re

from tests.lab import MAIL_PORTS, Lab, Mail, put_files

CHECKED = {"check": "doveconf -n"}


def renewal_that_failed(lab: Lab) -> tuple[Mail, str]:
    """A mail container, and a label command that fails as long as a file is there."""
    mail = lab.mail(labels={"check": "sh -c '! test -e /tmp/fail'"})
    mail.wait_up()
    mail.run("touch", "/tmp/fail")
    return mail, "/tmp/fail"


def test_each_step_is_printed_where_no_controller_runs(lab: Lab) -> None:
    mail = lab.mail(labels=CHECKED)
    mail.wait_up()
    pair = lab.issue()
    lab.acme.write(pair)

    first = lab.command("deliver", mail.name, http="off")
    again = lab.command("deliver", str(mail.container.id)[:10], "--json", http="off")

    assert (first.returncode, first.stderr) == (0, "")
    words = [re.split(r"[: ]", line)[0] for line in first.stdout.splitlines()]
    assert words == ["differs", "installed", "checked", *["reloaded"] * words.count("reloaded"), *["verified"] * 8, "ready"]
    assert {line.split()[1] for line in first.stdout.splitlines() if line.startswith("verified")} == {
        *(f"{port}/{protocol}" for port, protocol in MAIL_PORTS.items()),
        "4190/sieve",
    }
    assert mail.serves(pair)
    told = json.loads(again.stdout)
    assert (again.returncode, told["ready"], len(told["steps"])) == (0, True, 1)
    assert mail.reloads() == (1, 1)


def test_the_running_controller_acts_before_its_own_next_try_would_come(lab: Lab) -> None:
    """What failed is tried again after ten minutes at first; nothing of that is waited for."""
    mail, fails = renewal_that_failed(lab)
    pair = lab.issue()
    lab.acme.write(pair)
    certferry = lab.controller(settle="0s")
    certferry.wait_for("target.not_ready", target=mail.name)
    address = str(certferry.wait_for("controller.started")["http"])
    failed = lab.command("deliver", mail.name, http=address)
    mail.run("rm", fails)

    worked = lab.command("deliver", mail.name, http=address)

    assert (failed.returncode, worked.returncode) == (1, 0), worked.stdout + worked.stderr
    assert "not ready: " in failed.stdout
    assert mail.serves(pair)
    certferry.wait_ready(mail.name, pair)
    assert len(certferry.events("target.served")) == 1, "the controller did the work, and once"


def test_what_is_paused_or_not_there_is_refused(lab: Lab) -> None:
    mail = lab.mail(labels={"pause": "true"})
    mail.wait_up()
    lab.acme.write(lab.issue())
    before = mail.stamp()
    certferry = lab.controller(observe="on")
    certferry.wait_for("target.watched")
    address = str(certferry.wait_for("controller.started")["http"])

    for http in ("off", address):
        paused, unknown = lab.command("deliver", mail.name, http=http), lab.command("deliver", "other", http=http)
        assert (paused.returncode, unknown.returncode) == (1, 1)
        assert f"{mail.name} is paused (" in paused.stderr
        assert f"no container that asks for a certificate is called 'other'; there is {mail.name}" in unknown.stderr
    assert mail.stamp() == before


def test_beside_a_controller_that_cannot_be_asked_nothing_is_done(lab: Lab) -> None:
    """As by ``docker compose run``: another container, in which nothing answers."""
    mail = lab.mail()
    mail.wait_up()
    lab.acme.write(lab.issue())
    before = mail.stamp()
    environment = {"CERTFERRY_LABEL_PREFIX": lab.prefix}
    other = lab.container(start=False, entrypoint=["certferry"], command=["run"], environment=environment)
    put_files(other, {"/usr/local/bin/certferry": b"#!/bin/sh\nexec sleep 600\n"}, mode=0o755)
    other.start()

    refused = lab.command("deliver", mail.name, http="off")

    assert (refused.returncode, refused.stdout) == (1, "")
    assert f"docker exec {other.name} certferry deliver {mail.name}" in refused.stderr
    assert mail.stamp() == before
