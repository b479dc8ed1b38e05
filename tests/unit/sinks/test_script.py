"""The scripts, run for real: by dash, bash and BusyBox, as far as they are here, against real files."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import struct
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.domain.container import Mount
from controller.domain.errors import ExecCut, WriteRefused
from controller.domain.execution import ExecResult
from controller.domain.observed import Observed
from controller.domain.target import Place, Slot, Target
from sinks import script
from sinks.container import ContainerSink
from tests.unit.made import NEW, OLD, certificate, container, target
from tests.unit.sinks.shells import OF_PROGRAMS, SHELLS, Machine, commands_of

ME = (os.getuid(), os.getgid())
old, new = certificate(**OLD), certificate(**NEW)
ODD = 'it\'s $(touch x) `so` \\n "quoted" -n *'


@pytest.fixture(params=SHELLS)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    return Machine(request.param, commands_of(request.param, tmp_path / "bin"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "tls"
    made.mkdir()
    return made


def pair_in(folder: Path, **changes: Any) -> Target:
    """A target whose files are in a folder."""
    place = Place(Slot(), PurePosixPath(folder / "cert.pem"), PurePosixPath(folder / "key.pem"))
    return target(places=(place,), **changes)


class Hands:
    """A sink and its target."""

    def __init__(self, machine: Machine, wanted: Target) -> None:
        self.sink, self.target = ContainerSink(machine), wanted

    async def look(self) -> Observed:
        return await self.sink.observe(self.target)

    async def bring(self, held: Any) -> Any:
        """Put a pair in place; its receipt. Confirmed at once, as where nothing has to be put back any more."""
        receipt = await self.act(held)
        await self.sink.settle(self.target, await self.look())
        return receipt

    async def act(self, held: Any, **options: Any) -> Any:
        """Put a pair in place, to be confirmed later; its receipt."""
        observed = await self.look()
        contents = {path: c for place in self.target.places for path, c in place.contents(held).items()}
        return (await self.sink.act(self.target, observed, contents, **options)).receipt

    @property
    def there(self) -> dict[str, tuple[bytes, int]]:
        """Content and mode of every file."""
        paths = [Path(path) for place in self.target.places for path in place.paths]
        return {path.name: (path.read_bytes(), path.stat().st_mode & 0o7777) for path in paths if path.exists()}


def litter(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob(".certferry*")]


PAIR = {"key.pem": (new.key_pem, 0o600), "cert.pem": (new.fullchain_pem, 0o644)}


class TestAPair:
    async def test_is_put_where_nothing_was_with_safe_modes(self, machine, folder):
        hands = Hands(machine, pair_in(folder))
        await hands.bring(new)
        assert (hands.there, litter(folder)) == (PAIR, [])

    async def test_is_put_into_directories_that_do_not_exist_yet(self, machine, folder):
        hands = Hands(machine, pair_in(folder / "a" / "b"))
        await hands.bring(new)
        assert hands.there == PAIR
        assert (folder / "a").stat().st_mode & 0o777 == 0o755

    async def test_keeps_the_modes_of_what_it_replaces(self, machine, folder):
        hands = Hands(machine, pair_in(folder))
        await hands.bring(old)
        (folder / "key.pem").chmod(0o640)
        (folder / "cert.pem").chmod(0o600)
        await hands.bring(new)
        assert hands.there == {"key.pem": (new.key_pem, 0o640), "cert.pem": (new.fullchain_pem, 0o600)}

    async def test_gets_the_mode_of_the_label(self, machine, folder):
        hands = Hands(machine, pair_in(folder, mode=0o640, owner=ME))
        await hands.bring(new)
        assert hands.there["key.pem"] == (new.key_pem, 0o640)

    async def test_is_seen_as_it_was_put(self, machine, folder):
        hands = Hands(machine, pair_in(folder))
        await hands.bring(new)
        seen = await hands.look()
        files = {path.name: (f.content, f.mode, (f.uid, f.gid)) for path, f in seen.files.items() if f}
        assert files == {name: (content, mode, ME) for name, (content, mode) in PAIR.items()}
        assert (seen.pending, seen.litter) == (False, False)

    async def test_comes_back_as_it_was(self, machine, folder):
        hands = Hands(machine, pair_in(folder))
        (folder / "cert.pem").write_bytes(b"whatever\0 \xff\n\n%s\\n no newline at the end")
        before = hands.there
        receipt = await hands.bring(new)
        assert hands.there == PAIR
        await hands.sink.restore(receipt)
        assert (hands.there, litter(folder)) == (before, [])

    async def test_with_odd_names_is_nothing_special(self, machine, folder):
        hands = Hands(machine, pair_in(folder / ODD))
        await hands.bring(new)
        assert hands.there == PAIR
        assert (await hands.look()).files[PurePosixPath(folder / ODD / "key.pem")] is not None

    async def test_in_two_directories_is_swapped_by_one_script(self, machine, folder):
        place = Place(Slot(), PurePosixPath(folder / "certs/cert.pem"), PurePosixPath(folder / "private/key.pem"))
        hands = Hands(machine, target(places=(place,)))
        await hands.bring(new)
        assert hands.there == PAIR
        assert sum("mv -f" in text for text in machine.scripts) == 1


class TestLinks:
    async def test_stay_and_their_destinations_are_replaced(self, machine, folder):
        hands = Hands(machine, pair_in(folder))
        (folder / "archive").mkdir()
        (folder / "archive" / "cert1.pem").write_bytes(b"old")
        (folder / "cert.pem").symlink_to("archive/cert1.pem")
        await hands.bring(new)
        assert (folder / "cert.pem").readlink() == Path("archive/cert1.pem")
        assert (folder / "archive" / "cert1.pem").read_bytes() == new.fullchain_pem

    async def test_that_lead_to_nothing_yet_are_followed(self, machine, folder):
        hands = Hands(machine, pair_in(folder))
        (folder / "cert.pem").symlink_to("archive/cert1.pem")
        await hands.bring(new)
        assert (folder / "cert.pem").is_symlink()
        assert (folder / "archive" / "cert1.pem").read_bytes() == new.fullchain_pem

    async def test_do_not_hide_the_mark_of_an_unconfirmed_change(self, machine, folder):
        hands = Hands(machine, pair_in(folder))
        (folder / "archive").mkdir()
        for name in ("cert.pem", "key.pem"):
            (folder / name).symlink_to(f"archive/{name}")
        await hands.act(new)
        seen = await hands.look()
        assert seen.pending
        await hands.sink.settle(hands.target, seen)
        assert ((await hands.look()).pending, litter(folder)) == (False, [])


class TestTheMark:
    async def test_stays_until_it_is_settled(self, machine, folder):
        hands = Hands(machine, pair_in(folder))
        await hands.act(new)
        seen = await hands.look()
        assert seen.pending
        await hands.sink.settle(hands.target, seen)
        assert (litter(folder), hands.there) == ([], PAIR)

    async def test_goes_with_a_rollback(self, machine, folder):
        hands = Hands(machine, pair_in(folder))
        receipt = await hands.act(new)
        await hands.sink.restore(receipt)
        assert (litter(folder), hands.there) == ([], {})

    async def test_is_told_from_a_stage_that_was_left_over(self, machine, folder):
        hands = Hands(machine, pair_in(folder))
        (folder / ".certferry" / "0123").mkdir(parents=True)
        seen = await hands.look()
        assert (seen.pending, seen.litter) == (False, True)


class TestWhenSomethingFails:
    """models.md 1.9: files written one by one, in place; half of it stays when something fails."""

    @pytest.mark.parametrize("step", [b"stage ", b"fill ", b"cat "], ids=["no stage", "no room", "not read back"])
    async def test_before_the_swap_nothing_is_changed(self, machine, folder, step):
        hands = Hands(machine, pair_in(folder))
        await hands.bring(old)
        before = hands.there
        observed = await hands.look()
        machine.fails = [step + str(folder).encode()[:4] if step != b"fill " else b'fill "$content0"']
        with pytest.raises(WriteRefused, match="could not be staged"):
            await hands.sink.act(hands.target, observed, hands.target.places[0].contents(new))
        assert (hands.there, litter(folder)) == (before, [])

    async def test_in_the_swap_the_old_pair_comes_back(self, machine, folder):
        place = Place(Slot(), PurePosixPath(folder / "certs/cert.pem"), PurePosixPath(folder / "private/key.pem"))
        hands = Hands(machine, target(places=(place,)))
        await hands.bring(old)
        before = hands.there
        observed = await hands.look()
        machine.fails = [f"mv -f {folder}/certs".encode()]  # the key was moved already
        with pytest.raises(WriteRefused, match="could not be put in place"):
            await hands.sink.act(hands.target, observed, place.contents(new))
        assert (hands.there, litter(folder)) == (before, [])

    async def test_a_directory_in_the_way_is_named_and_nothing_is_changed(self, machine, folder):
        hands = Hands(machine, pair_in(folder))
        (folder / "cert.pem").mkdir()
        with pytest.raises(WriteRefused, match=r"cert.pem is a directory"):
            await hands.bring(new)
        assert (list((folder / "cert.pem").iterdir()), (folder / "key.pem").exists()) == ([], False)
        assert litter(folder) == []

    async def test_links_that_lead_to_one_file_are_named_and_nothing_is_changed(self, machine, folder):
        hands = Hands(machine, pair_in(folder))
        (folder / "all.pem").write_bytes(old.combined_pem)
        for name in ("cert.pem", "key.pem"):
            (folder / name).symlink_to("all.pem")
        with pytest.raises(WriteRefused, match=r"key.pem and .*cert.pem are one file: .* set certferry.combined-path alone"):
            await hands.bring(new)
        assert ((folder / "all.pem").read_bytes(), litter(folder)) == (old.combined_pem, [])

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can make one")
    async def test_a_device_is_never_replaced(self, machine, folder):
        hands = Hands(machine, pair_in(folder))
        os.mknod(folder / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        (folder / "key.pem").symlink_to("null")
        with pytest.raises(WriteRefused, match=r"null is a device"):
            await hands.bring(new)
        assert ((folder / "null").is_char_device(), litter(folder)) == (True, [])

    async def test_links_in_a_circle_are_named(self, machine, folder):
        hands = Hands(machine, pair_in(folder))
        (folder / "cert.pem").symlink_to("cert.pem")
        with pytest.raises(WriteRefused):
            await hands.bring(new)
        assert litter(folder) == []

    async def test_a_look_that_is_cut_off_is_tried_again(self, machine, folder):
        hands = Hands(machine, pair_in(folder))
        machine.fails = [b"r=$(resolve"]
        with pytest.raises(ExecCut, match="was cut off"):
            await hands.look()


ACL = struct.pack("<I" + "HHI" * 5, 2, 1, 6, 2**32 - 1, 2, 4, 8, 4, 0, 2**32 - 1, 16, 4, 2**32 - 1, 32, 0, 2**32 - 1)
"""u::rw-, u:8:r--, g::---, m::r--, o::--- as the file system keeps it (acl(5))."""


def list_of(path: Path) -> bytes:
    """A file's access control list; nothing where it has none."""
    with suppress(OSError):
        return os.getxattr(path, "system.posix_acl_access")
    return b""


