"""Files of any names: matched by public key, chains completed, half files waited out."""

from __future__ import annotations

import asyncio

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PrivateFormat, PublicFormat, pkcs7, pkcs12
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.certificate import Trust
from controller.domain.errors import MalformedPem, SourceMalformed, SourceUnavailable
from controller.x509 import bundles
from controller.x509.bundles import Bundle
from controller.x509.chains import Pool
from controller.x509.parsed import LONGEST_CHAIN, ParsedCertificate, parse_all
from sources.pem_files import PEM
from tests.certs import Authority, Pair, key_pem, new_key, self_signed
from tests.odd_certificates import SIGNS, make, version_1
from tests.unit.sources.planted import Reader, play, rewrite
from tests.unit.sources.recorded import DATA

NAME = "mail.example.test"
AUTHORITY = Authority()


@pytest.fixture
def pair() -> Pair:
    return AUTHORITY.issue(NAME)


def leaf(pair: Pair) -> str:
    return pair.certificate.fingerprint


def p12(pair: Pair, password: bytes | None) -> bytes:
    certificates = x509.load_pem_x509_certificates(pair.chain)
    key = serialization.load_pem_private_key(pair.key, None)
    protection = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return pkcs12.serialize_key_and_certificates(b"mail", key, certificates[0], certificates[1:], protection)  # type: ignore[arg-type]


def der(pair: Pair) -> bytes:
    return x509.load_pem_x509_certificate(pair.chain).public_bytes(Encoding.DER)


def key_der(pair: Pair, password: bytes | None = None) -> bytes:
    protection = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return serialization.load_pem_private_key(pair.key, None).private_bytes(Encoding.DER, PrivateFormat.PKCS8, protection)


ISSUED = AUTHORITY.issue(NAME)
BINARIES = (der(ISSUED), key_der(ISSUED), p12(ISSUED, None), p12(ISSUED, b"secret"))
PROTECTED_DER = key_der(ISSUED, b"secret")
SSH_KEY = ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, serialization.NoEncryption())


@pytest.mark.parametrize(
    ("chain", "key"),
    [
        ("public.crt", "private.key"),
        ("fullchain.pem", "privkey.pem"),
        (f"{NAME}-cert.pem", f"{NAME}-key.pem"),
        ("a", "b"),
        ("Größe *.cer", "key file"),
        (f"{NAME}/cert.pem", f"{NAME}/key.pem"),
        ("certs/x.crt", "private/x.key"),
    ],
)
async def test_names_do_not_matter(tmp_path, pair, chain, key):
    for file, content in ((chain, pair.chain), (key, pair.key)):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(content)
    assert await Reader(PEM, tmp_path).leaves() == {chain: leaf(pair)}


async def test_what_lego_writes_is_read():
    (entry,) = (await Reader(PEM, DATA / "lego-4.9.1").load()).entries
    assert (entry.label, entry.certificate.leaf.names) == ("mail.example.test.crt", ("mail.example.test", "nas.example.test"))
    assert entry.certificate.chain_pem == (DATA / "lego-4.9.1/mail.example.test.issuer.crt").read_bytes()


@pytest.mark.parametrize("order", ["key first", "chain first"])
async def test_one_file_may_hold_all(tmp_path, pair, order):
    (tmp_path / "all.pem").write_bytes(pair.key + pair.chain if order == "key first" else pair.chain + pair.key)
    assert await Reader(PEM, tmp_path).leaves() == {"all.pem": leaf(pair)}
    assert await Reader(PEM, tmp_path / "all.pem").leaves() == {"all.pem": leaf(pair)}


async def test_the_chain_is_completed_from_other_files_and_put_in_order(tmp_path, pair):
    (tmp_path / "leaf.crt").write_bytes(pair.certificate.leaf_pem)
    (tmp_path / "leaf.key").write_bytes(pair.key)
    (tmp_path / "issuer.pem").write_bytes(AUTHORITY.root_pem + AUTHORITY.intermediate_pem)
    (tmp_path / "other-issuer.pem").write_bytes(Authority("certferry test CA").intermediate_pem)
    (entry,) = (await Reader(PEM, tmp_path).load()).entries
    assert entry.certificate.fullchain_pem == pair.chain, "without the root, and not with one of the same name"


