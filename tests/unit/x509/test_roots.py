"""The operator's own roots, beside those of the system."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from controller.domain.certificate import Trust
from controller.domain.errors import CertificateError
from controller.x509 import roots
from controller.x509.judging import judge
from controller.x509.roots import trusted_roots, use_extra_roots
from tests.unit.x509.making import NOW, Made, intermediate, leaf, root

OURS, OTHERS = root("Our root"), root("Another root")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    roots._Extra.roots = ()
    trusted_roots.cache_clear()


def trust(ca: Made) -> Trust:
    between = intermediate(ca)
    return judge(leaf(between).certificate, [between.certificate], trusted_roots(), NOW).trust


def test_one_file_or_all_of_a_folder_in_pem_or_der_are_trusted_beside_the_systems(tmp_path: Path) -> None:
    systems = len(list(trusted_roots().pool))
    (tmp_path / "ours.pem").write_bytes(OURS.pem)
    (tmp_path / "others.der").write_bytes(OTHERS.certificate.x509.public_bytes(Encoding.DER))
    (tmp_path / "README").write_text("our roots")
    use_extra_roots(tmp_path / "ours.pem")
    assert (trust(OURS), trust(OTHERS)) == (Trust.PUBLIC, Trust.ROOT_UNKNOWN)
    use_extra_roots(tmp_path)
    assert (trust(OURS), trust(OTHERS)) == (Trust.PUBLIC, Trust.PUBLIC)
    assert len(list(trusted_roots().pool)) == systems + 2


def test_what_holds_none_is_told_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "ours.pem").write_bytes(OURS.pem)
    use_extra_roots(tmp_path)
    (tmp_path / "half.pem").write_bytes(OTHERS.pem[:-50])
    with pytest.raises(CertificateError, match=r"half\.pem: "):
        use_extra_roots(tmp_path)
    with pytest.raises(FileNotFoundError):
        use_extra_roots(tmp_path / "nowhere")
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(CertificateError, match="it holds no certificate"):
        use_extra_roots(empty)
    assert trust(OURS) is Trust.PUBLIC


def test_an_intermediate_is_no_root_and_it_is_said_which_one_to_name(tmp_path: Path) -> None:
    (tmp_path / "between.pem").write_bytes((between := intermediate(OURS)).pem)
    with pytest.raises(CertificateError, match=f"it holds no root: {between.certificate.shown} was signed by Our root"):
        use_extra_roots(tmp_path)
    (tmp_path / "ours.pem").write_bytes(OURS.pem)
    use_extra_roots(tmp_path)
    assert trust(OURS) is Trust.PUBLIC
    assert judge(leaf(between).certificate, [], trusted_roots(), NOW).trust is Trust.INCOMPLETE


def test_they_are_read_once_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "ours.pem").write_bytes(OURS.pem)
    use_extra_roots(tmp_path)
    (tmp_path / "ours.pem").unlink()
    assert trust(OURS) is Trust.PUBLIC
