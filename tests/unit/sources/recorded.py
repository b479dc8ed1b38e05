"""Where the recorded data stands, and what is known about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from controller.domain.snapshot import Entry

DATA = Path(__file__).parents[2] / "data"

MAIL = ("mail.example.test",)
IMAP = ("imap.example.test", "pop.example.test", "smtp.example.test")
WILD = ("*.wild.example.test", "wild.example.test")

NAMES: dict[str, list[tuple[str, tuple[str, ...]]]] = {
    "traefik-v3/01-account-no-certificates.json": [],
    "traefik-v3/02-first-certificate-rsa4096.json": [("le-rsa/mail.example.test", MAIL)],
    "traefik-v3/03-second-certificate-ec256-sans.json": [
        ("le-ec/imap.example.test", IMAP),
        ("le-rsa/mail.example.test", MAIL),
    ],
    "traefik-v3/04-third-certificate-wildcard.json": [
        ("le-dns/*.wild.example.test", WILD),
        ("le-ec/imap.example.test", IMAP),
        ("le-rsa/mail.example.test", MAIL),
    ],
    "traefik-v3/05-before-renewal.json": [("le-ec/imap.example.test", IMAP), ("le-rsa/mail.example.test", MAIL)],
    "traefik-v3/06-after-renewal.json": [("le-ec/imap.example.test", IMAP), ("le-rsa/mail.example.test", MAIL)],
    "traefik-v3/07-domain-lists-fewer-names-than-certificate.json": [
        ("le-dns/*.wild.example.test", WILD),
        ("le-ec/imap.example.test", IMAP),
        ("le-rsa/mail.example.test", MAIL),
        ("le-rsa/web.example.test", ("mail.example.test", "web.example.test")),
    ],
    "traefik-v3.0.4/acme.json": [("le-ec/imap.example.test", IMAP), ("le-rsa/mail.example.test", MAIL)],
    "traefik-v1-file/00-created.json": [],
    "traefik-v1-file/01-account-no-certificates.json": [],
    "traefik-v1-file/02-first-certificate.json": [("mail.example.test", MAIL)],
    "traefik-v1-file/03-both-certificates.json": [("mail.example.test", MAIL), ("imap.example.test", IMAP)],
    "traefik-v1-file/04-after-renewal.json": [("mail.example.test", MAIL), ("imap.example.test", IMAP)],
    "traefik-v1-file/05-old-format-1.5-backup.json": [("mail.example.test", MAIL), ("imap.example.test", IMAP)],
    "traefik-v1-file/06-old-format-converted.json": [("mail.example.test", MAIL), ("imap.example.test", IMAP)],
}
"""Label and real names of each entry, by the recorded file."""


def read(name: str) -> bytes:
    return (DATA / name).read_bytes()


def read_json(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(read(name))
    return document


def labels_and_names(entries: tuple[Entry, ...]) -> list[tuple[str, tuple[str, ...]]]:
    return [(entry.label, tuple(sorted(entry.certificate.leaf.names))) for entry in entries]


def fingerprints(entries: tuple[Entry, ...]) -> list[str]:
    return [entry.certificate.fingerprint for entry in entries]
