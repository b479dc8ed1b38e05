#!/bin/bash
# Sets the container up once, in the order of the original, and has supervisord start the services.

for helper in log wait letsencrypt tls changes accounts; do
    # shellcheck source=/dev/null
    . "/usr/local/bin/helpers/$helper.sh"
done

setup_protocols() {
    local protocols=()
    [[ ${ENABLE_IMAP:-1} != 1 ]] || protocols+=(imap)
    [[ ${ENABLE_POP3:-1} != 1 ]] || protocols+=(pop3)
    [[ ${ENABLE_MANAGESIEVE:-1} != 1 ]] || protocols+=(sieve)
    echo "protocols = ${protocols[*]}" >/etc/dovecot/conf.d/20-protocols.conf
    if [[ -f $CONFIG/dovecot.cf ]]; then cp "$CONFIG/dovecot.cf" /etc/dovecot/local.conf; fi
}

setup_postfix() {
    postconf -e "myhostname = $HOSTNAME" "mydomain = $DOMAINNAME"
    if [[ ${SMTP_ONLY:-0} == 1 ]]; then
        sed -i -E 's|^(.*-o smtpd_sasl_auth_enable)=.*|\1=no|' /etc/postfix/master.cf
    fi
    if [[ ${POSTSCREEN:-0} == 1 ]]; then # as in the original's master.cf: a new client waits for six seconds
        postconf -M 'smtp/inet=smtp inet n - n - 1 postscreen' 'smtpd/pass=smtpd pass - - n - - smtpd' \
            'tlsproxy/unix=tlsproxy unix - - n - 0 tlsproxy' 'dnsblog/unix=dnsblog unix - - n - 0 dnsblog'
        postconf -e 'mynetworks =' 'postscreen_greet_action = enforce'
    fi
}

# The user's own settings come after ours.
setup_overrides() {
    local line
    if [[ -f $CONFIG/postfix-master.cf ]]; then
        while read -r line; do
            if [[ $line =~ ^[0-9a-z] ]]; then postconf -P "$line"; fi
        done <"$CONFIG/postfix-master.cf"
    fi
    if [[ -f $CONFIG/postfix-main.cf ]]; then
        cat "$CONFIG/postfix-main.cf" >>/etc/postfix/main.cf
        settle_main_cf
        postconf -n >/tmp/main.cf.new 2>/dev/null
        mv /tmp/main.cf.new /etc/postfix/main.cf
    fi
}

setup() {
    log INFO 'Configuring mail server'
    setup_protocols
    if accounts_in_files; then
        wait_for_an_account
        create_accounts
    fi
    setup_tls
    setup_postfix
    setup_overrides
    if [[ -f $CONFIG/user-patches.sh ]]; then /bin/bash "$CONFIG/user-patches.sh"; fi
    # What changed after the copies and before this is not met.
    monitored_checksums >"$CHECKSUMS"
}

# One call for all that start at once: each costs a third of a second.
start_daemons() {
    local services=() detector=()
    log INFO 'Starting daemons'
    [[ ${SMTP_ONLY:-0} == 1 ]] || services+=(dovecot)
    services+=(postfix)
    if [[ ${DETECTOR:-1} != 0 && ${SSL_TYPE:-} != paths && ( ${ACCOUNT_PROVISIONER:-FILE} == FILE || $DMS_RELEASE == v16* ) ]]; then
        detector=(changedetector)
    fi
    settle_main_cf
    if [[ ${DETECTOR_AFTER:-0} == 0 ]]; then
        services+=("${detector[@]}")
        detector=()
    fi
    supervisorctl start "${services[@]}" >/dev/null
    if [[ ${#detector[@]} -gt 0 ]]; then
        wait_for "$DETECTOR_AFTER"
        supervisorctl start "${detector[@]}" >/dev/null
    fi
}

obtain_names
log INFO "Welcome to docker-mailserver $DMS_RELEASE (stand-in)"
[[ $HOSTNAME == *.* ]] || panic 'Setting hostname/domainname is required'

# A restarted container skips the set-up, as the original does since 14.0: it goes on with the copies that it has.
if [[ -f /CONTAINER_START ]]; then
    log INFO 'Container was restarted. Skipping most setup routines.'
else
    setup
fi
# Left behind by a container that was killed.
find /run/ -not -name supervisord.pid -name '*.pid' -delete
date >/CONTAINER_START

mkdir -p /var/log/mail
touch /var/log/mail/mail.log
start_daemons
log INFO "$HOSTNAME is up and running"
exec tail -Fn +1 /var/log/mail/mail.log
