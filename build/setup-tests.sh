#!/bin/sh
# Installs what the tests need and is missing: Debian packages, when run as root on a Debian system.
# Anything that stays missing is named; the tests that need it then skip themselves and say so.
set -eu
missing=
need() { # program package [program's other places ...]
    program=$1 package=$2
    shift 2
    if command -v "$program" >/dev/null 2>&1; then return 0; fi
    for place in "$@"; do
        if [ -x "$place" ]; then return 0; fi
    done
    missing="$missing $package"
}
need rabbitmq-server rabbitmq-server /usr/sbin/rabbitmq-server
need initdb postgresql /usr/lib/postgresql/*/bin/initdb
need promtool prometheus /usr/bin/promtool
need kubectl kubernetes-client /usr/bin/kubectl
if [ -z "$missing" ]; then exit 0; fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: not installed:$missing (needs root on Debian; the tests that use them will be skipped)" >&2
    exit 0
fi
echo "setup: installing$missing" >&2
export DEBIAN_FRONTEND=noninteractive
# The packages' own services are not wanted: tests start servers of their own on free ports.
policy=/usr/sbin/policy-rc.d
made_policy=
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    made_policy=1
fi
trap '[ -z "$made_policy" ] || rm -f "$policy"' EXIT
apt-get update -qq >/dev/null
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
