"""Stand-ins: made as wanted, kept in a folder, renewed in time, told from real ones everywhere."""

from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller.domain.certificate import KeyType, Leaf, Trust
from controller.domain.errors import SettingsError, WriteRefused
from controller.domain.snapshot import Snapshot
from controller.ports import Wish
from controller.wishes import Wishes
from controller.x509.pairs import judge_pem
from sources import registry
from sources.self_signed import SelfSigned, SelfSignedOptions
from sources.self_signed_files import write_files
from sources.surroundings import Surroundings
from tests.certs import certificate_of
from tests.unit.made import target

NOW = datetime.now(UTC)
NAME = "mail.example.com"


class Maker:
    """The source with wishes and a clock of ours."""

    def __init__(self, state: Path, *, looking: bool = False, **options: object) -> None:
        self.wishes, self.now = Wishes(), NOW
        self.wishes.note(target(NAME))
        given = SelfSignedOptions.model_validate({"state": state, **options})
        self.source = SelfSigned("self-signed", self.wishes, given, now=lambda: self.now, looking=looking)

    async def load(self) -> Snapshot:
        return await self.source.load()

    async def leaf(self) -> Leaf:
        snapshot = await self.load()
        assert snapshot.problems == ()
        (entry,) = snapshot.entries
        assert entry.stand_in
        return entry.certificate.leaf


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state" / "self-signed"


async def test_one_leaf_for_each_wish_is_made(state):
    maker = Maker(state)
    maker.wishes.note(target(NAME, "*.example.com"))
    leaf = await maker.leaf()
    assert (leaf.names, leaf.key_type) == ((NAME, "*.example.com"), KeyType.ECDSA)
    assert leaf.not_before <= NOW
    assert NOW + timedelta(days=89) < leaf.not_after < NOW + timedelta(days=91)


async def test_nothing_is_made_where_nothing_is_wanted(state):
    maker = Maker(state)
    maker.wishes.forget(target().key)
    assert (await maker.load()) == Snapshot("self-signed")
    assert not state.exists()


async def test_the_key_is_of_the_type_that_is_wanted(state, monkeypatch):
    maker = Maker(state)
    monkeypatch.setattr(maker.wishes, "wanted", lambda: {Wish((NAME,), KeyType.RSA), Wish((NAME,), KeyType.ECDSA)})
    assert {e.certificate.leaf.key_type for e in (await maker.load()).entries} == {KeyType.RSA, KeyType.ECDSA}


async def test_it_is_told_from_a_real_one_wherever_it_is_met(state):
    (entry,) = (await Maker(state).load()).entries
    assert entry.certificate.trust is Trust.SELF_SIGNED
    assert judge_pem(entry.certificate.leaf_pem, entry.certificate.leaf.not_before).trust is Trust.SELF_SIGNED


async def test_the_same_is_given_again_and_after_a_restart(state):
    maker = Maker(state)
    leaf = await maker.leaf()
    assert await maker.leaf() == leaf
    assert await Maker(state).leaf() == leaf


async def test_keys_are_for_their_owner_alone(state):
    await Maker(state).load()
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in state.iterdir()} == {0o600}
    assert "PRIVATE KEY" not in repr((await Maker(state).load()).entries)


async def test_a_leaf_is_renewed_while_a_third_of_its_time_is_left(state):
    maker = Maker(state, days=30)
    first = await maker.leaf()
    maker.now += timedelta(days=19)
    assert await maker.leaf() == first
    maker.now += timedelta(days=2)
    second = await maker.leaf()
    assert (second.not_before > first.not_before, second.issuer) == (True, first.issuer)
    assert await Maker(state, days=30).leaf() == second


async def test_the_authority_is_renewed_before_it_ends(state):
    maker = Maker(state)
    first = await maker.leaf()
    maker.now += timedelta(days=3600)
    second = await maker.leaf()
    assert second.issuer != first.issuer
    assert second.not_after > maker.now + timedelta(days=60)


@pytest.mark.parametrize("damage", [b"", b"garbage", None])
async def test_a_damaged_authority_is_made_anew_and_that_is_told_once(state, damage):
    first = await Maker(state).leaf()
    if damage is None:
        (state / "ca-key.pem").write_bytes((state / next(f.name for f in state.glob("mail*"))).read_bytes())
    else:
        (state / "ca.pem").write_bytes(damage)
    maker = Maker(state)
    snapshot = await maker.load()
    assert [problem.label for problem in snapshot.problems] == ["ca.pem"]
    assert "was damaged; a new one was made, which clients do not know" in snapshot.problems[0].message
    assert snapshot.entries[0].certificate.leaf.issuer != first.issuer
    assert (await maker.load()).problems == ()


@pytest.mark.parametrize("damage", [b"", b"garbage"])
async def test_a_damaged_leaf_is_made_anew(state, damage):
    first = await Maker(state).leaf()
    next(state.glob("mail*")).write_bytes(damage)
    second = await Maker(state).leaf()
    assert (second != first, second.issuer) == (True, first.issuer)


async def test_without_a_folder_to_write_to_it_goes_on_and_says_so(tmp_path):
    (tmp_path / "file").touch()
    maker = Maker(tmp_path / "file" / "state")
    snapshot = await maker.load()
    message = "cannot be written (Not a directory): each start has a new authority; mount a volume there"
    assert [(p.label, p.message) for p in snapshot.problems] == [("state", f"{tmp_path}/file/state {message}")]
    assert await maker.load() == snapshot, "said as long as it is so"


