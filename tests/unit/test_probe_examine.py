"""What any host serves, and the verdict on it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from controller.domain.certificate import Trust
from controller.domain.observed import Served
from controller.domain.target import ProbePort
from controller.probe import Judgement, examine, judge
from controller.probe.container import handed_out
from tests.certs import Pair
from tests.unit.dead_ends import closed_port
from tests.unit.probe_server import PATIENT, authority, imap_server, lonely, pair, serving, smtp_server, tls_server

pytestmark = pytest.mark.usefixtures("patient_probe")
NAME = "mail.example.com"
NOW = datetime.now(UTC)
PORT = ProbePort(993, "imaps")
PRIVATE = (
    "its root certferry test CA root is not among this system's trusted roots: it is a private CA's, or newer than they are;"
    " if it is to be trusted, name it in CERTFERRY_EXTRA_ROOTS"
)


def served(held: Pair) -> Served:
    return handed_out(PORT, held.chain, "network")


async def test_every_port_is_reported_in_the_order_asked() -> None:
    with closed_port() as closed:
        async with serving(smtp_server()) as smtp, serving(imap_server()) as imap, serving(tls_server()) as imaps:
            ports = [ProbePort(imap, "imap"), ProbePort(closed, "pop3"), ProbePort(imaps, "imaps"), ProbePort(smtp, "smtp")]
            seen = await examine("127.0.0.1", ports, timeout=PATIENT)

    assert [one.port for one in seen] == ports
    assert [one.refused for one in seen] == [False, True, False, False]
    assert [one.leaf for one in seen] == [pair().certificate.leaf, None, pair().certificate.leaf, pair().certificate.leaf]
    assert {one.way for one in seen} == {"network"}


async def test_the_host_is_the_name_asked_for_unless_another_is_given() -> None:
    server = tls_server()
    async with serving(server) as port:
        ports = [ProbePort(port, "imaps")]
        await examine("localhost", ports, timeout=PATIENT)
        await examine("localhost", ports, server_name=NAME, timeout=PATIENT)

    assert server.server_names == ["localhost", NAME]


async def test_a_host_without_address_is_an_error_of_every_port() -> None:
    seen = await examine("mail.invalid", [PORT, ProbePort(25, "smtp")], timeout=PATIENT)

    assert ["has no address" in one.error for one in seen] == [True, True]
    assert not any(one.refused for one in seen)


def test_a_good_chain_of_a_private_authority_is_only_untrusted() -> None:
    verdict = judge(served(pair()), NAME, NOW)

    assert (verdict.trust, verdict.problems) == (Trust.ROOT_UNKNOWN, (PRIVATE,))
    assert verdict.days_left == pytest.approx(90, abs=0.2)


def test_self_signed_is_said() -> None:
    assert judge(served(lonely()), NAME, NOW).problems == ("it is self-signed, so clients refuse it",)


def test_a_missing_intermediate_is_said() -> None:
    leaf_only = handed_out(PORT, pair().certificate.leaf_pem, "network")

    (problem,) = judge(leaf_only, NAME, NOW).problems
    assert problem.startswith("the chain is incomplete: certferry test CA, which issued it, is neither beside it nor among")


def test_a_root_in_place_of_the_intermediate_is_said() -> None:
    wrong = handed_out(PORT, pair().certificate.leaf_pem + authority().root_pem, "network")

    assert judge(wrong, NAME, NOW).problems[0].startswith("the chain is incomplete")


def test_a_chain_that_does_not_parse_is_said() -> None:
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    odd = Served(PORT, pair().certificate.leaf, "network", chain_pem=broken)

    assert judge(odd, NAME, NOW).problems[0].startswith("the chain holds something else")


@pytest.mark.parametrize(("shift", "text"), [(timedelta(days=91), "it ended on "), (timedelta(days=-2), "it begins on ")])
def test_dates_are_judged(shift: timedelta, text: str) -> None:
    verdict = judge(served(pair()), NAME, NOW + shift)

    assert verdict.problems[0].startswith(text)
    assert verdict.days_left is not None
    assert (verdict.days_left < 0) == (shift > timedelta(days=90))


def test_another_name_is_said_with_the_names_there_are() -> None:
    assert (
        judge(served(pair()), "imap.example.org", NOW).problems[0] == "it does not name imap.example.org, but mail.example.com"
    )


def test_an_address_must_be_named_as_one() -> None:
    both = authority().issue("mail.example.com", "192.0.2.1", "2001:db8::1")

    assert judge(served(both), "192.0.2.1", NOW).problems == (PRIVATE,)
    assert judge(served(both), "[2001:DB8:0::1]", NOW).problems == (PRIVATE,)
    text = "it does not name 192.0.2.2, but mail.example.com, 192.0.2.1, 2001:db8::1"
    assert judge(served(both), "192.0.2.2", NOW).problems == (text, PRIVATE)
    assert judge(served(pair()), "192.0.2.1", NOW).problems[0] == "it does not name 192.0.2.1, but mail.example.com"


def test_each_judgement_is_made_by_itself() -> None:
    wrong = judge(served(pair()), "imap.example.org", NOW + timedelta(days=91))

    assert list(wrong.found) == [Judgement.NAME, Judgement.DATES, Judgement.TRUST]


def test_an_international_name_is_judged_as_it_is_asked_for() -> None:
    assert judge(served(authority().issue("xn--mller-kva.example.com")), "müller.example.com", NOW).problems == (PRIVATE,)


def test_a_port_without_certificate_has_its_error_as_problem() -> None:
    verdict = judge(Served(PORT, None, "network", error="nothing listens there"), NAME, NOW)

    assert (verdict.trust, verdict.days_left, verdict.problems) == (None, None, ("nothing listens there",))
