"""Images that are made for one test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.lab import LABEL, PLAIN_IMAGE, Lab, put_files


@contextmanager
def labelled_image(lab: Lab, labels: Mapping[str, str]) -> Iterator[str]:
    """The plain image with labels of its own; containers of it go with it."""
    with image_of(lab, {}, *(f'LABEL "{key}"="{value}"' for key, value in labels.items())) as image:
        yield image


@contextmanager
def image_of(lab: Lab, contents: Mapping[str, bytes | str], *changes: str) -> Iterator[str]:
    """The plain image with files of its own, and instructions of a Dockerfile; containers of it go with it."""
    container = lab.docker.containers.create(PLAIN_IMAGE, labels={LABEL: lab.id})
    put_files(container, contents)
    image = str(container.commit(changes="\n".join(changes)).id)
    try:
        yield image
    finally:
        for user in lab.docker.containers.list(all=True, filters={"ancestor": image}, ignore_removed=True):
            user.remove(force=True)
        lab.docker.images.remove(image, force=True)