@pytest.mark.parametrize("machine", OF_PROGRAMS, indirect=True)
async def test_who_reads_the_key_by_an_access_control_list_still_can_and_can_again_after_the_way_back(machine, folder):
    for name in ("ls", "cp"):
        (machine.commands / name).symlink_to(shutil.which(name))
    hands = Hands(machine, pair_in(folder))
    await hands.bring(old)
    with suppress(OSError):  # not every file system knows them: then there is none to keep
        os.setxattr(folder / "key.pem", "system.posix_acl_access", ACL)
    lists = list_of(folder / "key.pem")
    receipt = await hands.bring(new)
    assert hands.there == {"key.pem": (new.key_pem, 0o640), "cert.pem": (new.fullchain_pem, 0o644)}
    assert list_of(folder / "key.pem") == lists
    await hands.sink.restore(receipt)
    assert hands.there["key.pem"] == (old.key_pem, 0o640)
    assert list_of(folder / "key.pem") == lists
    assert litter(folder) == []


class TestWhatStandsWhereOursShould:
    """On a volume that others write to, anything may lie there; nothing behind a link is ours to read or to remove."""

    @staticmethod
    def make(folder: Path, what: str, elsewhere: Path) -> None:
        ours, there = folder / ".certferry", folder / ".certferry/previous"
        elsewhere.mkdir()
        (elsewhere / "precious").write_bytes(b"mail")
        if what.startswith("previous"):
            ours.mkdir()
        match what:
            case "a file":
                ours.write_bytes(b"x")
            case "a link":
                ours.symlink_to(elsewhere)
            case "a link to nothing":
                ours.symlink_to(folder / "nowhere/at/all")
            case "previous is a folder":
                (there / "below").mkdir(parents=True)
            case "previous is a link":
                there.symlink_to(elsewhere / "precious")
            case "previous is a pipe":
                os.mkfifo(there)

    @pytest.mark.parametrize(
        "what",
        ["a file", "a link", "a link to nothing", "previous is a folder", "previous is a link", "previous is a pipe"],
    )
    async def test_it_is_cleared_away_and_nothing_else_is(self, machine, folder, tmp_path, what):
        hands = Hands(machine, pair_in(folder))
        await hands.bring(old)
        self.make(folder, what, tmp_path / "elsewhere")
        observed = await hands.look()
        assert (observed.litter, observed.kept, observed.damaged) == (True, {}, False)

        await hands.sink.settle(hands.target, observed, confirmed=False)
        assert litter(folder) == []
        assert [path.read_bytes() for path in (tmp_path / "elsewhere").iterdir()] == [b"mail"]
        await hands.bring(new)
        assert (hands.there, litter(folder)) == (PAIR, [])

    async def test_what_is_kept_stays_beside_what_is_cleared_away(self, machine, folder):
        hands = Hands(machine, pair_in(folder))
        await hands.bring(old)
        await hands.act(new)
        (folder / ".certferry/0123").mkdir()
        (folder / ".certferry/.4567").write_bytes(b"x")
        await hands.sink.settle(hands.target, await hands.look(), confirmed=False)
        observed = await hands.look()
        assert (observed.litter, observed.pending) == (False, True)

    @pytest.mark.parametrize("content", [b"", b"F 0 0 600 5000 key.pem\nhalf of it", b"\x00\xff" * 99])
    async def test_what_cannot_be_put_back_is_told_and_goes_when_the_pair_is_confirmed(self, machine, folder, content):
        hands = Hands(machine, pair_in(folder))
        await hands.bring(old)
        (folder / ".certferry").mkdir()
        (folder / ".certferry/previous").write_bytes(content)
        observed = await hands.look()
        assert (observed.damaged, observed.litter, observed.kept) == (True, False, {})
        await hands.sink.settle(hands.target, observed)
        assert litter(folder) == []


