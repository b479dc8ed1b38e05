"""The certificate archive of a Synology NAS, DSM 6.2 to 7.3: a folder of six random characters for each certificate.

DSM may give a renewed certificate another folder, so a folder's name decides nothing: the names in the certificate do.
``INFO`` (JSON) has a description and the services that use each; ``DEFAULT`` names one. DSM 7.3 keeps an RSA and an ECC set
side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from controller.domain.errors import CertificateError, OtherStore, SourceMalformed, SourceUnavailable
from controller.x509.leaves import parse_leaf
from sources.foreign_json import parse_json
from sources.layout import Layout, StoreOptions, Tree
from sources.pairs import Contents, RawPair, label_of
from sources.parts import folders, is_there, read_part

_SETS = ("RSA-", "ECC-", "")
_QUICKCONNECT = "quickconnect"
_USERS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class _Info:
    """What ``INFO`` tells of one folder."""

    description: str = ""
    users: tuple[str, ...] = ()


def read(tree: Tree, _options: StoreOptions) -> Contents:
    """Every pair of the archive but QuickConnect's.

    Raises:
        SourceUnavailable: it is not the archive.
    """
    names = tree.names()
    contents = Contents(blank=not names)
    subfolders = folders(tree, contents)
    _check(tree, names, subfolders)
    infos = _read_info(tree, contents) if "INFO" in names else {}
    default = _read_default(tree) if "DEFAULT" in names else ""
    for folder in subfolders:
        info = infos.get(folder, _Info())
        if _QUICKCONNECT not in info.description.lower():
            _read_folder(tree, folder, _label(folder, info, is_default=folder == default), contents)
    return contents


def _read_folder(tree: Tree, folder: str, label: str, contents: Contents) -> None:
    """The sets of one folder; files without prefix may be the same as one of the others."""
    met: set[bytes] = set()
    for prefix in _SETS:
        if not _holds(tree, folder, prefix):
            continue
        where, _, description = label.partition("/")
        set_label = "/".join(part for part in (where, prefix.rstrip("-"), description) if part)
        with contents.entry(set_label, lost="import the certificate again in DSM, with its key"):
            pair = _read_set(tree, folder, prefix, set_label)
            if pair.certificate_pem not in met and not _is_quickconnect(pair):
                contents.pairs.append(pair)
            met.add(pair.certificate_pem)


def _files(prefix: str) -> tuple[str, str, str]:
    return f"{prefix}fullchain.pem", f"{prefix}cert.pem", f"{prefix}privkey.pem"


def _holds(tree: Tree, folder: str, prefix: str) -> bool:
    return any(is_there(tree, f"{folder}/{file}") for file in _files(prefix))


def _read_set(tree: Tree, folder: str, prefix: str, label: str) -> RawPair:
    fullchain, cert, key = (f"{folder}/{file}" for file in _files(prefix))
    file = fullchain if is_there(tree, fullchain) else cert
    chain = read_part(tree, file)
    rest = f"{folder}/{prefix}chain.pem"
    if (
        chain.count(b"-----BEGIN CERTIFICATE") == 1 and tree.kind(rest) == "file"
    ):  # some scripts put the whole chain into cert.pem
        chain += b"\n" + read_part(tree, rest)
    return RawPair(label, chain, read_part(tree, key), files=(file, key))


def _is_quickconnect(pair: RawPair) -> bool:
    try:
        return any(_QUICKCONNECT in name for name in parse_leaf(pair.certificate_pem).names)
    except CertificateError:
        return False  # what is wrong with it is told elsewhere


def _label(folder: str, info: _Info, *, is_default: bool) -> str:
    """The folder, who uses the certificate, and its description, which mostly is the name of the host."""
    users = ", ".join((("default",) if is_default else ()) + info.users[:_USERS_SHOWN]).replace("/", " ")
    where = f"{folder} ({users})" if users else folder
    return label_of("/".join(part for part in (where, info.description.replace("/", " ")) if part))


def _read_info(tree: Tree, contents: Contents) -> dict[str, _Info]:
    with contents.entry("INFO"):
        try:
            found = parse_json(tree.read("INFO"))
        except ValueError as error:
            raise SourceMalformed("INFO is not JSON; descriptions are missing until DSM writes it again") from error
        return {folder: _parse_info(info) for folder, info in found.items()} if isinstance(found, dict) else {}
    return {}


def _parse_info(info: Any) -> _Info:
    if not isinstance(info, dict):
        return _Info()
    services = info.get("services")
    users = (s.get("subscriber") for s in services if isinstance(s, dict)) if isinstance(services, list) else ()
    named = dict.fromkeys(user for user in users if isinstance(user, str) and user != "system")
    description = info.get("desc")
    return _Info(description if isinstance(description, str) else "", tuple(named))


def _read_default(tree: Tree) -> str:
    try:
        return tree.read("DEFAULT").decode("ascii", "replace").strip()
    except (SourceUnavailable, SourceMalformed):
        return ""  # it is shown and decides nothing


def _check(tree: Tree, names: list[str], subfolders: list[str]) -> None:
    if "_archive" in names:
        raise SourceUnavailable(f"{tree.where} is the folder above the archive; name {tree.where.rstrip('/')}/_archive")
    if any(file in names for prefix in _SETS for file in _files(prefix)):
        raise SourceUnavailable(
            f"{tree.where} is the folder of one certificate, and another one may take its place at a renewal;"
            " name /usr/syno/etc/certificate/_archive"
        )
    if names and "INFO" not in names and not any(_holds(tree, folder, prefix) for folder in subfolders for prefix in _SETS):
        raise OtherStore(f"{tree.where} is no certificate archive of DSM: it holds no INFO; correct the path")


SYNOLOGY = Layout(kind="synology", read=read, remedy="renew or import it again in DSM", folders=("*",))
