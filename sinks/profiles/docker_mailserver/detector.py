"""docker-mailserver's change detector (``check-for-changes.sh``): what it looks at, and what it took note of."""

from __future__ import annotations

import hashlib
from pathlib import PurePosixPath

from controller.domain.container import Container
from controller.domain.detector import Detector
from controller.domain.observed import Observed
from controller.domain.profile import Layout
from sinks.profiles.docker_mailserver import files
from sinks.profiles.docker_mailserver.asking import Answers
from sinks.profiles.docker_mailserver.layout import patience
from sinks.profiles.docker_mailserver.settings import DETECTOR_SINCE, domain_name, host_name, poll, version

ACTED_LATELY = 4.0
"""Seconds since its last record within which its reload may not have reached every process yet."""


def asked_detector(container: Container, layout: Layout, observed: Observed, answers: Answers) -> Detector:
    """The detector as it was found."""
    if not answers.detector or version(container) < DETECTOR_SINCE:
        return Detector()
    paths = [path for place in (*layout.places, *layout.also) for path in place.paths]
    by_content = frozenset(path for path in paths if _is_watched(container, path))
    extracts = _extracts(container, layout, answers)
    watched = frozenset(paths) if extracts else by_content
    known = frozenset(path for path in watched if path not in by_content or _was_seen(path, observed, answers))
    seen = known if answers.acme_seen or not extracts else frozenset[PurePosixPath]()
    seconds = poll(answers.poll or container.environment.get("DMS_CONFIG_POLL", ""))
    acted = answers.recorded is not None and answers.recorded < ACTED_LATELY
    return Detector(patience(seconds), watched, seen, seconds, busy=answers.busy, acted=acted)


def _extracts(container: Container, layout: Layout, answers: Answers) -> bool:
    """Whether it writes the files itself: then ``acme.json`` is what it looks at, wherever the files are (a wildcard's are in a
    folder that it does not look at)."""
    return container.environment.get("SSL_TYPE") == "letsencrypt" and answers.acme_json and bool(layout.written_by)


def _is_watched(container: Container, path: PurePosixPath) -> bool:
    """``_monitored_files_checksums`` in helpers/change-detection.sh. It does not take the ``*.`` from ``SSL_DOMAIN``."""
    environment = container.environment
    if environment.get("SSL_TYPE") == "manual":
        return path in map(PurePosixPath, files.manual_names(container))
    names = (environment.get("SSL_DOMAIN", ""), host_name(container), domain_name(container))
    return environment.get("SSL_TYPE") == "letsencrypt" and path.parent in [files.LIVE / name for name in names if name]


def _was_seen(path: PurePosixPath, observed: Observed, answers: Answers) -> bool:
    file = observed.files.get(path)
    return file is not None and answers.sums.get(path) == hashlib.sha512(file.content).hexdigest()
