"""What is kept until a change is confirmed: any content comes back, and nothing is made of what is not ours."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.container import Mount
from controller.domain.observed import InstalledFile
from sinks import previous
from sinks.files import key_mode
from tests.unit.made import certificate, container

FOLDER = PurePosixPath("/tls")
NAMES = st.text(st.characters(exclude_characters="/\n\0", exclude_categories=["Cs"]), min_size=1, max_size=9).filter(
    lambda name: name.strip(".") != ""
)
ENTRIES = st.one_of(
    st.none(), st.tuples(st.binary(max_size=99), st.integers(0, 2**32 - 2), st.integers(0, 2**32 - 2), st.integers(0, 0o7777))
)


@given(st.dictionaries(NAMES, ENTRIES, max_size=4))
def test_whatever_was_there_comes_back(entries):
    files = {
        FOLDER / name: entry and InstalledFile(FOLDER / name, entry[0], entry[1], entry[2], entry[3])
        for name, entry in entries.items()
    }
    assert previous.unpack(FOLDER, previous.pack(FOLDER, files)) == files


@given(st.binary(max_size=300))
def test_of_anything_else_nothing_is_made_outside_the_folder(content):
    assert all(path.is_relative_to(FOLDER) for path in previous.unpack(FOLDER, content))


@pytest.mark.parametrize(
    "content",
    [
        b"garbage\n",
        b"F 0 0 600 3 key.pem\nabc",
        b"F 0 0 600 -3 key.pem\nabc\n",
        b"F 0 0 600 99999999 key.pem\nabc\n",
        b"F 0 0 rw- 3 key.pem\nabc\n",
        b"F 0 0 600\nabc\n",
        b"N ../etc/passwd\n",
        b"N /etc/passwd\n",
        b"N \n",
        b"N\n",
    ],
)
def test_what_is_not_its_like_is_nothing(content):
    assert previous.unpack(FOLDER, b"N cert.pem\n" + content) == {}


def mount(destination: str) -> Mount:
    return Mount("bind", "/srv", PurePosixPath(destination), True)


@pytest.mark.parametrize(
    ("mounts", "read_only", "folder"),
    [
        ((), False, "/tls"),
        ((mount("/tls"),), True, "/tls"),
        ((mount("/tls/key.pem"),), False, "/tls"),
        ((mount("/tls"), mount("/tls/key.pem")), False, "/"),
        ((mount("/tls/key.pem"),), True, None),
    ],
    ids=["root", "a folder that is mounted", "a file that is mounted", "below another mount", "nowhere"],
)
def test_it_lies_on_the_same_mount_but_for_files_that_are_mounted_by_themselves(mounts, read_only, folder):
    place = container(mounts=mounts, read_only_root=read_only).folder_beside(PurePosixPath("/tls/key.pem"))
    assert place == (PurePosixPath(folder) if folder else None)


@pytest.mark.parametrize(
    ("content", "mode", "wanted"),
    [
        (None, 0, 0o600),
        (b"", 0o666, 0o600),
        (b"placeholder", 0o640, 0o600),
        ("key", 0o644, 0o640),
        ("key", 0o640, 0o640),
        ("key", 0o440, 0o440),
        ("key", 0o777, 0o640),
        ("key", 0o004, 0o400),
        ("key", 0o600, 0o600),
    ],
)
def test_a_key_is_never_for_others_and_keeps_who_may_read_it(content, mode, wanted):
    text = certificate().key_pem if content == "key" else content
    present = None if text is None else InstalledFile(PurePosixPath("/k"), text, 0, 0, mode)
    assert key_mode(present) == wanted