@pytest.mark.parametrize(
    "made", [{}, {"change": version_1, "key_id": False, "issuer_key_id": False}], ids=["bare", "version 1"]
)
async def test_the_chain_of_a_ca_that_does_not_say_that_it_is_one_is_taken_from_another_file(tmp_path, made):
    """What openssl x509 -req makes without extensions."""
    between = make("Home CA", make("Home root", authority=True, usage=SIGNS), number=1, **made)
    one = make(NAME, between, number=2, names=[NAME])
    for file, content in (("cert.pem", one.pem), ("chain.pem", between.pem), ("key.pem", one.key_pem)):
        (tmp_path / file).write_bytes(content)
    (entry,) = (found := await Reader(PEM, tmp_path).load()).entries
    assert (entry.certificate.trust, entry.certificate.chain_pem) == (
        Trust.REFUSED,
        b"".join(one.pem for one in parse_all(between.pem)),
    )
    assert "Home CA: it does not say that it is a CA's" in entry.certificate.why
    assert found.problems == (), "nobody needs a key for it"


async def test_more_authorities_of_one_name_and_key_than_a_chain_has_are_no_chain(tmp_path):
    """Of one that is issued anew each day, say, and all kept in one file."""
    top = make("Daily root", authority=True, usage=SIGNS, number=3)
    daily = [make("Daily CA", top, authority=True, usage=SIGNS, number=4, days=day) for day in range(60, 60 + LONGEST_CHAIN)]
    one = make(NAME, daily[0], number=5, names=[NAME])
    (tmp_path / "all.pem").write_bytes(one.with_chain(*daily).chain + one.key_pem)
    (entry,) = (found := await Reader(PEM, tmp_path).load()).entries
    assert (found.problems, len(parse_all(entry.certificate.chain_pem))) == ((), 1)


async def test_many_pairs_in_one_file_are_not_each_compared_with_all(tmp_path, monkeypatch):
    """950 of them took half a minute."""
    top = make("Many root", authority=True, usage=SIGNS, number=6)
    between = [make(f"Many CA {n}", top, authority=True, usage=SIGNS, number=7) for n in range(50)]
    leaves = [make(f"{n}.{NAME}", issuer, names=[f"{n}.{NAME}"], number=8) for n, issuer in enumerate(between)]
    (tmp_path / "all.pem").write_bytes(b"".join(one.pem for one in (*leaves, *between)) + leaves[0].key_pem)
    added: list[object] = []
    add = Pool.add

    def count(pool: Pool, one: ParsedCertificate) -> None:
        added.append(one)
        add(pool, one)

    monkeypatch.setattr(Pool, "add", count)
    assert len((await Reader(PEM, tmp_path).load()).entries) == len(leaves)
    assert len(added) <= 5 * (len(leaves) + len(between))


async def test_a_certificate_that_the_library_fails_on_hides_no_other(tmp_path, pair):
    """A TLS feature of a number that it does not know is a KeyError there."""
    feature = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.5.5.7.1.24"), bytes.fromhex("3003020113"))
    odd = make("odd.example.test", names=["odd.example.test"], more=[(feature, False)])
    for file, content in (("odd.pem", odd.pem + odd.key_pem), ("good.pem", pair.chain + pair.key)):
        (tmp_path / file).write_bytes(content)
    found = await Reader(PEM, tmp_path).load()
    assert [entry.label for entry in found.entries] == ["good.pem"]
    assert [problem.message for problem in found.problems] == [
        "odd.pem: a certificate that does not parse; it is damaged; bring the right file"
    ]


async def test_a_leaf_in_several_files_is_one_certificate(tmp_path, pair):
    (tmp_path / "cert.pem").write_bytes(pair.certificate.leaf_pem)
    (tmp_path / "fullchain.pem").write_bytes(pair.chain)
    (tmp_path / "combined.pem").write_bytes(pair.key + pair.certificate.leaf_pem)
    (tmp_path / "privkey.pem").write_bytes(pair.key)
    assert await Reader(PEM, tmp_path).leaves() == {"fullchain.pem": leaf(pair)}


async def test_several_leaves_of_one_file_are_told_apart(tmp_path):
    first, second = AUTHORITY.issue("a.example.test"), AUTHORITY.issue("b.example.test")
    (tmp_path / "all.pem").write_bytes(first.certificate.leaf_pem + second.certificate.leaf_pem + first.key + second.key)
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.intermediate_pem)
    assert await Reader(PEM, tmp_path).leaves() == {f"all.pem#{leaf(p)[:12]}": leaf(p) for p in (first, second)}


