"""What operators write: labels of mail containers, and sources as URLs."""

from __future__ import annotations

from controller.labels import NAMES, parse_labels
from sources.layout import FileOptions
from sources.url import parse_url
from tests.fuzz.target import Target

PREFIX = "certferry."


def _labels(data: bytes) -> None:
    """One label a line, its name without the prefix; every label there is with the first line's value."""
    lines = data.decode(errors="surrogateescape").split("\n")
    labels = {f"{PREFIX}{name}": value for name, _, value in (line.partition("=") for line in lines)}
    parse_labels(labels, prefix=PREFIX, profiles=("generic", "mailu"), sources=("traefik", "caddy"))


def every_label(value: str) -> dict[str, str]:
    """All labels that there are, with the same value."""
    return {f"{PREFIX}{name}": value for name in NAMES}


def _value(data: bytes) -> None:
    parse_labels(
        every_label(data.decode(errors="replace")), prefix=PREFIX, profiles=("generic", "mailu"), sources=("traefik", "caddy")
    )


def _url(data: bytes) -> None:
    parse_url(data.decode(errors="replace")).read_options(FileOptions)


TARGETS = (
    Target(
        "source-url",
        _url,
        lambda: [b"traefik:///traefik/acme.json?poll=5s&name=a", b"etcd://a:2379,b/traefik?user=u", b"//u:p@host/x"],
    ),
    Target(
        "labels",
        _labels,
        lambda: [
            b"domain=mail.example.com,*.example.org\nreload=doveadm reload; postfix reload\ncheck=doveconf -n",
            b"domain=auto\nprobe=25/smtp,465/smtps,993/imaps\nowner=101:101\nmode=0640\nreload=signal:USR2",
            b"domian=x\nsource=traefik\nkey-type=both\ncert-path=/a/b.pem\nkey-path=/a/k.pem",
        ],
    ),
    Target("label-value", _value, lambda: [b"sh -c 'a; b'; doveadm reload", b"mail.example.com", b"25/smtp", b"/tls/key.pem"]),
)
