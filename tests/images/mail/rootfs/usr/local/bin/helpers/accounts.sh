# Accounts in files, as the original has them, where ACCOUNTS=files says so; else there is test@example.test. Source it.

ACCOUNTS_FILE=/tmp/docker-mailserver/postfix-accounts.cf

accounts_in_files() {
    [[ ${ACCOUNTS:-} == files && ${ACCOUNT_PROVISIONER:-FILE} == FILE && ${SMTP_ONLY:-0} != 1 ]]
}

# Nothing goes on without one: neither the certificates are copied nor does anything listen.
wait_for_an_account() {
    local rest
    for ((rest = 12; rest > 0; rest--)); do
        if grep -qsE '.+@.+\|' "$ACCOUNTS_FILE"; then return; fi
        log WARN "You need at least one mail account to start Dovecot ($((rest * 10))s left for account creation before shutdown)"
        sleep 10
    done
    panic 'Failed to start accounts provisioning because no accounts were provided - Dovecot could not be started!'
}

create_accounts() {
    grep -E '.+@.+\|' "$ACCOUNTS_FILE" | sed 's/|/:/; s/|.*//' >/etc/dovecot/users
    sed -E 's|^([^@]+)@([^:]+):.*|\1@\2 \2/\1/|' /etc/dovecot/users >/etc/postfix/vmailbox
    postconf -e 'virtual_mailbox_maps = texthash:/etc/postfix/vmailbox'
}
