"""What the stand-in does with the files of each ``SSL_TYPE``, as it was seen on docker-mailserver 15.1.

The same tests hold for the real image: ``CERTFERRY_TEST_MAIL_IMAGE=<image>`` names another one to play them on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.certs import Pair, acme_json
from tests.lab import DOMAIN, MAIL24_IMAGE, Lab, Mail, put_files, wait_until

Files = dict[str, bytes | str]
ACCOUNT = b"test@example.test|{PLAIN}test\n"
CONFIG, LIVE, TLS = "/tmp/docker-mailserver", "/etc/letsencrypt/live", "/etc/dms/tls"
OFF = ("AMAVIS", "CLAMAV", "FAIL2BAN", "OPENDKIM", "OPENDMARC", "POLICYD_SPF", "UPDATE_CHECK")
ENVIRONMENT = {"ACCOUNTS": "files", "ENABLE_POP3": "1", "DMS_CONFIG_POLL": "0.5"} | {f"ENABLE_{name}": "0" for name in OFF}
MANUAL = {"SSL_TYPE": "manual", "SSL_CERT_PATH": "/tls/cert.pem", "SSL_KEY_PATH": "/tls/key.pem"}
ALT = MANUAL | {"SSL_ALT_CERT_PATH": "/tls/alt.pem", "SSL_ALT_KEY_PATH": "/tls/alt-key.pem"}


def manual(pair: Pair) -> Files:
    return {"/tls/cert.pem": pair.chain, "/tls/key.pem": pair.key}


def live(name: str, key: str = "privkey") -> Callable[[Pair], Files]:
    return lambda pair: {f"{LIVE}/{name}/fullchain.pem": pair.chain, f"{LIVE}/{name}/{key}.pem": pair.key}


def self_signed(pair: Pair) -> Files:
    start = f"{CONFIG}/ssl/{DOMAIN}"
    return {
        f"{start}-cert.pem": pair.chain,
        f"{start}-key.pem": pair.key,
        f"{CONFIG}/ssl/demoCA/cacert.pem": pair.chain,
    }


def overridden(pair: Pair) -> Files:
    """The user's own TLS, where SSL_TYPE says nothing."""
    return {
        "/own/cert.pem": pair.chain,
        "/own/key.pem": pair.key,
        f"{CONFIG}/postfix-main.cf": b"smtpd_tls_security_level = may\nsmtpd_tls_chain_files = /own/key.pem /own/cert.pem\n",
        f"{CONFIG}/dovecot.cf": b"ssl = required\nssl_cert = </own/cert.pem\nssl_key = </own/key.pem\n",
    }


@dataclass
class Setup:
    """What a container is given, and what Postfix and Dovecot are told then: key and certificate."""

    environment: dict[str, str]
    files: Callable[[Pair], Files]
    used: tuple[str, ...]
    modes: dict[str, str] = field(default_factory=dict)
    ports: tuple[int, ...] = (587, 993)


