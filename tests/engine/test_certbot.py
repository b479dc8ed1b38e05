"""certbot itself, which orders and renews at a real ACME server while certferry watches its folder."""

from __future__ import annotations

from tests.engine.producers import PEBBLE, Programs, Served, stored
from tests.lab import DOMAIN, Lab


def test_what_certbot_orders_and_renews_is_served_by_the_mail_server(lab: Lab) -> None:
    programs = Programs(lab)
    live = programs.folder / "letsencrypt/live" / DOMAIN
    served = Served.start(lab, "certbot", programs.folder / "letsencrypt")
    served.wait_missing()

    pairs = []
    renew = ("renew", "--force-renewal", "--no-random-sleep-on-renew")
    for argv in (("certonly", *PEBBLE, "-d", DOMAIN), renew, renew, (*renew, "--reuse-key")):
        programs.certbot(*argv)
        pairs.append(stored(live / "fullchain.pem", live / "privkey.pem"))
        served.wait_for(pairs[-1])

    assert len({pair.chain for pair in pairs}) == 4
    assert len({pair.key for pair in pairs}) == 3, "the last renewal used the key again"
    served.assert_no_complaint()
