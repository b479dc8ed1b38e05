"""Who the targets are, and what their labels say, asked of real containers."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

import pytest
from docker.models.containers import Container as Running

from controller.discovery import Discovery
from controller.domain.mail_ports import STANDARD_PORTS
from controller.domain.target import InvalidTarget, Place, ProbePort, Reload, Slot, Target
from controller.engine import Engine
from controller.labels import OLDER_DOMAIN
from sinks.profiles import DEFAULT, PROFILES
from tests.engine.images import labelled_image
from tests.lab import DOMAIN, LABEL, MAIL_IMAGE, Lab

PATHS = {"cert_path": "/tls/cert.pem", "key_path": "/tls/key.pem"}


@pytest.fixture
def discovery(engine: Engine, lab: Lab) -> Discovery:
    return Discovery(
        engine, endpoint="local", prefix=lab.prefix, profiles=PROFILES, default=DEFAULT, sources=["traefik", "certbot"]
    )


async def resolve(discovery: Discovery, container: Running) -> Any:
    return await discovery.resolve(discovery.key(str(container.id)))


async def problems(discovery: Discovery, lab: Lab, **options: Any) -> list[str]:
    """What is wrong with the labels of a container, without the laboratory's prefix."""
    found = await resolve(discovery, lab.container(start=False, **options))
    assert isinstance(found, InvalidTarget)
    return [problem.replace(lab.prefix, "certferry.") for problem in found.problems]


async def test_every_label_arrives_at_the_target(discovery: Discovery, lab: Lab) -> None:
    labels = PATHS | {
        "domain": "Mail.Example.test, *.example.test",
        "chain_path": "/tls/chain.pem",
        "owner": "101:102",
        "mode": "0640",
        "reload": "sh -c 'a; b' ; signal:USR2",
        "check": "doveconf -n",
        "user": "101",
        "probe": "25/smtp,993/imaps",
        "source": "certbot",
        "allow_untrusted": "true",
    }
    container = lab.container(start=False, labels=labels)

    assert await resolve(discovery, container) == Target(
        key=discovery.key(str(container.id)),
        container=(await resolve(discovery, container)).container,
        profile="generic",
        domains=("mail.example.test", "*.example.test"),
        places=(Place(Slot(), *(PurePosixPath(f"/tls/{name}.pem") for name in ("cert", "key", "chain"))),),
        reload=(Reload("exec", ("sh", "-c", "a; b")), Reload("signal", signal="USR2")),
        check=("doveconf", "-n"),
        probe=(ProbePort(25, "smtp"), ProbePort(993, "imaps")),
        probe_required=True,
        sources=("certbot",),
        owner=(101, 102),
        mode=0o640,
        user="101",
        allow_untrusted=True,
    )


async def test_all_problems_are_told_at_once_each_with_what_would_be_right(discovery: Discovery, lab: Lab) -> None:
    labels = {
        "domain": "mail.example.test, 192.0.2.1",
        "cert_pth": "/tls/cert.pem",
        "key_path": "/tls/key.pem",
        "profile": "dockermailserver",
        "owner": "root",
        "mode": "0644",
        "reload": "postfix reload && doveadm reload",
        "check": "a; b",
        "user": "-u root",
        "probe": "0/smtp,993/imapz",
        "key_type": "ed25519",
        "source": "treafik",
        "allow_untrusted": "perhaps",
    }
    told = await problems(discovery, lab, labels=labels)

    def one(label: str, *words: str) -> None:
        fitting = [problem for problem in told if problem.startswith(label) and all(word in problem for word in words)]
        assert len(fitting) == 1, (label, told)

    one("certferry.cert-pth='/tls/cert.pem'", "unknown label", "certferry.cert-path")
    one("certferry.domain=", "192.0.2.1", "is an address")
    one("certferry.profile='dockermailserver'", "docker-mailserver")
    one("certferry.owner='root'", "101:101")
    one("certferry.mode='0644'", "others could read", "0640")
    one("certferry.reload=", "no shell runs this", "&")
    one("certferry.check=", "one command")
    one("certferry.user='-u root'", "user")
    one("certferry.probe=", "'0/smtp'", "from 1 to 65535", "'993/imapz'", "did you mean imap?")
    one("certferry.key-type='ed25519'", "any, rsa, ecdsa or both")
    one("certferry.source='treafik'", "traefik")
    one("certferry.allow-untrusted='perhaps'", "true or false")
    one("certferry.key-path", "certferry.cert-path")
    assert len(told) == 13
    assert not any("\n" in problem for problem in told)


async def test_paths_that_could_lead_elsewhere_are_refused(discovery: Discovery, lab: Lab) -> None:
    labels = {
        "cert_path": "/tls/../etc/passwd",
        "key_path": "tls/key.pem",
        "chain_path": "/tls/chain\n.pem",
        "combined_path": "/tls/",
        "alt_cert_path": "~/cert.pem",
        "alt_key_path": "/tls/" + "x" * 5000,
    }
    told = await problems(discovery, lab, labels=labels)

    assert [problem.partition("=")[0] for problem in told] == [
        f"certferry.{name.replace('_', '-')}" for name in ("cert_path", *list(labels)[1:])
    ]
    assert "without . and .." in told[0]
    assert "absolute path" in told[1]
    assert "control characters" in told[2]
    assert "absolute path of a file" in told[3]
    assert all(len(problem) < 400 and "\n" not in problem for problem in told)


