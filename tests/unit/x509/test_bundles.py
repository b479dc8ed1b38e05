"""What a file of certificates holds, whatever its bytes: linear in its size, bounded where the file itself says how much work
it is, and no secret kept longer than it is needed.
"""

from __future__ import annotations

import asyncio
import base64
import gc
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, pkcs12

from controller.domain.errors import EncryptedKey, MalformedPem
from controller.threads import OwnThread
from controller.x509 import bundles
from controller.x509 import pkcs12 as opener
from controller.x509.bundles import Bundle, Bundles, open_bundle
from tests.certs import Authority, Pair, key_pem, new_key

KIB = 1024
BEGIN = b"-----BEGIN CERTIFICATE-----\n"
GENEROUS = 60.0


@cache
def authority() -> Authority:
    return Authority()


@cache
def pair() -> Pair:
    return authority().issue("mail.example.test")


def p12(rounds: int, password: bytes = b"secret") -> bytes:
    """A PKCS#12 file whose password takes so many rounds to try."""
    builder = PrivateFormat.PKCS12.encryption_builder().kdf_rounds(rounds).hmac_hash(hashes.SHA256())
    protection = builder.key_cert_algorithm(pkcs12.PBES.PBESv2SHA256AndAES256CBC).build(password)
    key = new_key()
    leaf = x509.load_pem_x509_certificate(authority().issue("mail.example.test", key=key).chain)
    return pkcs12.serialize_key_and_certificates(b"mail", key, leaf, None, protection)


def costly_p12() -> bytes:
    """The same, which says that its password takes two thousand million rounds to check: minutes (RFC 7292, appendix A)."""
    version, content, mac = _parts(p12(2000))
    digest, salt, _ = _parts(mac)
    return _sequence(version, content, _sequence(digest, salt, b"\x02\x04\x7f\xff\xff\xff"))


def _parts(sequence: bytes) -> list[bytes]:
    """The values of a DER sequence."""
    found, at = [], _header(sequence)[0]
    while at < len(sequence):
        header, length = _header(sequence[at:])
        found.append(sequence[at : at + header + length])
        at += header + length
    return found


def _header(der: bytes) -> tuple[int, int]:
    """The lengths of tag and length, and of what follows."""
    digits = der[1] & 0x7F if der[1] & 0x80 else 0
    return 2 + digits, int.from_bytes(der[2 : 2 + digits], "big") if digits else der[1]


def _sequence(*parts: bytes) -> bytes:
    content = b"".join(parts)
    return b"\x30\x82" + len(content).to_bytes(2, "big") + content


class TestPkcs12:
    def test_as_programs_write_it_is_opened(self):
        found = open_bundle(p12(2000), b"secret")
        assert [one.names for one in found.certificates] == [("mail.example.test",)]
        assert len(found.keys) == 1

    def test_with_the_highest_count_that_programs_use_is_opened(self):
        assert open_bundle(p12(600_000), b"secret").keys

    def test_that_takes_hours_to_open_is_told_and_does_not_stop_the_loop(self, monkeypatch):
        monkeypatch.setattr(opener, "COMPUTING", 0)
        costly = costly_p12()

        async def read() -> None:
            with pytest.raises(MalformedPem, match="to try its password takes more than"):
                await OwnThread("test").run(lambda: open_bundle(costly, b"secret"), "/x")

        before = time.process_time()
        asyncio.run(read())
        computed = time.process_time() - before
        assert computed < 0.5, "0.01 s; the whole second that it computes, were it in our process, where nothing else runs then"

    def test_that_nobody_waits_for_any_more_ends_with_its_process(self):
        costly = costly_p12()

        async def give_up() -> None:
            own = OwnThread("test")
            task = asyncio.create_task(own.run(lambda: open_bundle(costly, b"secret"), "/x"))
            async with asyncio.timeout(GENEROUS):
                while not _children():  # noqa: ASYNC110 -- processes tell nobody
                    await asyncio.sleep(0.01)
                task.cancel()
                await asyncio.wait({task})
                while own.busy or _children():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

        asyncio.run(give_up())

    def test_two_files_are_opened_by_one_process_which_ends_with_the_reading(self):
        known = Bundles()
        with known.reading():
            assert known.open(p12(2000), b"secret").keys
            (first,) = _children()
            assert known.open(p12(2001), b"secret").keys
            assert _children() == [first]
        assert _children() == []

    def test_after_one_that_was_refused_the_next_one_is_opened(self, monkeypatch):
        data = p12(2000)
        known = Bundles()
        with known.reading():
            with monkeypatch.context() as patch, pytest.raises(MalformedPem):
                patch.setattr(opener, "COMPUTING", 0)
                known.open(costly_p12(), b"secret")
            assert known.open(data, b"secret").keys

    def test_is_opened_with_a_password_without_one_and_with_a_wrong_one(self):
        with pytest.raises(EncryptedKey, match="its password is needed; name a file that holds it by password-file"):
            open_bundle(p12(2000), None)
        with pytest.raises(EncryptedKey, match="its password is another one than password-file holds"):
            open_bundle(p12(2000), b"wrong")
        assert open_bundle(b"\x30\x82\x01\x00" + bytes(256), b"secret") == Bundle()

    def test_passes_no_secret_in_its_arguments_or_environment(self):
        known = Bundles()
        with known.reading():
            known.open(p12(2000, b"hunter2"), b"hunter2")
            (child,) = _children()
            shown = b"".join(Path(f"/proc/{child}/{name}").read_bytes() for name in ("cmdline", "environ"))
        assert b"hunter2" not in shown


