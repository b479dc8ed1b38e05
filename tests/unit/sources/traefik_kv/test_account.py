"""The account as a source, on a store that is a dictionary: what Traefik v1 wrote in its life, and keys that are missing."""

from __future__ import annotations

import base64
import gzip
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from controller.domain.errors import SourceMalformed, SourceUnavailable
from controller.domain.snapshot import Snapshot
from controller.threads import OwnThread
from sources.stored import StoredSource
from sources.traefik_kv.account import DEFAULT_KEY, object_key, spellings
from sources.traefik_kv.keyed import KeyRefused, account_source
from sources.traefik_kv.network import NetworkOptions
from tests.certs import Pair, traefik_v1_account
from tests.unit.sources import recorded
from tests.unit.sources.recorded import IMAP, MAIL
from tests.unit.sources.toy import authority

WHERE = "etcd at etcd:2379"
KEY = f"{DEFAULT_KEY}/object"
SLASH = f"/{KEY}"
KEYS = (KEY, SLASH)
FIRST, BOTH = [("mail.example.test", MAIL)], [("imap.example.test", IMAP), ("mail.example.test", MAIL)]

STAGES = {
    "00-after-storeconfig": [],
    "01-account-registered": [],
    "02-http-challenge-pending": [],
    "03-first-certificate": FIRST,
    "04-both-certificates": BOTH,
}
NAMES = {
    **{f"traefik-v1-{store}/{stage}": STAGES[stage] for store in ("consul", "etcd3", "zookeeper") for stage in STAGES},
    "traefik-v1-consul/05-both-renewed": BOTH,
    # Both entries hold certificates of one name: that is what Traefik 1.7 did.
    "traefik-v1-etcd3/05-renewed-MISLABELLED": [("imap.example.test", MAIL), ("mail.example.test", MAIL)],
    "traefik-v1-zookeeper/05-renewed-MISLABELLED": [("imap.example.test", MAIL), ("mail.example.test", MAIL)],
}
"""Label and real names of each entry, by the recorded value."""


class Memory:
    """Implements `sources.traefik_kv.keyed.Client`."""

    where = WHERE

    def __init__(self) -> None:
        self.thread = OwnThread("memory")
        self.values: dict[str, bytes | KeyRefused] = {}
        self.watched: list[str] = []

    async def get(self, key: str) -> bytes | None:
        value = self.values.get(key)
        if isinstance(value, KeyRefused):
            raise value
        return value

    @asynccontextmanager
    async def changes(self, keys: tuple[str, ...]) -> AsyncIterator[AsyncIterator[None]]:
        async def hints() -> AsyncIterator[None]:
            for key in keys:
                self.watched.append(key)
                yield

        yield hints()


class Account:
    """A source of an account, and its store."""

    def __init__(self, keys: tuple[str, ...] = KEYS, options: Mapping[str, str] | None = None) -> None:
        self.store = Memory()
        self.source: StoredSource = account_source("kv", self.store, keys, NetworkOptions.model_validate(options or {}))

    async def load(self) -> Snapshot:
        return await self.source.load()

    async def holds(self, value: bytes, key: str = KEY) -> list[tuple[str, tuple[str, ...]]]:
        self.store.values[key] = value
        return sorted(recorded.labels_and_names((await self.load()).entries))

    async def complaint(self, kind: type[Exception] = SourceUnavailable) -> str:
        with pytest.raises(kind) as caught:
            await self.load()
        assert str(caught.value).isprintable()
        return str(caught.value)


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture(scope="module")
def pair() -> Pair:
    return authority().issue("mail.example.test")


def refusal(key: str) -> KeyRefused:
    return KeyRefused(f"{WHERE}: permission denied, reader may not read {key}; grant its role that key")


class TestRecorded:
    @pytest.mark.parametrize("name", NAMES)
    async def test_every_stage_of_every_store_is_read_and_names_come_from_the_certificates(self, account, name):
        assert await account.holds(recorded.read(f"{name}.object.gz")) == NAMES[name]
        assert (await account.load()).problems == ()

    @pytest.mark.parametrize("store", ["consul", "etcd3", "zookeeper"])
    async def test_all_of_a_life_is_read_by_one_source(self, account, store):
        stages = sorted(name for name in NAMES if name.startswith(f"traefik-v1-{store}/"))
        assert len(stages) == 6
        for name in stages:
            assert await account.holds(recorded.read(f"{name}.object.gz")) == NAMES[name]

    async def test_a_renewal_is_another_certificate(self, account):
        found = []
        for stage in ("04-both-certificates", "05-both-renewed"):
            await account.holds(recorded.read(f"traefik-v1-consul/{stage}.object.gz"))
            found.append(set(recorded.fingerprints((await account.load()).entries)))
        assert not found[0] & found[1]


class TestKeys:
    @pytest.mark.parametrize(
        "storage", ["traefik/acme/account", "traefik/acme/account/", "traefik/acme/account//", "traefik/acme/account/object"]
    )
    def test_the_value_lies_below_the_storage_that_traefik_names(self, storage):
        assert object_key(storage) == KEY
        assert object_key(f"/{storage}") == SLASH

    @pytest.mark.parametrize(("key", "tried"), [(KEY, (KEY, SLASH)), (SLASH, (SLASH, KEY)), ("//x", ("//x", "/x"))])
    def test_a_key_is_tried_as_it_was_given_and_then_with_the_other_slash(self, key, tried):
        assert spellings(key) == tried

    @pytest.mark.parametrize("key", KEYS)
    async def test_either_is_found(self, account, pair, key):
        assert await account.holds(traefik_v1_account(pair), key) == FIRST

    async def test_the_first_one_counts_where_both_are_there(self, account, pair):
        account.store.values[SLASH] = traefik_v1_account(authority().issue("other.example.test"))
        assert await account.holds(traefik_v1_account(pair)) == FIRST

    async def test_a_store_is_watched_for_all_of_them(self, account):
        async with account.source.subscribe() as hints:
            assert [hint async for hint in hints] == [None, None]
        assert account.store.watched == list(KEYS)