async def test_labels_without_a_domain_are_worth_a_report(discovery: Discovery, lab: Lab) -> None:
    container = lab.docker.containers.create("certferry-test/plain:latest", labels={LABEL: lab.id, f"{lab.prefix}probe": "off"})

    found = await resolve(discovery, container)
    assert isinstance(found, InvalidTarget)
    assert f"{lab.prefix}domain is missing" in found.problems[0]


async def test_auto_is_the_name_the_container_was_given(discovery: Discovery, lab: Lab) -> None:
    labels = PATHS | {"domain": "auto"}
    names: list[tuple[dict[str, Any], tuple[str, ...]]] = [
        ({"hostname": "Mail.Example.test"}, ("mail.example.test",)),
        ({"hostname": "mail", "domainname": "example.test"}, ("mail.example.test",)),
        ({"hostname": "mail.example.test", "domainname": "example.test"}, ("mail.example.test",)),
    ]
    for options, expected in names:
        target = await resolve(discovery, lab.container(start=False, labels=labels, **options))
        assert target.domains == expected
    told = await problems(discovery, lab, labels=labels, hostname=None)
    assert told == ["certferry.domain=auto: the container has no host name of its own; set `hostname:` or name the domain"]


async def test_the_profile_is_recognised_from_the_image(discovery: Discovery, lab: Lab) -> None:
    environment = {"SSL_TYPE": "manual", "SSL_CERT_PATH": "/tls/cert.pem", "SSL_KEY_PATH": "/tls/key.pem"}
    mailserver = await resolve(discovery, lab.container(MAIL_IMAGE, start=False, environment=environment))
    assert (mailserver.profile, mailserver.probe) == ("docker-mailserver", STANDARD_PORTS)
    assert [str(path) for path in mailserver.places[0].paths] == ["/tls/key.pem", "/tls/cert.pem"]

    told = await resolve(discovery, lab.container(MAIL_IMAGE, start=False))
    assert (told.profile, told.places) == ("docker-mailserver", ()), "it is asked what it uses when it runs"

    other = await resolve(discovery, lab.container(MAIL_IMAGE, start=False, labels=PATHS | {"profile": "generic"}))
    assert (other.profile, other.reload) == ("generic", ())
    assert (await resolve(discovery, lab.container(start=False, labels=PATHS))).profile == "generic"
    assert await problems(discovery, lab) == [
        "certferry.cert-path and certferry.key-path are missing: the profile generic knows no paths"
        "; where it is a docker-mailserver of your own build, set certferry.profile=docker-mailserver"
    ]


async def test_an_image_cannot_help_itself_to_a_key(discovery: Discovery, lab: Lab) -> None:
    greedy = {f"{lab.prefix}{name}": value for name, value in {"domain": DOMAIN, "cert-path": "/c", "key-path": "/k"}.items()}
    with labelled_image(lab, greedy | {OLDER_DOMAIN: DOMAIN}) as image:

        async def found_with(**labels: str) -> Any:
            ours = {LABEL: lab.id} | {f"{lab.prefix}{name.replace('_', '-')}": value for name, value in labels.items()}
            container = lab.docker.containers.create(image, labels=ours)
            assert discovery.key(str(container.id)) in await discovery.keys(), (
                "the list cannot tell; that takes a look at the image"
            )
            return await resolve(discovery, container)

        assert await found_with() is None
        assert await found_with(domain=DOMAIN) is None, "the same value cannot be told from the image's own"
        other = await found_with(domain=f"{DOMAIN}, {DOMAIN}", **PATHS)
        assert isinstance(other, Target)
        assert (other.domains, other.places[0].key) == ((DOMAIN,), PurePosixPath("/tls/key.pem"))
        half = await found_with(domain="other.example.test")
        assert isinstance(half, InvalidTarget), "the paths are the image's, so they do not count"


async def test_only_containers_with_our_labels_are_targets(discovery: Discovery, lab: Lab) -> None:
    ours = lab.container(start=False, labels=PATHS)
    older = lab.docker.containers.create(
        "certferry-test/plain:latest",
        labels={LABEL: lab.id, OLDER_DOMAIN: DOMAIN, f"{lab.prefix}cert-path": "/c", f"{lab.prefix}key-path": "/k"},
    )
    others = lab.docker.containers.create("certferry-test/plain:latest", labels={LABEL: lab.id, "certferry": "x"})

    keys = await discovery.keys()
    assert {discovery.key(str(one.id)) for one in (ours, older)} <= {*keys}
    assert discovery.key(str(others.id)) not in keys
    assert await resolve(discovery, others) is None
    assert (await resolve(discovery, older)).domains == (DOMAIN,)
    ours.remove()
    assert await resolve(discovery, ours) is None
