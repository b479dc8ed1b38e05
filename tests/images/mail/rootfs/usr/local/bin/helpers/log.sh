# Log lines, names and the end of a container that cannot start; source it.

log() { # level, message
    local to=1
    [[ $1 =~ ^(WARN|ERROR)$ ]] && to=2
    printf '%s %-5s %s: %s\n' "$(date -u '+%F %T+00:00')" "$1" "$(basename "$0")" "$2" >&"$to"
}

# Ends the whole container; supervisord, which is told to end, ends with 0.
panic() {
    log ERROR "$1"
    log ERROR 'Shutting down'
    sleep 1
    kill -TERM 1
    exit 1
}

obtain_names() {
    HOSTNAME=${OVERRIDE_HOSTNAME:-$(hostname -f)}
    [[ -n $HOSTNAME ]] || panic '/etc/hosts appears to be misconfigured, please verify.'
    if [[ $HOSTNAME == *.*.* ]]; then
        DOMAINNAME=$(hostname -d)
        [[ -z ${OVERRIDE_HOSTNAME:-} ]] || DOMAINNAME=${HOSTNAME#*.}
    fi
    DOMAINNAME=${DOMAINNAME:-$HOSTNAME}
}

# Postfix commands wait until main.cf is two seconds old.
settle_main_cf() {
    if [[ $(($(date +%s) - $(stat -c %Y /etc/postfix/main.cf))) -lt 2 ]]; then
        touch -d '2 seconds ago' /etc/postfix/main.cf
    fi
}
