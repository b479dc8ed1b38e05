#!/bin/bash
# The change detector: compares the content of the files with what it met last, every DMS_CONFIG_POLL seconds.

for helper in log letsencrypt tls changes accounts; do
    # shellcheck source=/dev/null
    . "/usr/local/bin/helpers/$helper.sh"
done
exec > >(tee -a /var/log/supervisor/changedetector.log) 2>&1
obtain_names

if [[ ! -f $CHECKSUMS ]]; then
    log ERROR "'$CHECKSUMS' is missing"
    log ERROR 'Aborting'
    exit 0
fi

# Only files with new content are changed; one that vanished is none.
changed_files() {
    grep -Fxvf "$CHECKSUMS" "$CHECKSUMS.new" | sed -E 's/^\S+\s+//'
}

is_changed() { # path
    [[ -n $1 ]] && grep -Fq "$1" <<<"$changed"
}

handle_tls() {
    local path
    if [[ ${SSL_TYPE:-} == manual ]]; then
        for path in "${SSL_CERT_PATH:-}" "${SSL_KEY_PATH:-}" "${SSL_ALT_CERT_PATH:-}" "${SSL_ALT_KEY_PATH:-}"; do
            if is_changed "$path"; then
                setup_tls
                return
            fi
        done
    elif is_changed "$ACME"; then
        setup_tls
        # What was taken out of it is no change of its own.
        sed -i "\|$LETSENCRYPT_FOLDER|d" "$CHECKSUMS.new"
        sha512sum "$LETSENCRYPT_FOLDER"/*.pem >>"$CHECKSUMS.new"
    fi
    # With other files below live/ the services read what is watched themselves.
}

check_for_changes() {
    local changed
    monitored_checksums >"$CHECKSUMS.new"
    if cmp --silent "$CHECKSUMS" "$CHECKSUMS.new"; then return; fi
    log INFO 'Change detected'
    take_lock
    changed=$(changed_files)
    handle_tls
    if accounts_in_files && is_changed "$ACCOUNTS_FILE"; then create_accounts; fi
    settle_main_cf
    postfix reload
    if [[ ${SMTP_ONLY:-0} != 1 ]]; then dovecot reload; fi
    give_lock
    mv "$CHECKSUMS.new" "$CHECKSUMS"
}

while true; do
    check_for_changes
    sleep "${DMS_CONFIG_POLL:-2}"
done
