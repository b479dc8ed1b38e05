"""Configuration files that nobody wrote for a proxy: each is read as the proxy would, or refused in one line."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
import yaml  # type: ignore[import-untyped]

from sources.recognise import config
from sources.recognise.config import DEEPEST, LONGEST_NAME, MOST_ENTRIES, parse_config
from tests.unit.recognise.looks import container, judge, stores

YAML, TOML, JSON = (PurePosixPath(f"/etc/proxy.{ending}") for ending in ("yaml", "toml", "json"))


def bomb(merge: bool) -> bytes:
    """Each line names the one before it ten times: 10^8 entries in some hundred bytes."""
    names = "bcdefghi"
    lines = ["a: &a {x: 1}"]
    for before, name in zip("a" + names, names, strict=False):
        aliases = ",".join([f"*{before}"] * 10)
        lines.append(f"{name}: &{name} {{<<: [{aliases}]}}" if merge else f"{name}: &{name} [{aliases}]")
    return "\n".join([*lines, "certificatesResolvers: {le: {acme: {storage: *i}}}"]).encode()


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (YAML, bomb(merge=False)),
        (YAML, bomb(merge=True)),
        (YAML, b"[" + b"1," * MOST_ENTRIES + b"]"),
        (YAML, b"a: 1\n" * MOST_ENTRIES),
        (TOML, b"a=[" + b"1," * MOST_ENTRIES + b"]"),
    ],
    ids=["aliases", "merge keys", "list", "names", "TOML"],
)
def test_a_file_with_more_entries_than_any_real_one_is_refused(path, content):
    with pytest.raises(ValueError, match=r"/etc/proxy\.\w+ cannot be parsed: it has more than 10,000 entries"):
        parse_config(path, content)


@pytest.mark.parametrize(
    ("path", "content"),
    [(YAML, b"[" * 250_000), (YAML, b"{" * 250_000), (YAML, b"- " * 125_000), (TOML, b"a=" + b"[" * 250_000)],
)
def test_a_file_that_is_nested_deeper_than_any_real_one_is_refused(path, content):
    with pytest.raises(ValueError, match=f"more than {DEEPEST} sections within each other|maximum nesting depth"):
        parse_config(path, content)


@pytest.mark.parametrize("content", [b"[" * 250_000, b'{"a":' * 50_000], ids=["lists", "objects"])
def test_json_that_is_nested_too_deeply_is_refused(content):
    with pytest.raises(ValueError, match="it is nested too deeply"):
        parse_config(JSON, content)


@pytest.mark.parametrize(
    "content", [".".join(["a"] * 60_000) + "=1", f"[{'.'.join(['a'] * 60_000)}]", " . ".join(["'a'"] * 99) + "=1"]
)
def test_a_name_in_toml_with_more_parts_than_any_real_one_is_refused(content):
    with pytest.raises(ValueError, match=f"more than {LONGEST_NAME} parts"):
        parse_config(TOML, content.encode())


def test_dots_in_strings_and_comments_of_toml_are_no_names():
    dots = "." * 1000
    text = f'# {dots}\na = "{dots}" # {dots} \'\nb = \'\'\'\n{dots}"\'\'\'\nc = """{dots}\\""""\n[d."{dots}"]\ne = [1.5, 2.5]\n'
    assert parse_config(TOML, text.encode()) == {"a": dots, "b": f'{dots}"', "c": f'{dots}"', "d": {dots: {"e": [1.5, 2.5]}}}


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a: 1\nb: [x, ~, '']\nc: {d: null}\n", {"a": "1", "b": ["x", None, ""], "c": {"d": None}}),
        ("a: &x {k: v, l: w}\nb: *x\n", {"a": {"k": "v", "l": "w"}, "b": {"k": "v", "l": "w"}}),
        ("a: &x {k: v, l: w}\nb:\n  k: own\n  <<: *x\n", {"a": {"k": "v", "l": "w"}, "b": {"k": "own", "l": "w"}}),
        (
            "a: &x {k: 1}\nb: &y {k: 2, l: 3}\nc: {<<: [*x, *y]}",
            {"a": {"k": "1"}, "b": {"k": "2", "l": "3"}, "c": {"k": "1", "l": "3"}},
        ),
        ("? [list]\n: x\na: 1\n", {"a": "1"}),
        ("a: 1\na: 2\n", {"a": "2"}),
        ("%YAML 1.1\n---\na: !!str 1\n", {"a": "1"}),
        ("a: 1\n---\nb: 2\n", {"a": "1"}),
        ("", {}),
        ("- a\n", {}),
        ("just text", {}),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
    ],
)
@pytest.mark.parametrize("loader", ["SafeLoader", "CSafeLoader"])
def test_yaml_is_read_as_its_own_reader_does_but_values_stay_text(text, tree, loader, monkeypatch):
    monkeypatch.setattr(config, "_Loader", getattr(yaml, loader))
    assert parse_config(YAML, text.encode()) == tree


def test_many_aliases_of_small_sections_are_no_bomb():
    text = "a: &x {acme: {storage: /acme.json}}\ncertificatesResolvers:\n" + "".join(f"  r{n}: *x\n" for n in range(500))
    assert len(parse_config(YAML, text.encode())["certificatesResolvers"]) == 500


def test_a_traefik_with_thousands_of_files_is_left():
    options = [f"--certificatesresolvers.r{n}.acme.storage=/{n}.json" for n in range(1000)]
    left = judge(container("traefik:v3", "traefik", *options)).left
    assert left == (
        "Traefik, but more than 64 files of certificates are named in its arguments; name those you want in CERTFERRY_SOURCES"
    )
    assert len(stores(judge(container("traefik:v3", "traefik", *options[:64])))) == 64


@pytest.mark.parametrize("option", ["--certificatesresolvers.le.acme.storage=/", "--consul.endpoint=", "--configfile=/"])
def test_what_is_said_of_endless_options_has_an_end(option):
    left = judge(container("traefik:v3", "traefik", option + "a" * 2**20)).left
    assert 0 < len(left) < 3000