async def test_a_self_signed_certificate_that_says_it_is_an_authority_is_a_leaf_all_the_same(tmp_path):
    """As ``openssl req -x509`` makes them."""
    made = self_signed(NAME)
    (tmp_path / "a.crt").write_bytes(made.chain)
    (tmp_path / "a.key").write_bytes(made.key)
    assert await Reader(PEM, tmp_path).leaves() == {"a.crt": leaf(made)}


@pytest.mark.parametrize("ending", ["p12", "pfx"])
@pytest.mark.parametrize("password", [None, b"secret"])
async def test_pkcs12_is_opened(tmp_path, pair, ending, password):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / f"mail.{ending}").write_bytes(p12(pair, password))
    (tmp_path / "password").write_text("secret\n")
    options = {"password_file": str(tmp_path / "password")} if password else {}
    assert await Reader(PEM, tmp_path / "store", **options).leaves() == {f"mail.{ending}": leaf(pair)}


async def test_the_password_of_one_pkcs12_does_not_lock_another(tmp_path, pair):
    other = AUTHORITY.issue("other.example.test")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "mail.p12").write_bytes(p12(pair, b"secret"))
    (tmp_path / "store" / "other.p12").write_bytes(p12(other, None))
    (tmp_path / "password").write_text("secret")
    reader = Reader(PEM, tmp_path / "store", password_file=str(tmp_path / "password"))
    assert await reader.leaves() == {"mail.p12": leaf(pair), "other.p12": leaf(other)}


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (None, "its password is needed; name a file that holds it by password-file"),
        ("wrong", "its password is another one than password-file holds"),
    ],
)
async def test_pkcs12_that_cannot_be_opened_is_told(tmp_path, pair, written, message):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "mail.p12").write_bytes(p12(pair, b"secret"))
    (tmp_path / "password").write_text(written or "")
    options = {"password_file": str(tmp_path / "password")} if written else {}
    assert await Reader(PEM, tmp_path / "store", **options).problems() == {"mail.p12": f"SourceMalformed: mail.p12: {message}"}


async def test_a_password_file_that_is_missing_is_told(tmp_path):
    (message,) = (await Reader(PEM, tmp_path, password_file=str(tmp_path / "none")).problems()).values()
    assert message.startswith(f"SourceUnavailable: {tmp_path}/none does not exist (yet)")


async def test_der_is_read(tmp_path, pair):
    (tmp_path / "leaf.cer").write_bytes(der(pair))
    (tmp_path / "key.der").write_bytes(key_der(pair))
    (tmp_path / "ca.pem").write_bytes(AUTHORITY.intermediate_pem)
    assert await Reader(PEM, tmp_path).leaves() == {"leaf.cer": leaf(pair)}


@given(st.data())
def test_half_a_binary_file_is_told_from_a_foreign_one(data):
    """Else a pair would look removed while it is brought."""
    whole = data.draw(st.sampled_from(BINARIES))
    half = whole[: data.draw(st.integers(2, len(whole) - 1))]
    with pytest.raises(MalformedPem, match="it ends in the middle"):
        bundles.open_bundle(half, b"secret")


def test_a_whole_binary_file_is_no_half_one():
    for whole in BINARIES:
        assert bundles.open_bundle(whole, b"secret") != Bundle()


