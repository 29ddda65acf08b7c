# Functions of the interoperability scripts. Sourced by bash with `set -euo pipefail`.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
GATEWAY=${QOD_GATEWAY:-$ROOT/target/release/qod-gateway}
HOST=127.88.0.1
WORK=$(mktemp -d "${TMPDIR:-/tmp}/qod-interop.XXXXXX")
NAME=$(basename "$0" .sh)
TOKEN=mock_sandbox_access_token
BASE=/camara-0.10.1/qod/v0
PIDS=()

finish() {
    local status=$?
    # Only processes of this script are ended.
    for pid in "${PIDS[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${PIDS[@]}"; do wait "$pid" 2>/dev/null || true; done
    if [ $status != 0 ]; then
        echo "$NAME: failed" >&2
        tail -n 20 "$WORK"/*.log >&2 2>/dev/null || true
    fi
    if [ -n "${QOD_KEEP:-}" ]; then echo "$NAME: kept $WORK"; else rm -rf "$WORK"; fi
}
trap finish EXIT

fail() {
    echo "$NAME: $*" >&2
    exit 1
}

# need PROGRAM PACKAGE: ends the script if the program is not installed.
need() {
    PATH=$PATH:/usr/sbin command -v "$1" >/dev/null && return
    [ -z "${QOD_INTEROP_REQUIRED:-}" ] || fail "$1 is not installed (package $2)"
    echo "$NAME: skipped: $1 is not installed (package $2)"
    exit 0
}

# wait_for WHAT COMMAND…: repeats the command for up to 30 s.
wait_for() {
    local what=$1 deadline=$((SECONDS + 30))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $deadline ] || fail "timed out waiting for $what"
        sleep 0.1
    done
}

# start LOG COMMAND…: starts a process that ends with the script.
start() {
    local log=$WORK/$1.log
    shift
    "$@" >"$log" 2>&1 &
    PIDS+=($!)
}

# Copies the shipped policies with addresses of their own. Scripts may change them before `serve`.
make_policies() {
    [ -x "$GATEWAY" ] || fail "there is no $GATEWAY; build it, or set QOD_GATEWAY"
    cp -r "$ROOT/policies" "$WORK/policies"
    ln -s "$ROOT/schemas" "$WORK/schemas"
    sed -i "s/127\.0\.0\.1/$HOST/g" "$WORK"/policies/*.yaml
    # The idle timeout is longer than the script: a response that waits for it fails.
    sed -i 's/idle_timeout: 20s/idle_timeout: 2m/' "$WORK/policies/gateway.yaml"
}

# Starts the simulated operator of Spain and the gateway.
serve() {
    start operator "$GATEWAY" simulate-operator --dialect telefonica-0.10 --listen $HOST:9101 \
        --path /qod/v0 --schemas "$ROOT/schemas"
    start gateway "$GATEWAY" serve --policies "$WORK/policies" --upgrade-socket "$WORK/upgrade.sock"
    wait_for "the operator" curl -s -o /dev/null "http://$HOST:9101/"
    wait_for "the gateway" curl -sf -o /dev/null "http://$HOST:9090/readyz"
}

# body NUMBER: a create request for a device in Spain.
body() {
    printf '{"device":{"phoneNumber":"+346001%05d"},"applicationServer":{"ipv4Address":"203.0.113.5"},"qosProfile":"QOS_E","duration":60}' "$1"
}

# status URL [CURL OPTIONS]: the status of a request with the mock token.
status() {
    local url=$1
    shift
    curl -s -o "$WORK/answer" -w '%{http_code}' -m 20 -H "Authorization: Bearer ${BEARER:-$TOKEN}" \
        -H 'Content-Type: application/json' "$@" "$url"
}

# expect STATUS URL [CURL OPTIONS]
expect() {
    local expected=$1 got
    shift
    got=$(status "$@") || fail "no response from $1"
    [ "$got" = "$expected" ] || fail "$1: expected $expected, got $got: $(cat "$WORK/answer")"
}

passed() {
    echo "$NAME: passed: $*"
}
