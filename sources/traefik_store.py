"""Traefik's certificate stores as data: JSON in, pairs of PEM out. No file, no network.

Three layouts are met, told apart by what is there, not by version numbers (field names in any case, as Go reads them):

    v2, v3       {"<resolver>": {"Account": …, "Certificates": [{"domain": {"main"}, "certificate", "key", "Store"}]}, …}
    v1, newer    {"Account": …, "Certificates": [{"Domain": {"Main"}, "Certificate", "Key"}], …}
    v1, older    {"DomainsCertificate": {"Certs": [{"Domains": {"Main"}, "Certificate": {"Certificate", "PrivateKey"}}]}, …}

The last one is also what Traefik v1 keeps in KV stores. Every list and object may be ``null``. Certificates and keys are PEM
in base64. The names beside a certificate may be wrong, so they serve for labels only.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from controller.domain.errors import SourceMalformed, WrongForm
from controller.domain.finding import Reason
from controller.domain.snapshot import Problem
from controller.threads import step
from sources.files import MIB
from sources.foreign_base64 import decode_base64
from sources.foreign_json import TooManyValues, parse_json
from sources.pairs import Contents, RawPair, label_of

REMEDY = "if its name is still needed, see the log of Traefik, which tries to order it anew at each start and once a day"
"""Since v2 a pair that does not fit counts as one that is to be renewed (``provider.go``)."""
_DAMAGED = "Traefik cannot read its store so, either: restore it from a backup"
LARGEST_PART = MIB
"""Characters of a certificate or key in base64; the largest real ones have 30,000."""
# A store has at least one of these, at the top or in a resolver; other JSON has not.
_MARKS = {"account", "certificates", "domainscertificate", "registration"}


def read_store(data: bytes, *, where: str) -> Contents:
    """Find every pair in a store; `where` names it in messages.

    Raises:
        SourceMalformed: the store as a whole does not parse; single entries that do not are problems of the contents.
    """
    document = _parse_json(data, where)
    if not isinstance(document, dict):
        raise SourceMalformed(f"{where} holds a JSON {type(document).__name__}, not an object; correct the path")
    if not _is_store(document):
        raise SourceMalformed(f"{where} is JSON, but no store of Traefik; name the file of its option acme.storage")
    contents = Contents()
    for resolver, entries in _certificate_lists(document):
        if entries is not None and not isinstance(entries, list):
            contents.problems.append(_problem(_label(resolver, "Certificates"), "not a list of certificates"))
            continue
        for position, entry in enumerate(entries or (), start=1):
            step()
            _read_entry(contents, resolver, position, entry)
    return contents


def _parse_json(data: bytes, where: str) -> object:
    try:
        document = parse_json(data)
    except json.JSONDecodeError as error:
        problem = _describe(error)
    except TooManyValues as error:
        problem = f"is no store of Traefik: {error}; correct the path"
    except UnicodeDecodeError:
        problem = "is binary or damaged, not JSON; correct the path, or restore it from a backup"
    except ValueError:
        problem = "is nested too deeply for a store of Traefik; correct the path"
    else:
        return {} if document is None else document
    # Raised out here, because those exceptions hold the text they failed on, and it holds keys.
    raise SourceMalformed(f"{where} {problem}")


def _describe(error: json.JSONDecodeError) -> str:
    if "\0" in error.doc:
        return "is binary or damaged, not JSON; correct the path, or restore it from a backup"
    if error.msg.startswith("Unterminated string") or not error.doc[error.pos :].strip():
        return f"ends in the middle (line {error.lineno}); if it stays so, restore it from a backup"
    return f"is not JSON (line {error.lineno}, column {error.colno}); if it stays so, restore it from a backup"


def _is_store(document: dict[str, object]) -> bool:
    names = {key.lower() for key in document}
    for value in document.values():
        names.update(_fields(value))  # not `|=`, which makes a new set of all for each value
    return bool(names & _MARKS) or not any(document.values())


def _certificate_lists(document: dict[str, object]) -> Iterator[tuple[str, object]]:
    """Each list of certificates with the name of its resolver, which Traefik v1 has not."""
    for name, value in document.items():
        fields = _fields(value)
        if name.lower() == "certificates" and not isinstance(value, dict):
            yield "", value
        elif name.lower() == "domainscertificate" and "certs" in fields:
            yield "", fields["certs"]
        elif "certificates" in fields:
            yield name, fields["certificates"]


def _read_entry(contents: Contents, resolver: str, position: int, entry: object) -> None:
    fields = _fields(entry)
    main = _fields(fields.get("domain", fields.get("domains"))).get("main")
    label = _label(resolver, main if main and isinstance(main, str) else f"#{position}")
    certificate, key = fields.get("certificate"), fields.get("key")
    if isinstance(certificate, dict):
        older = _fields(certificate)
        certificate, key = older.get("certificate"), older.get("privatekey")
    if entry is None or (isinstance(entry, dict) and not (certificate and key)):
        return  # being ordered
    contents.pairs.append(RawPair(label, _text(certificate), _text(key), decode=_decode))


def _text(value: object) -> bytes:
    return value.encode("utf-8", "replace") if isinstance(value, str) else b"?"


def _decode(text: bytes, what: str) -> bytes:
    if len(text) > LARGEST_PART:
        raise WrongForm(f"the {what} is larger than {LARGEST_PART // MIB} MiB; {_DAMAGED}")
    try:
        return decode_base64(text)
    except ValueError as error:
        raise WrongForm(f"the {what} is not base64 text; {_DAMAGED}") from error


def _fields(value: object) -> dict[str, object]:
    """The fields of an object by their lower-case names; nothing else has fields."""
    return {key.lower(): field for key, field in value.items()} if isinstance(value, dict) else {}


def _label(resolver: str, name: str) -> str:
    name = label_of(name)  # both are cut first: a name of megabytes would be copied for each entry
    return label_of(f"{label_of(resolver)}/{name}" if resolver else name)


def _problem(label: str, message: str) -> Problem:
    return Problem(label, Reason.SOURCE_MALFORMED, f"{message}; {_DAMAGED}")
