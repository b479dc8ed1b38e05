"""The question to a running docker-mailserver, as shell text, and its answer.

Nothing is printed of a setting that holds a key itself: a value of Dovecot's that does not begin as a path is replaced by a
mark before it leaves the container.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from shlex import quote

CHECKSUMS = "/tmp/docker-mailserver-config-chksum"  # noqa: S108 -- the detector's own file (helpers/change-detection.sh)
LOCK = "/tmp/docker-mailserver/check-for-changes.sh.lock"  # noqa: S108 -- there while it deals with a change (helpers/lock.sh)
INLINE = "!"
"""Stands for a value that is no path."""
MOST = 20_000
"""Characters of an answer that are read; a real one has some 2,000."""
LONGEST_PATH = 4096

_TEXT = r"""a=/etc/letsencrypt/acme.json
[ -f "$a" ] && echo acme.json && grep -qxF "$(sha512sum "$a")" RECORD && echo acme.json seen
b=
for p in /proc/[0-9]*/comm; do
read -r c <"$p" && case $c in check-for-chang*) t=; read -r _ _ t _ <"${p%comm}stat"
case $t in [TtZX]) ;; *) echo detector ;; esac ;; start-mailserve*) b=1; echo starting ;; esac
done
grep -F WANTED RECORD
[ -e LOCK ] && echo busy
echo "recorded $(stat -c %Z RECORD) $(date +%s)"
postfix() {
s=$(grep -h -e '^DMS_CONFIG_POLL=' -e 'smtpd_tls_.*_file' /etc/dms-settings /etc/postfix/master.cf)
c=$(timeout 3 postconf -x smtpd_tls_chain_files smtpd_tls_cert_file smtpd_tls_key_file \
smtpd_tls_eccert_file smtpd_tls_eckey_file tls_server_sni_maps
case $s in *smtpd_tls_*) timeout 3 postconf -x -P '*/*/smtpd_tls_chain_files' '*/*/smtpd_tls_cert_file' \
'*/*/smtpd_tls_key_file' '*/*/smtpd_tls_eccert_file' '*/*/smtpd_tls_eckey_file' ;;
esac)
printf '%s\n' "${s%%smtpd_tls_*}" "$c" | grep -v -e '-----BEGIN'
set -f
IFS=' ,
'
set --
for w in $c; do case $w in /etc/dms/tls/* | /etc/letsencrypt/live/*) ;; /*) set -- "$@" "$w" ;; esac; done
[ $# = 0 ] || grep -l -e '-----BEGIN .*PRIVATE KEY-----' -- "$@" | while IFS= read -r f; do printf 'key %s\n' "$f"; done
}
dovecot() {
grep -rhE -A9 '^[[:space:]]*local(_name)?[[:space:]]' /etc/dovecot | grep -qE 'ssl_cert|cert_file' && echo local_name
timeout 3 doveconf -P ssl_cert ssl_key ssl_alt_cert ssl_alt_key \
ssl_server/cert_file ssl_server/key_file ssl_server/alt_cert_file ssl_server/alt_key_file |
while IFS= read -r l; do case $l in
ssl_*' = <'*) printf '%s\n' "$l" ;;
'  '*_file' = /'*) printf 'ssl_server_%s\n' "${l#  }" ;;
ssl_*' = '?*) printf '%s = !\n' "${l%% = *}" ;;
'  '*_file' = '?*) l=${l#  }; printf 'ssl_server_%s = !\n' "${l%% = *}" ;;
esac; done
}
[ -z "$b" ] && command -v postconf >/dev/null && postfix &
[ -z "$b" ] && command -v doveconf >/dev/null && dovecot &
wait"""
"""What of it costs time is run side by side, and services are asked one by one only where ``master.cf`` has such a setting.
While the start goes on the configuration is still being made. A script shows in ``comm`` by the first 15 bytes of its name
(proc(5))."""

_POSTFIX = (("cert_file", "key_file"), ("eccert_file", "eckey_file"))
"""The older pairs of settings, which count where there are no chain files."""
_PAIRS = (
    ("ssl_cert", "ssl_key"),
    ("ssl_alt_cert", "ssl_alt_key"),
    ("ssl_server_cert_file", "ssl_server_key_file"),
    ("ssl_server_alt_cert_file", "ssl_server_alt_key_file"),
)


@dataclass(frozen=True, slots=True)
class Used:
    """A pair that a service is set to use: one file for both, or two, and a third for the rest of the chain."""

    service: str
    key: PurePosixPath
    certificate: PurePosixPath
    chain: PurePosixPath | None = None
    alternative: bool = False


@dataclass(frozen=True, slots=True)
class Answers:
    """What a running docker-mailserver says of itself. `sums` are the SHA-512 that its detector keeps, by path."""

    starting: bool = False
    detector: bool = False
    busy: bool = False
    """The detector deals with a change, or a killed one has left its lock."""
    acme_json: bool = False
    acme_seen: bool = False
    """Its detector took note of ``acme.json`` as it is."""
    poll: str = ""
    recorded: float | None = None
    """Seconds since the detector recorded what it met; ``None`` where it did not."""
    sums: dict[PurePosixPath, str] = field(default_factory=dict)
    used: tuple[Used, ...] = ()
    inline: tuple[str, ...] = ()
    """Settings that hold a certificate or key themselves."""
    by_name: tuple[str, ...] = ()
    """Settings that name further certificates, each for a name that a client asks for."""
    told: bool = False
    """Postfix or Dovecot said anything of its settings."""


def ask(paths: Iterable[str]) -> str:
    """Shell text that prints what `read` understands; `paths` are those whose checksums are asked for."""
    wanted = " ".join(f"-e {quote(f'  {path}')}" for path in dict.fromkeys(paths)) or "-e '  /etc/letsencrypt/'"
    return f"{{\n{_TEXT.replace('RECORD', CHECKSUMS).replace('LOCK', LOCK).replace('WANTED', wanted)}\n}} 2>/dev/null"


def read(text: str) -> Answers:
    """Undo `ask`. What it does not print is passed over."""
    lines = text[:MOST].splitlines()
    settings = {name: value for line in lines if (pair := _setting(line)) for name, value in (pair,)}
    keys = {PurePosixPath(line[4:]) for line in lines if line.startswith("key /")}
    sums = {PurePosixPath(found[2]): found[1] for line in lines if (found := re.fullmatch(r"([0-9a-f]{128})  (/.*)", line))}
    polls = [found[1] for line in lines if (found := re.fullmatch(r"DMS_CONFIG_POLL='?([^']*)'?", line))]
    maps = any(re.fullmatch(r"tls_server_sni_maps = ?\S.*", line) for line in lines)
    by_name = (("local_name of Dovecot", "local_name" in lines), ("tls_server_sni_maps of Postfix", maps))
    recorded = [re.fullmatch(r"recorded (\d{1,12}) (\d{1,12})", line) for line in lines]
    return Answers(
        starting="starting" in lines,
        detector="detector" in lines,
        busy="busy" in lines,
        acme_json="acme.json" in lines,
        acme_seen="acme.json seen" in lines,
        poll=polls[0] if polls else "",
        recorded=next((float(int(found[2]) - int(found[1])) for found in recorded if found), None),
        sums=sums,
        used=(*_used_by_postfix(settings, keys), *_used_by_dovecot(settings)),
        inline=tuple(name for name, value in settings.items() if value == INLINE),
        by_name=tuple(told for told, there in by_name if there),
        told=bool(settings),
    )


def _setting(line: str) -> tuple[str, str] | None:
    """Of Postfix (``name = value``, of one service ``service/type/name = value``), or of Dovecot."""
    found = re.fullmatch(r"((?:[\w.:*-]+/\w+/)?(?:smtpd_tls|ssl)_\w+) = ?(.*)", line)
    return (found[1], found[2].strip()) if found else None


def _used_by_postfix(settings: dict[str, str], keys: set[PurePosixPath]) -> list[Used]:
    """The main configuration, then each service with settings of its own: its chain files, else its older pair of settings,
    which counts for nothing beside chain files (postconf(5), ``smtpd_tls_chain_files``)."""
    used: list[Used] = []
    for prefix in dict.fromkeys(("", *(name.rpartition("smtpd_tls_")[0] for name in settings if "smtpd_tls_" in name))):
        service = f"Postfix ({prefix.rstrip('/')})" if prefix else "Postfix"
        own = {name.removeprefix(prefix): value for name, value in settings.items() if name.startswith(f"{prefix}smtpd_tls_")}
        chain = own.get(_CHAIN)
        if paths := [PurePosixPath(word) for word in re.split(r"[\s,]+", chain or "") if _is_path(word)]:
            used += _read_chain(service, paths, keys)
        elif not (settings.get(_CHAIN) if chain is None else chain):
            used += _read_older(service, own, settings)
    return used


_CHAIN = "smtpd_tls_chain_files"


def _read_older(service: str, own: dict[str, str], main: dict[str, str]) -> list[Used]:
    """The pairs that a service has of its own, if half; a key that is not set is the certificate's file."""
    used: list[Used] = []
    for certificate, key in ((f"smtpd_tls_{c}", f"smtpd_tls_{k}") for c, k in _POSTFIX):
        if certificate not in own and key not in own:
            continue
        chain = own.get(certificate, main.get(certificate, ""))
        of_main = "" if main.get(key) == main.get(certificate) else main.get(key, "")
        held = own.get(key) or of_main
        if _is_path(chain):
            path = PurePosixPath(chain)
            used.append(Used(service, PurePosixPath(held) if _is_path(held) else path, path, alternative=bool(used)))
    return used


def _read_chain(service: str, paths: list[PurePosixPath], keys: set[PurePosixPath]) -> list[Used]:
    """Each key is followed by its certificates, in the same file or in the next ones."""
    present = keys.intersection(paths)
    starts = [n for n, path in enumerate(paths) if (path in present if present else n % 2 == 0)]
    used = []
    for position, (start, end) in enumerate(zip(starts, [*starts[1:], len(paths)], strict=True)):
        key, *rest = paths[start:end]
        chain = rest[1] if len(rest) > 1 else None
        used.append(Used(service, key, rest[0] if rest else key, chain, alternative=position > 0))
    return used[:2]


def _used_by_dovecot(settings: dict[str, str]) -> list[Used]:
    used = []
    for certificate, key in _PAIRS:
        paths = [settings.get(name, "").removeprefix("<").strip() for name in (certificate, key)]
        if all(map(_is_path, paths)):
            pair = [PurePosixPath(path) for path in paths]
            used.append(Used("Dovecot", pair[1], pair[0], alternative="_alt_" in certificate))
    return used


def _is_path(text: str) -> bool:
    return text.startswith("/") and len(text) <= LONGEST_PATH and text.isprintable()