class TestLeftOvers:
    async def test_two_keys_of_which_none_fits(self, tmp_path, pair):
        good = AUTHORITY.issue("good.example.test")
        (tmp_path / "good.pem").write_bytes(good.chain + good.key)
        (tmp_path / "mail.crt").write_bytes(pair.chain)
        (tmp_path / "mail.key").write_bytes(key_pem(new_key()))
        reader = Reader(PEM, tmp_path)
        found = await reader.problems()
        assert [*found] == ["mail.crt", "mail.key"]
        assert found["mail.crt"].startswith("KeyMismatch: mail.crt is a certificate without key: none of the files holds")
        assert found["mail.key"].startswith("KeyMismatch: mail.key is a key without certificate: none of the files holds")
        assert [entry.label for entry in (await reader.load()).entries] == ["good.pem"]

    async def test_authorities_requests_parameters_and_texts_are_no_problem(self, tmp_path, pair):
        (tmp_path / "ca.crt").write_bytes(AUTHORITY.root_pem + AUTHORITY.intermediate_pem)
        (tmp_path / "dhparam.pem").write_text("-----BEGIN DH PARAMETERS-----\nMA==\n-----END DH PARAMETERS-----\n")
        (tmp_path / "mail.csr").write_text("-----BEGIN CERTIFICATE REQUEST-----\nMA==\n-----END CERTIFICATE REQUEST-----\n")
        (tmp_path / "README").write_text("0 certificates here")
        (tmp_path / "empty").touch()
        (tmp_path / "account.json").write_text("{}")
        (tmp_path / "id_ed25519").write_bytes(SSH_KEY)
        (tmp_path / "mail.pem").write_bytes(pair.chain + pair.key)
        assert await Reader(PEM, tmp_path).leaves() == {"mail.pem": leaf(pair)}

    @pytest.mark.parametrize(
        "name", [".mail.pem.Ab12Cd", "mail.pem~", "mail.pem.tmp", "mail.pem.part", ".hidden", "k.key.next"]
    )
    async def test_what_programs_leave_beside_the_files_is_passed_over(self, tmp_path, pair, name):
        (tmp_path / "mail.pem").write_bytes(pair.chain + pair.key)
        (tmp_path / name).write_bytes(b"-----BEGIN CERTIFICATE-----\nhalf")
        assert await Reader(PEM, tmp_path).leaves() == {"mail.pem": leaf(pair)}

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (
                b"-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n",
                "bad: a certificate in it is cut off or damaged: that is no base64; bring the right file",
            ),
            (
                b"-----BEGIN PRIVATE KEY-----\nxx\n-----END PRIVATE KEY-----\n",
                "bad: a private key in it is cut off or damaged: that is no base64; bring the right file",
            ),
            (b"-----BEGIN CERTIFICATE-----\nMIIB", "bad: it ends in the middle"),
            (key_pem(new_key(), b"secret"), "bad: the private key is protected by a password; store it without one"),
            (PROTECTED_DER, "bad: the private key is protected by a password; store it without one"),
        ],
        ids=["garbage", "garbage key", "cut off", "protected", "protected DER"],
    )
    async def test_a_file_that_cannot_be_read_is_told_and_the_rest_is_used(self, tmp_path, pair, content, message):
        (tmp_path / "mail.pem").write_bytes(pair.chain + pair.key)
        (tmp_path / "bad").write_bytes(content)
        reader = Reader(PEM, tmp_path)
        (found,) = (await reader.problems()).items()
        assert (found[0], found[1].startswith(f"SourceMalformed: {message}")) == ("bad", True), found
        assert [entry.label for entry in (await reader.load()).entries] == ["mail.pem"]

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("mail.pem", b"", "mail.pem is empty; bring the right file"),
            ("MAIL.PFX", b"", "MAIL.PFX is empty; bring the right file"),
            ("mail.pfx", b"\x30\x80\x02\x01", "mail.pfx holds neither a certificate nor a key; bring the right file"),
            ("mail.p12", b"<html>", "mail.p12: it is a web page, as a download that failed leaves it"),
            ("mail.crt", b"hello", "mail.crt holds neither a certificate nor a key; bring the right file"),
        ],
    )
    async def test_a_file_that_promises_more_than_it_holds_is_told(self, tmp_path, name, content, message):
        (tmp_path / name).write_bytes(content)
        (found,) = (await Reader(PEM, tmp_path).problems()).items()
        assert (found[0], found[1].startswith(f"SourceMalformed: {message}")) == (name, True), found