class TestAbsence:
    async def test_a_key_that_never_was_there_may_be_the_wrong_one(self, account):
        assert await account.complaint() == (
            f"{WHERE} has no key {KEY} (yet); correct it if Traefik's acme.storage is another one"
        )

    @pytest.mark.parametrize("key", KEYS)
    async def test_one_that_was_there_was_deleted_whatever_its_spelling(self, account, pair, key):
        await account.holds(traefik_v1_account(pair), key)
        del account.store.values[key]
        for _ in range(2):
            assert await account.complaint() == (
                f"{WHERE}: the key {key} was deleted; restore it, or wait for Traefik to write it anew"
            )
        assert await account.holds(traefik_v1_account(pair)) == FIRST

    async def test_one_that_may_not_be_read_is_told_as_the_store_says_it(self, account):
        account.store.values.update({key: refusal(key) for key in KEYS})
        with pytest.raises(KeyRefused):
            await account.load()
        assert await account.complaint() == str(refusal(KEY))

    @pytest.mark.parametrize(("refused", "found"), [KEYS, KEYS[::-1]])
    async def test_one_refused_hides_not_the_other(self, account, pair, refused, found):
        account.store.values[refused] = refusal(refused)
        assert await account.holds(traefik_v1_account(pair), found) == FIRST

    async def test_the_key_as_it_was_given_tells_why_nothing_is_read(self, account):
        account.store.values[KEY] = refusal(KEY)
        assert await account.complaint() == str(refusal(KEY))

    async def test_another_spelling_that_is_refused_tells_nothing(self, account):
        account.store.values[SLASH] = refusal(SLASH)
        assert await account.complaint() == (
            f"{WHERE} has no key {KEY} (yet); correct it if Traefik's acme.storage is another one"
        )

    async def test_the_right_to_read_may_be_taken_away_of_the_spelling_that_was_found(self, account, pair):
        await account.holds(traefik_v1_account(pair), SLASH)
        account.store.values[SLASH] = refusal(SLASH)
        assert await account.complaint() == str(refusal(SLASH))

    async def test_what_was_found_and_deleted_is_told_although_the_other_spelling_is_refused(self, account, pair):
        account.store.values[KEY] = refusal(KEY)
        await account.holds(traefik_v1_account(pair), SLASH)
        del account.store.values[SLASH]
        assert (await account.complaint()).startswith(f"{WHERE}: the key {SLASH} was deleted")

    async def test_a_key_with_line_breaks_is_told_on_one_line(self):
        account = Account(("a\nb/object",))
        assert "has no key a?b/object" in await account.complaint()
        account.store.values["a\nb/object"] = b"\x1f\x8b"
        assert (await account.complaint(SourceMalformed)).startswith(f"{WHERE}, key a?b/object ends")


class TestValues:
    @pytest.mark.parametrize("blank", [b"", b"\x01"], ids=["empty", "being created"])
    async def test_one_that_was_never_written_is_no_error_and_one_that_became_blank_is(self, account, pair, blank):
        assert await account.holds(blank) == []
        assert await account.holds(traefik_v1_account(pair)) == FIRST
        account.store.values[KEY] = blank
        for _ in range(2):
            assert await account.complaint(SourceMalformed) == (
                f"{WHERE}, key {KEY} is empty, and was not before; if it stays so, restore it from a backup"
            )
        assert await account.holds(traefik_v1_account(pair)) == FIRST

    @pytest.mark.parametrize("key", KEYS)
    async def test_one_that_is_damaged_is_named_by_its_store_and_key(self, account, key):
        account.store.values[key] = recorded.read("traefik-v1-etcd3/04-both-certificates.object.gz")[:-1]
        assert await account.complaint(SourceMalformed) == (
            f"{WHERE}, key {key} ends in the middle of its gzip; if it stays so, restore it from a backup"
        )

    async def test_the_limit_is_the_sources_option(self):
        account = Account(options={"max-size": "1KiB"})
        account.store.values[KEY] = recorded.read("traefik-v1-etcd3/04-both-certificates.object.gz")
        assert "unpacks to more than " in await account.complaint(SourceMalformed)

    async def test_one_bad_entry_hides_not_the_others(self, account, pair):
        other = authority().issue("other.example.test")
        text = gzip.decompress(traefik_v1_account(pair, other))
        account.store.values[KEY] = text.replace(base64.b64encode(other.key), base64.b64encode(pair.key))
        snapshot = await account.load()
        assert recorded.labels_and_names(snapshot.entries) == FIRST
        assert [problem.label for problem in snapshot.problems] == ["other.example.test"]


class TestUnverified:
    def test_a_store_that_is_believed_whoever_it_is_is_told_at_each_start(self):
        with capture_logs() as lines:
            for _ in range(2):
                Account(options={"tls-insecure-skip-verify": "on"})
        assert lines == 2 * [
            {
                "event": "source.unverified",
                "log_level": "warning",
                "source": "kv",
                "message": f"{WHERE} is believed whoever it is (tls-insecure-skip-verify); better name its authority by tls-ca",
            }
        ]

    @pytest.mark.parametrize("options", [{}, {"tls": "on"}, {"tls-insecure-skip-verify": "off"}], ids=str)
    def test_any_other_is_not(self, options):
        with capture_logs() as lines:
            Account(options=options)
        assert lines == []