def mounted_one_by_one(folder: Path, **changes: Any) -> Target:
    """A target whose files are mounts of their own; here a hard link tells whether the file stays the same one."""
    for name in ("cert.pem", "key.pem"):
        (folder / name).write_bytes(b"old")
        (folder / f"outside-{name}").hardlink_to(folder / name)
    mounts = tuple(Mount("bind", f"/srv/{name}", PurePosixPath(folder / name), True) for name in ("cert.pem", "key.pem"))
    return pair_in(folder, container=container(mounts=mounts), **changes)


class TestFilesMountedOneByOne:
    async def test_are_rewritten_in_place(self, machine, folder):
        hands = Hands(machine, mounted_one_by_one(folder))
        receipt = await hands.bring(new)
        assert {n: c for n, (c, _) in hands.there.items()} == {"cert.pem": new.fullchain_pem, "key.pem": new.key_pem}
        assert (folder / "outside-key.pem").read_bytes() == new.key_pem
        await hands.sink.restore(receipt)
        assert (folder / "outside-cert.pem").read_bytes() == b"old"
        assert litter(folder) == []

    async def test_get_the_mode_of_the_label_and_are_not_written_again(self, machine, folder):
        hands = Hands(machine, mounted_one_by_one(folder, mode=0o640, owner=ME))
        await hands.bring(new)
        seen = await hands.look()
        file = seen.files[PurePosixPath(folder / "key.pem")]
        assert file is not None
        assert (file.mode, (file.uid, file.gid)) == (0o640, ME)

    async def test_have_a_mark_too(self, machine, folder):
        hands = Hands(machine, mounted_one_by_one(folder))
        await hands.act(new)
        assert (await hands.look()).pending


