#!/bin/bash
# Sets the container up once and hands over to supervisord.
set -eu

# shellcheck source=helpers/tls.sh
. /usr/local/bin/helpers/tls.sh
obtain_names

log INFO "Welcome to docker-mailserver $DMS_RELEASE (stand-in)"

# A restarted container skips the set-up, as the original does since 14.0: it goes on with the copies that it has.
if [[ -f /CONTAINER_START ]]; then
    log INFO 'Container was restarted. Skipping most setup routines.'
    settle_main_cf
else
    postconf -e "myhostname = $HOSTNAME"
    if [[ ${SMTP_ONLY:-0} == 1 ]]; then
        postconf -e 'smtpd_sasl_auth_enable = no'
    fi
    setup_tls
    monitored_checksums >"$CHECKSUMS"
fi
date >/CONTAINER_START

# Left behind by a container that was killed.
rm -f /dev/shm/supervisor.sock /run/supervisord.pid /run/dovecot/master.pid /var/spool/postfix/private/auth

START_DOVECOT=true
if [[ ${SMTP_ONLY:-0} == 1 ]]; then START_DOVECOT=false; fi
START_DETECTOR=false
if [[ ${DETECTOR:-1} != 0 && ${SSL_TYPE:-} =~ ^(manual|letsencrypt)$ ]]; then START_DETECTOR=true; fi
export START_DOVECOT START_DETECTOR

exec supervisord -c /etc/supervisor/supervisord.conf