class TestBesideThePairs:
    """What programs keep beside the files that are meant."""

    @pytest.mark.parametrize(
        "path",
        [
            "account.key",
            "ca/account.key",
            "accounts/me.pem",
            "users/default.key",
            "acme_account+key",
            "le.account.key",
            "account_key.pem",
            "private/letsencrypt.key",
            "mail/privkey-1763000000.pem",
            "mail/privkey.roll.pem",
            "mail/newkey.pem",
            "mail/key-1763000000.pem",
        ],
    )
    async def test_keys_of_accounts_and_of_orders_are_no_problem(self, tmp_path, pair, path):
        """acme.sh, lego, dehydrated, Caddy, autocert, HAProxy, simp_le, ldez/traefik-certs-dumper, uacme."""
        (tmp_path / "mail.pem").write_bytes(pair.chain + pair.key)
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(key_pem(new_key()))
        assert await Reader(PEM, tmp_path).leaves() == {"mail.pem": leaf(pair)}

    @pytest.mark.parametrize(
        "path", ["mail.key", "private/key.pem", "accounting.example.test.key", "key-1.pem", "keys/x/mail.key"]
    )
    async def test_keys_that_may_be_of_a_host_are_told(self, tmp_path, pair, path):
        (tmp_path / "other.pem").write_bytes(pair.chain + pair.key)
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(key_pem(new_key()))
        (message,) = (await Reader(PEM, tmp_path).problems()).values()
        assert message.startswith(
            f"KeyMismatch: {path} is a key without certificate: none of the files holds one for it; bring"
        )
        assert message.endswith("see the log of what orders it")

    async def test_the_key_of_an_account_that_is_named_is_told(self, tmp_path):
        (tmp_path / "account.key").write_bytes(key_pem(new_key()))
        assert [*await Reader(PEM, tmp_path / "account.key").problems()] == ["account.key"]

    async def test_what_uacme_writes_is_read(self, tmp_path, pair):
        """``<name>/cert.pem``, ``private/<name>/key.pem``, and the account's key in ``private``."""
        for file, content in ((f"{NAME}/cert.pem", pair.chain), (f"private/{NAME}/key.pem", pair.key)):
            (tmp_path / file).parent.mkdir(parents=True)
            (tmp_path / file).write_bytes(content)
        (tmp_path / "private/key.pem").write_bytes(key_pem(new_key()))
        reader = Reader(PEM, tmp_path)
        assert await reader.leaves() == {f"{NAME}/cert.pem": leaf(pair)}
        new = AUTHORITY.issue(NAME)
        async with reader.source.subscribe() as hints:
            (tmp_path / f"private/{NAME}/key.pem").write_bytes(new.key)
            (tmp_path / f"{NAME}/cert.pem").write_bytes(new.chain)
            async with asyncio.timeout(30):
                async for _ in hints:
                    if (await reader.leaves()) == {f"{NAME}/cert.pem": leaf(new)}:
                        break

    async def test_what_an_order_of_dehydrated_that_failed_leaves_is_no_problem(self, tmp_path, pair):
        folder = tmp_path / NAME
        folder.mkdir()
        (folder / "fullchain-1758000000.pem").write_bytes(pair.chain)
        (folder / "privkey-1758000000.pem").write_bytes(pair.key)
        for kind in ("fullchain", "privkey"):
            (folder / f"{kind}.pem").symlink_to(f"{kind}-1758000000.pem")
        (folder / "cert-1763000000.pem").touch()
        (folder / "privkey-1763000000.pem").write_bytes(key_pem(new_key()))
        assert [*(await Reader(PEM, tmp_path).leaves()).values()] == [leaf(pair)]

    async def test_texts_of_links_are_passed_over_where_what_they_name_is_read(self, tmp_path, pair):
        (tmp_path / "mail-1.pem").write_bytes(pair.chain + pair.key)
        (tmp_path / "mail.pem").write_text("./mail-1.pem")
        assert await Reader(PEM, tmp_path).leaves() == {"mail-1.pem": leaf(pair)}
        (tmp_path / "mail.pem").write_text("../elsewhere/mail-1.pem\n")
        (message,) = (await Reader(PEM, tmp_path).problems()).values()
        assert message.startswith("SourceMalformed: mail.pem: it holds the text of a symbolic link, which was copied as a file")

    @pytest.mark.parametrize("form", ["mail.p7b", "chain.p7c", "mail.crt"])
    async def test_chains_in_pkcs7_are_read(self, tmp_path, pair, form):
        certificates = x509.load_pem_x509_certificates(pair.chain)
        (tmp_path / form).write_bytes(pkcs7.serialize_certificates(certificates, Encoding.DER))
        (tmp_path / "mail.key").write_bytes(pair.key)
        (entry,) = (await Reader(PEM, tmp_path).load()).entries
        assert (entry.label, entry.certificate.fullchain_pem) == (form, pair.chain)

    async def test_a_public_key_is_odd_only_beside_half_a_pair(self, tmp_path, pair):
        public = (
            serialization.load_pem_private_key(pair.key, None)
            .public_key()
            .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        (tmp_path / "mail.crt").write_bytes(pair.chain)
        (tmp_path / "mail.pub.pem").write_bytes(public)
        told = await Reader(PEM, tmp_path).problems()
        assert [*told] == ["mail.crt", "mail.pub.pem"]
        assert told["mail.pub.pem"] == (
            "SourceMalformed: mail.pub.pem: it is a public key; bring the private key that belongs to it"
        )
        (tmp_path / "mail.key").write_bytes(pair.key)
        assert await Reader(PEM, tmp_path).leaves() == {"mail.crt": leaf(pair)}


class TestNamesNoHost:
    """As most tutorials make them: ``openssl req -x509`` without a subjectAltName."""

    @pytest.mark.parametrize("authority", [True, False])
    async def test_is_told(self, tmp_path, authority):
        key = new_key()
        made = Authority._sign("mail.example.test", key, "mail.example.test", key, authority=authority)
        (tmp_path / "m.crt").write_bytes(Authority._pem(made))
        (tmp_path / "m.key").write_bytes(key_pem(key))
        (message,) = (await Reader(PEM, tmp_path).problems()).values()
        assert message.startswith("NameMismatch: ")
        assert "names no host in its subjectAltName" in message
        assert (
            message.endswith("with the key of that") is authority
        )  # what a CA signed is not signed anew by whoever reads this

    async def test_is_no_fault_of_an_authority_that_issued_the_pair(self, tmp_path):
        """A home CA keeps its key beside the certificates."""
        key, leaf_key = new_key(), new_key()
        root = Authority._sign("home CA", key, "home CA", key, authority=True)
        made = Authority._sign(NAME, leaf_key, "home CA", key, names=(NAME,))
        for file, content in (("ca.crt", Authority._pem(root)), ("ca.key", key_pem(key))):
            (tmp_path / file).write_bytes(content)
        (tmp_path / "mail.pem").write_bytes(Authority._pem(made) + key_pem(leaf_key))
        assert [*await Reader(PEM, tmp_path).leaves()] == ["mail.pem"]


class TestOneFile:
    async def test_its_key_is_found_beside_it(self, tmp_path, pair):
        other = AUTHORITY.issue("other.example.test")
        (tmp_path / "mail.crt").write_bytes(pair.chain)
        (tmp_path / "secret").write_bytes(pair.key)
        (tmp_path / "other.pem").write_bytes(other.chain + other.key)
        (tmp_path / "bad").write_bytes(b"-----BEGIN CERTIFICATE-----\nhalf")
        assert await Reader(PEM, tmp_path / "mail.crt").leaves() == {"mail.crt": leaf(pair)}
        assert await Reader(PEM, tmp_path / "secret").leaves() == {"mail.crt": leaf(pair)}

    async def test_it_counts_although_another_shows_more_of_the_chain(self, tmp_path, pair):
        (tmp_path / "cert.pem").write_bytes(pair.certificate.leaf_pem)
        (tmp_path / "fullchain.pem").write_bytes(pair.chain)
        (tmp_path / "key.pem").write_bytes(pair.key)
        (entry,) = (await Reader(PEM, tmp_path / "cert.pem").load()).entries
        assert (entry.label, entry.certificate.fullchain_pem) == ("cert.pem", pair.chain)

    async def test_that_holds_only_the_chain_is_told(self, tmp_path, pair):
        for file, content in (("chain.pem", AUTHORITY.intermediate_pem), ("cert.pem", pair.chain), ("key.pem", pair.key)):
            (tmp_path / file).write_bytes(content)
        said = await Reader(PEM, tmp_path / "chain.pem").problems()
        assert said == {
            "chain.pem": "KeyMismatch: chain.pem holds certificates of CAs only;"
            " name the file of the server's certificate, or the folder"
        }

    async def test_without_its_key_it_is_told(self, tmp_path, pair):
        (tmp_path / "mail.crt").write_bytes(pair.chain)
        (tmp_path / "other.key").write_bytes(key_pem(new_key()))
        assert [*await Reader(PEM, tmp_path / "mail.crt").problems()] == ["mail.crt"]

    @pytest.mark.parametrize(("content", "said"), [(b"", "is empty"), (b"text", "holds neither a certificate nor a key")])
    async def test_that_holds_nothing_is_told(self, tmp_path, pair, content, said):
        (tmp_path / "other.pem").write_bytes(pair.chain + pair.key)
        (tmp_path / "mail").write_bytes(content)
        message = f"SourceMalformed: mail {said}; bring the right file, or correct the path"
        assert await Reader(PEM, tmp_path / "mail").problems() == {"mail": message}

    async def test_may_have_a_name_that_is_passed_over_elsewhere(self, tmp_path, pair):
        (tmp_path / ".mail.tmp").write_bytes(pair.chain + pair.key)
        assert await Reader(PEM, tmp_path / ".mail.tmp").leaves() == {".mail.tmp": leaf(pair)}

    async def test_that_does_not_exist_is_said_and_taken_up_later(self, tmp_path, pair):
        reader = Reader(PEM, tmp_path / "mail.pem")
        with pytest.raises(SourceUnavailable, match=r"mail\.pem does not exist \(yet\)"):
            await reader.load()
        (tmp_path / "mail.pem").write_bytes(pair.chain + pair.key)
        assert await reader.leaves() == {"mail.pem": leaf(pair)}


class TestADropFolder:
    """Another host brings the files, in any order and with any pauses."""

    @pytest.mark.parametrize("order", [("crt", "key"), ("key", "crt")])
    async def test_a_renewal_that_arrives_file_by_file(self, tmp_path, order):
        old, new = AUTHORITY.issue(NAME), AUTHORITY.issue(NAME)
        (tmp_path / "mail.crt").write_bytes(old.chain)
        (tmp_path / "mail.key").write_bytes(old.key)
        contents = {"crt": new.chain, "key": new.key}

        def bring(ending: str) -> None:
            (tmp_path / f"mail.{ending}").write_bytes(contents[ending])

        reader = Reader(PEM, tmp_path)
        steps = [lambda: bring(order[0]), lambda: setattr(reader, "seconds", reader.seconds + 9), lambda: bring(order[1])]
        assert await play(reader, steps, label="mail.crt") == (leaf(old), leaf(new))

    @pytest.mark.parametrize("form", ["pem", "p12"])
    async def test_a_single_file_that_is_written_in_place(self, tmp_path, form):
        old, new = (AUTHORITY.issue(NAME) for _ in range(2))
        before, after = (one.chain + one.key if form == "pem" else p12(one, None) for one in (old, new))
        file = tmp_path / f"mail.{form}"
        file.write_bytes(before)
        assert await play(Reader(PEM, tmp_path), rewrite(file, after), label=file.name) == (leaf(old), leaf(new))

    async def test_what_never_comes_is_told_after_ten_seconds(self, tmp_path, pair):
        (tmp_path / "mail.pem").write_bytes(pair.chain + pair.key)
        reader = Reader(PEM, tmp_path)
        await reader.leaves()
        (tmp_path / "mail.pem").write_bytes(AUTHORITY.issue(NAME).chain)
        assert await reader.leaves() == {"mail.pem": leaf(pair)}
        assert ((await reader.load()).again or 99) <= 10
        reader.seconds += 10
        assert [*await reader.problems()] == ["mail.pem"]
        assert (await reader.load()).entries == ()

    async def test_an_emptied_folder_is_no_news(self, tmp_path, pair):
        (tmp_path / "mail.pem").write_bytes(pair.chain + pair.key)
        reader = Reader(PEM, tmp_path)
        await reader.leaves()
        (tmp_path / "mail.pem").unlink()
        with pytest.raises(SourceMalformed, match="is empty, and was not before"):
            await reader.load()


async def test_only_the_changed_files_are_read_again(tmp_path):
    keys = [new_key() for _ in range(4)]
    for number in range(50):
        made = AUTHORITY.issue(f"h{number}.example.test", key=keys[number % 4])
        (tmp_path / f"h{number}.crt").write_bytes(made.chain)
        (tmp_path / f"h{number}.key").write_bytes(made.key)
    reader = Reader(PEM, tmp_path)
    async with asyncio.timeout(100):  # what was just written is read once more, for the sake of coarse time stamps
        before = -1
        while reader.storage.cache.reads != before:
            await asyncio.sleep(0.3)
            before = reader.storage.cache.reads
            assert len(await reader.leaves()) == 50
    renewed = AUTHORITY.issue("h7.example.test")
    (tmp_path / "h7.crt").write_bytes(renewed.chain)
    (tmp_path / "h7.key").write_bytes(renewed.key)
    assert (await reader.leaves())["h7.crt"] == leaf(renewed)
    assert reader.storage.cache.reads - before == 2
