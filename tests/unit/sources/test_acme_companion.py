"""nginx-proxy's certificates, as acme-companion 2.8 wrote them, and as operators put them beside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from controller.domain.errors import SourceUnavailable
from controller.domain.finding import Reason
from sources.acme_companion import ACME_COMPANION, read
from sources.archive import ArchiveTree, Node
from tests.certs import Authority, key_pem, new_key
from tests.unit.costs import costs_at_most
from tests.unit.sources.planted import Reader, Step, plant, play, rewrite
from tests.unit.sources.recorded import DATA, MAIL, WILD, labels_and_names

NAME = "mail.example.test"
MOUNT = "mount what it leads to as well"
ORDERED = "it is being ordered, or the last order failed: see the log of the companion"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return plant("acme-companion/certs-first", tmp_path)


@pytest.mark.parametrize("stage", ["certs-first", "certs-renewed"])
async def test_each_certificate_is_found_once_whatever_links_lead_to_it(tmp_path, stage):
    found = await Reader(ACME_COMPANION, plant(f"acme-companion/{stage}", tmp_path)).load()
    assert labels_and_names(found.entries) == [
        ("staging/test.example.test", ("test.example.test",)),
        ("imap.example.test", ("imap.example.test",)),
        (NAME, (*MAIL, "smtp.example.test")),
        ("*.wild.example.test", WILD),
    ]
    assert found.problems == ()


async def test_what_a_staging_authority_issued_is_marked_and_the_rest_is_not(root):
    found = await Reader(ACME_COMPANION, root).load()
    assert [entry.label for entry in found.entries if entry.test] == ["staging/test.example.test"]


@pytest.mark.parametrize("stem", ["two", "_test_two"])
@pytest.mark.parametrize(
    "where", ["test.example.test", "./_test_test.example.test/fullchain", "{root}/test.example.test", "dir/a"]
)
async def test_nor_does_a_link_by_another_way_make_it_a_real_one(root, where, stem):
    (root / "dir").symlink_to("_test_test.example.test")
    (root / "dir/a.crt").symlink_to("fullchain.pem")
    (root / f"{stem}.crt").symlink_to(where.format(root=root) + (".pem" if "fullchain" in where else ".crt"))
    (root / f"{stem}.key").symlink_to("_test_test.example.test/key.pem")
    found = (await Reader(ACME_COMPANION, root).load()).entries
    assert [(entry.label, entry.test) for entry in found if "test.example.test" in entry.certificate.leaf.names] == [
        ("staging/test.example.test", True)
    ]
    assert len(found) == 4


async def test_a_wildcard_by_a_staging_authority_is_called_by_its_name(root):
    (root / "_test_test.example.test").rename(root / "_test_wildcard_test.example.test")
    (entry,) = (entry for entry in (await Reader(ACME_COMPANION, root).load()).entries if entry.test)
    assert entry.label == "staging/*.test.example.test"


async def test_what_versions_before_2_wrote_is_read(root):
    """The account beside the certificate, an empty mark or, before 1.12, none."""
    for folder in (root / NAME, root / "imap.example.test"):
        (folder / "account_key.json").symlink_to("../accounts/acme-v02.api.letsencrypt.org/directory/default_key.json")
        (folder / ".companion").unlink()
    (root / NAME / ".companion").touch()
    assert len(await Reader(ACME_COMPANION, root).leaves()) == 4


async def test_the_placeholder_is_no_certificate(root):
    assert (root / "default.crt").is_file()
    found = await Reader(ACME_COMPANION, root).load()
    assert not any("default" in entry.label for entry in found.entries)


def renewal(root: Path) -> list[Step]:
    """As recorded: in place, in this order, the mark of the round last."""
    new = DATA / "acme-companion/certs-renewed" / NAME
    steps: list[Step] = []
    for file in ("cert.pem", "chain.pem", "key.pem", "fullchain.pem", ".companion"):
        steps += rewrite(root / NAME / file, (new / file).read_bytes())
    return steps


async def test_at_no_step_of_a_renewal_is_anything_but_the_old_or_the_new_pair_read(root):
    old, new = await play(Reader(ACME_COMPANION, root), renewal(root), label=NAME)
    assert old != new


async def test_a_first_issue_is_no_problem_while_it_is_written(root):
    """As recorded: the folder and its files, the key empty at first; then the links."""
    authority, name = Authority(), "new.example.test"
    pair = authority.issue(name)
    reader = Reader(ACME_COMPANION, root)
    await reader.leaves()
    folder = root / name
    folder.mkdir()
    for file, content in (("cert.pem", pair.chain), ("chain.pem", authority.intermediate_pem), ("key.pem", pair.key)):
        for step in rewrite(folder / file, content):
            step()
            assert (await reader.leaves()).get(name, pair.certificate.fingerprint) == pair.certificate.fingerprint
    (folder / "fullchain.pem").write_bytes(pair.chain)
    assert (await reader.leaves())[name] == pair.certificate.fingerprint
    for ending, file in (("crt", "fullchain"), ("key", "key"), ("chain.pem", "chain")):
        (root / f"{name}.{ending}").symlink_to(f"./{name}/{file}.pem")
        assert (await reader.leaves())[name] == pair.certificate.fingerprint


async def test_what_stays_half_is_told_after_a_while(root):
    reader = Reader(ACME_COMPANION, root)
    await reader.leaves()
    (root / NAME / "key.pem").unlink()
    assert await reader.problems() == {}
    assert [e.label for e in (await reader.load()).entries].count(NAME) == 1
    reader.seconds += 10
    assert await reader.problems() == {NAME: f"SourceMalformed: {NAME}/key.pem is missing; {ORDERED}"}
    assert [e.label for e in (await reader.load()).entries].count(NAME) == 0


class TestOfTheOperator:
    """Pairs beside those of the companion."""

    @pytest.mark.parametrize("linked", [True, False], ids=["links", "texts of links"])
    async def test_a_folder_as_the_maintainer_describes_it_is_read(self, tmp_path, linked):
        """nginx-proxy/acme-companion#696: ``cert.pem key.pem chain.pem``, and links to them."""
        authority = Authority()
        pair = authority.issue(NAME)
        (tmp_path / NAME).mkdir()
        contents = {"cert.pem": pair.certificate.leaf_pem, "key.pem": pair.key, "chain.pem": authority.intermediate_pem}
        for file, content in contents.items():
            (tmp_path / NAME / file).write_bytes(content)
        for ending, file in (("crt", "cert.pem"), ("key", "key.pem"), ("chain.pem", "chain.pem")):
            link, target = tmp_path / f"{NAME}.{ending}", f"./{NAME}/{file}"
            link.symlink_to(target) if linked else link.write_text(target)
        (entry,) = (await Reader(ACME_COMPANION, tmp_path).load()).entries
        assert (entry.label, entry.certificate.fullchain_pem) == (NAME, pair.chain)

    async def test_files_without_folder_are_found(self, root):
        pair = Authority().issue("own.example.test")
        (root / "own.example.test.crt").write_bytes(pair.chain)
        (root / "own.example.test.key").write_bytes(pair.key)
        assert (await Reader(ACME_COMPANION, root).leaves())["own/own.example.test"] == pair.certificate.fingerprint

    @pytest.mark.parametrize("ending", ["chain.pem", "chain.crt"])
    async def test_a_chain_that_stands_only_in_its_own_file_is_put_behind_the_leaf(self, tmp_path, ending):
        authority = Authority()
        pair = authority.issue("own.example.test")
        (tmp_path / "own.crt").write_bytes(pair.certificate.leaf_pem)
        (tmp_path / "own.key").write_bytes(pair.key)
        (tmp_path / f"own.{ending}").write_bytes(authority.intermediate_pem)
        (entry,) = (await Reader(ACME_COMPANION, tmp_path).load()).entries
        assert entry.certificate.fullchain_pem == pair.chain

    async def test_a_chain_file_that_holds_the_whole_chain_does_no_harm(self, tmp_path):
        """People copy ``fullchain.pem`` there."""
        pair = Authority().issue("own.example.test")
        (tmp_path / "own.crt").write_bytes(pair.certificate.leaf_pem)
        (tmp_path / "own.key").write_bytes(pair.key)
        (tmp_path / "own.chain.pem").write_bytes(pair.chain)
        (entry,) = (await Reader(ACME_COMPANION, tmp_path).load()).entries
        assert entry.certificate.fullchain_pem == pair.chain

    async def test_links_into_a_folder_of_theirs_are_followed(self, root):
        pair = Authority().issue("own.example.test")
        (root / "mine").mkdir()
        (root / "mine" / "a.crt").write_bytes(pair.chain)
        (root / "mine" / "a.key").write_bytes(pair.key)
        (root / "own.crt").symlink_to("mine/a.crt")
        (root / "own.key").symlink_to("mine/a.key")
        assert (await Reader(ACME_COMPANION, root).leaves())["own/own"] == pair.certificate.fingerprint

    @pytest.mark.parametrize(("there", "missing"), [("crt", "key"), ("key", "crt")])
    async def test_half_a_pair_is_told_by_the_file_that_is_missing(self, root, there, missing):
        pair = Authority().issue("own.example.test")
        (root / f"own.{there}").write_bytes(pair.chain if there == "crt" else pair.key)
        reader = Reader(ACME_COMPANION, root)
        assert await reader.problems() == {
            "own/own": f"SourceMalformed: own.{missing} is missing; bring the missing half of the pair"
        }
        assert len((await reader.load()).entries) == 4

    async def test_a_link_that_leads_nowhere_is_told_with_where_it_leads(self, root):
        (root / "own.crt").symlink_to("gone/fullchain.pem")
        assert await Reader(ACME_COMPANION, root).problems() == {
            "own/own": f"SourceMalformed: own.crt leads to gone/fullchain.pem, where nothing is; {MOUNT}"
        }

    async def test_links_into_a_folder_that_was_emptied_are_told(self, root):
        for file in (root / NAME).iterdir():
            file.unlink()
        told = await Reader(ACME_COMPANION, root).problems()
        assert list(told) == [f"own/{NAME}", "own/smtp.example.test"]
        assert all(message.endswith(f"{NAME}/fullchain.pem, where nothing is; {MOUNT}") for message in told.values())

    async def test_a_link_to_another_of_them_is_no_second_certificate(self, tmp_path):
        pair = Authority().issue("own.example.test", "www.example.test")
        (tmp_path / "own.example.test.crt").write_bytes(pair.chain)
        (tmp_path / "own.example.test.key").write_bytes(pair.key)
        for ending in ("crt", "key"):
            (tmp_path / f"www.example.test.{ending}").symlink_to(f"own.example.test.{ending}")
        assert list(await Reader(ACME_COMPANION, tmp_path).leaves()) == ["own/own.example.test"]

    async def test_two_that_share_a_key_are_two(self, tmp_path):
        authority, key = Authority(), new_key()
        for name in ("a.example.test", "b.example.test"):
            (tmp_path / f"{name}.crt").write_bytes(authority.issue(name, key=key).chain)
        (tmp_path / "a.example.test.key").write_bytes(key_pem(key))
        (tmp_path / "b.example.test.key").symlink_to("a.example.test.key")
        assert list(await Reader(ACME_COMPANION, tmp_path).leaves()) == ["own/a.example.test", "own/b.example.test"]

    async def test_authorities_and_chains_want_no_key(self, root):
        authority = Authority()
        for name in ("ca.crt", "mail.example.test.ca.crt", "mail.example.test.chain.crt"):
            (root / name).write_bytes(authority.root_pem)
        assert len(await Reader(ACME_COMPANION, root).leaves()) == 4

    async def test_a_pair_that_is_merely_called_so_is_read(self, tmp_path):
        pair = Authority().issue("test.ca")
        (tmp_path / "test.ca.crt").write_bytes(pair.chain)
        (tmp_path / "test.ca.key").write_bytes(pair.key)
        assert list(await Reader(ACME_COMPANION, tmp_path).leaves()) == ["own/test.ca"]

    async def test_the_key_of_another_certificate_is_told(self, root):
        authority = Authority()
        (root / "own.crt").write_bytes(authority.issue("own.example.test").chain)
        (root / "own.key").write_bytes(authority.issue("own.example.test").key)
        (message,) = (await Reader(ACME_COMPANION, root).problems()).values()
        assert message.startswith("KeyMismatch: the private key belongs to another certificate")


