"""The settings: what each is, where it is read from, and every problem with them at once.

The environment of the older tool is read by `controller.older_tool`. What a source's URL means is its own file's business.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from controller import older_tool
from controller.domain.errors import SettingsError
from controller.setting_values import (
    Address,
    format_duration,
    read_address,
    read_docker_host,
    read_duration,
    read_label_prefix,
    read_path,
    read_switch,
    read_urls,
    read_word,
    shown,
)

PREFIX = "CERTFERRY_"
CONFIG = "CERTFERRY_CONFIG"
"""Names the TOML file; not a setting itself."""
Duration = Annotated[float, BeforeValidator(read_duration)]
"""Seconds; written ``30s``, ``5m``, ``2h``, ``100ms`` or ``1d``."""
Timeout = Annotated[Duration, Field(ge=0.1, le=3600.0)]


class Settings(BaseSettings):
    """Everything that can be set, in seconds where it is time. Made by `load_settings`; `Settings()` is the defaults.

    Its `repr` is without the sources, whose URLs may hold passwords.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    sources: Annotated[tuple[str, ...], NoDecode, BeforeValidator(read_urls), Field(repr=False)] = ()
    """Where certificates come from: one URL for each source, separated by blanks. Empty: every conventional mount point that
    exists in certferry's own container."""
    discover: Annotated[Literal["on", "off"], BeforeValidator(read_word)] = "on"
    """Whether proxies are looked for among the containers, so that their stores become sources by themselves: `on` or `off`."""
    observe: Annotated[Literal["on", "off"], BeforeValidator(read_switch)] = "off"
    """Whether certferry only looks and reports what it would do, in all containers: `on` or `off`. Nothing is written or
    reloaded."""
    docker_host: Annotated[str, BeforeValidator(read_docker_host)] = "unix:///var/run/docker.sock"
    """The Docker Engine. Without it `DOCKER_HOST` is read."""
    label_prefix: Annotated[str, BeforeValidator(read_label_prefix)] = "certferry."
    """What the labels of mail containers begin with; another one keeps two certferries on one engine apart."""
    workers: Annotated[int, Field(ge=1, le=64)] = 4
    """How many containers are worked on at a time."""
    batch_window: Annotated[Duration, Field(ge=0.0, le=60.0)] = 0.25
    """How long changes are collected before a container is worked on, so that several cost one reload."""
    resync: Annotated[Duration, Field(ge=1.0, le=365 * 86400.0)] = 600.0
    """How often each container is compared without any event (± 10 %). Nothing is written where nothing differs."""
    settle: Annotated[Duration, Field(ge=0.0, le=600.0)] = 3.0
    """How long after a reload the ports are probed a second time."""
    verify_timeout: Timeout = 15.0
    """How long the ports may take to hand out the new certificate after a reload."""
    start_grace: Annotated[Duration, Field(ge=0.0, le=3600.0)] = 60.0
    """How long the ports of a starting container may stay closed."""
    exec_timeout: Timeout = 30.0
    """How long a command inside a container may run."""
    engine_timeout: Timeout = 20.0
    """How long the Docker Engine may take to answer."""
    probe_timeout: Timeout = 10.0
    """How long one handshake may take. Postfix' postscreen greets strangers after 6 s."""
    drain: Annotated[Duration, Field(ge=0.0, le=600.0)] = 5.0
    """How long running work may go on after SIGTERM. The process ends within two seconds more, whatever hangs; Docker kills
    after 10 s."""
    retry_min: Timeout = 1.0
    """The wait after a first failure; it doubles with each further one."""
    retry_max: Annotated[Duration, Field(ge=0.1, le=86400.0)] = 300.0
    """The longest wait between two attempts."""
    extra_roots: Annotated[Path | None, BeforeValidator(read_path)] = None
    """A file or a folder with roots (PEM or DER) that are trusted beside those of certferry's image: your own CA's, or newer
    ones. Read at the start."""
    http: Annotated[Address | None, NoDecode, BeforeValidator(read_address)] = Address("127.0.0.1", 9469)
    """Where status, health and metrics are served, or `off`."""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(read_word)] = "info"
    """The least severe messages that are logged: `debug`, `info`, `warning` or `error`."""
    log_format: Annotated[Literal["auto", "json", "console"], BeforeValidator(read_word)] = "auto"
    """How log lines look: `json`, `console`, or `auto` for `console` on a terminal and `json` elsewhere."""

    @property
    def containers(self) -> str:
        """Whose labels are read: the same for two processes that would act on the same containers."""
        return f"{self.docker_host} {self.label_prefix.removesuffix('.')}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing but what it is given: `load_settings` reads the places itself, to name the right one in a message."""
        return (init_settings,)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and one line for each variable of the older tool that was understood."""

    settings: Settings
    translations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Layer:
    """What one place says, and what the operator calls a field there."""

    values: Mapping[str, Any] = field(repr=False)
    name_of: Callable[[str], str]


class _Environment(EnvSettingsSource):
    """The given environment in place of the process's own."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(Settings)
        self.env_vars = {name.lower(): value for name, value in environ.items() if value.strip()}