SERVED = {
    "manual": Setup(MANUAL, manual, (f"{TLS}/key", f"{TLS}/cert"), {f"{TLS}/key": "600", f"{TLS}/cert": "644"}),
    "privkey before key": Setup(
        {"SSL_TYPE": "letsencrypt"},
        lambda pair: live(DOMAIN)(pair) | {f"{LIVE}/{DOMAIN}/key.pem": b"another"},
        (f"{LIVE}/{DOMAIN}/privkey.pem", f"{LIVE}/{DOMAIN}/fullchain.pem"),
    ),
    "key alone": Setup(
        {"SSL_TYPE": "letsencrypt"}, live(DOMAIN, "key"), (f"{LIVE}/{DOMAIN}/key.pem", f"{LIVE}/{DOMAIN}/fullchain.pem")
    ),
    "the domain's folder": Setup(
        {"SSL_TYPE": "letsencrypt"},
        live("example.test"),
        (f"{LIVE}/example.test/privkey.pem", f"{LIVE}/example.test/fullchain.pem"),
    ),
    "SSL_DOMAIN": Setup(
        {"SSL_TYPE": "letsencrypt", "SSL_DOMAIN": "*.other.test"},
        lambda pair: live("other.test")(pair) | live(DOMAIN)(pair),
        (f"{LIVE}/other.test/privkey.pem", f"{LIVE}/other.test/fullchain.pem"),
    ),
    "acme.json": Setup(
        {"SSL_TYPE": "letsencrypt"},
        lambda pair: {"/etc/letsencrypt/acme.json": acme_json(pair)},
        (f"{LIVE}/{DOMAIN}/key.pem", f"{LIVE}/{DOMAIN}/fullchain.pem"),
    ),
    "custom": Setup(
        {"SSL_TYPE": "custom"},
        lambda pair: {f"{CONFIG}/ssl/{DOMAIN}-full.pem": pair.key + pair.chain},
        (f"{TLS}/{DOMAIN}-full.pem",),
        {f"{TLS}/{DOMAIN}-full.pem": "600"},
    ),
    "self-signed": Setup(
        {"SSL_TYPE": "self-signed"},
        self_signed,
        (f"{TLS}/{DOMAIN}-key.pem", f"{TLS}/{DOMAIN}-cert.pem"),
        {f"{TLS}/{DOMAIN}-key.pem": "600", f"{TLS}/{DOMAIN}-cert.pem": "644", f"{TLS}/cacert.pem": "644"},
    ),
    "overrides": Setup({}, overridden, ("/own/key.pem", "/own/cert.pem"), ports=(25, 993)),
}
ENDS: dict[str, tuple[dict[str, str], Callable[[Pair], Files], str]] = {
    "a typo": ({"SSL_TYPE": "letsencrypyt"}, manual, "Invalid value for SSL_TYPE!"),
    "no variables": (
        {"SSL_TYPE": "manual", "SSL_CERT_PATH": "", "SSL_KEY_PATH": ""},
        manual,
        "SSL_KEY_PATH or SSL_CERT_PATH is not set!",
    ),
    "a missing file": (MANUAL, lambda pair: {"/tls/key.pem": pair.key}, "/tls/key.pem or /tls/cert.pem does not exist!"),
    "no second pair": (ALT, manual, "(ALT) /tls/alt-key.pem or /tls/alt.pem does not exist!"),
    "no folder": ({"SSL_TYPE": "letsencrypt"}, manual, "LETSENCRYPT_DOMAIN appears to be misconfigured"),
    "no key in the first folder": (
        {"SSL_TYPE": "letsencrypt"},
        lambda pair: live("example.test")(pair) | {f"{LIVE}/{DOMAIN}/fullchain.pem": pair.chain},
        "LETSENCRYPT_KEY appears to be misconfigured",
    ),
    "no combined file": ({"SSL_TYPE": "custom"}, self_signed, f"{DOMAIN}-full.pem does not exist!"),
    "no authority": (
        {"SSL_TYPE": "self-signed"},
        lambda pair: {path: content for path, content in self_signed(pair).items() if "demoCA" not in path},
        "demoCA/cacert.pem does not exist!",
    ),
}


class Range:
    """All containers, started at the same time."""

    def __init__(self, lab: Lab) -> None:
        self.pair = lab.issue()
        self.lab = lab
        self.served = {name: self.start(setup.environment, setup.files(self.pair)) for name, setup in SERVED.items()}
        self.ended = {name: self.start(environment, files(self.pair)) for name, (environment, files, _) in ENDS.items()}
        self.waiting = self.start(MANUAL, manual(self.pair), account=b"")

    def start(self, environment: dict[str, str], files: Files, account: bytes = ACCOUNT, **options: Any) -> Mail:
        container = self.lab.mailserver(
            start=False, environment=ENVIRONMENT | {"SSL_TYPE": ""} | environment, **options
        ).container
        put_files(container, files | ({f"{CONFIG}/postfix-accounts.cf": account} if account else {}))
        container.start()
        return Mail(container)


@pytest.fixture(scope="module")
def them(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Range]:
    lab = Lab(tmp_path_factory.mktemp("range"))
    try:
        yield Range(lab)
    finally:
        lab.close()


@pytest.mark.parametrize("name", SERVED)
def test_what_is_used(them: Range, name: str) -> None:
    setup, mail = SERVED[name], them.served[name]
    mail.wait_up(setup.ports)
    assert mail.serves(them.pair, setup.ports)
    assert mail.run("postconf", "-h", "smtpd_tls_chain_files").split() == list(setup.used)
    dovecot = mail.run("doveconf", "-h", "ssl_key", "ssl_cert").split()
    assert dovecot == [f"<{path}" for path in (setup.used[0], setup.used[-1])]
    assert {path: mail.run("stat", "-c", "%a", path).strip() for path in setup.modes} == setup.modes


