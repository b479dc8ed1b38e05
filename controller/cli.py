"""The command line. Exit codes: 0 yes, 1 no (a target is not ready, a port serves the wrong thing), 2 usage, 78 configuration.

Each command imports what it needs when it runs: ``certferry health`` is started by Docker again and again and must be light.
"""
# ruff: noqa: PLC0415 -- see the module's docstring

from __future__ import annotations

import json
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer

if TYPE_CHECKING:
    from controller.settings import Settings

EX_FAILURE, EX_CONFIG, EX_INTERRUPTED, EX_TERMINATED = 1, 78, 130, 143
"""78 is ``EX_CONFIG`` of sysexits.h; the last two are what shells say of Ctrl-C and SIGTERM."""

WIDTH = 180
"""Columns of a table that goes into a file or a pipe."""

T = TypeVar("T")
Json = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]

cli = typer.Typer(
    name="certferry",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Carries TLS certificates from the reverse proxy into mail containers, reloads them, and proves what they serve.",
    epilog="Exit codes: 0 yes, 1 no, 2 wrong usage, 78 configuration.",
)


def main() -> None:
    """The entry point of the distribution."""
    from controller.domain.errors import Error

    if os.getpid() == 1:  # in a container; there the kernel drops signals that nobody handles, and much is imported first
        signal.signal(signal.SIGTERM, lambda *_: os._exit(EX_TERMINATED))
    try:
        cli()
    except Error as error:
        _give_up(ExceptionGroup("", [error]))
    except BaseExceptionGroup as group:  # of tasks that end together
        _give_up(group)
    except KeyboardInterrupt:
        sys.exit(EX_INTERRUPTED)


def _show_version(wanted: bool) -> None:
    from importlib.metadata import version

    if wanted:
        typer.echo(f"certferry {version('certferry')}")
        raise typer.Exit


@cli.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and end.")
    ] = False,
) -> None:
    """Take the version, which is an option of no command."""


@cli.command()
def run(
    observe: Annotated[bool, typer.Option("--observe", help="Look and report what would be done, and touch nothing.")] = False,
) -> None:
    """Run the controller until SIGTERM."""
    from controller import app, running

    settings = _settings(level=None)
    running.run(app.run(settings.model_copy(update={"observe": "on"}) if observe else settings))


@cli.command()
def once(as_json: Json = False) -> None:
    """One pass over every container that asks for a certificate; 0 when all are ready."""
    from controller import app, running, views
    from controller.web.status import describe_store

    store = running.run(app.once(_settings(level=None)))
    described = describe_store(store, now=views.unix_now())
    _show(described, views.targets, as_json=as_json)
    _exit(ok=store.all_ready)


@cli.command()
def plan(as_json: Json = False) -> None:
    """Show what would be done and why, and do nothing; 0 when nothing stands in the way."""
    from controller import app, running, views

    plans = [views.describe_plan(plan, whole=not as_json) for plan in running.run(app.plan(_settings(), _warn))]
    _show(plans, views.plans, as_json=as_json)
    _exit(ok=not any(plan["refused"] for plan in plans))


@cli.command()
def deliver(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET", help="A mail container: its name, its service in the compose file, or the beginning of its id."
        ),
    ],
    as_json: Json = False,
) -> None:
    """Bring one container to where it should be now, and print each step; 0 when it is ready."""
    from controller import by_hand
    from controller.domain.printable import printable

    steps: list[str] = []

    def say(line: str) -> None:
        steps.append(line)
        if not as_json:
            typer.echo(printable(line))

    ended = by_hand.deliver(_settings(), target, say)
    say(f"{'ready' if ended.ready else 'not ready'}: {ended.message}")
    if as_json:
        _show({"target": target, "ready": ended.ready, "steps": steps}, str, as_json=True)
    _exit(ok=ended.ready)


@cli.command()
def sources(as_json: Json = False) -> None:
    """Show what each source holds, never keys, and which proxies were left; 0 when all could be read."""
    from controller import app, running, views
    from controller.web.status import describe_store

    store = running.run(app.read_sources(_settings()))
    everything = describe_store(store, now=views.unix_now())
    described = {part: everything[part] for part in ("engine", "sources", "left")}
    _show(described, views.sources_and_left, as_json=as_json)
    unread = [source for source in described["sources"] if not source["up"] or any(map(_is_unread, source["problems"]))]
    _exit(ok=not unread)