class TestMemory:
    def test_a_file_is_parsed_once_as_long_as_it_is_met(self, monkeypatch):
        parsed = _count(monkeypatch)
        known = Bundles()
        for _ in range(3):
            with known.reading():
                known.open(pair().key)
        assert len(parsed) == 1

    def test_one_that_was_not_met_at_a_reading_is_forgotten_with_its_end(self):
        known = Bundles()
        with known.reading():
            known.open(pair().key)
        with known.reading():
            known.open(pair().chain)
        gc.collect()
        assert not _holds(known, pair().key)
        assert not _holds(known, pair().key.splitlines()[1])

    def test_neither_content_nor_password_is_kept(self):
        known, data = Bundles(), p12(2000, b"correct horse battery")
        with known.reading():
            known.open(data, b"correct horse battery")
            known.open(b"log line\n" * 1000)
        for secret in (data, b"correct horse battery", b"log line"):
            assert not _holds(known, secret)

    def test_no_more_bytes_are_kept_than_are_allowed(self, monkeypatch):
        monkeypatch.setattr(bundles, "REMEMBERED", 4 * len(pair().key))
        parsed = _count(monkeypatch)
        keys = [key_pem(new_key()) for _ in range(12)]
        known = Bundles()
        for _ in range(2):
            with known.reading():
                for key in keys:
                    known.open(key)
        assert sum(one.size for one in known._known.values()) <= 4 * len(pair().key)
        assert len(parsed) > 12

    def test_what_cannot_be_used_is_told_each_time_and_judged_once(self, monkeypatch):
        parsed = _count(monkeypatch)
        known = Bundles()
        for _ in range(3):
            with known.reading(), pytest.raises(MalformedPem, match="it ends in the middle"):
                known.open(pair().chain + BEGIN)
        assert len(parsed) == 1

    def test_readings_that_fail_keep_what_they_met_and_no_more_than_is_allowed(self, monkeypatch):
        monkeypatch.setattr(bundles, "REMEMBERED", 4 * len(pair().key))
        known = Bundles()
        for _ in range(50):
            with pytest.raises(ZeroDivisionError), known.reading():
                known.open(key_pem(new_key()))
                raise ZeroDivisionError
        assert sum(one.size for one in known._known.values()) <= 4 * len(pair().key)

    def test_nothing_of_the_project_keeps_secrets_for_the_whole_process(self):
        """`functools` keeps arguments and results until the process ends."""
        found = [
            (file.name, line.strip())
            for top in ("controller", "sources", "sinks")
            for file in Path(top).rglob("*.py")
            for line in file.read_text().splitlines()
            if "lru_cache(" in line or line.strip() == "@cache"
        ]
        assert sorted(found) == [
            ("chains.py", "@lru_cache(maxsize=64)"),  # who signed whom
            ("files.py", "@cache"),  # which devices are the kernel's
            ("network.py", "@lru_cache(maxsize=3)"),  # contexts of TLS without a key of ours
            ("openssl.py", "@lru_cache(maxsize=32)"),  # the same, as OpenSSL has them
            ("parsed.py", "@lru_cache(maxsize=32)"),  # certificates without keys
            ("roots.py", "@lru_cache(maxsize=1)"),  # the system's roots
        ]


def test_warnings_of_the_library_are_silenced_without_changing_the_filters_in_threads():
    """`warnings.catch_warnings` in threads leaves "ignore" for everything, for ever."""
    program = """
import sys, threading, warnings
from controller.x509 import bundles
from tests.unit.x509.test_bundles import odd_certificate
odd = odd_certificate()
before = list(warnings.filters)
problems = []
def work():
    for _ in range(50):
        parse_leaf(odd)
        assert bundles.open_bundle(odd).certificates
        if list(warnings.filters) != before: problems.append(1)
threads = [threading.Thread(target=work) for _ in range(16)]
sys.setswitchinterval(1e-5)
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not problems and list(warnings.filters) == before
warnings.warn("still heard", UserWarning)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=GENEROUS, check=False)
    assert done.returncode == 0, done.stderr
    assert "still heard" in done.stderr
    assert "serial number" not in done.stderr


def odd_certificate() -> bytes:
    """A certificate with the serial number 0, of which the library warns."""
    leaf = x509.load_pem_x509_certificate(authority().issue("odd.example.test").chain)
    serial, der = leaf.serial_number.to_bytes(20, "big").lstrip(b"\0"), leaf.public_bytes(Encoding.DER)
    at = der.index(serial)
    der = der[:at] + bytes(len(serial)) + der[at + len(serial) :]
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


def _children() -> list[int]:
    """The processes that open PKCS#12 files for this one."""
    found: list[int] = []
    for file in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # threads of other tests end meanwhile
            found += map(int, file.read_text().split())
    return found


def _count(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    parsed: list[bytes] = []
    judge = bundles._open

    def count(data: bytes, *more: Any) -> Bundle:
        parsed.append(data)
        return judge(data, *more)

    monkeypatch.setattr(bundles, "_open", count)
    return parsed


def _holds(known: Bundles, secret: bytes) -> bool:
    """Whether anything that can be reached from it holds these bytes."""
    todo: list[object] = [known]
    met: set[int] = set()
    while todo:
        one = todo.pop()
        if id(one) in met or isinstance(one, type | x509.Certificate):
            continue
        met.add(id(one))
        if isinstance(one, bytes) and secret in one:
            return True
        todo += [of for of in gc.get_referents(one) if not isinstance(of, type)]
    return False
