#!/bin/bash
# Postfix that starts before Dovecot's auth socket is there would throttle its submission services for a minute.

# shellcheck source=helpers/wait.sh
. /usr/local/bin/helpers/wait.sh

if [[ ${SMTP_ONLY:-0} != 1 ]]; then
    for _ in {1..100}; do
        [[ -S /dev/shm/sasl-auth.sock ]] && break
        sleep 0.05
    done
fi
# On a busy machine the original's Postfix comes up seconds after everything else, the change detector included.
wait_for "${POSTFIX_AFTER:-0}"
exec /usr/bin/pidproxy /var/spool/postfix/pid/master.pid /usr/sbin/postfix start-fg
