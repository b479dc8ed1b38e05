"""Commands and files through the engine: their results, their limits, and what stands in their way."""

from __future__ import annotations

import asyncio
import hashlib
import io
import tarfile
from pathlib import PurePosixPath
from typing import Any

import pytest
from docker.models.containers import Container

from controller.domain.errors import ExecTimeout, TargetGone, TargetNotRunning, WriteFailed, WriteRefused
from controller.engine import LARGEST, Engine
from tests.lab import Lab, wait_until

ABSENT = "0123456789ab" * 5 + "0123"


async def test_outputs_and_exit_code_come_apart(engine: Engine, idle: Container) -> None:
    result = await engine.execute(str(idle.id), ("sh", "-c", "echo out; echo err >&2; id -u >&2; exit 3"), user="101")

    assert (result.exit_code, result.stdout, result.stderr) == (3, b"out\n", b"err\n101\n")
    assert result.tail == "101"


async def test_arguments_are_not_touched_by_any_shell(engine: Engine, idle: Container) -> None:
    arguments = ("a b", "$HOME", "`id`", "'\"", "", "ü", "line\nline")
    result = await engine.execute(str(idle.id), ("printf", "%s|", *arguments))

    assert result.stdout.decode() == "".join(f"{argument}|" for argument in arguments)


@pytest.mark.parametrize(("argv", "code"), [(("no-such-command",), 127), (("/nowhere/command",), 127), (("/etc/passwd",), 126)])
async def test_a_command_that_cannot_be_run_has_the_exit_code_of_a_shell(
    engine: Engine, idle: Container, argv: tuple[str, ...], code: int
) -> None:
    result = await engine.execute(str(idle.id), argv)

    assert result.exit_code in (code, 126)
    assert argv[0] in result.tail


async def test_an_unknown_user_is_a_failed_command(engine: Engine, idle: Container) -> None:
    result = await engine.execute(str(idle.id), ("true",), user="nobody-knows-him")

    assert result.exit_code != 0
    assert "nobody-knows-him" in result.tail


async def test_large_input_arrives_whole_though_it_is_never_closed(engine: Engine, idle: Container) -> None:
    content = bytes(range(256)) * 400
    result = await engine.execute(str(idle.id), ("sh", "-c", f"head -c {len(content)} | sha256sum"), stdin=content)

    assert result.stdout.split()[0].decode() == hashlib.sha256(content).hexdigest()


async def test_large_output_arrives_whole_and_endless_output_is_cut(engine: Engine, idle: Container) -> None:
    result = await engine.execute(str(idle.id), ("seq", "1", "300000"))
    assert result.stdout == b"".join(b"%d\n" % number for number in range(1, 300_001))

    size = LARGEST + 1_000_000
    result = await engine.execute(str(idle.id), ("sh", "-c", f"yes | head -c {size}; echo end >&2"))
    assert (result.exit_code, len(result.stdout), result.stderr) == (0, LARGEST, b"end\n")


async def test_a_command_that_does_not_end_is_given_up(engine: Engine, idle: Container) -> None:
    async with asyncio.timeout(20):
        with pytest.raises(ExecTimeout, match=r"`sleep` did not end within 0.3 s"):
            await engine.execute(str(idle.id), ("sleep", "60"), timeout=0.3)

    result = await engine.execute(str(idle.id), ("echo", "still here"))
    assert result.stdout == b"still here\n"


async def test_many_commands_at_once_do_not_mix(engine: Engine, idle: Container) -> None:
    results = await asyncio.gather(*(engine.execute(str(idle.id), ("sh", "-c", f"echo {n}; exit {n}")) for n in range(8)))

    assert [(result.exit_code, result.stdout) for result in results] == [(n, b"%d\n" % n) for n in range(8)]


async def test_what_does_not_run_executes_nothing(engine: Engine, lab: Lab) -> None:
    container = lab.container(start=False)
    identity = str(container.id)
    with pytest.raises(TargetNotRunning, match="is not running"):
        await engine.execute(identity, ("true",))
    container.start()
    container.pause()
    with pytest.raises(TargetNotRunning, match="is paused"):
        await engine.execute(identity, ("true",))
    container.unpause()
    container.kill()
    container.wait(timeout=20)
    with pytest.raises(TargetNotRunning, match="is not running"):
        await engine.execute(identity, ("true",))
    with pytest.raises(TargetNotRunning, match="is not running"):
        await engine.kill(identity, "HUP")


async def test_what_is_gone_is_gone_for_every_question(engine: Engine) -> None:
    for question in (
        engine.execute(ABSENT, ("true",)),
        engine.put_archive(ABSENT, PurePosixPath("/"), b""),
        engine.get_file(ABSENT, PurePosixPath("/etc/passwd")),
        engine.kill(ABSENT, "HUP"),
    ):
        with pytest.raises(TargetGone, match="0123456789ab"):
            await question
    assert await engine.inspect(ABSENT) is None


