"""certbot's folder, as certbot 2.1 wrote it."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest

from controller.domain.errors import SourceUnavailable
from sources.certbot import CERTBOT
from tests.certs import Authority, new_key
from tests.unit.sources.planted import Reader, Step, plant, play
from tests.unit.sources.recorded import DATA, IMAP, MAIL, WILD, labels_and_names

NAME = "mail.example.test"
KINDS = ("cert", "privkey", "chain", "fullchain")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant("certbot-2.1.0/before-renewal", tmp_path)


@pytest.mark.parametrize("stage", ["before-renewal", "after-renewal"])
async def test_every_name_is_found(tmp_path, stage):
    found = await Reader(CERTBOT, plant(f"certbot-2.1.0/{stage}", tmp_path)).load()
    assert labels_and_names(found.entries) == [(IMAP[0], IMAP), (NAME, MAIL), ("wild.example.test", WILD)]
    assert found.problems == ()


def renewal(root: Path) -> list[Step]:
    """As recorded: the archive first, then each link is removed and made again, in this order."""
    archive, live = root / "archive" / NAME, root / "live" / NAME
    new = DATA / "certbot-2.1.0/after-renewal/archive" / NAME
    steps: list[Step] = []
    for kind in ("privkey", "cert", "chain", "fullchain"):
        file = archive / f"{kind}2.pem"
        steps += [partial(file.touch), partial(file.write_bytes, (new / file.name).read_bytes())]
    previous = [live / f"previous_{kind}.pem" for kind in KINDS]
    steps += [partial(link.symlink_to, f"../../archive/{NAME}/{kind}1.pem") for link, kind in zip(previous, KINDS, strict=True)]
    for kind in KINDS:
        link = live / f"{kind}.pem"
        steps += [partial(link.unlink), partial(link.symlink_to, f"../../archive/{NAME}/{kind}2.pem")]
    steps += [partial(link.unlink) for link in previous]
    return steps


async def test_at_no_step_of_a_renewal_is_anything_but_the_old_or_the_new_pair_read(root, tmp_path):
    old, new = await play(Reader(CERTBOT, root), renewal(root), label=NAME)
    (tmp_path / "new").mkdir()
    after = await Reader(CERTBOT, plant("certbot-2.1.0/after-renewal", tmp_path / "new")).leaves()
    assert (old != new, new) == (True, after[NAME])


async def test_a_reader_that_comes_in_the_middle_of_a_renewal_gets_a_pair_that_fits(root):
    old = (await Reader(CERTBOT, root).leaves())[NAME]
    for step in renewal(root):
        step()
        found = await Reader(CERTBOT, root).load()
        assert all(entry.certificate.leaf.names for entry in found.entries), "a pair that does not fit is no entry"
        mail = [entry.certificate.fingerprint for entry in found.entries if entry.label == NAME]
        assert mail or "missing" in found.problems[0].message
    assert mail != [old]


class Lineage:
    """One made here: numbers and links at will."""

    def __init__(self, root: Path, name: str) -> None:
        self.live, self.archive = root / "live" / name, root / "archive" / name
        for folder in (self.live, self.archive):
            folder.mkdir(parents=True)

    def put(self, number: int, *, chain: bytes, key: bytes, link: str = "../../archive/{}/{}") -> None:
        for kind, content in (("fullchain", chain), ("privkey", key)):
            (self.archive / f"{kind}{number}.pem").write_bytes(content)
            (self.live / f"{kind}.pem").unlink(missing_ok=True)
            (self.live / f"{kind}.pem").symlink_to(link.format(self.archive.name, f"{kind}{number}.pem"))


@pytest.mark.parametrize("link", ["../../archive/{}/{}", "/etc/letsencrypt/archive/{}/{}"], ids=["relative", "absolute"])
async def test_a_second_lineage_of_a_name_is_one_of_its_own(tmp_path, link):
    authority = Authority()
    first, second = authority.issue(NAME), authority.issue(NAME)
    Lineage(tmp_path, NAME).put(1, chain=first.chain, key=first.key, link=link)
    Lineage(tmp_path, f"{NAME}-0001").put(12, chain=second.chain, key=second.key, link=link)

    assert await Reader(CERTBOT, tmp_path).leaves() == {
        NAME: first.certificate.fingerprint,
        f"{NAME}-0001": second.certificate.fingerprint,
    }


async def test_a_key_that_is_used_again_is_a_link_in_the_archive(tmp_path):
    authority, key = Authority(), new_key()
    first, second = authority.issue(NAME, key=key), authority.issue(NAME, key=key)
    lineage = Lineage(tmp_path, NAME)
    lineage.put(1, chain=first.chain, key=first.key)
    lineage.put(2, chain=second.chain, key=second.key)
    (lineage.archive / "privkey2.pem").unlink()
    (lineage.archive / "privkey2.pem").symlink_to("privkey1.pem")

    assert await Reader(CERTBOT, tmp_path).leaves() == {NAME: second.certificate.fingerprint}


async def test_files_that_were_copied_without_their_links_are_read_as_they_are(tmp_path):
    pair = Authority().issue(NAME)
    (tmp_path / "live" / NAME).mkdir(parents=True)
    (tmp_path / "live" / NAME / "fullchain.pem").write_bytes(pair.chain)
    (tmp_path / "live" / NAME / "privkey.pem").write_bytes(pair.key)

    assert await Reader(CERTBOT, tmp_path).leaves() == {NAME: pair.certificate.fingerprint}


@pytest.mark.parametrize(
    ("part", "hint"),
    [
        ("live", "is a part of certbot's folder only; mount the folder above it, {root}, whole, and name that"),
        ("archive", "is a part of certbot's folder only; mount the folder above it, {root}, whole, and name that"),
        (f"live/{NAME}", "is the folder of one certificate; mount certbot's whole folder, /etc/letsencrypt, and name that"),
        ("renewal", "is no folder of certbot: it holds no live; correct the path"),
        ("none", "does not exist; mount it into certferry's container, or correct the path"),
        ("live/README", "is a file, not a folder; name the folder that holds it"),
    ],
)
async def test_a_path_to_something_else_is_told_with_the_right_one(root, part, hint):
    with pytest.raises(SourceUnavailable) as caught:
        await Reader(CERTBOT, root / part).load()
    assert str(root / part) in str(caught.value)
    assert str(caught.value).endswith(hint.format(root=root))


async def test_live_without_archive_says_to_mount_the_whole_folder_and_is_taken_up_once_that_is_done(root):
    reader = Reader(CERTBOT, root)
    (root / "archive").rename(root / "away")
    with pytest.raises(SourceUnavailable, match="mount the whole folder /etc/letsencrypt"):
        await reader.load()
    (root / "away").rename(root / "archive")
    assert len(await reader.leaves()) == 3


async def test_a_folder_of_certbot_without_certificates_holds_none(tmp_path):
    assert await Reader(CERTBOT, tmp_path).leaves() == {}
    (tmp_path / "accounts").mkdir()
    assert await Reader(CERTBOT, tmp_path).leaves() == {}
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / "README").write_text("This directory contains your keys and certificates.")
    assert await Reader(CERTBOT, tmp_path).leaves() == {}


async def test_what_requests_that_failed_leave_is_passed_over(root):
    """Nginx Proxy Manager calls its certificates npm-1, npm-2, and leaves the folder of a request that failed empty."""
    for folder in ("live/npm-2", "archive/npm-2"):
        (root / folder).mkdir()
    (root / "live/npm-2/README").touch()
    assert len(await Reader(CERTBOT, root).leaves()) == 3


async def test_links_that_became_text_on_their_way_are_followed(root):
    """Copies by programs and to file systems that know no links; what leads out of the folder is told."""
    for link in (root / "live").rglob("*.pem"):
        text = str(link.readlink())
        link.unlink()
        link.write_text(text)
    assert len(await Reader(CERTBOT, root).leaves()) == 3
    (root / "live" / NAME / "fullchain.pem").write_text("../../../elsewhere/fullchain.pem")
    (message,) = (await Reader(CERTBOT, root).problems()).values()
    assert message.startswith(f"SourceMalformed: live/{NAME}/fullchain.pem: it holds the text of a symbolic link")


@pytest.mark.parametrize("file", ["fullchain1.pem", "privkey1.pem"])
async def test_a_file_that_is_missing_is_named_and_the_others_are_used(root, file):
    (root / "archive" / NAME / file).unlink()
    reader = Reader(CERTBOT, root)
    helps = f"certbot renews it by: certbot renew --force-renewal --cert-name {NAME}"
    assert await reader.problems() == {NAME: f"SourceMalformed: archive/{NAME}/{file} is missing; {helps}"}
    assert [entry.label for entry in (await reader.load()).entries] == [IMAP[0], "wild.example.test"]


async def test_the_folder_of_a_name_that_goes_for_good_takes_its_certificate_with_it(root):
    reader = Reader(CERTBOT, root)
    await reader.leaves()
    shutil.rmtree(root / "live" / NAME)
    assert NAME not in await reader.leaves()


async def test_a_folder_that_only_root_may_enter_says_so(open_directory, unprivileged):
    root = plant("certbot-2.1.0/before-renewal", open_directory)
    reader = Reader(CERTBOT, root)
    (root / "live").chmod(0o700)
    with unprivileged(), pytest.raises(SourceUnavailable, match=r"live may not be read; run certferry as root or as its owner"):
        await reader.load()
    (root / "live").chmod(0o755)
    with unprivileged():
        assert len(await reader.leaves()) == 3
