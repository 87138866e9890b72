#!/bin/sh
# Makes the key of site {{ site }}, here at the site: {{ site }}.key never leaves it, {{ site }}.pub goes to the server's people.
# A key that is there already is kept as it is.
set -eu
umask 077
cd "$(dirname "$0")"
command -v ssh-keygen > /dev/null || { echo "key.sh: needs ssh-keygen (OpenSSH)" >&2; exit 1; }
if [ -e {{ site }}.key ] || [ -e {{ site }}.pub ]; then
    echo "kept    what is there of {{ site }}.key and {{ site }}.pub"
else
    work=$(mktemp -d ./.key.XXXXXX)
    trap 'rm -rf "$work"' EXIT
    ssh-keygen -q -t ecdsa -b 384 -N "" -C {{ site }} -f "$work/{{ site }}"
    chmod 644 "$work/{{ site }}.pub"
    mv "$work/{{ site }}" {{ site }}.key
    mv "$work/{{ site }}.pub" {{ site }}.pub
    echo "written {{ site }}.key, {{ site }}.pub"
fi
echo "Send {{ site }}.pub, and tell the server's people its fingerprint by another way, by telephone say:"
ssh-keygen -lf {{ site }}.pub