async def test_a_container_removed_during_a_command_is_no_lasting_failure(
    engine: Engine, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = lab.container()
    look = Engine._look

    async def look_late(*args: Any) -> Any:
        await asyncio.to_thread(container.remove, force=True)
        return await look(*args)

    monkeypatch.setattr(Engine, "_look", look_late)
    with pytest.raises(TargetNotRunning):
        await engine.execute(str(container.id), ("true",))


async def test_a_container_stopped_during_a_command_fails_the_command(engine: Engine, lab: Lab) -> None:
    container = lab.container()
    running = asyncio.create_task(engine.execute(str(container.id), ("sleep", "60")))
    await asyncio.to_thread(wait_until, lambda: "sleep 60" in str(container.top()["Processes"]), what="the command runs")
    await asyncio.to_thread(container.kill)

    assert (await running).exit_code != 0


async def test_a_signal_arrives(engine: Engine, lab: Lab) -> None:
    container = lab.container(entrypoint=["sh", "-c", "trap 'echo got USR2' USR2; echo ready; while :; do sleep 0.05; done"])
    await asyncio.to_thread(wait_until, lambda: container.logs() == b"ready\n", what="it listens to signals")
    await engine.kill(str(container.id), "USR2")
    await asyncio.to_thread(wait_until, lambda: container.logs() == b"ready\ngot USR2\n", what="the signal")


async def get(engine: Engine, container: Container, path: str) -> tuple[tarfile.TarInfo, bytes] | None:
    return await engine.get_file(str(container.id), PurePosixPath(path))


async def test_files_links_and_directories_are_told_apart(engine: Engine, idle: Container, folder: str) -> None:
    content = bytes(range(256)) * 300
    long_name = "ä" * 120
    put(idle, {f"{folder}/file": content, f"{folder}/empty": b"", f"{folder}/{long_name}": content})
    idle.exec_run(
        ["sh", "-c", f"cd {folder}; chown 3000000:101 file; chmod 4640 file; ln -s {long_name} link; mkdir directory"]
    )
    idle.exec_run(["sh", "-c", f"ln -s nowhere {folder}/dangling; mkfifo {folder}/pipe"])

    file, empty, long, link, directory, dangling, pipe = [
        await get(engine, idle, f"{folder}/{name}")
        for name in ("file", "empty", long_name, "link", "directory", "dangling", "pipe")
    ]
    assert file is not None
    assert (file[1], file[0].uid, file[0].gid, file[0].mode & 0o7777) == (content, 3000000, 101, 0o4640)
    assert empty is not None
    assert (empty[1], empty[0].isfile()) == (b"", True)
    assert long is not None
    assert long[1] == content
    assert link is not None
    assert (link[0].issym(), link[0].linkname) == (True, long_name)
    assert directory is not None
    assert directory[0].isdir()
    assert dangling is not None
    assert dangling[0].linkname == "nowhere"
    assert pipe is not None
    assert not pipe[0].isfile()
    assert await get(engine, idle, f"{folder}/absent") is None
    assert await get(engine, idle, f"{folder}/file/below") is None
    root = await get(engine, idle, "/")
    assert root is not None
    assert root[0].isdir()


async def test_a_file_too_large_to_be_a_certificate_is_not_fetched(engine: Engine, idle: Container, folder: str) -> None:
    idle.exec_run(
        ["sh", "-c", f"mkdir {folder}; head -c {LARGEST + 1} /dev/zero >{folder}/huge; truncate -s {LARGEST} {folder}/large"]
    )

    huge, large = [await get(engine, idle, f"{folder}/{name}") for name in ("huge", "large")]
    assert huge is not None
    assert (huge[0].size, huge[1]) == (LARGEST + 1, b"")
    assert large is not None
    assert large[1] == bytes(LARGEST)


async def test_a_directory_is_never_replaced_by_a_file(engine: Engine, idle: Container, folder: str) -> None:
    """Left to itself the engine removes the directory with all that is in it."""
    put(idle, {f"{folder}/ssl/precious": b"x"})

    with pytest.raises(WriteFailed, match="cannot overwrite directory"):
        await engine.put_archive(str(idle.id), PurePosixPath(folder), archive_of({"ssl": b"file"}))
    assert await get(engine, idle, f"{folder}/ssl/precious") is not None


async def test_writing_below_what_does_not_exist_is_refused(engine: Engine, idle: Container, folder: str) -> None:
    with pytest.raises(WriteRefused, match=folder):
        await engine.put_archive(str(idle.id), PurePosixPath(folder), archive_of({"x": b"x"}))


def put(container: Container, files: dict[str, bytes]) -> None:
    assert container.put_archive("/", archive_of({path[1:]: content for path, content in files.items()}))


def archive_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
