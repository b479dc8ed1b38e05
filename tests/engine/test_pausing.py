"""People watch for a day before they let certferry act: it looks and reports, and nothing in the container changes."""

from __future__ import annotations

import pytest

from tests.lab import Lab, Mail

LEFT = "/tls/.certferry/0123456789abcdef"


def watched(lab: Lab, **labels: str) -> Mail:
    """With a pair that clients accept, and what an interrupted run left."""
    mail = lab.mail(labels=labels)
    mail.wait_up()
    mail.run("mkdir", "-p", LEFT)
    return mail


def everything(mail: Mail) -> tuple[object, ...]:
    """Whatever an act would change."""
    return mail.stamp(), mail.litter(), mail.reloads(), mail.served(993), mail.served(25)


@pytest.mark.parametrize("how", ["label", "option", "setting"])
def test_a_paused_container_is_reported_and_not_touched(lab: Lab, how: str) -> None:
    mail = watched(lab, **({"pause": "true"} if how == "label" else {}))
    before = everything(mail)
    pair = lab.issue()
    lab.acme.write(pair)

    argv = ("-m", "controller", "run", *(["--observe"] if how == "option" else []))
    certferry = lab.controller(argv=argv, settle="0s", resync="1s", **({"observe": "true"} if how == "setting" else {}))
    said = certferry.wait_for("target.watched")["message"]
    certferry.wait_ready(mail.name)
    lines = len(certferry.log)
    lab.acme.write(lab.issue())
    certferry.wait_for("target.watched", after=lines)

    assert f"should be {pair.certificate.leaf.short}" in said
    condition = certferry.condition(mail.name)
    assert "certferry would write /tls/key.pem, /tls/cert.pem and reload" in condition["message"]
    assert condition["ready"]
    certferry.stop()
    assert everything(mail) == before


def test_once_and_plan_say_that_it_is_paused(lab: Lab) -> None:
    mail = watched(lab, pause="true")
    lab.acme.write(lab.issue())
    before = everything(mail)

    once, plan = lab.command("once"), lab.command("plan")

    assert (once.returncode, plan.returncode) == (0, 0)
    assert "ready, paused" in once.stdout
    assert f"paused ({lab.prefix}pause=true): certferry does none of it" in plan.stdout
    assert everything(mail) == before
