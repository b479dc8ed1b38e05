# What the change detector compares, and the lock that it shares with others on the same configuration; source it.

CHECKSUMS=/tmp/docker-mailserver-config-chksum
CONFIG=/tmp/docker-mailserver
LOCK=$CONFIG/check-for-changes.sh.lock

# Prints "hash  path" of every file that the original watches and that is there.
monitored_checksums() {
    local files=() present=() name
    shopt -s nullglob
    for name in postfix-accounts postfix-virtual postfix-regexp postfix-aliases postfix-relaymap postfix-sasl-password \
        dovecot-quotas dovecot-masters; do
        files+=("$CONFIG/$name.cf")
    done
    case ${SSL_TYPE:-} in
    manual)
        files+=("${SSL_CERT_PATH:-}" "${SSL_KEY_PATH:-}" "${SSL_ALT_CERT_PATH:-}" "${SSL_ALT_KEY_PATH:-}")
        ;;
    letsencrypt)
        # SSL_DOMAIN as it is written: of a wildcard, a folder that nobody has.
        files+=("$ACME" "$LIVE/${SSL_DOMAIN:-}"/*.pem "$LIVE/$HOSTNAME"/*.pem "$LIVE/$DOMAINNAME"/*.pem)
        ;;
    esac
    for name in "${files[@]}"; do
        if [[ -f $name ]]; then present+=("$name"); fi
    done
    if [[ ${#present[@]} -gt 0 ]]; then sha512sum -- "${present[@]}"; fi
}

take_lock() {
    while [[ -e $LOCK ]]; do
        if [[ -n $(find "$LOCK" -mmin +1 2>/dev/null) ]]; then
            log WARN 'Lock file older than 1 minute - removing stale lock file'
            rm -f "$LOCK"
        else
            log WARN "Lock file '$LOCK' exists - another execution of 'check-for-changes.sh' is happening - trying again shortly"
            sleep 5
        fi
    done
    trap give_lock EXIT
    LOCK_ID=$(cat /proc/sys/kernel/random/uuid)
    echo "$LOCK_ID" >"$LOCK"
}

give_lock() {
    if grep -qs "$LOCK_ID" "$LOCK"; then rm -f "$LOCK"; fi
}