async def test_what_could_not_be_written_is_written_later(tmp_path):
    (tmp_path / "state").touch()
    maker = Maker(tmp_path / "state")
    before = await maker.load()
    (tmp_path / "state").unlink()
    after = await maker.load()
    assert (len(before.problems), after.problems, after.entries) == (1, (), before.entries)
    assert await Maker(tmp_path / "state").leaf() == before.entries[0].certificate.leaf


async def test_a_part_that_cannot_be_written_is_said_although_others_can(state):
    """Else the next start would have another authority without a word."""
    state.mkdir(parents=True)
    (state / "ca.pem").mkdir()
    maker = Maker(state)
    assert [p.label for p in (await maker.load()).problems] == ["ca.pem", "state"]
    maker.wishes.note(target("other.example.com"))
    assert [p.label for p in (await maker.load()).problems] == ["state"]
    (state / "ca.pem").rmdir()
    leaf = await maker.leaf()
    after = Maker(state)
    after.wishes.note(target("other.example.com"))
    assert await after.leaf() == leaf


async def test_a_name_that_no_certificate_can_hold_hides_no_other(state, monkeypatch):
    maker = Maker(state)
    monkeypatch.setattr(maker.wishes, "wanted", lambda: {Wish(("bücher.example",)), Wish((NAME,))})
    snapshot = await maker.load()
    assert [entry.label for entry in snapshot.entries] == [NAME]
    assert [problem.label for problem in snapshot.problems] == ["bücher.example"]


async def test_where_one_only_looks_nothing_is_written_and_what_is_there_is_read(state):
    maker = Maker(state, looking=True)
    seen = await maker.leaf()
    assert not state.exists()
    assert await maker.leaf() == seen
    written = await Maker(state).leaf()
    assert await Maker(state, looking=True).leaf() == written


class TestUrl:
    @pytest.mark.parametrize("url", ["self-signed:", "self-signed://", "self-signed:?state=/x&days=30"])
    def test_needs_neither_host_nor_path(self, url):
        made = registry.create(url, Surroundings(wishes=Wishes()))
        assert (type(made), made.name) == (SelfSigned, "self-signed")

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("self-signed:///state", "takes neither host nor path; the folder is named as self-signed:?state=/path"),
            ("self-signed://host", "takes neither host nor path"),
            ("self-signed:?day=1", "unknown option day; did you mean days?"),
            ("self-signed:?days=1", "option days: expected at least 2"),
            ("self-signed:?days=826", "option days: expected at most 825"),
            ("self-signed:?days=soon", "option days: expected a whole number"),
            ("self-signed:?state=", "option state: expected a folder such as /state"),
            ("self-signed:?state=folder", "option state: expected a folder such as /state"),
        ],
    )
    def test_mistakes_are_told(self, url, message):
        with pytest.raises(SettingsError) as caught:
            registry.create(url, Surroundings(wishes=Wishes()))
        assert message in str(caught.value)

    def test_is_no_source_where_nobody_tells_what_is_wanted(self):
        with pytest.raises(SettingsError, match="nobody tells"):
            registry.create("self-signed:", Surroundings())


class TestFiles:
    """What ``SSL_TYPE=self-signed`` of docker-mailserver wants."""

    def test_are_those_of_the_documentation_and_fit_each_other(self, tmp_path):
        written = write_files(NAME, tmp_path / "ssl", days=825, force=False, now=NOW)
        names = [f"{NAME}-key.pem", f"{NAME}-cert.pem", f"{NAME}-combined.pem", "demoCA/cacert.pem"]
        assert [str(path.relative_to(tmp_path / "ssl")) for path in written] == names
        key, cert, combined, authority = (path.read_bytes() for path in written)
        assert combined == key + cert
        assert certificate_of(cert, key).leaf.names == (NAME,)
        assert [stat.S_IMODE(path.stat().st_mode) for path in written] == [0o600, 0o644, 0o600, 0o644]
        assert b"PRIVATE" not in authority

    def test_are_accepted_by_a_client_that_trusts_the_authority(self, tmp_path):
        key, cert, _, authority = write_files(NAME, tmp_path, days=825, force=False, now=NOW)
        server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=authority)
        server.load_cert_chain(cert, key)
        assert handshake(server, client, NAME)
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(server, client, "other.example.com")

    def test_are_replaced_only_when_asked_to(self, tmp_path):
        key, *_ = write_files(NAME, tmp_path, days=1, force=False, now=NOW)
        before = key.read_bytes()
        with pytest.raises(WriteRefused, match="exist already; add --force to replace them"):
            write_files(NAME, tmp_path, days=1, force=False, now=NOW)
        assert key.read_bytes() == before
        write_files(NAME, tmp_path, days=1, force=True, now=NOW)
        assert key.read_bytes() != before

    def test_that_cannot_be_written_are_told(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(WriteRefused, match="cannot be written"):
            write_files(NAME, tmp_path / "file", days=1, force=False, now=NOW)


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> bool:
    """Let two ends in memory do TLS."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(to_client, to_server, server_hostname=name)
    there = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(10):
        done = True
        for end in (here, there):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                done = False
        if done:
            return True
    return False


async def test_an_authority_that_was_made_before_a_time_server_answered_is_still_the_one_afterwards(state):
    maker = Maker(state)
    maker.now = datetime(1970, 1, 1, 0, 1, tzinfo=UTC)
    first = await maker.leaf()
    maker.now = NOW
    second = await maker.leaf()
    assert first.issuer == second.issuer
    assert second.not_before <= NOW < second.not_after
