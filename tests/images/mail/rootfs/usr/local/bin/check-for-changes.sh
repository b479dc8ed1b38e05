#!/bin/bash
# The change detector: compares the content of the certificate files with what it saw last, every DMS_CONFIG_POLL seconds.

# shellcheck source=helpers/tls.sh
. /usr/local/bin/helpers/tls.sh
obtain_names

# The original takes the whole container down when one file of a changed pair is missing.
ON_PANIC='kill -TERM 1'

check_for_changes() {
    monitored_checksums >"$CHECKSUMS.new"
    cmp --silent "$CHECKSUMS" "$CHECKSUMS.new" && return
    log INFO 'Change detected'
    # Copied again only when a file has new content: a vanished file alone leads to a reload, no more. With letsencrypt
    # the services read the watched files themselves.
    if [[ $SSL_TYPE == manual ]] && grep -Fxqvf "$CHECKSUMS" "$CHECKSUMS.new"; then
        setup_tls
    fi
    settle_main_cf
    postfix reload
    if [[ ${SMTP_ONLY:-0} != 1 ]]; then
        dovecot reload
    fi
    mv "$CHECKSUMS.new" "$CHECKSUMS"
}

# The original starts it last, when the services are up.
until (exec 3<>/dev/tcp/127.0.0.1/25) 2>/dev/null; do sleep 0.1; done

while true; do
    check_for_changes
    sleep "${DMS_CONFIG_POLL:-2}"
done