class TestSecrecy:
    async def test_no_script_holds_a_part_of_a_key(self, machine, folder):
        hands = Hands(machine, pair_in(folder))
        receipt = await hands.act(new)
        await hands.sink.restore(receipt)
        lines = [line.decode() for line in new.key_pem.splitlines()[1:-1]]
        assert not any(line in text for line in lines for text in machine.scripts)

    async def test_what_is_kept_is_closed_to_others(self, machine, folder):
        hands = Hands(machine, pair_in(folder))
        await hands.bring(old)
        await hands.act(new)
        ours = folder / ".certferry"
        assert {path.name: path.stat().st_mode & 0o777 for path in (ours, *ours.iterdir())} == {
            ".certferry": 0o700,
            "previous": 0o600,
        }


PIECES = [b"-", b"--", b"%", b"%s", b"\\", b"\\n", b"\n", b".\n", b"\0", b"\r", b" ", b"'", b'"', b"$x"]
"""What a shell, its ``printf`` or its ``read`` might take for something else."""

CONTENT = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(PIECES)).map(b"".join))


@pytest.mark.parametrize("shell", SHELLS)
def test_any_bytes_are_written_exactly(shell, tmp_path_factory):
    commands = commands_of(shell, tmp_path_factory.mktemp("commands") / "bin")
    folder = tmp_path_factory.mktemp("files")

    @settings(suppress_health_check=list(HealthCheck))
    @given(st.lists(CONTENT, min_size=1, max_size=3))
    def test(contents: list[bytes]) -> None:
        writes = [script.FileWrite(PurePosixPath(folder / str(number)), content) for number, content in enumerate(contents)]
        stage = PurePosixPath(".certferry/x")
        text = "\n".join((script.read_contents(writes), script.stage([script.staged(write, stage) for write in writes])))
        printed = run_shell(shell, commands, text, script.stdin_of(writes))
        assert (printed.exit_code, printed.stdout) == (0, b"".join(contents)), printed.stderr
        staged = [(folder / ".certferry/x" / str(number)).read_bytes() for number in range(len(contents))]
        assert staged == contents

    test()


