"""Reading one file whole, or saying why not."""

import os
import socket
from pathlib import Path

import pytest

from controller.domain.errors import SourceMalformed, SourceUnavailable
from sources import files
from sources.files import MIB, is_orphaned, read_file


def complaint(path: Path, limit: int = MIB) -> str:
    with pytest.raises(SourceUnavailable) as caught:
        read_file(path, limit=limit)
    return str(caught.value)


def test_a_file_is_read_whole(tmp_path):
    content = os.urandom(3 * MIB + 1)
    (tmp_path / "file").write_bytes(content)
    assert read_file(tmp_path / "file", limit=4 * MIB) == content


def test_a_file_of_exactly_the_limit_is_read_and_one_byte_more_is_not(tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 100)
    assert len(read_file(tmp_path / "file", limit=100)) == 100
    assert "is larger than" in complaint(tmp_path / "file", limit=99)


def test_a_missing_file_is_said_to_be_mounted(tmp_path):
    path = tmp_path / "acme.json"
    assert complaint(path) == (
        f"{path} does not exist (yet); mount the directory that holds it into certferry's container, or correct the path"
    )


def test_of_a_link_it_is_said_where_it_leads(tmp_path):
    """Certbot's folder ``live`` mounted without ``archive``."""
    (tmp_path / "cert.pem").symlink_to("../../archive/mail/cert1.pem")
    assert complaint(tmp_path / "cert.pem").startswith(
        f"{tmp_path}/cert.pem is a link to ../../archive/mail/cert1.pem, which is not there in certferry's container; mount"
    )


def test_a_circle_of_links_is_said(tmp_path):
    (tmp_path / "link").symlink_to("link")
    assert complaint(tmp_path / "link").endswith("(Too many levels of symbolic links); correct the path or the mount")


def test_a_directory_in_place_of_the_file_is_explained_by_what_docker_does(tmp_path):
    assert complaint(tmp_path).startswith(f"{tmp_path} is a directory: Docker makes one when the file of a bind mount")


def test_a_pipe_without_a_writer_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert complaint(tmp_path / "pipe") == f"{tmp_path}/pipe is a pipe, not a file; correct the path"


def test_a_socket_and_a_device_are_no_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        assert complaint(tmp_path / "socket") == f"{tmp_path}/socket is a socket, not a file; correct the path"
    assert complaint(Path("/dev/zero")) == "/dev/zero is a device, not a file; correct the path"


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/proc/kmsg", "belongs to the kernel and is no file on a disk; correct the path"),
        ("/proc/self/environ", "belongs to the kernel and is no file on a disk; correct the path"),
        ("/sys/kernel/uevent_seqnum", "belongs to the kernel and is no file on a disk; correct the path"),
        ("/dev/zero", "is a device, not a file; correct the path"),
        ("/dev/tty", "is a device, not a file; correct the path"),
    ],
)
def test_what_only_looks_like_a_file_is_refused_before_it_is_opened(tmp_path, monkeypatch, path, what):
    (tmp_path / "cert.pem").symlink_to(path)
    monkeypatch.setattr(os, "open", lambda *_, **__: pytest.fail("opened"))
    assert complaint(tmp_path / "cert.pem") == f"{tmp_path}/cert.pem {what}"


def test_standard_input_and_an_open_socket_are_no_files_either(tmp_path, monkeypatch):
    reading, writing = os.pipe()
    one, other = socket.socketpair()
    monkeypatch.setattr(os, "open", lambda *_, **__: pytest.fail("opened"))
    with one, other:
        for descriptor, what in ((reading, "a pipe"), (one.fileno(), "a socket")):
            link = tmp_path / str(descriptor)
            link.symlink_to(f"/dev/fd/{descriptor}")  # what /dev/stdin is
            assert complaint(link) == f"{link} is {what}, not a file; correct the path"
    os.close(reading)
    os.close(writing)


def test_a_pipe_that_takes_the_place_of_the_file_after_the_look_at_it_does_not_block(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("content")
    opened = os.open

    def open_later(where: Path, flags: int) -> int:
        path.unlink()
        os.mkfifo(path)
        return opened(where, flags)

    monkeypatch.setattr(os, "open", open_later)
    assert complaint(path) == f"{path} is a pipe, not a file; correct the path"


def test_a_hundred_megabytes_are_refused_without_reading_them(tmp_path):
    with (tmp_path / "acme.json").open("wb") as file:
        file.truncate(100 * MIB)
    assert complaint(tmp_path / "acme.json", limit=64 * MIB) == (
        f"{tmp_path}/acme.json is larger than 64 MiB; correct the path, or raise max-size if it is the right file"
    )


def test_a_file_that_hides_its_size_is_bounded_all_the_same(monkeypatch):
    # Files of procfs claim to have no size; of a disk that is in use there may be such as well.
    monkeypatch.setattr(files, "_devices_of_the_kernel", frozenset)
    assert "is larger than" in complaint(Path("/proc/self/smaps"), limit=100)
    assert read_file(Path("/proc/self/comm"), limit=100)


def test_permission_denied_names_the_owner_and_does_not_advise_to_change_the_mode(open_directory, unprivileged):
    path = open_directory / "acme.json"
    path.write_text("{}")
    path.chmod(0)
    owner = path.stat().st_uid
    with unprivileged():
        assert complaint(path) == (
            f"{path} may not be read; run certferry as root or as its owner (uid {owner}), and leave the file's mode as it is"
        )


def test_permission_denied_on_the_directory_is_said_without_an_owner(open_directory, unprivileged):
    inner = open_directory / "inner"
    inner.mkdir(mode=0o700)
    (inner / "acme.json").touch()
    inner.chmod(0)
    with unprivileged():
        assert "run certferry as root or as its owner, and" in complaint(inner / "acme.json")
    inner.chmod(0o700)


def test_a_file_that_grows_while_it_is_read_is_read_again(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"x" * MIB)
    read = os.read

    def read_and_grow(descriptor: int, size: int) -> bytes:
        chunk = read(descriptor, size)
        if path.stat().st_size < 4 * MIB:
            with path.open("ab") as file:
                file.write(b"x" * MIB)
        return chunk

    monkeypatch.setattr(os, "read", read_and_grow)
    with pytest.raises(SourceMalformed, match="was written to while it was read; it is read again"):
        read_file(path, limit=100 * MIB)
    assert len(read_file(path, limit=100 * MIB)) == 4 * MIB


def test_a_file_that_no_directory_holds_any_more_is_recognised(tmp_path):
    with (tmp_path / "acme.json").open("w+b") as file:
        mounted = Path(f"/proc/self/fd/{file.fileno()}")  # leads to the inode as the mount of a single file does
        assert not is_orphaned(mounted)
        (tmp_path / "acme.json").unlink()
        assert is_orphaned(mounted)


def test_a_missing_file_is_no_orphan(tmp_path):
    assert not is_orphaned(tmp_path / "missing")


def test_a_mounted_directory_that_was_removed_on_the_host_is_said_to_be_that(tmp_path):
    directory = tmp_path / "traefik"
    directory.mkdir()
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        directory.rmdir()
        path = Path(f"/proc/self/fd/{descriptor}") / "acme.json"
        assert complaint(path).endswith(
            "is gone: its directory was removed on the host after it was mounted; recreate certferry's container"
        )
    finally:
        os.close(descriptor)
