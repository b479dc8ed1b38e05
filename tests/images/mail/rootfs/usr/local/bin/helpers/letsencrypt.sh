# SSL_TYPE=letsencrypt: the folder below live/, the name of the key in it, and what is taken out of Traefik's acme.json; source it.

ACME=/etc/letsencrypt/acme.json
LIVE=/etc/letsencrypt/live

# Prints the names to try, in the order of the original.
letsencrypt_names() {
    printf '%s\n' "${SSL_DOMAIN:-}" "$HOSTNAME" "$DOMAINNAME" | grep .
}

# Into key.pem and fullchain.pem, in place, of the first name that acme.json has a pair for.
extract_from_acme() {
    local name key certificate folder
    [[ -f $ACME ]] || return 0
    while IFS= read -r name; do # a wildcard is no pattern
        key=$(acme-pair "$ACME" "$name" key)
        certificate=$(acme-pair "$ACME" "$name" certificate)
        if [[ -z $key || -z $certificate ]]; then
            log WARN "_extract_certs_from_acme | Unable to find key and/or cert for '$name' in '$ACME'"
            continue
        fi
        folder=$LIVE/$name
        [[ $name != "${SSL_DOMAIN:-}" ]] || folder=$LIVE/${name#\*.}
        mkdir -p "$folder"
        base64 -d <<<"$key" >"$folder/key.pem"
        base64 -d <<<"$certificate" >"$folder/fullchain.pem"
        return 0
    done < <(letsencrypt_names)
    log WARN 'letsencrypt (acme.json) failed to identify a certificate to extract'
}

# Sets LETSENCRYPT_FOLDER to the first folder with a fullchain.pem.
find_letsencrypt_folder() {
    local name
    while IFS= read -r name; do
        [[ $name != "${SSL_DOMAIN:-}" ]] || name=${name#\*.}
        LETSENCRYPT_FOLDER=$LIVE/$name
        [[ ! -e $LETSENCRYPT_FOLDER/fullchain.pem ]] || return 0
    done < <(letsencrypt_names)
    log ERROR "Cannot find a valid DOMAIN for '$LIVE/<DOMAIN>/', tried: '${SSL_DOMAIN:-}', '$HOSTNAME', '$DOMAINNAME'"
    panic '_find_letsencrypt_domain | LETSENCRYPT_DOMAIN appears to be misconfigured, please verify.'
}

# Sets LETSENCRYPT_KEY; the key is looked for in that one folder.
find_letsencrypt_key() {
    local name
    for name in privkey key; do
        LETSENCRYPT_KEY=$LETSENCRYPT_FOLDER/$name.pem
        [[ ! -e $LETSENCRYPT_KEY ]] || return 0
    done
    log ERROR "Cannot find key file ('privkey.pem' or 'key.pem') in '$LETSENCRYPT_FOLDER/'"
    panic '_find_letsencrypt_key | LETSENCRYPT_KEY appears to be misconfigured, please verify.'
}
