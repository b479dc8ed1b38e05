"""A mail server that hands out its leaf without the intermediate: seen at each port, mended where that can be, else told."""

from __future__ import annotations

import ssl

from tests.lab import MAIL_PORTS, Lab, Mail, open_tls, wait_until

INTERNAL = "/etc/dms/tls/cert"
LEAF_ALONE = "openssl x509 -in /tls/cert.pem -out /tls/used.pem && doveadm reload && postfix reload"


def clients_accept(lab: Lab, mail: Mail, port: int) -> bool:
    """Whether a client that trusts the laboratory's root gets through."""
    context = ssl.create_default_context(cadata=lab.authority.root_pem.decode())
    context.check_hostname = False
    try:
        with open_tls(mail.address, port, MAIL_PORTS[port], context, 5):
            return True
    except ssl.SSLCertVerificationError:
        return False


def test_a_copy_inside_that_lost_the_intermediate_is_mended_by_one_reload(lab: Lab) -> None:
    """docker-mailserver's own copy of the files is what its services use."""
    pair = lab.issue()
    lab.acme.write(pair)
    mail = lab.mailserver(start=False)
    certferry = lab.controller(settle="0s", resync="1d")
    certferry.wait_ready(mail.name, pair)
    mail.container.start()
    mail.wait_up()
    certferry.stop()
    mail.run("sh", "-c", f"openssl x509 -in /tls/cert.pem -out {INTERNAL} && doveadm reload && postfix reload")
    assert [clients_accept(lab, mail, port) for port in (25, 993)] == [False, False]
    before = mail.reloads()

    again = lab.controller(settle="0s", resync="1d")
    again.wait_ready(mail.name, pair)

    assert all(clients_accept(lab, mail, port) for port in MAIL_PORTS)
    assert mail.reloads() == (before[0] + 1, before[1] + 1)
    (differs,) = again.events("target.differs")
    for port in (25, 993):
        named = f"port {port}/{MAIL_PORTS[port]} hands out {pair.certificate.leaf.short} without the intermediate"
        assert f"{named} certferry test CA: clients cannot verify it" in differs["message"]


def test_a_service_that_reads_the_leaf_alone_keeps_the_new_pair_and_is_told_once(lab: Lab) -> None:
    """Nothing says that the pair is wrong: it is not rolled back, and no reload follows another."""
    old, new = lab.issue(), lab.issue()
    lab.acme.write(old)
    mail = lab.mail(
        labels={"reload": f"sh -c '{LEAF_ALONE}'", "probe": "993/imaps,465/smtps"},
        environment={"TLS_CERT_FILE": "/tls/used.pem"},
    )
    mail.wait_up((993, 465))
    certferry = lab.controller(settle="0s", verify_timeout="1s", resync="1d")
    certferry.wait_reason(mail.name, "ServedDiffers")
    lab.acme.write(new)
    told = f"port 993/imaps hands out {new.certificate.leaf.short} without the intermediate certferry test CA"
    wait_until(lambda: told in certferry.condition(mail.name)["message"], what="the new one is told")

    before = mail.reloads()
    assert certferry.condition(mail.name)["reason"] == "ServedDiffers"
    assert mail.fingerprint_at("/tls/cert.pem") == new.certificate.fingerprint
    assert mail.serves(new, (993, 465))
    assert not certferry.events("target.rolling_back")
    assert len(certferry.events("target.reloaded")) == 2
    certferry.stop()
    assert mail.reloads() == before
