"""What of a container is the operator's word, and not its image's content. Pure."""

from __future__ import annotations

from dataclasses import replace

from controller.domain.container import Container, Mount
from sources.recognise.official import is_official

_FOLDER_OF_HOST = "bind"


def as_the_operator_said(container: Container) -> Container:
    """The container as it would be had its image nothing in it; an official image of a known proxy is the operator's word, too.

    Of its mounts the folders of the host: Docker copies what an image holds at their place into volumes that are empty, those
    with a name too, and never into folders of the host.
    """
    return replace(
        container,
        image=container.image if is_official(container.image) else "",
        command=container.own_command,
        environment=container.own_environment,
        mounts=tuple(mount for mount in container.mounts if _is_whole_folder(mount, container)),
    )


def _is_whole_folder(mount: Mount, container: Container) -> bool:
    """Whether it is a folder of the host in which no volume lies, which would hide a part of it."""
    within = (other for other in container.mounts if mount.destination in (other.destination, *other.destination.parents))
    return all(other.kind == _FOLDER_OF_HOST for other in within)
