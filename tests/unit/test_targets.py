"""A container, its labels and its profile together make a target."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import pytest

from controller.domain.certificate import KeyType
from controller.domain.container import Container
from controller.domain.detector import Detector
from controller.domain.errors import LabelError
from controller.domain.observed import Observed
from controller.domain.profile import Layout, Profile
from controller.domain.target import Place, ProbePort, Reload, Slot, Target
from controller.labels import LabelSpec
from controller.targets import build_target, recognise
from tests.unit.made import ALT_CERT, ALT_PRIVATE, CERT, CHAIN, COMBINED, DOMAIN, IMAPS, KEY, PRIVATE, SMTP, container

OTHER = Slot(alternative=True, optional=True)
OWN, OWN_ALT = Place(Slot(), CERT, PRIVATE), Place(Slot(), ALT_CERT, ALT_PRIVATE)
INSIDE = Place(Slot(), PurePosixPath("/in/cert"), PurePosixPath("/in/key"))
INSIDE_ALT = Place(Slot(), PurePosixPath("/in/alt-cert"), PurePosixPath("/in/alt-key"))
NOTICED, FORCED = Reload("self", patience=20), Reload("exec", ("doveadm", "reload"))
LAYOUT = Layout(
    places=(OWN,), reload=(NOTICED,), internal=(INSIDE,), internal_reload=(FORCED,), check=("doveconf",), notes=("a note",)
)
PAIRS = Layout(places=(OWN, OWN_ALT), reload=(NOTICED,), internal=(INSIDE, INSIDE_ALT), internal_reload=(FORCED,))


def profile(layout: Layout = LAYOUT) -> Profile:
    return Profile(
        "mailer", probe=(SMTP, IMAPS), layout=lambda _: layout, reload=lambda _: (FORCED,), host_name=lambda c: c.hostname
    )


def build(layout: Layout = LAYOUT, *, on: Container | None = None, **labels: Any) -> Target:
    spec = LabelSpec(**{"domains": (DOMAIN,), **labels})
    return build_target(KEY, on or container(), spec, profile(layout), prefix="certferry.")


def complaint(layout: Layout = LAYOUT, *, on: Container | None = None, **labels: Any) -> tuple[str, ...]:
    with pytest.raises(LabelError) as caught:
        build(layout, on=on, **labels)
    return caught.value.problems


def slots(made: Target) -> list[Slot]:
    return [place.slot for place in made.places]


class TestWithoutFurtherLabels:
    def test_everything_is_as_the_profile_knows_it(self):
        made = build()
        assert (made.profile, made.places, made.reload, made.check) == ("mailer", (OWN,), (NOTICED,), ("doveconf",))
        assert (made.internal, made.internal_reload, made.notes) == ((INSIDE,), (FORCED,), ("a note",))
        assert (made.probe, made.probe_required) == ((SMTP, IMAPS), False)

    def test_the_rest_is_left_as_it_is(self):
        made = build()
        assert (made.key, made.domains, made.sources) == (KEY, (DOMAIN,), ())
        assert (made.owner, made.mode, made.user, made.allow_untrusted, made.paused_by) == (None, None, "", False, "")


class TestLabelsComeBeforeTheProfile:
    def test_paths(self):
        path, key = PurePosixPath("/etc/c"), PurePosixPath("/etc/k")
        made = build(cert_path=path, key_path=key)
        assert made.places == (Place(Slot(), path, key),)

    def test_with_own_paths_the_container_cannot_notice_by_itself_and_is_told_to_reload(self):
        made = build(cert_path=CERT, key_path=PRIVATE)
        assert (made.reload, made.internal, made.internal_reload, made.check) == ((FORCED,), (), (), ())

    @pytest.mark.parametrize(
        ("labels", "places"),
        [
            ({"combined_path": COMBINED}, (Place(Slot(), combined=COMBINED),)),
            ({"cert_path": CERT, "key_path": PRIVATE, "chain_path": CHAIN}, (Place(Slot(), CERT, PRIVATE, CHAIN),)),
            (
                {"cert_path": CERT, "key_path": PRIVATE, "combined_path": COMBINED},
                (Place(Slot(), CERT, PRIVATE, None, COMBINED),),
            ),
            (
                {"cert_path": CERT, "key_path": PRIVATE, "alt_cert_path": ALT_CERT, "alt_key_path": ALT_PRIVATE},
                (OWN, Place(Slot(alternative=True, optional=True), ALT_CERT, ALT_PRIVATE)),
            ),
        ],
        ids=["combined", "chain apart", "both forms", "two pairs"],
    )
    def test_every_form_of_paths(self, labels, places):
        assert build(**labels).places == places

    def test_a_second_pair_alone_would_drop_the_first_one_unseen(self):
        problem = "certferry.alt-cert-path needs certferry.cert-path and certferry.key-path beside it"
        assert complaint(alt_cert_path=ALT_CERT, alt_key_path=ALT_PRIVATE) == (problem,)

    def test_reload_and_then_nothing_is_left_to_the_container(self):
        step = Reload("signal", signal="HUP")
        made = build(reload=(step,))
        assert (made.reload, made.internal, made.internal_reload) == ((step,), (), ())

    def test_no_reload_at_all(self):
        assert build(reload=()).reload == ()

    @pytest.mark.parametrize("check", [("postfix", "check"), ()])
    def test_the_check(self, check):
        assert build(check=check).check == check

    def test_listed_ports_which_then_must_answer(self):
        port = ProbePort(2525, "smtp")
        made = build(probe=(port,))
        assert (made.probe, made.probe_required) == ((port,), True)

    def test_no_ports_at_all(self):
        made = build(probe="off")
        assert (made.probe, made.probe_required) == ((), False)

    def test_the_rest(self):
        made = build(sources=("a", "b"), owner=(101, 102), mode=0o640, user="root", allow_untrusted=True)
        assert (made.sources, made.owner, made.mode, made.user) == (("a", "b"), (101, 102), 0o640, "root")
        assert made.allow_untrusted


class TestKeyTypes:
    """Which certificate goes into which place."""

    @pytest.mark.parametrize(("word", "kind"), [("any", None), ("rsa", KeyType.RSA), ("ecdsa", KeyType.ECDSA)])
    def test_one_place_takes_the_wanted_type(self, word, kind):
        assert slots(build(key_type=word)) == [Slot(kind)]

    def test_a_second_place_takes_another_type_if_there_is_one(self):
        assert slots(build(PAIRS, key_type="any")) == [Slot(), Slot(alternative=True, optional=True)]

    def test_for_both_each_place_must_have_its_type(self):
        assert slots(build(PAIRS, key_type="both")) == [Slot(KeyType.ECDSA), Slot(KeyType.RSA)]

    @pytest.mark.parametrize(("word", "kind"), [("rsa", KeyType.RSA), ("ecdsa", KeyType.ECDSA)])
    def test_one_type_leaves_the_second_place_and_its_inner_copy_alone(self, word, kind):
        made = build(PAIRS, key_type=word)
        assert made.places == (Place(Slot(kind), CERT, PRIVATE),)
        assert made.internal == (INSIDE,)

    def test_both_without_a_second_place_is_an_error(self):
        assert complaint(key_type="both") == (
            "certferry.key-type=both needs a second place: set certferry.alt-cert-path and certferry.alt-key-path",
        )


def test_a_profile_that_knows_no_paths_wants_labels():
    why = "certferry.cert-path and certferry.key-path are missing: the profile mailer knows no paths"
    remedy = "; where it is a docker-mailserver of your own build, set certferry.profile=docker-mailserver"
    assert complaint(Layout()) == (f"{why}{remedy}",)
    assert complaint(Layout(), profile="mailer") == (why,)


class TestAutomaticDomain:
    @pytest.mark.parametrize("name", ["mail.example.com", "Mail.Example.Com", "mail.example.com."])
    def test_is_the_containers_own_name_as_certificates_have_it(self, name):
        assert build(domains=(), auto=True, on=container(hostname=name)).domains == ("mail.example.com",)

    @pytest.mark.parametrize("name", ["", "0123456789ab"])
    def test_needs_a_name_that_docker_did_not_make_up(self, name):
        problem = "certferry.domain=auto: the container has no host name of its own; set `hostname:` or name the domain"
        assert complaint(domains=(), auto=True, on=container(hostname=name)) == (problem,)


class TestRecognition:
    KNOWN = Profile("known", recognise=lambda c: c.image == "known")
    ALSO = Profile("also", recognise=lambda c: c.image in ("known", "also"))
    DEFAULT = Profile("default")

    @pytest.mark.parametrize(("image", "name"), [("known", "known"), ("also", "also"), ("else", "default")])
    def test_the_first_profile_that_knows_the_image_is_taken(self, image, name):
        assert recognise(container(image=image), (self.KNOWN, self.ALSO), self.DEFAULT).name == name


def test_a_profile_that_was_told_nothing_knows_nothing():
    plain = Profile("plain")
    assert (plain.recognise(container()), plain.layout(container()), plain.reload(container())) == (False, Layout(), ())
    assert plain.host_name(container()) == DOMAIN


def test_a_profile_that_asks_nothing_goes_by_what_it_knew():
    layout = Layout(notes=("known before",))
    assert Profile("plain").adapt(container(), layout, Observed({})) is layout


class TestWhatWasFoundInTheContainer:
    ASKED = Layout(reload=(FORCED,), ask="postconf")

    def adapted(self, layout: Layout, **labels: Any) -> Target:
        spec = LabelSpec(**{"domains": (DOMAIN,), **labels})
        mailer = replace(profile(self.ASKED), adapt=lambda _c, _l, _o: layout)
        return build_target(KEY, container(), spec, mailer, prefix="certferry.", observed=Observed({}, answers="asked"))

    def test_there_may_be_no_place_before(self):
        made = build(self.ASKED)
        assert (made.places, made.ask) == ((), "postconf")

    def test_there_must_be_one_after(self):
        with pytest.raises(LabelError, match="certferry.cert-path and certferry.key-path are missing"):
            self.adapted(self.ASKED)

    def test_it_is_what_the_profile_makes_of_it(self):
        detector = Detector(5.0)
        made = self.adapted(replace(LAYOUT, written_by="another", beside=(CHAIN,), detector=detector))
        assert (made.places, made.written_by, made.beside, made.detector) == ((OWN,), "another", (CHAIN,), detector)
        assert made.paths == (PRIVATE, CERT, *INSIDE.paths, CHAIN)

    def test_labels_for_paths_come_before_it(self):
        spec = LabelSpec(domains=(DOMAIN,), cert_path=CERT, key_path=PRIVATE)
        made = build_target(KEY, container(), spec, profile(), prefix="certferry.", observed=Observed({}))
        assert (made.places, made.ask) == ((OWN,), "")


class TestFurtherPlaces:
    ALSO = (Place(Slot(), INSIDE.certificate, INSIDE.key), Place(Slot(alternative=True), combined=COMBINED))

    @pytest.mark.parametrize(
        ("layout", "key_type", "expected"),
        [
            (LAYOUT, "any", [Slot(), Slot()]),
            (LAYOUT, "rsa", [Slot(KeyType.RSA), Slot(KeyType.RSA)]),
            (PAIRS, "any", [Slot(), OTHER, Slot(), OTHER]),
            (PAIRS, "rsa", [Slot(KeyType.RSA), Slot(KeyType.RSA)]),
            (PAIRS, "both", [Slot(KeyType.ECDSA), Slot(KeyType.RSA), Slot(KeyType.ECDSA), Slot(KeyType.RSA)]),
        ],
    )
    def test_get_what_the_first_or_the_second_gets(self, layout, key_type, expected):
        assert slots(build(replace(layout, also=self.ALSO), key_type=key_type)) == expected

    @pytest.mark.parametrize(
        ("key_type", "second"),
        [
            ("any", replace(OTHER, fill=True)),
            ("ecdsa", replace(OTHER, fill=True, key_type=KeyType.ECDSA)),
            ("both", Slot(KeyType.RSA)),
        ],
    )
    def test_a_second_place_may_have_to_be_filled(self, key_type, second):
        made = build(replace(PAIRS, fill=True), key_type=key_type)
        assert (slots(made)[1], made.internal) == (second, (INSIDE, INSIDE_ALT))