def run_shell(shell: str, commands: Path, text: str, stdin: bytes) -> ExecResult:
    return asyncio.run(Machine(shell, commands).execute("", ("sh", "-c", text), stdin=stdin))


class TestWhatListens:
    HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
    ROWS = (
        "   0: 00000000:03E1 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0\n"
        "   1: 0100007F:0019 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0 0 10 0\n"
        "   2: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0 100 0 0 10 0\n"
    )
    SIX = "   0: 00000000000000000000000000000000:008F 00000000000000000000000000000000:0000 0A 0:0 0:0 0 0 0 4 1 0\n"

    @pytest.mark.parametrize(
        ("text", "ports"),
        [
            (HEAD + ROWS + HEAD + SIX, {993, 25, 143}),
            (HEAD, set()),
            (HEAD + "garbage\n", set()),
            ("", None),
        ],
        ids=["some", "none", "garbage", "cannot be read"],
    )
    def test_is_read_as_the_kernel_tells_it(self, text, ports):
        observed = script.parse_observed(b"\n--boundary\n" + text.encode(), [], "--boundary")
        assert observed.listening == ports

    async def test_is_told_by_the_script(self, machine, folder):
        seen = await Hands(machine, pair_in(folder)).look()
        assert isinstance(seen.listening, frozenset)


class TestWhatIsAsked:
    async def test_is_answered_beside_the_files(self, machine, folder):
        asked = replace(pair_in(folder), ask="echo one; printf 'two'", beside=(PurePosixPath(folder / "other"),))
        seen = await ContainerSink(machine).observe(asked)
        assert seen.answers == "one\ntwo"
        assert list(seen.files) == list(asked.paths)
        assert seen.listening is not None

    async def test_does_not_stand_in_the_way_when_it_fails(self, machine, folder):
        seen = await ContainerSink(machine).observe(replace(pair_in(folder), ask="nosuchprogram 2>/dev/null"))
        assert (seen.answers, len(seen.files)) == ("", 2)


@pytest.mark.parametrize("output", [b"", b"garbage", b"F 0 0 644 /tls/cert.pem\nhalf a fi"])
def test_output_that_was_cut_off_is_an_error_and_not_an_empty_container(output):
    with pytest.raises(ValueError):
        script.parse_observed(output, [PurePosixPath("/tls/cert.pem")], "--boundary")


def test_two_stages_never_meet():
    assert script.new_stage() != script.new_stage()
    assert script.new_boundary() != script.new_boundary()
