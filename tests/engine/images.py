"""Images that are made for one test."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.lab import LABEL, PLAIN_IMAGE, Lab


@contextmanager
def labelled_image(lab: Lab, labels: Mapping[str, str]) -> Iterator[str]:
    """The plain image with labels of its own; containers of it go with it."""
    changes = "\n".join(f'LABEL "{key}"="{value}"' for key, value in labels.items())
    container = lab.docker.containers.create(PLAIN_IMAGE, labels={LABEL: lab.id})
    image = str(container.commit(changes=changes).id)
    try:
        yield image
    finally:
        for user in lab.docker.containers.list(all=True, filters={"ancestor": image}, ignore_removed=True):
            user.remove(force=True)
        lab.docker.images.remove(image, force=True)
