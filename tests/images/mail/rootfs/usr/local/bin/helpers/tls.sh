# Chooses the key pairs by SSL_TYPE and tells Postfix and Dovecot; source it after log.sh and letsencrypt.sh. Used at the first
# start and by the change detector. As in the original nothing here stops at a copy that fails.

TLS_DIR=/etc/dms/tls
GIVEN_DIR=/tmp/docker-mailserver/ssl
MAIN_CF=/etc/postfix/main.cf
DOVECOT_SSL=/etc/dovecot/conf.d/10-ssl.conf

tls_panic() {
    panic "TLS Setup [SSL_TYPE=${SSL_TYPE:-}] | $1"
}

# In place, the key first.
copy_pair() { # source key, source certificate, name of the key, name of the certificate
    cp "$1" "$TLS_DIR/$3"
    cp "$2" "$TLS_DIR/$4"
    chmod 600 "$TLS_DIR/$3"
    chmod 644 "$TLS_DIR/$4"
}

# Lines that are there are changed, none is added. Dovecot 2.4 has other names, and no "<".
use_pair() { # key, certificate; or one file for both
    sed -i -E "s|^(smtpd_tls_chain_files =).*|\1 $*|" "$MAIN_CF"
    sed -i -E -e "s|^(ssl_key =).*|\1 <$1|" -e "s|^(ssl_cert =).*|\1 <${2:-$1}|" \
        -e "s|^(ssl_server_key_file =).*|\1 $1|" -e "s|^(ssl_server_cert_file =).*|\1 ${2:-$1}|" "$DOVECOT_SSL"
}

use_second_pair() { # key, certificate: behind the first pair
    sed -i "s|^smtpd_tls_chain_files =.*|& $1 $2|" "$MAIN_CF"
    sed -i -E -e "s|^#?(ssl_alt_key =).*|\1 <$1|" -e "s|^#?(ssl_alt_cert =).*|\1 <$2|" \
        -e "s|^#?(ssl_server_alt_key_file =).*|\1 $1|" -e "s|^#?(ssl_server_alt_cert_file =).*|\1 $2|" "$DOVECOT_SSL"
}

use_no_second_pair() {
    sed -i -E 's/^(ssl_(server_)?alt_)/#\1/' "$DOVECOT_SSL"
}

setup_manual() {
    local key=${SSL_KEY_PATH:-} certificate=${SSL_CERT_PATH:-} alt_key=${SSL_ALT_KEY_PATH:-} alt_certificate=${SSL_ALT_CERT_PATH:-}
    [[ -n $key$certificate ]] || tls_panic 'Environment Variable: SSL_KEY_PATH or SSL_CERT_PATH is not set!'
    # One of the two may be missing: the services are then told of a file that is not there.
    [[ -z $alt_key || -z $alt_certificate || -f $alt_key || -f $alt_certificate ]] ||
        tls_panic "File (ALT) $alt_key or $alt_certificate does not exist!"
    [[ -f $key && -f $certificate ]] || tls_panic "File $key or $certificate does not exist!"
    copy_pair "$key" "$certificate" key cert
    use_pair "$TLS_DIR/key" "$TLS_DIR/cert"
    if [[ -n $alt_key && -n $alt_certificate ]]; then
        copy_pair "$alt_key" "$alt_certificate" fallback_key fallback_cert
        use_second_pair "$TLS_DIR/fallback_key" "$TLS_DIR/fallback_cert"
    else
        use_no_second_pair
    fi
}

setup_custom() {
    local name=$HOSTNAME-full.pem
    [[ -f $GIVEN_DIR/$name ]] || tls_panic "File $GIVEN_DIR/$name does not exist!"
    cp "$GIVEN_DIR/$name" "$TLS_DIR/$name"
    chmod 600 "$TLS_DIR/$name"
    use_pair "$TLS_DIR/$name"
}

setup_self_signed() {
    local key=$HOSTNAME-key.pem certificate=$HOSTNAME-cert.pem ca=demoCA/cacert.pem
    [[ -f $GIVEN_DIR/$key && -f $GIVEN_DIR/$certificate && -f $GIVEN_DIR/$ca ]] ||
        tls_panic "File $GIVEN_DIR/$key or $GIVEN_DIR/$certificate or $GIVEN_DIR/$ca does not exist!"
    copy_pair "$GIVEN_DIR/$key" "$GIVEN_DIR/$certificate" "$key" "$certificate"
    use_pair "$TLS_DIR/$key" "$TLS_DIR/$certificate"
    cp "$GIVEN_DIR/$ca" "$TLS_DIR/cacert.pem"
    chmod 644 "$TLS_DIR/cacert.pem"
    sed -i -E "s|^#?(smtpd?_tls_CAfile =).*|\1 $TLS_DIR/cacert.pem|" "$MAIN_CF"
    ln -sf "$TLS_DIR/cacert.pem" "/etc/ssl/certs/cacert-$HOSTNAME.pem"
}

# No TLS at all, unless the user's own overrides, which come later, ask for it.
setup_nothing() {
    log WARN '!! INSECURE !! SSL configured with plain text access - DO NOT USE FOR PRODUCTION DEPLOYMENT'
    sed -i -E -e 's|^#?(smtpd?_tls_security_level).*|\1 = none|' -e 's|^#?(smtpd_tls_auth_only).*|\1 = no|' "$MAIN_CF"
    sed -i -E -e '/smtpd?_tls_security_level/s|=.*|=none|' -e '/smtpd?_tls_wrappermode/s|yes|no|' /etc/postfix/master.cf
    sed -i -E 's|^(ssl =).*|\1 no|' "$DOVECOT_SSL"
}

# Our own: the files are used where they lie, and made when they are missing and that is wished.
setup_paths() {
    [[ -n ${TLS_KEY_FILE:-} && -n ${TLS_CERT_FILE:-} ]] ||
        tls_panic 'Environment Variable: TLS_KEY_FILE or TLS_CERT_FILE is not set!'
    if [[ ! -f $TLS_KEY_FILE || ! -f $TLS_CERT_FILE ]]; then
        [[ ${TLS_SELF_SIGNED:-0} == 1 ]] || tls_panic "File $TLS_KEY_FILE or $TLS_CERT_FILE does not exist!"
        mkdir -p "$(dirname "$TLS_KEY_FILE")" "$(dirname "$TLS_CERT_FILE")"
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=$HOSTNAME" \
            -addext "subjectAltName=DNS:$HOSTNAME" -keyout "$TLS_KEY_FILE" -out "$TLS_CERT_FILE" 2>/dev/null ||
            tls_panic "Cannot write a self-signed pair to $TLS_KEY_FILE and $TLS_CERT_FILE"
        chmod 600 "$TLS_KEY_FILE"
    fi
    use_pair "$TLS_KEY_FILE" "$TLS_CERT_FILE"
    [[ -z ${TLS_ALT_KEY_FILE:-} ]] || use_second_pair "$TLS_ALT_KEY_FILE" "$TLS_ALT_CERT_FILE"
}

setup_tls() {
    mkdir -p "$TLS_DIR"
    case ${SSL_TYPE:-} in
    manual) setup_manual ;;
    letsencrypt)
        extract_from_acme
        find_letsencrypt_folder
        find_letsencrypt_key
        use_pair "$LETSENCRYPT_KEY" "$LETSENCRYPT_FOLDER/fullchain.pem"
        ;;
    custom) setup_custom ;;
    self-signed) setup_self_signed ;;
    '') setup_nothing ;;
    snakeoil) ;;
    paths) setup_paths ;;
    *) panic 'Invalid value for SSL_TYPE!' ;;
    esac
}