def _is_unread(problem: dict[str, str]) -> bool:
    """Whether a file could not be read. What was read and cannot be used is no failure: others of the store can."""
    from controller.domain.finding import Reason

    return problem["reason"] == Reason.SOURCE_UNAVAILABLE


@cli.command()
def probe(
    hosts: Annotated[list[str], typer.Argument(metavar="HOST…", help="Host names or addresses.")],
    ports: Annotated[
        str, typer.Option(help="Ports and protocols to ask instead of the usual ones, as in 25/smtp,993/imaps.")
    ] = "",
    server_name: Annotated[
        str,
        typer.Option("--as", "--server-name", help="What clients call the server, as in mail.example.com; else the host."),
    ] = "",
    min_days: Annotated[int, typer.Option(min=0, help="Fail when a certificate ends within so many days.")] = 0,
    as_json: Json = False,
) -> None:
    """Show what hosts serve on their mail ports, and judge it as a client does; 1 when one would refuse something."""
    from controller import running, views
    from controller.domain.mail_ports import STANDARD_PORTS, parse_probe_list
    from controller.probe import examine_all

    _settings()
    with _usage("--ports"):
        wanted = parse_probe_list(ports) if ports else STANDARD_PORTS
    for host in hosts:
        with _usage("HOST"):
            _check_host(host)
    with _usage("--as"):
        _check_host(server_name or hosts[0])

    async def ask() -> list[dict[str, Any]]:
        answers = await examine_all(hosts, wanted, server_name=server_name)
        return [
            views.describe_probe(host, served, name=server_name or host, min_days=min_days, required=bool(ports))
            for host, found in zip(hosts, answers, strict=True)
            for served in found
        ]

    rows = running.run(ask())
    _show(rows, views.probes, as_json=as_json)
    silent = [host for host in hosts if not any(row["fingerprint"] for row in rows if row["host"] == host)]
    for host in silent:
        _warn(f"{host}: no port handed out a certificate")
    _exit(ok=not silent and not any(row["problems"] for row in rows))


@cli.command()
def status(as_json: Json = False) -> None:
    """Ask the running controller; 0 when every container is ready."""
    from controller import asking, views

    described = asking.ask(address := _http(), "/status", holds="targets")
    with _understanding(address):
        _show(described, views.status, as_json=as_json)
        ready = described["ready"]
    _exit(ok=ready)


@cli.command()
def health(as_json: Json = False) -> None:
    """Ask the running controller whether it works (for HEALTHCHECK)."""
    from controller import asking

    answer = asking.ask(address := _http(), "/healthz", holds="ok")
    with _understanding(address):
        _show(answer, lambda body: "healthy" if body["ok"] else "\n".join(body["missing"]), as_json=as_json)
    _exit(ok=answer["ok"])


@cli.command("self-signed")
def self_signed(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The host name of the mail server.")],
    out: Annotated[Path, typer.Option(help="The folder mounted as /tmp/docker-mailserver/ssl.")] = Path("config/ssl"),
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long it is valid.")] = 825,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    as_json: Json = False,
) -> None:
    """Write a certificate of its own, as docker-mailserver's SSL_TYPE=self-signed wants it, without asking anything."""
    from controller import app

    with _usage("NAME"):
        host = app.one_host_name(name)
    files = [str(path) for path in app.write_self_signed(host, out, days=days, force=force)]
    _show({"files": files}, lambda told: "\n".join([*(f"wrote {file}" for file in told["files"]), _NEXT_STEP]), as_json=as_json)


_NEXT_STEP = "now set SSL_TYPE=self-signed; clients that shall trust it import demoCA/cacert.pem"


def _settings(level: str | None = "error") -> Settings:
    """Read the settings and set up logging; commands that print a table log only what is serious."""
    import structlog

    from controller import logs
    from controller.settings import load_settings

    loaded = load_settings()
    logs.configure(level or loaded.settings.log_level, loaded.settings.log_format)
    for line in loaded.translations:
        structlog.get_logger().info("settings.translated", message=line)
    if loaded.settings.extra_roots:
        _trust(loaded.settings.extra_roots)
    return loaded.settings