@pytest.mark.parametrize("name", ENDS)
def test_who_cannot_start_ends_with_0_and_says_why(them: Range, name: str) -> None:
    """So a restart policy of on-failure does not start it again."""
    container = them.ended[name].container
    assert container.wait(timeout=60)["StatusCode"] == 0
    assert ENDS[name][2] in container.logs().decode()


def test_half_a_second_pair_is_no_end_but_dovecot_never_comes_up_until_it_is_whole(them: Range) -> None:
    """And a second pair of the same key type would leave Postfix without TLS."""
    other = them.lab.issue(kind="rsa")
    mail = them.start(ALT, manual(them.pair) | {"/tls/alt.pem": other.chain})
    wait_until(lambda: mail.container.logs().decode().count("exited: dovecot (exit status 89") > 1)
    assert mail.run("doveconf", "-h", "ssl_alt_key").strip() == f"<{TLS}/fallback_key"
    put_files(mail.container, {"/tls/alt-key.pem": other.key})
    mail.wait_up((993, 587))


def test_an_empty_second_pair_is_none(them: Range) -> None:
    mail = them.start(ALT, manual(them.pair) | {"/tls/alt.pem": b"", "/tls/alt-key.pem": b""})
    mail.wait_up((465, 993))
    assert mail.serves(them.pair, (465, 993))


def test_nothing_goes_on_before_the_first_account(them: Range) -> None:
    mail = them.waiting
    wait_until(lambda: "You need at least one mail account" in mail.container.logs().decode())
    assert mail.run("find", "/etc/dms", "-name", "tls") == ""
    put_files(mail.container, {f"{CONFIG}/postfix-accounts.cf": ACCOUNT})
    mail.wait_up((587, 993))
    assert mail.serves(them.pair, (587, 993))


def test_the_detector_may_look_before_postfix_runs_and_its_reload_is_lost_then(them: Range) -> None:
    """No harm: Postfix starts with the new pair, and the change counts as met."""
    mail = them.start(MANUAL | {"POSTFIX_AFTER": "/go"}, manual(them.pair))
    wait_until(lambda: "up and running" in mail.container.logs().decode())
    pair = them.lab.issue()
    put_files(mail.container, manual(pair))
    wait_until(lambda: "the Postfix mail system is not running" in mail.container.logs().decode())
    mail.run("touch", "/go")
    wait_until(lambda: mail.serves(pair, (587, 993)))


def test_the_detector_takes_a_new_pair_out_of_acme_json_and_reloads_once(them: Range) -> None:
    mail = them.served["acme.json"]
    mail.wait_up((587, 993))
    before, pair = mail.reloads(), them.lab.issue()
    put_files(mail.container, {"/etc/letsencrypt/acme.json": acme_json(pair)})
    wait_until(lambda: mail.serves(pair, (587, 993)))
    assert mail.fingerprint_at(f"{LIVE}/{DOMAIN}/fullchain.pem") == pair.certificate.fingerprint
    wait_until(lambda: mail.reloads() == (before[0] + 1, before[1] + 1))


def test_a_lock_of_somebody_else_is_waited_for(them: Range) -> None:
    mail, lock = them.served["manual"], f"{CONFIG}/check-for-changes.sh.lock"
    mail.wait_up((587, 993))
    mail.run("touch", lock)
    pair = them.lab.issue()
    put_files(mail.container, manual(pair))
    wait_until(lambda: "exists - another execution" in mail.run("cat", "/var/log/supervisor/changedetector.log"))
    assert mail.serves(them.pair, (587, 993))
    mail.run("rm", lock)
    wait_until(lambda: mail.serves(pair, (587, 993)))


@pytest.mark.parametrize("name", ["manual", "key alone", "custom"])
def test_what_is_used_by_dovecot_2_4(them: Range, name: str) -> None:
    """Its settings have other names, and those that the file has are not those to ask for."""
    setup = SERVED[name]
    mail = them.start(setup.environment, setup.files(them.pair), image=MAIL24_IMAGE)
    mail.wait_up(setup.ports)
    assert mail.serves(them.pair, setup.ports)
    assert mail.run("postconf", "-h", "smtpd_tls_chain_files").split() == list(setup.used)
    assert mail.run("doveconf", "-h", "ssl_server/key_file", "ssl_server/cert_file").split() == [setup.used[0], setup.used[-1]]
    assert mail.run("doveconf", "-h", "ssl_server_key_file", "ssl_key").split() == []
