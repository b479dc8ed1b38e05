"""Who may work on which files: by their place on the host, in the order in which they came, with nobody waiting in vain."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.domain.container import Mount
from controller.domain.target import TargetKey
from controller.locks import Locks, areas_of, meet
from tests.unit.made import container

FILE = PurePosixPath("/tls/cert.pem")


def key(name: str) -> TargetKey:
    return TargetKey("local", name)


A, B, C, D = map(key, "abcd")


def bind(host_path: str, at: str = "/tls") -> Mount:
    return Mount("bind", host_path, PurePosixPath(at), True, host_path)


def volume(name: str, host_path: str = "", at: str = "/tls") -> Mount:
    return Mount("volume", name, PurePosixPath(at), True, host_path)


def areas(*mounts: Mount, path: PurePosixPath = FILE) -> frozenset[str]:
    return areas_of(container(mounts=mounts), [path])


class TestFilesThatTwoContainersReach:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (bind("/srv/tls"), bind("/srv/tls")),
            (bind("/srv/tls"), bind("/srv")),
            (bind("/srv/tls/"), bind("/srv/./tls")),
            (bind("/srv/tls"), bind("/")),
            (bind("/srv/tls/cert.pem", "/tls/cert.pem"), bind("/srv/tls")),
            (bind("/var/lib/docker/volumes/tls/_data"), volume("tls", "/var/lib/docker/volumes/tls/_data")),
            (bind("/var/lib/docker/volumes"), volume("tls", "/var/lib/docker/volumes/tls/_data")),
            (volume("tls"), volume("tls")),
            (volume("tls", "/volumes/tls/_data/a"), volume("tls", "/volumes/tls/_data/b")),
        ],
        ids=["same", "folder above", "written differently", "root", "one file", "volume", "all volumes", "by name", "subpaths"],
    )
    def test_are_in_each_others_way(self, one, other):
        assert meet(areas(one), areas(other))
        assert meet(areas(other), areas(one))

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (bind("/srv/tls"), bind("/srv/tls2")),
            (bind("/srv/tls"), bind("/srv/tl")),
            (bind("/srv/a/tls"), bind("/srv/b/tls")),
            (volume("tls"), volume("tls2")),
            (volume("srv"), bind("/srv")),
        ],
    )
    def test_are_not_where_neither_lies_in_the_other(self, one, other):
        assert not meet(areas(one), areas(other))
        assert not meet(areas(other), areas(one))

    def test_count_by_the_mount_that_is_nearest_to_them(self):
        assert areas(bind("/srv"), bind("/other", "/tls/deep")) == {"/srv"}
        assert areas(bind("/srv"), bind("/other", "/tls/deep"), path=PurePosixPath("/tls/deep/cert")) == {"/other"}

    def test_are_none_in_what_is_only_the_containers_own(self):
        assert areas() == areas(Mount("tmpfs", "", PurePosixPath("/tls"), True)) == frozenset()

    @given(st.lists(st.lists(st.sampled_from("ab"), max_size=4), min_size=2, max_size=2))
    def test_meet_as_their_parts_say(self, parts):
        one, other = (PurePosixPath("/", *each) for each in parts)
        expected = one.is_relative_to(other) or other.is_relative_to(one)
        assert meet({str(one)}, {str(other)}) == expected


class Line:
    """Locks, and who was called."""

    def __init__(self) -> None:
        self.locks = Locks()
        self.called: list[str] = []
        self.locks.call = lambda called: self.called.append(called.container_id)

    def enter(self, who: TargetKey, *wanted: str) -> bool:
        return self.locks.enter(who, frozenset(wanted))

    def leave(self, who: TargetKey) -> list[str]:
        """Who is called then."""
        self.called.clear()
        self.locks.leave(who)
        return list(self.called)


class TestTheLine:
    def test_who_waits_is_called_when_it_is_free(self):
        line = Line()
        assert line.enter(A, "/srv")
        assert not line.enter(B, "/srv/tls")
        assert line.leave(A) == ["b"]
        assert line.enter(B, "/srv/tls")
        assert line.leave(B) == []

    def test_only_the_first_of_those_that_wait_for_the_same_is_called(self):
        line = Line()
        line.enter(A, "/srv")
        assert [line.enter(B, "/srv"), line.enter(C, "/srv")] == [False, False]
        assert line.leave(A) == ["b"]
        assert line.enter(B, "/srv")
        assert line.leave(B) == ["c"]

    def test_who_comes_later_does_not_overtake_who_was_called(self):
        """Otherwise two that come again and again could keep a third from ever beginning."""
        line = Line()
        line.enter(A, "/srv")
        line.enter(B, "/srv")
        line.leave(A)
        assert not line.enter(A, "/srv")
        assert line.enter(B, "/srv")
        assert line.leave(B) == ["a"]

    def test_who_needs_two_is_not_overtaken_for_ever_by_those_who_need_one(self):
        line = Line()
        line.enter(A, "/a")
        assert not line.enter(B, "/a", "/b")
        assert not line.enter(C, "/b")
        assert line.leave(A) == ["b"]
        assert line.enter(B, "/a", "/b")
        assert line.leave(B) == ["c"]

    def test_who_needs_something_else_does_not_wait(self):
        line = Line()
        line.enter(A, "/a")
        line.enter(B, "/a")
        assert line.enter(C, "/c")

    def test_all_that_are_free_are_called_at_once(self):
        line = Line()
        line.enter(A, "/srv")
        line.enter(B, "/srv/b")
        line.enter(C, "/srv/c")
        assert line.leave(A) == ["b", "c"]

    def test_who_leaves_the_line_lets_those_behind_go_on(self):
        line = Line()
        line.enter(A, "/a")
        line.enter(B, "/a", "/b")
        line.enter(C, "/b")
        assert line.leave(B) == ["c"]
        assert line.enter(C, "/b")

    def test_who_has_nothing_in_common_with_anybody_never_waits(self):
        line = Line()
        assert line.enter(A)
        assert line.enter(B)

    def test_nothing_is_kept_of_who_left(self):
        line = Line()
        for number in range(50):
            line.enter(key(str(number)), "/srv")
        for number in range(50):
            line.leave(key(str(number)))
        assert (line.locks._held, line.locks._waiting) == ({}, {})


STEPS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sets(st.sampled_from(["/s", "/s/a", "/s/b", "/s/a/c", "v"]), min_size=1, max_size=2)),
    min_size=1,
    max_size=30,
)


@given(STEPS, st.randoms(use_true_random=False))
def test_whatever_is_asked_for_none_meet_and_all_come_to_their_turn(steps, rng):
    line = Line()
    working: dict[str, set[str]] = {}
    to_come = dict(steps)
    due = list(to_come)
    while due or working:
        if due and (not working or rng.random() < 0.6):
            name = due.pop(rng.randrange(len(due)))
            if line.enter(key(name), *to_come[name]):
                assert not any(meet(to_come[name], held) for held in working.values())
                working[name] = to_come[name]
        else:
            name = rng.choice(sorted(working))
            del working[name]
            due += [called for called in line.leave(key(name)) if called not in due]
    assert line.locks.waiting == ()
