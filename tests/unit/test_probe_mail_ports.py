"""Lists of ports as labels hold them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.mail_ports import MAXIMUM_PORT, PROTOCOLS, STANDARD_PORTS, ProbeListError, parse_probe_list
from controller.domain.target import ProbePort


def problems_of(text: str) -> tuple[str, ...]:
    with pytest.raises(ProbeListError) as caught:
        parse_probe_list(text)
    return caught.value.problems


def test_ports_come_out_in_their_order() -> None:
    assert parse_probe_list("465/smtps, 25/SMTP ,4190 / sieve") == (
        ProbePort(465, "smtps"),
        ProbePort(25, "smtp"),
        ProbePort(4190, "sieve"),
    )


def test_the_standard_ports_read_back() -> None:
    text = "25/smtp,465/smtps,587/smtp,143/imap,993/imaps,110/pop3,995/pop3s,4190/sieve"

    assert parse_probe_list(text) == STANDARD_PORTS
    assert ",".join(map(str, STANDARD_PORTS)) == text


def test_implicit_tls_is_what_needs_no_words_before() -> None:
    assert [name for name, protocol in PROTOCOLS.items() if protocol.implicit] == ["smtps", "imaps", "pop3s", "tls"]


@pytest.mark.parametrize("port", ["0", "65536", "-5", "+5", "1_0", "²", "٣", "abc", "", "9" * 5000])
def test_a_port_is_a_number_from_1_to_65535(port: str) -> None:
    (problem,) = problems_of(f"{port}/smtp")

    assert "the port must be a number from 1 to 65535" in problem


def test_every_problem_is_reported_at_once() -> None:
    assert problems_of("0/smtp,25/impa,25/imap,,x/gopher,993") == (
        "'0/smtp': the port must be a number from 1 to 65535",
        "'25/impa': unknown protocol 'impa'; did you mean imap?",
        "an entry is empty; write port/protocol entries such as 25/smtp,993/imaps",
        "'x/gopher': the port must be a number from 1 to 65535",
        "'x/gopher': unknown protocol 'gopher'; known are smtp, smtps, imap, imaps, pop3, pop3s, sieve, tls",
        "'993': the protocol is missing; write 993/imaps",
        "port 25 is listed more than once",
    )


def test_the_message_holds_all_problems() -> None:
    with pytest.raises(ValueError, match=r"^'0/smtp': .*; port 1 is listed more than once$"):
        parse_probe_list("0/smtp,1/smtp,1/smtps")


@pytest.mark.parametrize(
    ("wrong", "right"), [("submission", "smtp"), ("submissions", "smtps"), ("managesieve", "sieve"), ("imap4", "imap")]
)
def test_the_name_that_was_probably_meant_is_offered(wrong: str, right: str) -> None:
    assert problems_of(f"1/{wrong}") == (f"'1/{wrong}': unknown protocol {wrong!r}; did you mean {right}?",)


@pytest.mark.parametrize(("entry", "offer"), [("587", "587/smtp"), ("25/", "25/smtp"), ("7000", "7000/imaps")])
def test_a_missing_protocol_is_offered_by_the_port(entry: str, offer: str) -> None:
    assert problems_of(entry) == (f"{entry!r}: the protocol is missing; write {offer}",)


@given(
    st.lists(st.tuples(st.integers(1, MAXIMUM_PORT), st.sampled_from(sorted(PROTOCOLS))), min_size=1, unique_by=lambda p: p[0])
)
def test_what_is_printed_reads_back(ports: list[tuple[int, str]]) -> None:
    wanted = tuple(ProbePort(*port) for port in ports)

    assert parse_probe_list(",".join(map(str, wanted))) == wanted


@given(st.text(alphabet=st.sampled_from("0123456789/,simtp oe+_²")) | st.text())
def test_any_text_gives_usable_ports_or_problems(text: str) -> None:
    problems: tuple[str, ...] = ()
    ports: tuple[ProbePort, ...] = ()
    try:
        ports = parse_probe_list(text)
    except ProbeListError as error:
        problems = error.problems

    assert bool(ports) != bool(problems)
    assert all(1 <= port.port <= MAXIMUM_PORT and port.protocol in PROTOCOLS for port in ports)
