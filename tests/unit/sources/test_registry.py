"""From URLs to sources."""

import os
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.errors import SettingsError
from controller.ports import Source
from sources import registry
from sources.local import LocalStorage
from sources.registry import CONVENTIONAL, KINDS, conventional
from sources.stored import StoredSource
from sources.surroundings import Surroundings
from sources.url import SourceOptions, SourceUrl, parse_url

URL = "traefik:///traefik/acme.json"
KNOWN = ", ".join(sorted(KINDS))

create = partial(registry.create, surroundings=Surroundings())
create_all = partial(registry.create_all, surroundings=Surroundings())


def stored(source: Source) -> tuple[StoredSource, LocalStorage]:
    assert isinstance(source, StoredSource)
    assert isinstance(source.storage, LocalStorage)
    return source, source.storage


def complaint(*urls: str) -> str:
    with pytest.raises(SettingsError) as caught:
        create_all(urls)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_url_becomes_a_source_of_its_kind_with_its_options():
    source, storage = stored(create(f"{URL}?poll=30s&quiet=1s&max-size=100MiB&name=edge"))
    assert (source.name, storage.path) == ("edge", Path("/traefik/acme.json"))
    options = storage.options
    assert (options.poll, options.quiet, options.max_size) == (30, 1, 100 * 1024 * 1024)


def test_without_options_it_is_inotify_and_64_mebibytes():
    _, storage = stored(create(URL))
    assert (storage.options.poll, storage.options.max_size) == (None, 16 * 1024 * 1024)


@pytest.mark.parametrize(("url", "name"), [(URL, "given"), (f"{URL}?name=own", "own")])
def test_the_name_in_the_url_counts_more_than_the_given_one(url, name):
    assert create(url, name="given").name == name


def test_sources_without_a_name_are_numbered_around_the_names_that_are_taken():
    sources = create_all([URL, f"{URL}?name=edge", URL, f"{URL}?name=traefik-2", URL])
    assert [source.name for source in sources] == ["traefik", "edge", "traefik-3", "traefik-2", "traefik-4"]


def test_percent_signs_in_a_path_are_decoded():
    _, storage = stored(create("traefik:///my%20traefik/%23acme.json"))
    assert storage.path == Path("/my traefik/#acme.json")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("trafik:///a.json", "trafik:///a.json: unknown kind of source trafik; did you mean traefik?"),
        ("ldap:///a.json", f"ldap:///a.json: unknown kind of source ldap; known are {KNOWN}"),
        ("/traefik/acme.json", "'/traefik/acme.json' is no URL of a source; write one such as traefik:///traefik/acme.json"),
        ("", "'' is no URL of a source; write one such as traefik:///traefik/acme.json"),
        (
            "traefik://traefik/acme.json",
            "traefik://traefik/acme.json: 'traefik' stands where a host name belongs; did you mean traefik:///traefik/acme.json?",
        ),
        ("traefik:acme.json", "traefik:acme.json is relative; did you mean traefik:///acme.json?"),
        ("traefik://", "traefik:// names no path; write one such as traefik:///traefik/acme.json"),
        ("traefik:///", "traefik:/// names no path; write one such as traefik:///traefik/acme.json"),
        ("traefik:///traefik/", "traefik:///traefik/ names a directory; did you mean traefik:///traefik/acme.json?"),
        ("traefik:///a/../b", "traefik:///a/../b leads upwards with '..' or holds a NUL; write the plain path"),
        ("traefik:///a/%2e%2e/b", "traefik:///a/../b leads upwards with '..' or holds a NUL; write the plain path"),
        ("traefik:///a%00b", "traefik:///a\0b leads upwards with '..' or holds a NUL; write the plain path"),
        ("traefik:///a.json#1", "traefik:///a.json: write a # in a path as %23"),
        (
            "traefik://[/a.json",
            "traefik://[/a.json: '[' stands where a host name belongs; did you mean traefik:///[/a.json?",
        ),
        ("traefik:///a.json?pol=30s", "traefik:///a.json: unknown option pol; did you mean poll?"),
        ("traefik:///a.json?nam=x", "traefik:///a.json: unknown option nam; did you mean name?"),
        ("traefik:///a.json?tls-ca=x", "traefik:///a.json: unknown option tls-ca; known are max-size, name, poll, quiet"),
        (
            "traefik:///a.json?poll=30",
            "traefik:///a.json: option poll: '30' is not a duration;"
            " write a number with its unit, such as 100ms, 30s, 5m, 2h or 1d",
        ),
        ("traefik:///a.json?poll=0s", "traefik:///a.json: option poll: expected more than 0"),
        ("traefik:///a.json?poll", "traefik:///a.json: options are written ?option=value&other=value"),
        ("traefik:///a.json?poll=1s&poll=2s", "traefik:///a.json: an option is given twice; keep one"),
        (
            "traefik:///a.json?name=a,b",
            "traefik:///a.json: 'a,b' is no name for a source; use letters, digits, '.', '_' and '-'",
        ),
        (
            "traefik:///a.json?max-size=big",
            "traefik:///a.json: option max-size: expected a size such as 500KiB, 16MiB or 1GiB",
        ),
    ],
)
def test_each_mistake_in_a_url_is_one_line_with_its_remedy(url, message):
    assert complaint(url) == message


