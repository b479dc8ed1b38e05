"""No class of any package shows in its `repr()` what may hold a key, a password or a token (design, promise 8).

A new class or field that looks as if it could fails here. Hide it (``field(repr=False)``, ``SecretStr``), or say below why it
is public.
"""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
from collections.abc import Iterator
from enum import Enum
from types import ModuleType
from typing import NamedTuple, get_type_hints

import pytest
from pydantic import BaseModel

import controller
import sinks
import sources

PACKAGES = (controller, sources, sinks)

SUSPICIOUS_TYPE = re.compile(r"\b(bytes|bytearray|memoryview|Any|object|Mapping|dict\[str, (str|bytes)\]|Hashable)")
"""Contents, and tables that take whatever is put into them."""
SUSPICIOUS_NAME = re.compile(
    r"passw|passphrase|secret|token|credential|environ|argv|command|labels|check$|url|body|data|content|stdin|options|^value|pem"
    r"|private|headers|authori[sz]ation|auth\b"
)

PUBLIC = {
    "Certificate.leaf_pem": "certificates are shown to every client",
    "Certificate.chain_pem": "certificates are shown to every client",
    "Served.chain_pem": "certificates are shown to every client",
    "_Rank.alike": "the fingerprint, label and chain of a certificate",
    "Opened.certificates": "certificates are shown to every client",
    "Authority.pem": "its certificate; the key is another field",
    "SmtpLine.text": "what a server says to strangers before TLS",
    "Layout.options": "a class, not its values",
    "ContainerStorage.options": "limits and times of files, which are fields of their own below",
    "TlsMaterial.options": "its secrets are SecretStr, which the test of models looks at",
    "Container.addresses": "IP addresses by network",
    "Container.gateways": "IP addresses by network",
    "Choice.left": "why proxies were left",
    "Store.left": "why proxies were left",
    "Store.found": "how sources were found",
    "Reading.known": "digests, and certificates that hide their keys",
    "_Memory.known": "digests, and certificates that hide their keys",
    "_Failure.input": "made of `reconciler._Input`, whose parts are looked at by themselves",
    "_Session.client": "a client of kazoo, which has no repr of its own",
    "NetworkOptions.password_file": "a path",
    "ConsulOptions.password_file": "a path",
    "ConsulOptions.token_file": "a path",
    "PemOptions.password_file": "a path",
}
"""Fields that look as if they could hold a secret, and why they do not."""


class Field(NamedTuple):
    """A field that `repr()` shows."""

    owner: str
    name: str
    kind: str

    def __str__(self) -> str:
        return f"{self.owner}.{self.name}"


def classes() -> Iterator[type]:
    """Every class that a module of the packages defines, those inside of classes among them."""
    for package in PACKAGES:
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                yield from _classes_in(importlib.import_module(found.name))


def _classes_in(holder: ModuleType | type) -> Iterator[type]:
    module = holder.__name__ if isinstance(holder, ModuleType) else holder.__module__
    for thing in vars(holder).values():
        if isinstance(thing, type) and thing.__module__ == module and thing is not holder:
            yield thing
            yield from _classes_in(thing)


def shown_fields(kind: type) -> Iterator[Field]:
    """What the generated `repr()` of a class shows."""
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        yield from (Field(kind.__name__, f.name, str(hints[f.name])) for f in dataclasses.fields(kind) if f.repr)
    elif issubclass(kind, tuple) and hasattr(kind, "_fields"):
        hints = get_type_hints(kind)
        yield from (Field(kind.__name__, name, str(hints[name])) for name in kind._fields)
    elif issubclass(kind, BaseModel):
        yield from (Field(kind.__name__, name, str(f.annotation)) for name, f in kind.model_fields.items() if f.repr)


def suspicious(field: Field) -> bool:
    if "SecretStr" in field.kind:
        return False
    harmless = re.search(r"\b(bool|Callable)\b", field.kind)
    return bool(SUSPICIOUS_TYPE.search(field.kind) or (SUSPICIOUS_NAME.search(field.name) and not harmless))


ALL = list(classes())
SHOWN = [field for kind in ALL for field in shown_fields(kind)]


def test_the_test_itself_sees_every_package_and_every_form_of_class() -> None:
    assert {kind.__module__.partition(".")[0] for kind in ALL} == {"controller", "sources", "sinks"}
    names = {field.owner for field in SHOWN}
    assert {"Container", "FileWrite", "TargetKey", "Settings", "_Option", "Node", "_Layer", "Answer"} <= names
    assert len(SHOWN) > 250


Contents = list[bytes]


@dataclasses.dataclass
class _Careless:
    key_pem: bytes
    by_another_name: Contents
    login: dict[str, str]
    api_token: str
    hidden: bytes = dataclasses.field(repr=False)
    tokens_are_used: bool = False


class _CarelessTuple(NamedTuple):
    stdin: str


class _CarelessModel(BaseModel):
    password: str


def test_the_test_itself_would_notice() -> None:
    careless = (_Careless, _CarelessTuple, _CarelessModel)
    caught = [field.name for kind in careless for field in shown_fields(kind) if suspicious(field)]
    assert caught == ["key_pem", "by_another_name", "login", "api_token", "stdin", "password"]


def test_no_class_shows_a_field_that_may_hold_a_secret() -> None:
    shown = {str(field) for field in SHOWN if suspicious(field)}
    assert shown - PUBLIC.keys() == set(), "hide it, or say in PUBLIC why everybody may see it"


def test_every_exception_from_the_rule_is_still_needed() -> None:
    assert PUBLIC.keys() - {str(field) for field in SHOWN if suspicious(field)} == set()


def test_no_class_writes_a_repr_of_its_own() -> None:
    """The generated ones are looked at above; those of enumerations and plain classes show no contents."""
    own = {
        kind.__name__
        for kind in ALL
        if "__repr__" in vars(kind) and not issubclass(kind, Enum | tuple | BaseModel) and not dataclasses.is_dataclass(kind)
    }
    assert own == set()


def test_what_a_class_says_of_itself_in_messages_was_looked_at() -> None:
    own = {kind.__name__ for kind in ALL if "__str__" in vars(kind) and not issubclass(kind, Enum)}
    assert own == {
        "Address",  # where to listen
        "Adopted",  # container, kind and path of a store
        "Candidate",  # source and label
        "Endpoint",  # host and port
        "Finding",  # reason and message
        "ProbePort",
        "Reload",  # the command as the operator wrote it, for `plan` on the terminal
        "SourceUrl",  # without options
        "TargetKey",
    }


@pytest.mark.parametrize("model", [kind for kind in ALL if issubclass(kind, BaseModel)], ids=lambda kind: kind.__name__)
def test_no_model_quotes_what_it_was_given_in_its_errors(model: type[BaseModel]) -> None:
    """An error that is on the way when another is raised stands in the traceback of that one."""
    assert model.model_config.get("hide_input_in_errors") is True
