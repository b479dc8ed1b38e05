"""A mail server that does not start without its files, before there is any certificate."""

from __future__ import annotations

from pathlib import Path

from controller.x509.judging import SELF_SIGNED_MARK
from controller.x509.leaves import parse_leaf
from tests.certs import Pair
from tests.engine.producers import PATIENCE
from tests.lab import DOMAIN, MAIL_PORTS, Controller, Lab, Mail, wait_until

POLL = {"DMS_CONFIG_POLL": "0.5"}
LOOPS = "always", "unless-stopped"


def start(lab: Lab) -> Controller:
    """certferry, with the folder of a certbot that never ran yet, and a source that makes something to begin with."""
    sources = f"self-signed:?state={lab.folder}/state certbot://{lab.folder}/letsencrypt"
    return lab.controller(sources=sources, settle="500ms", resync="1d")


def test_who_loops_without_a_certificate_comes_up_and_changes_to_the_real_one_without_a_restart(lab: Lab) -> None:
    domains = {policy: f"{policy}.example.test" for policy in LOOPS}
    mails = {policy: loop(lab, policy, domain) for policy, domain in domains.items()}
    for mail in mails.values():
        wait_until(lambda mail=mail: starts(mail)[1] >= 2, seconds=PATIENCE, what="it ends again and again")  # type: ignore[misc]
    certferry = start(lab)
    for policy, mail in mails.items():
        wait_for_stand_in(certferry, mail, domains[policy])

    before = {policy: starts(mail) for policy, mail in mails.items()}
    pair = lab.issue(*domains.values())
    store(lab.folder / "letsencrypt", pair)
    for mail in mails.values():
        certferry.wait_ready(mail.name, pair, seconds=2 * PATIENCE)
        assert mail.serves(pair)
        own = sum(line["target"] == mail.name for line in certferry.events("target.reloaded"))
        assert own <= 1, "no client trusts a stand-in, so the detector is not waited for"
        wait_until(lambda mail=mail, own=own: mail.reloads() == (mail.detected() + own,) * 2, what="one for each change met")  # type: ignore[misc]
        assert mail.detected() in (1, 2)
    assert {policy: starts(mail) for policy, mail in mails.items()} == before
    assert certferry.events("target.rolling_back") == []


def test_who_was_never_started_finds_a_pair_at_its_first_start(lab: Lab) -> None:
    certferry = start(lab)
    mail = lab.mailserver(start=False, environment=POLL)
    certferry.wait_ready(mail.name, seconds=PATIENCE)
    assert "the container is created" in certferry.condition(mail.name)["message"]

    mail.container.start()
    wait_for_stand_in(certferry, mail, DOMAIN)
    assert (starts(mail)[1], mail.reloads()) == (0, (0, 0))


def loop(lab: Lab, policy: str, domain: str) -> Mail:
    """A container that ends at once, since its files are missing, and is started again."""
    return lab.mailserver(labels={"domain": domain}, hostname=domain, restart_policy={"Name": policy}, environment=POLL)


def starts(mail: Mail) -> tuple[str, int]:
    """When a container was started last, and how often again."""
    mail.container.reload()
    return mail.container.attrs["State"]["StartedAt"], mail.container.attrs["RestartCount"]


def wait_for_stand_in(certferry: Controller, mail: Mail, domain: str) -> None:
    """Wait until every port serves what certferry signed itself."""
    mail.wait_up(seconds=PATIENCE)
    # All of it has started, and certferry has seen that: a reload in the middle of a start makes Postfix silent for a minute.
    wait_until(lambda: "25/smtp" in certferry.condition(mail.name).get("message", ""), seconds=PATIENCE)
    leaf = parse_leaf(mail.run("cat", "/tls/cert.pem").encode())
    assert (leaf.names, leaf.issuer.startswith(SELF_SIGNED_MARK)) == ((domain,), True)
    assert {mail.served(port) for port in MAIL_PORTS} == {leaf.fingerprint}


def store(folder: Path, pair: Pair) -> None:
    """As certbot does at the first time: the links, then what they lead to."""
    archive, live = folder / "archive" / DOMAIN, folder / "live" / DOMAIN
    for made in (archive, live):
        made.mkdir(parents=True)
    for name, content in {"privkey": pair.key, "fullchain": pair.chain}.items():
        (live / f"{name}.pem").symlink_to(f"../../archive/{DOMAIN}/{name}1.pem")
        (archive / f"{name}1.pem").write_bytes(content)
