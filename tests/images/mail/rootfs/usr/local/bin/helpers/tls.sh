# Shared by start-mailserver.sh and check-for-changes.sh; source it. Chooses the key pairs by SSL_TYPE and tells Postfix
# and Dovecot. A pair is a key file and a certificate file; the second pair is optional.

TLS_DIR=/etc/dms/tls
CHECKSUMS=/tmp/docker-mailserver-config-chksum

log() { # level, message
    printf '%s %-5s %s: %s\n' "$(date -u '+%F %T+00:00')" "$1" "$(basename "$0")" "$2"
}

panic() {
    log ERROR "TLS Setup [SSL_TYPE=${SSL_TYPE:-}] | $1" >&2
    log ERROR 'Shutting down' >&2
    ${ON_PANIC:-:}
    exit 1
}

obtain_names() {
    HOSTNAME=${OVERRIDE_HOSTNAME:-$(hostname -f)}
    DOMAINNAME=${HOSTNAME#*.}
}

# Prints the folders below live/ to try, in the order of the original.
letsencrypt_names() {
    local domain=${SSL_DOMAIN:-}
    printf '%s\n' "${domain#\*.}" "$HOSTNAME" "$DOMAINNAME" | grep .
}

make_self_signed() { # key, certificate
    mkdir -p "$(dirname "$1")" "$(dirname "$2")"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
        -subj "/CN=$HOSTNAME" -addext "subjectAltName=DNS:$HOSTNAME" -keyout "$1" -out "$2" 2>/dev/null ||
        panic "Cannot write a self-signed pair to $1 and $2"
    chmod 600 "$1"
}

copy_pair() { # source key, source certificate, name of the key, name of the certificate
    cp "$1" "$TLS_DIR/$3"
    cp "$2" "$TLS_DIR/$4"
    chmod 600 "$TLS_DIR/$3"
    chmod 644 "$TLS_DIR/$4"
}

use_pairs() { # key, certificate [, second key, second certificate]
    postconf -e "smtpd_tls_chain_files = $*"
    {
        echo "ssl_key = <$1"
        echo "ssl_cert = <$2"
        if [[ $# -eq 4 ]]; then
            echo "ssl_alt_key = <$3"
            echo "ssl_alt_cert = <$4"
        fi
    } >/etc/dovecot/conf.d/10-ssl.conf
    settle_main_cf
}

# Postfix commands wait until main.cf is two seconds old.
settle_main_cf() {
    touch -d '2 seconds ago' /etc/postfix/main.cf
}

setup_tls() {
    local name key folder
    case ${SSL_TYPE:-} in
    manual)
        [[ -n ${SSL_KEY_PATH:-}${SSL_CERT_PATH:-} ]] ||
            panic 'Environment Variable: SSL_KEY_PATH or SSL_CERT_PATH is not set!'
        [[ -f ${SSL_KEY_PATH:-} && -f ${SSL_CERT_PATH:-} ]] ||
            panic "File ${SSL_KEY_PATH:-} or ${SSL_CERT_PATH:-} does not exist!"
        copy_pair "$SSL_KEY_PATH" "$SSL_CERT_PATH" key cert
        if [[ -z ${SSL_ALT_KEY_PATH:-} || -z ${SSL_ALT_CERT_PATH:-} ]]; then
            use_pairs "$TLS_DIR/key" "$TLS_DIR/cert"
            return
        fi
        [[ -f $SSL_ALT_KEY_PATH && -f $SSL_ALT_CERT_PATH ]] ||
            panic "File (ALT) $SSL_ALT_KEY_PATH or $SSL_ALT_CERT_PATH does not exist!"
        copy_pair "$SSL_ALT_KEY_PATH" "$SSL_ALT_CERT_PATH" fallback_key fallback_cert
        use_pairs "$TLS_DIR/key" "$TLS_DIR/cert" "$TLS_DIR/fallback_key" "$TLS_DIR/fallback_cert"
        ;;
    letsencrypt)
        for name in $(letsencrypt_names); do
            folder=/etc/letsencrypt/live/$name
            [[ -e $folder/fullchain.pem ]] || continue
            for key in privkey.pem key.pem; do
                [[ -e $folder/$key ]] || continue
                use_pairs "$folder/$key" "$folder/fullchain.pem"
                return
            done
            panic "LETSENCRYPT_KEY appears to be misconfigured, please verify."
        done
        panic "LETSENCRYPT_DOMAIN appears to be misconfigured, please verify."
        ;;
    '')
        [[ -f $TLS_DIR/key && -f $TLS_DIR/cert ]] || make_self_signed "$TLS_DIR/key" "$TLS_DIR/cert"
        use_pairs "$TLS_DIR/key" "$TLS_DIR/cert"
        ;;
    paths) # our own: the files are used where they lie
        [[ -n ${TLS_KEY_FILE:-} && -n ${TLS_CERT_FILE:-} ]] ||
            panic 'Environment Variable: TLS_KEY_FILE or TLS_CERT_FILE is not set!'
        if [[ ! -f $TLS_KEY_FILE || ! -f $TLS_CERT_FILE ]]; then
            [[ ${TLS_SELF_SIGNED:-0} == 1 ]] || panic "File $TLS_KEY_FILE or $TLS_CERT_FILE does not exist!"
            make_self_signed "$TLS_KEY_FILE" "$TLS_CERT_FILE"
        fi
        use_pairs "$TLS_KEY_FILE" "$TLS_CERT_FILE" ${TLS_ALT_KEY_FILE:+"$TLS_ALT_KEY_FILE" "$TLS_ALT_CERT_FILE"}
        ;;
    *)
        panic "Invalid value for SSL_TYPE!"
        ;;
    esac
}

# Prints "hash path" of every certificate file that the original watches.
monitored_checksums() {
    local files=() present=() file name
    case ${SSL_TYPE:-} in
    manual)
        files=("${SSL_CERT_PATH:-}" "${SSL_KEY_PATH:-}" "${SSL_ALT_CERT_PATH:-}" "${SSL_ALT_KEY_PATH:-}")
        ;;
    letsencrypt)
        for name in $(letsencrypt_names); do
            files+=("/etc/letsencrypt/live/$name/"*.pem)
        done
        ;;
    esac
    for file in "${files[@]}"; do
        if [[ -f $file ]]; then present+=("$file"); fi
    done
    if [[ ${#present[@]} -gt 0 ]]; then sha512sum -- "${present[@]}"; fi
}
