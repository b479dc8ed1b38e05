"""What an order that failed leaves in each kind of store: passed over, or told by file, cause and remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.certs import Authority, key_pem, new_key
from tests.unit.sources.planted import Reader
from tests.unit.sources.trees import SHAPES

NAME, NEW = "mail.example.test", "new.example.test"
BY_NAME = {shape.name: shape for shape in SHAPES}
PAIR = Authority().issue(NAME)

ORDERED = "it is being ordered, or the last order failed: see the log of the companion"
BY_CADDY = "Caddy is ordering it, or its last order failed: see its log"
ISSUER = "certificates/acme-v02.api.letsencrypt.org-directory"

LEFT: list[tuple[str, tuple[str, ...], str]] = [
    ("certbot", (f"live/{NEW}/", f"archive/{NEW}/"), ""),
    ("certbot", (f"live/{NEW}/README",), ""),
    ("certbot", (f"live/{NEW}/privkey.pem",), f"live/{NEW}/fullchain.pem is missing; certbot renews it by: certbot renew"),
    (
        "certbot",
        (f"live/{NEW}/fullchain.pem", f"live/{NEW}/privkey.pem"),
        f"live/{NEW}/fullchain.pem: it is empty; let certbot renew",
    ),
    ("companion", (f"{NEW}/",), ""),
    ("companion", (f"{NEW}/.companion",), ""),
    ("companion", (f"_test_{NEW}/",), ""),
    ("companion", (f"{NEW}/key.pem",), f"{NEW}/fullchain.pem is missing; {ORDERED}"),
    ("companion", (f"{NEW}/key.pem", f"{NEW}/fullchain.pem"), f"{NEW}/fullchain.pem: it is empty; let the companion ask"),
    ("caddy", (f"{ISSUER}/{NEW}/",), ""),
    ("caddy", (f"{ISSUER}/{NEW}/{NEW}.json",), ""),
    ("caddy", ("certificates/another-issuer/",), ""),
    ("caddy", (f"{ISSUER}/{NEW}/{NEW}.key",), f"{ISSUER}/{NEW}/{NEW}.crt is missing; {BY_CADDY}"),
    ("caddy-v1", (f"acme/acme-v02.api.letsencrypt.org/sites/{NEW}/",), ""),
    ("dsm-6", ("Ab12Cd/",), ""),
    ("dsm-6", ("Ab12Cd/privkey.pem",), "Ab12Cd/cert.pem is missing; import the certificate again in DSM, with its key"),
    ("pem-folders", (f"{NEW}/",), ""),
    ("pem-folders", (f"{NEW}/{NEW}.csr", f"{NEW}/{NEW}.conf"), ""),
    ("pem-folders", (f"{NEW}/cert-1763000000.pem",), ""),
    ("pem-folders", (f"{NEW}/{NEW}.cer",), f"{NEW}/{NEW}.cer is empty; bring the right file"),
    (
        "pem-folders",
        (f"{NEW}/{NEW}.key:key",),
        f"{NEW}/{NEW}.key is a key without certificate: none of the files holds one for it",
    ),
]


def leave(root: Path, path: str) -> None:
    """An empty folder, an empty file, or a key."""
    name, _, what = path.partition(":")
    file = root / name
    if name.endswith("/"):
        file.mkdir(parents=True)
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(key_pem(new_key()) if what else b"")


@pytest.mark.parametrize(("name", "left", "said"), LEFT, ids=[f"{name}: {', '.join(left)}" for name, left, _ in LEFT])
async def test_what_an_order_that_failed_leaves_hides_no_other_pair(tmp_path, name, left, said):
    shape = BY_NAME[name]
    shape.lay_out({NAME: PAIR}).write(tmp_path)
    for path in left:
        leave(tmp_path, path)
    found = await Reader(shape.layout, tmp_path).load()
    assert [entry.certificate.fingerprint for entry in found.entries] == [PAIR.certificate.fingerprint]
    messages = [problem.message for problem in found.problems]
    assert [message.startswith(said) for message in messages] == [True] * bool(said), messages


def test_every_kind_that_has_folders_is_tried():
    tried = {BY_NAME[name].kind for name, _, _ in LEFT}
    assert tried == {shape.kind for shape in SHAPES if not shape.focus}