def _trust(roots: Path) -> None:
    from controller.domain.errors import CertificateError, SettingsError
    from controller.settings import variable
    from controller.x509.roots import use_extra_roots

    try:
        use_extra_roots(roots)
    except (OSError, CertificateError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise SettingsError(
            f"{variable('extra_roots')}={roots}: no roots can be read there: {why}; mount the file, or correct the path"
        ) from error


@contextmanager
def _understanding(address: object) -> Iterator[None]:
    """What an answer lacks that this version's answers have."""
    from controller.domain.errors import TransientError

    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise TransientError(f"what answers at {address} is not this version of certferry") from error


@contextmanager
def _usage(what: str) -> Iterator[None]:
    """A `ValueError` about an argument or option is a matter of usage."""
    try:
        yield
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=what) from error


def _check_host(host: str) -> None:
    """Raises `ValueError` where it is none, with the remedy where a port stands behind it."""
    from controller.domain.mail_ports import STANDARD_PORTS

    if found := re.fullmatch(r"(\[[^]]*]|[^:]*):([0-9]+)", host):
        usual = next((port for port in STANDARD_PORTS if str(port.port) == found[2]), f"{found[2]}/imaps")
        raise ValueError(f"{host!r} has a port behind it; write {found[1].strip('[]')} --ports {usual}")
    if not host.strip() or any(letter.isspace() or letter == "/" for letter in host):
        raise ValueError(f"{host!r} is no host name or address; write one such as mail.example.com")


def _http() -> Any:
    from controller.domain.errors import SettingsError
    from controller.settings import load_settings

    address = load_settings().settings.http
    if address is None:
        raise SettingsError("CERTFERRY_HTTP is off, so the running controller cannot be asked")
    return address


def _disarmed(described: Any) -> Any:
    """The same with text of others that cannot steer the terminal."""
    from controller.domain.printable import printable

    if isinstance(described, str):
        return printable(described)
    if isinstance(described, dict):
        return {_disarmed(name): _disarmed(value) for name, value in described.items()}
    return [_disarmed(one) for one in described] if isinstance(described, list) else described


def _warn(line: str) -> None:
    """One line beside what is shown."""
    typer.echo(f"certferry: {_disarmed(line)}", err=True)


def _show(described: T, render: Callable[[T], object], *, as_json: bool) -> None:
    from controller.domain.printable import printable_json

    if as_json:
        typer.echo(printable_json(json.dumps(described, indent=2, ensure_ascii=False)))
        return
    rendered = render(_disarmed(described))
    if isinstance(rendered, str):
        typer.echo(rendered)
        return
    from rich.console import Console

    # What stands in certificates and labels is shown as it is: others wrote it.
    Console(width=None if sys.stdout.isatty() else WIDTH, markup=False, emoji=False, highlight=False).print(rendered)


def _flatten(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _flatten(error)
        else:
            yield error


def _complain(group: BaseExceptionGroup[BaseException]) -> None:
    """One line for each known problem, a traceback for every other."""
    from controller.domain.errors import Error
    from controller.domain.printable import printable

    for error in _flatten(group):
        if isinstance(error, Error):
            lines = [f"certferry: {line}" for line in str(error).splitlines()]
        elif isinstance(error, KeyboardInterrupt):
            lines = []
        else:
            lines = "".join(traceback.format_exception(error)).splitlines()
        for line in lines:
            typer.echo(printable(line), err=True)


def _give_up(group: BaseExceptionGroup[BaseException]) -> NoReturn:
    """Complain, and end; what the operator must change decides the exit code."""
    from controller.domain.errors import ConfigError

    _complain(group)
    errors = list(_flatten(group))
    if any(isinstance(error, ConfigError) for error in errors):
        sys.exit(EX_CONFIG)
    sys.exit(EX_INTERRUPTED if all(isinstance(error, KeyboardInterrupt) for error in errors) else EX_FAILURE)


def _exit(*, ok: bool) -> None:
    if not ok:
        raise typer.Exit(EX_FAILURE)