async def test_other_files_and_folders_are_passed_over(root):
    (root / "accounts" / "acme-v02.api.letsencrypt.org").mkdir(parents=True)
    for name in ("4711", "default.key.new", "dhparam.pem.tmp", f"{NAME}/4711"):
        (root / name).write_text("half")
    (root / "htpasswd").mkdir()
    assert len(await Reader(ACME_COMPANION, root).leaves()) == 4


async def test_a_folder_that_may_not_be_read_is_told_once_and_costs_the_others_nothing(open_directory, unprivileged):
    root = plant("acme-companion/certs-first", open_directory)
    (root / NAME).chmod(0)
    with unprivileged():
        found = await Reader(ACME_COMPANION, root).load()
    (root / NAME).chmod(0o755)
    assert [(problem.label, problem.reason) for problem in found.problems] == [(NAME, Reason.SOURCE_UNAVAILABLE)]
    assert found.problems[0].message.startswith(f"the directory {root / NAME} may not be read; run certferry as root")
    assert len(found.entries) == 3


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (("account.conf",), "is acme.sh's own folder; name the one with the certificates, /etc/nginx/certs"),
        (("default/account.conf",), "is acme.sh's own folder; name the one with the certificates, /etc/nginx/certs"),
        (("nginx.conf", "certs/x"), "is the folder above the certificates; name {root}/certs"),
        (("certs/x", "html/x", "vhost.d/x"), "is the folder above the certificates; name {root}/certs"),
        (("fullchain.pem", "key.pem"), "is the folder of one certificate; name the one above it, {parent}"),
    ],
)
async def test_a_path_to_something_else_is_told_with_the_right_one(tmp_path, make, hint):
    for name in make:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(SourceUnavailable) as caught:
        await Reader(ACME_COMPANION, tmp_path).load()
    assert str(caught.value).endswith(hint.format(root=tmp_path, parent=tmp_path.parent))


def reading(number: int) -> Callable[[], None]:
    """Read a folder of so many certificates without keys, which no pair hides."""
    nodes = {PurePosixPath(f"/certs/d{n}.ca.crt"): Node(is_folder=False, size=1, modified=1, data=b"x") for n in range(number)}
    tree = ArchiveTree("proxy", PurePosixPath("/certs"), nodes, focus="", limit=9)

    def work() -> None:
        assert read(tree, ACME_COMPANION.options()).pairs == []

    return work


def test_ten_times_the_files_cost_ten_times_as_much():
    assert costs_at_most(20, reading(800), reading(8000))
