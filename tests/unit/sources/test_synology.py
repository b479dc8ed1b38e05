"""The archive of a Synology NAS, put together from public sources with real certificates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from controller.domain.certificate import KeyType
from controller.domain.errors import SourceUnavailable
from sources.synology import SYNOLOGY
from tests.certs import Authority, Pair
from tests.unit.sources.planted import Reader, Step, plant, play, replace, rewrite
from tests.unit.sources.recorded import DATA, WILD, labels_and_names

PLAIN, BOTH = "synology-reconstructed/dsm6-7-plain", "synology-reconstructed/dsm7-rsa-ecc"
MAIL = ("mail.example.test", "nas.example.test")
USERS = "aB3xYz (default, smbftpd, MailPlus-Server, ReverseProxy)"
WILDCARD = ("Qw7eRt/Let's Encrypt wildcard", WILD)
OWN = ("Zx9cVb", ("synology.example.test",))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant(f"{PLAIN}/1-before/_archive", tmp_path)


def put(root: Path, folder: str, pair: Pair, *, prefix: str = "", description: str | None = None, **info: object) -> None:
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / folder / f"{prefix}fullchain.pem").write_bytes(pair.chain)
    (root / folder / f"{prefix}privkey.pem").write_bytes(pair.key)
    if description is not None:
        file = root / "INFO"
        known = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps(known | {folder: {"desc": description, "services": [], **info}}))


@pytest.mark.parametrize("stage", ["1-before", "2-after-renewal"])
async def test_certificates_are_called_by_description_and_users(tmp_path, stage):
    found = await Reader(SYNOLOGY, plant(f"{PLAIN}/{stage}/_archive", tmp_path)).load()
    assert labels_and_names(found.entries) == [WILDCARD, OWN, (f"{USERS}/mail.example.test", MAIL)]
    assert found.problems == ()


async def test_both_sets_of_a_folder_are_found(tmp_path):
    found = await Reader(SYNOLOGY, plant(f"{BOTH}/1-before/_archive", tmp_path)).load()
    mail = [entry for entry in found.entries if entry.label.startswith(USERS)]
    assert [(entry.label.split("/")[1], entry.certificate.leaf.key_type) for entry in mail] == [
        ("RSA", KeyType.RSA),
        ("ECC", KeyType.ECDSA),
    ]
    assert all(set(entry.certificate.leaf.names) == set(MAIL) for entry in mail)


async def test_files_without_prefix_that_repeat_a_set_are_no_certificate_more(tmp_path):
    authority = Authority()
    rsa, ecc = authority.issue("a.example.test", kind="rsa"), authority.issue("a.example.test")
    put(tmp_path, "abcdef", rsa, prefix="RSA-", description="a.example.test")
    put(tmp_path, "abcdef", ecc, prefix="ECC-")
    put(tmp_path, "abcdef", ecc)
    assert [*await Reader(SYNOLOGY, tmp_path).leaves()] == ["abcdef/RSA/a.example.test", "abcdef/ECC/a.example.test"]


@pytest.mark.parametrize("how", [rewrite, replace], ids=["in place", "renamed"])
@pytest.mark.parametrize("order", [("privkey", "cert", "chain", "fullchain"), ("cert", "chain", "fullchain", "privkey")])
async def test_at_no_step_of_a_renewal_is_anything_but_the_old_or_the_new_pair_read(root, how, order):
    """How DSM writes is not known, so all ways must do."""
    steps: list[Step] = []
    for kind in order:
        content = (DATA / f"{PLAIN}/2-after-renewal/_archive/aB3xYz/{kind}.pem").read_bytes()
        steps += how(root / "aB3xYz" / f"{kind}.pem", content)
    old, new = await play(Reader(SYNOLOGY, root), steps, label=f"{USERS}/mail.example.test")
    assert old != new


async def test_at_a_renewal_into_another_folder_the_new_one_is_found_by_its_names(tmp_path):
    authority = Authority()
    old, new = authority.issue("a.example.test"), authority.issue("a.example.test")
    put(tmp_path, "oldold", old, description="a.example.test")
    reader = Reader(SYNOLOGY, tmp_path)
    await reader.leaves()
    put(tmp_path, "newnew", new, description="a.example.test")
    (tmp_path / "DEFAULT").write_text("newnew\n")
    by_name = (await reader.load()).by_name["a.example.test"]
    assert {entry.certificate.fingerprint for entry in by_name} == {old.certificate.fingerprint, new.certificate.fingerprint}
    for file in (tmp_path / "oldold").iterdir():
        file.unlink()
    (tmp_path / "oldold").rmdir()
    assert await reader.leaves() == {"newnew (default)/a.example.test": new.certificate.fingerprint}


@pytest.mark.parametrize(
    ("names", "description"),
    [(("x.example.test",), "Synology QuickConnect Certificate"), (("me.direct.quickconnect.to",), "")],
    ids=["by its description", "by its names"],
)
async def test_the_certificate_of_quickconnect_is_nobodys(tmp_path, names, description):
    authority = Authority()
    put(tmp_path, "quickc", authority.issue(*names), description=description, user_deletable=False)
    put(tmp_path, "abcdef", authority.issue("a.example.test"), description="a")
    assert [*await Reader(SYNOLOGY, tmp_path).leaves()] == ["abcdef/a"]


@pytest.mark.parametrize(
    "info", [b"", b'{"aB3xYz": {', b"\xff\xfe", b"[" * 100_000], ids=["empty", "cut off", "binary", "deep"]
)
async def test_a_broken_info_is_a_problem_of_its_own(root, info):
    (root / "INFO").write_bytes(info)
    reader = Reader(SYNOLOGY, root)
    assert await reader.problems() == {
        "INFO": "SourceMalformed: INFO is not JSON; descriptions are missing until DSM writes it again"
    }
    assert [entry.label for entry in (await reader.load()).entries] == ["Qw7eRt", "Zx9cVb", "aB3xYz (default)"]


@pytest.mark.parametrize("info", ["[]", "{}", '{"aB3xYz": 1}', '{"aB3xYz": {"desc": null, "services": {"a": 1}}}', "null"])
async def test_an_info_of_another_form_says_nothing(root, info):
    (root / "INFO").write_text(info)
    assert [*await Reader(SYNOLOGY, root).leaves()] == ["Qw7eRt", "Zx9cVb", "aB3xYz (default)"]


@pytest.mark.parametrize("lost", ["INFO", "DEFAULT"])
async def test_neither_info_nor_default_are_needed(root, lost):
    (root / lost).unlink()
    assert len(await Reader(SYNOLOGY, root).leaves()) == 3


async def test_a_chain_apart_is_put_behind_the_leaf(root):
    before = await Reader(SYNOLOGY, root).load()
    (root / "aB3xYz" / "fullchain.pem").unlink()
    after = await Reader(SYNOLOGY, root).load()
    assert after.entries == before.entries


LOST = "import the certificate again in DSM, with its key"


@pytest.mark.parametrize(
    ("lost", "message"),
    [(("privkey.pem",), "privkey.pem is missing"), (("fullchain.pem", "cert.pem"), "cert.pem is missing")],
)
async def test_a_file_that_is_missing_is_named_and_the_others_are_used(root, lost, message):
    for file in lost:
        (root / "aB3xYz" / file).unlink()
    reader = Reader(SYNOLOGY, root)
    assert await reader.problems() == {f"{USERS}/mail.example.test": f"SourceMalformed: aB3xYz/{message}; {LOST}"}
    assert labels_and_names((await reader.load()).entries) == [WILDCARD, OWN]


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("..", "is the folder above the archive; name {path}/_archive"),
        ("aB3xYz", "another one may take its place at a renewal; name /usr/syno/etc/certificate/_archive"),
        ("other", "is no certificate archive of DSM: it holds no INFO; correct the path"),
        ("none", "does not exist; mount it into certferry's container, or correct the path"),
        ("INFO", "is a file, not a folder; name the folder that holds it"),
    ],
)
async def test_a_path_to_something_else_is_told_with_the_right_one(tmp_path, path, hint):
    root = plant(f"{PLAIN}/1-before", tmp_path) / "_archive"
    (root / "other" / "inside").mkdir(parents=True)
    with pytest.raises(SourceUnavailable) as caught:
        await Reader(SYNOLOGY, (root / path).resolve()).load()
    assert str(caught.value).endswith(hint.format(path=(root / path).resolve()))


async def test_an_empty_archive_holds_nothing_and_one_that_lost_all_is_trouble(tmp_path):
    assert await Reader(SYNOLOGY, tmp_path).leaves() == {}


async def test_an_archive_that_only_root_may_enter_says_so(open_directory, unprivileged):
    root = plant(f"{PLAIN}/1-before/_archive", open_directory)
    root.chmod(0o700)
    with unprivileged(), pytest.raises(SourceUnavailable, match="may not be read; run certferry as root or as its owner"):
        await Reader(SYNOLOGY, root).load()
