"""Key and chain in one file in docker-mailserver: with ``letsencrypt`` its detector leaves the line for Postfix alone."""

from __future__ import annotations

from tests.lab import DOMAIN, GENEROUS, Lab, wait_until

FOLDER = f"/etc/letsencrypt/live/{DOMAIN}"
LABELS = {
    "cert_path": f"{FOLDER}/fullchain.pem",
    "key_path": f"{FOLDER}/privkey.pem",
    "combined_path": f"{FOLDER}/all.pem",
    "reload": "self",
}
LINE = f"smtpd_tls_chain_files = {FOLDER}/all.pem"
RENEWALS = 3


def test_one_file_lasts_over_three_renewals_without_a_restart(lab: Lab) -> None:
    pairs = [lab.issue()]
    lab.acme.write(pairs[0])
    environment = {"SSL_TYPE": "letsencrypt", "DMS_CONFIG_POLL": "0.5"}
    mail = lab.mailserver(
        start=False, labels=LABELS, environment=environment, volumes=[f"{lab.volume().name}:/etc/letsencrypt"]
    )
    certferry = lab.controller(settle="0s")
    certferry.wait_ready(mail.name, pairs[0])
    mail.container.start()
    mail.wait_up()
    mail.run("postconf", "-e", LINE)  # as the user's postfix-main.cf does at the start
    mail.run("sh", "-c", "touch -d '2 seconds ago' /etc/postfix/main.cf; postfix reload")
    detected, reloads = mail.detected(), mail.reloads()

    for _ in range(RENEWALS):
        pairs.append(lab.issue())
        line = len(certferry.log)
        lab.acme.write(pairs[-1])
        certferry.wait_for("target.served", after=line)
        wait_until(lambda: mail.serves(pairs[-1]), seconds=GENEROUS, what="every port serves the new pair")

    assert mail.run("postconf", "smtpd_tls_chain_files").strip() == LINE
    assert mail.run("cat", f"{FOLDER}/all.pem").encode() == pairs[-1].certificate.combined_pem
    assert certferry.events("reload.not_noticed") == certferry.events("target.rolling_back") == []
    met = mail.detected() - detected
    assert met >= RENEWALS, "the detector reloads"
    assert mail.reloads() == (reloads[0] + met, reloads[1] + met), "and nobody else does"