def test_all_mistakes_of_all_urls_are_said_at_once():
    assert complaint("x", f"{URL}?pol=1s&max-size=-", URL, "ftp:///a", f"{URL}?name=a", f"{URL}?name=a") == "; ".join(
        [
            "'x' is no URL of a source; write one such as traefik:///traefik/acme.json",
            "2 sources are called a; names must differ",
            "traefik:///traefik/acme.json: option max-size: expected a size such as 500KiB, 16MiB or 1GiB",
            "traefik:///traefik/acme.json: unknown option pol; did you mean poll?",
            f"ftp:///a: unknown kind of source ftp; known are {KNOWN}",
        ]
    )


class SecretOptions(SourceOptions):
    token: int = 0


def test_messages_and_representations_show_no_value_of_an_option():
    url = parse_url("etcd://etcd:2379/traefik?token=hunter2")
    assert (url.kind, url.host, url.path) == ("etcd", "etcd:2379", "/traefik")
    assert "hunter2" not in f"{url} {url!r}"
    with pytest.raises(SettingsError) as caught:
        url.read_options(SecretOptions)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "url",
    [
        "etcd://root:hunter2@etcd:2379/traefik",
        "etcd://root@etcd:2379",
        "etcd://@etcd:2379",
        "ETCD://root:hunter2@[::1]:2379/x?tls=on",
        "root:hunter2@etcd:2379/traefik",
        "my_root:hunter2@etcd:2379",
        "//root:hunter2@etcd",
        "etcd://root:hunter2/0@etcd:2379/traefik",
        "etcd://root:/hunter2@etcd",
        "etcd://root:#hunter2@etcd",
        "etcd://root:?hunter2@etcd",
        "etcd://root:hunter2\N{CARE OF}@etcd:2379",
        "etcd://ho[st:hunter2@etcd",
    ],
)
def test_credentials_before_the_host_are_refused_and_not_repeated(url):
    said = complaint(url)
    assert said == "a source's URL holds no user:password@; write them as its options user=… and password-file=…"


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("traefik:///a@b.json", "", "/a@b.json"),
        ("docker://traefik/a:b@c.json", "traefik", "/a:b@c.json"),
        ("etcd://etcd:2379/x@y?user=a@b", "etcd:2379", "/x@y"),
        ("etcd://zk1:1,zk2:2,zk3/x@y", "zk1:1,zk2:2,zk3", "/x@y"),
        ("etcd://etcd?user=a@b", "etcd", ""),
        ("self-signed:?state=/a@b", "", ""),
    ],
)
def test_any_other_at_sign_is_none(url, host, path):
    parsed = parse_url(url)
    assert (parsed.host, parsed.path) == (host, path)


@pytest.mark.parametrize("host", ["[::1]:2181", "[::1]:2181,zk2:2181", "zk1:2181,[::1]:2181", "zk1,[::1]"])
def test_several_hosts_may_be_names_and_ipv6(host):
    assert parse_url(f"zookeeper://{host}/x?tls=on") == SourceUrl("zookeeper", host, "/x", None, {"tls": "on"})


@given(st.text() | st.from_regex(r"[a-z]+:(//)?[a-z:@\[\],/?#%=&]*", fullmatch=True))
def test_no_text_raises_anything_else(text):
    with suppress(SettingsError):
        parse_url(text)


def test_the_conventional_mount_points_that_are_there_become_sources_once():
    there = {Path("/traefik"), Path("/traefik/acme.json"), Path("/letsencrypt/acme.json")}
    assert conventional(there.__contains__) == (URL, "traefik:///letsencrypt/acme.json")
    assert conventional({Path("/traefik/acme.json")}.__contains__) == (URL,)
    assert conventional(lambda path: False) == ()


def test_a_mount_point_that_may_not_be_looked_at_is_there_so_that_its_source_says_what_is_wrong(
    monkeypatch, open_directory, unprivileged
):
    (open_directory / "closed").mkdir(mode=0)
    places = [(Path(os.devnull), "a"), (open_directory / "missing", "b"), (open_directory / "closed" / "acme.json", "c")]
    monkeypatch.setattr("sources.registry.CONVENTIONAL", places)
    with unprivileged():
        assert conventional() == ("a", "c")


def test_every_conventional_url_can_be_made_and_every_kind_is_a_word_of_a_url():
    assert create_all(url for _, url in CONVENTIONAL)
    assert all(parse_url(f"{kind}:///x") == SourceUrl(kind, "", "/x") for kind in KINDS)
