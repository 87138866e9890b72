#!/bin/sh
# Makes the consortium's authority and the SuperLink's certificate. What is there already is kept as it is.
#
#   authority/             ca.key signs certificates: keep it offline, and for the day when you renew
#   server/certificates/   ca.pem, server.pem and server.key, for the SuperLink
#   sites/*/ca.pem         what each site trusts
set -eu
umask 077
cd "$(dirname "$0")"
command -v openssl > /dev/null || { echo "certificates.sh: needs openssl" >&2; exit 1; }
work=$(mktemp -d ./.certificates.XXXXXX)
trap 'rm -rf "$work"' EXIT

cat > "$work/openssl.cnf" << 'END'
[req]
prompt = no
distinguished_name = name
[name]
CN = fedloom
[authority]
basicConstraints = critical, CA:true, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {{ "IP" if address else "DNS" }}:{{ host }}, DNS:localhost, IP:127.0.0.1
END

key() {
    openssl ecparam -name secp384r1 -genkey -noout -out "$1"
}

if [ -e authority ]; then
    echo "kept    authority/"
else
    mkdir "$work/authority"
    key "$work/authority/ca.key"
    openssl req -x509 -new -sha384 -days 3650 -config "$work/openssl.cnf" -extensions authority \
        -subj "/CN=fedloom consortium" -key "$work/authority/ca.key" -out "$work/authority/ca.pem"
    chmod 644 "$work/authority/ca.pem"
    mv "$work/authority" authority
    echo "written authority/ca.key, authority/ca.pem"
fi

if [ -e server/certificates ]; then
    echo "kept    server/certificates/"
elif [ ! -e authority/ca.key ]; then
    echo "certificates.sh: authority/ca.key is not there to sign with; put it back for this step" >&2
    exit 1
else
    mkdir "$work/certificates"
    key "$work/certificates/server.key"
    openssl req -new -sha384 -config "$work/openssl.cnf" -subj "/CN=fedloom SuperLink" \
        -key "$work/certificates/server.key" -out "$work/server.csr"
    openssl x509 -req -sha384 -days 825 -in "$work/server.csr" -CA authority/ca.pem -CAkey authority/ca.key \
        -set_serial "0x$(openssl rand -hex 16)" -extfile "$work/openssl.cnf" -extensions server \
        -out "$work/certificates/server.pem" 2> "$work/told" || { cat "$work/told" >&2; exit 1; }
    cp authority/ca.pem "$work/certificates/ca.pem"
    chmod 644 "$work/certificates/ca.pem" "$work/certificates/server.pem"
    mkdir -p server
    mv "$work/certificates" server/certificates
    echo "written server/certificates/: ca.pem, server.pem, server.key (for 825 days)"
fi

for site in sites/*/; do
    [ -d "$site" ] || continue
    if [ -e "${site}ca.pem" ]; then
        cmp -s authority/ca.pem "${site}ca.pem" || { echo "certificates.sh: ${site}ca.pem is of another authority" >&2; exit 1; }
    else
        cp authority/ca.pem "${site}ca.pem"
        chmod 644 "${site}ca.pem"
        echo "written ${site}ca.pem"
    fi
done
echo "Tell every site this fingerprint by another way than the files, by telephone say:"
openssl x509 -in authority/ca.pem -noout -fingerprint -sha256