def load_settings(environ: Mapping[str, str] = os.environ, *, root: Path = Path("/")) -> Loaded:
    """Read environment, secrets and TOML file, the earlier before the later; an empty variable counts as not set.

    Raises:
        SettingsError: one line for each problem, naming the variable, its value and what is expected.
    """
    problems = list(_unknown_variables(environ))
    layers = [
        _Layer(_Environment(environ)(), variable),
        _read_secrets(root / "run/secrets", problems),
        _read_toml(environ.get(CONFIG, "").strip(), problems),
    ]
    given = {field for layer in layers for field in layer.values}
    older = older_tool.translate(environ, given=given, root=root)
    problems += older.problems
    layers.append(_Layer(older.values, variable))
    if environ.get("DOCKER_HOST", "").strip():
        layers.append(_Layer({"docker_host": environ["DOCKER_HOST"]}, lambda _field: "DOCKER_HOST"))
    settings = _validate(layers, problems)
    if settings is None or problems:
        raise SettingsError("\n".join(problems))
    return Loaded(settings, older.lines)


def variable(field: str) -> str:
    """The environment variable of a field."""
    return f"{PREFIX}{field.upper()}"


def _unknown_variables(environ: Mapping[str, str]) -> Iterator[str]:
    known = [CONFIG, *map(variable, Settings.model_fields)]
    for name in sorted(environ):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            yield f"{name}={shown(environ[name])}: unknown setting; {_nearest(name.upper(), known)}"


def _read_secrets(directory: Path, problems: list[str]) -> _Layer:
    values: Mapping[str, Any] = {}
    try:
        if directory.is_dir():
            values = SecretsSettingsSource(Settings, secrets_dir=directory)()
    except (OSError, ValueError) as error:
        problems.append(f"{directory}: a secret cannot be read: {error}")
    return _Layer(values, lambda field: f"{directory}/{variable(field).lower()}")


def _read_toml(path: str, problems: list[str]) -> _Layer:
    values: dict[str, Any] = {}
    try:
        if path and not Path(path).is_file():
            raise FileNotFoundError("there is no such file")
        values = TomlConfigSettingsSource(Settings, toml_file=path or None)()
    except (OSError, ValueError) as error:
        problems.append(f"{CONFIG}={shown(path)}: expected a readable TOML file: {error}")
    problems += [
        f"{path}: {key}={shown(values.pop(key))}: unknown setting; {_nearest(key, Settings.model_fields)}"
        for key in sorted(values.keys() - Settings.model_fields.keys())
    ]
    return _Layer(values, lambda field: f"{path}: {field}")


def _validate(layers: Sequence[_Layer], problems: list[str]) -> Settings | None:
    merged = {field: value for layer in reversed(layers) for field, value in layer.values.items()}
    try:
        settings = Settings(**merged)
    except ValidationError as errors:
        wrong = {str(error["loc"][0]): error for error in reversed(errors.errors())}
        for field, error in reversed(wrong.items()):
            name = next(layer.name_of(field) for layer in layers if field in layer.values)
            reason = str(error.get("ctx", {}).get("error", "")) or expected_of(field)
            problems.append(f"{name}={shown(merged[field])}: {reason}")
        return None
    if settings.retry_min > settings.retry_max:
        problems.append(f"{variable('retry_min')} is longer than {variable('retry_max')}: expected it to be at most that")
    return settings


def describe_default(field: str) -> str:
    """The default as an operator would write it."""
    default = Settings.model_fields[field].default
    return format_duration(default) if isinstance(default, float) else "" if default in ((), None) else str(default)


def expected_of(field: str) -> str:
    """What a field takes, in words, from its type and range."""
    info = Settings.model_fields[field]
    if get_origin(info.annotation) is Literal:
        return f"expected {', '.join(get_args(info.annotation))}"
    low = next(item.ge for item in info.metadata if hasattr(item, "ge"))
    high = next(item.le for item in info.metadata if hasattr(item, "le"))
    if info.annotation is int:
        return f"expected a whole number from {low} to {high}"
    return f"expected a duration from {format_duration(low)} to {format_duration(high)}, such as 30s, 5m or 250ms"


def _nearest(name: str, known: Collection[str]) -> str:
    return f"the nearest known is {get_close_matches(name[:80], known, n=1, cutoff=0.0)[0]}"
