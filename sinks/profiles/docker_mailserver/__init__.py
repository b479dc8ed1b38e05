"""docker-mailserver: Postfix and Dovecot under supervisord.

At its start it copies the pair of ``SSL_TYPE=manual`` to a directory of its own, which the services read; with
``letsencrypt`` they read ``/etc/letsencrypt/live`` itself. Since 10.5 a change detector compares the originals every
``DMS_CONFIG_POLL`` seconds, copies and reloads: then certferry writes the originals and leaves the reload to it
(docker-mailserver's documentation, "SSL/TLS" and "Environment"; its CHANGELOG, 10.2, 10.5, 12.0, 15.1).

Which files the services use is asked while it runs (`asking`), and what the environment says is corrected by that (`adapting`).
"""

from __future__ import annotations

from controller.domain.mail_ports import STANDARD_PORTS
from controller.domain.profile import Profile
from sinks.profiles.docker_mailserver.adapting import adapt
from sinks.profiles.docker_mailserver.layout import layout, reload
from sinks.profiles.docker_mailserver.settings import own_host_name, recognise

DOCKER_MAILSERVER = Profile(
    name="docker-mailserver",
    probe=STANDARD_PORTS,
    recognise=recognise,
    layout=layout,
    adapt=adapt,
    reload=reload,
    host_name=own_host_name,
)
