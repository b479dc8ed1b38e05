"""The verdict of ``certferry probe`` beside that of ``openssl s_client``, on everything that a real server may hand out."""

from __future__ import annotations

import ipaddress
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.domain.certificate import Trust
from controller.domain.target import ProbePort
from controller.probe import examine
from controller.probe.verdict import Verdict, judge
from controller.x509.parsed import parse_all
from controller.x509.roots import Roots
from tests.unit.probe_server import PATIENT
from tests.unit.served_cases import CASES, Case, Sent
from tests.unit.tls_thread import tls_server

pytestmark = pytest.mark.usefixtures("patient_probe")


def openssl_refuses(port: int, case: Case, roots: Path) -> str:
    """What ``openssl s_client`` does not like, as a client that trusts these roots alone; empty where it accepts."""
    try:
        asked = ["-verify_ip", str(ipaddress.ip_address(case.name))]
    except ValueError:
        asked = ["-verify_hostname", case.name, "-servername", case.name]
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *asked, "-verify_return_error"]
    command += ["-CAfile", str(roots), "-no-CApath", "-no-CAstore"]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENT, check=False)
    return "" if ended.returncode == 0 else ended.stderr.decode()


async def verdict_on(port: int, case: Case, sent: Sent) -> Verdict:
    (served,) = await examine("127.0.0.1", [ProbePort(port, "tls")], server_name=case.name, timeout=PATIENT)
    return judge(served, case.name, datetime.now(UTC), Roots.of(parse_all(sent.roots)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
async def test_it_is_never_milder_and_where_it_is_stricter_a_client_refuses(case: Case, tmp_path: Path) -> None:
    sent = case.make()
    roots = tmp_path / "roots.pem"
    roots.write_bytes(sent.roots)
    with tls_server(sent.pair, weak=True) as port:
        refused = openssl_refuses(port, case, roots)
        verdict = await verdict_on(port, case, sent)

    found = {"connection"} if verdict.error else {str(judgement) for judgement in verdict.found}
    assert found == case.wrong, verdict.problems
    assert bool(refused) == (bool(case.wrong) and not case.refuses), refused
    assert bool(verdict.warnings) == case.warned
    assert verdict.trust is case.trust


def test_every_kind_of_trust_is_met() -> None:
    assert {case.trust for case in CASES} == {None, *Trust}


def test_whoever_is_stricter_is_named_once_for_each_reason() -> None:
    assert all(case.wrong for case in CASES if case.refuses)
    assert len({case.id for case in CASES}) == len(CASES)
