#!/bin/bash
# Postfix that starts before Dovecot's auth socket is there would throttle its submission services for a minute.
if [[ ${SMTP_ONLY:-0} != 1 ]]; then
    for _ in {1..100}; do
        [[ -S /dev/shm/sasl-auth.sock ]] && break
        sleep 0.05
    done
fi
exec /usr/bin/pidproxy /var/spool/postfix/pid/master.pid /usr/sbin/postfix start-fg
