"""Servers that send more than anybody should read: the probe ends within its limits of bytes, time and words."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.certificate import KeyType
from controller.domain.errors import ProbeUnavailable
from controller.domain.execution import ExecResult
from controller.domain.target import ProbePort
from controller.probe import Failure, HandshakeError, handshake
from controller.probe.container import MAXIMUM_CHAIN, handed_out
from controller.probe.inside import MAXIMUM_OUTPUT, certificates_of, handshake_inside
from controller.probe.network import _context
from controller.probe.starttls import DIALOGUES
from controller.probe.verdict import judge
from tests.certs import Pair
from tests.unit.costs import costs_at_most
from tests.unit.probe_server import (
    PATIENT,
    authority,
    imap_server,
    pair,
    pop3_server,
    serving,
    sieve_server,
    smtp_server,
    tls_server,
)
from tests.unit.test_probe_examine import NOW
from tests.unit.test_probe_hostile import HANGS, QUICK, failure_of
from tests.unit.test_probe_inside import question
from tests.unit.test_probe_starttls import play

pytestmark = pytest.mark.usefixtures("patient_probe")
SMTPS = ProbePort(465, "smtps")
KERNEL = 32 * 2**20
"""Bytes that may lie in the kernel's buffers between two sockets, at the very most."""


@pytest.mark.parametrize("piece", [b"2", b"220-more\r\n", b"* more\r\n", b"\0", b"\x1b[2J\r\n", b"\r\n", b"{0}\r\n"])
@pytest.mark.parametrize("protocol", ["smtp", "imap", "pop3", "sieve"])
async def test_a_banner_of_a_gigabyte_is_not_read(protocol: str, piece: bytes) -> None:
    block, written = piece * (65536 // len(piece)), 0

    async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        while written < 2**30:
            writer.write(block)
            await writer.drain()
            written += len(block)

    async with asyncio.timeout(HANGS):
        error = await failure_of(flood, protocol)

    assert (error.kind, str(error).isprintable(), len(str(error)) < 400) == (Failure.GARBLED, True, True)
    assert written < KERNEL


@pytest.mark.parametrize(
    ("server", "protocol"),
    [
        (smtp_server(replies={b"EHLO": b"250-more\r\n" * 100_000}), "smtp"),
        (imap_server(replies={b"CAPABILITY": b"* more\r\n" * 100_000}), "imap"),
        (pop3_server(replies={b"CAPA": b"+OK\r\n" + b"more\r\n" * 100_000}), "pop3"),
        (sieve_server(greeting=b'"X" {1}\r\n1' * 100_000), "sieve"),
        (sieve_server(greeting=b"{0}\r\n" * 100_000), "sieve"),
    ],
)
async def test_an_answer_of_very_many_lines_is_cut_off(server: object, protocol: str) -> None:
    error = await failure_of(server, protocol)  # type: ignore[arg-type]

    assert (error.kind, len(str(error)) < 400) == (Failure.GARBLED, True)


def test_a_line_of_literals_without_end_is_cut_off() -> None:
    with pytest.raises(HandshakeError, match="where the end of a line was expected"):
        play("sieve", [b"{0}\r\n"] * 1_000)


@given(
    st.sampled_from(sorted(DIALOGUES)), st.lists(st.sampled_from([b"{0}\r\n", b'"a" {1}\r\n', b"\r\n", b"a\r\n"]), min_size=1)
)
def test_no_dialogue_of_literals_goes_on_for_ever(protocol: str, lines: Sequence[bytes]) -> None:
    try:
        _sent, done = play(protocol, list(lines) * 20_000)
    except HandshakeError:
        done = True
    assert done


async def test_a_server_that_drips_into_the_handshake_is_cut_off_in_time() -> None:
    async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x16\x03\x03\x40\x00")
        while True:
            writer.write(b"\x02")
            await asyncio.sleep(0.02)

    async with asyncio.timeout(HANGS):
        error = await failure_of(drip, "imaps", seconds=QUICK)

    assert error.kind in {Failure.SILENT, Failure.TLS}


@pytest.mark.parametrize(
    "record", [b"\x16\x03\x03\x00\x00", b"\x15\x03\x03\x00\x02\x01\x5a", b"\x14\x03\x03\x00\x01\x01", b"\xff"]
)
async def test_tls_records_of_garbage_without_end_are_a_failed_handshake(record: bytes) -> None:
    async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(record * 1000)
            await writer.drain()

    async with asyncio.timeout(HANGS):
        error = await failure_of(flood, "imaps")

    assert error.kind in {Failure.TLS, Failure.CLOSED}


@given(st.binary(min_size=1, max_size=2000))
def test_whatever_answers_the_handshake_ends_in_an_error(answer: bytes) -> None:
    async def ask() -> HandshakeError:
        async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(b"\x16\x03\x03" + answer)
            await writer.drain()

        async with asyncio.timeout(HANGS):
            return await failure_of(say, "imaps", seconds=2)

    error = asyncio.run(ask())

    assert (str(error).isprintable(), len(str(error)) < 400) == (True, True)


def with_chain_of(certificates: int) -> Pair:
    return Pair(pair().chain + authority().root_pem * certificates, pair().key)


async def test_a_chain_of_hundreds_of_certificates_is_said_to_be_too_large() -> None:
    error = await failure_of(tls_server(context=large_context(with_chain_of(400))), "imaps")

    assert (error.kind, str(error)) == (Failure.TLS, "sent a chain of certificates that is larger than 100 KiB")


async def test_the_largest_chain_that_openssl_takes_is_told_by_its_length() -> None:
    held = with_chain_of(180)
    async with serving(tls_server(context=large_context(held))) as port:
        shaken = await handshake("127.0.0.1", port, "imaps", timeout=PATIENT)

    assert (shaken.chain_pem, len(shaken.chain_pem) > 100_000) == (held.chain, True)
    served = handed_out(SMTPS, shaken.chain_pem, "network")
    assert served.error == "handed out a chain of 182 certificates; real ones have two to four"
    assert judge(served, "mail.example.com", NOW).problems


def test_a_larger_chain_from_inside_a_container_is_no_answer() -> None:
    served = handed_out(SMTPS, pair().chain + authority().root_pem * 300, "exec")

    assert (served.leaf, served.chain_pem) == (None, b"")
    assert served.error == f"handed out certificates of more than {MAXIMUM_CHAIN // 1024} KiB"


def test_a_certificate_of_thousands_of_names_is_told_in_a_few_words() -> None:
    held = authority().issue(*(f"host{number}.example.org" for number in range(2000)))
    problem = judge(handed_out(SMTPS, held.chain, "network"), "mail.example.com", NOW).problems[0]

    assert problem.startswith("it does not name mail.example.com, but host0.example.org, host1.example.org")
    assert problem.endswith("host19.example.org, 1980 more")


@pytest.mark.parametrize("key_type", [None, KeyType.RSA, KeyType.ECDSA])
def test_no_server_can_make_the_loop_reckon_with_primes_of_ten_thousand_bits(key_type: KeyType | None) -> None:
    offered = {cipher["kea"] for cipher in _context(key_type).get_ciphers()}

    assert offered
    assert not {kind for kind in offered if kind.startswith("kx-dhe")}


async def test_output_of_megabytes_from_inside_a_container_is_no_answer() -> None:
    async def chatter(*_args: object, **_options: object) -> ExecResult:
        return ExecResult(127, b"openssl not found\n" * 200_000, b"")

    with pytest.raises(HandshakeError, match="printed more than 1 MiB") as caught:
        await handshake_inside(chatter, "c", question(465, "smtps"))

    assert caught.value.kind is Failure.GARBLED


OUTPUT = [
    b"-----BEGIN CERTIFICATE-----\n",
    b"-----BEGIN CERTIFICATE-----\nAAAA\n",
    b"A",
    b"\n",
    b"-----",
    b"connection refused",
    b"errno ",
    b":error:",
    b"\0",
]


@pytest.mark.parametrize("piece", OUTPUT)
def test_output_of_a_command_is_read_in_linear_time(piece: bytes) -> None:
    def reading(size: int) -> Callable[[], None]:
        output = ExecResult(1, piece * (size // len(piece)), b"")

        def read() -> None:
            with pytest.raises((HandshakeError, ProbeUnavailable)):
                certificates_of(output, question(465, "smtps"))

        return read

    assert costs_at_most(24, reading(MAXIMUM_OUTPUT // 8), reading(MAXIMUM_OUTPUT)), "eight times as much; 64 if quadratic"


@given(
    st.lists(st.sampled_from([*OUTPUT, b"CONNECTED(00000003)\n"]) | st.builds(lambda: pair().chain) | st.binary(max_size=30)),
    st.sampled_from([0, 1, 124, 127]),
)
def test_whatever_a_command_prints_is_certificates_or_an_error(pieces: list[bytes], code: int) -> None:
    try:
        found = certificates_of(ExecResult(code, b"".join(pieces), b""), question(465, "smtps"))
    except Exception as error:
        assert str(error).isprintable()  # noqa: PT017
        assert len(str(error)) < 400  # noqa: PT017
    else:
        assert found.startswith(b"-----BEGIN CERTIFICATE-----")


def large_context(held: Pair) -> ssl.SSLContext:
    from tests.unit.probe_server import tls_context

    return tls_context(held)
