#!/usr/bin/env bash
# ApacheBench speaks HTTP/1.0. Proves that a client without keep-alive is not left with an open connection,
# and that one with keep-alive gets every response.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need ab apache2-utils
make_policies
# The rate limit of the client is not the subject.
sed -i 's|^    rate: 5/s|    rate: 100000/s|; s|^    burst: 20|    burst: 100000|' "$WORK/policies/clients.yaml"
serve
expect 201 "http://$HOST:8080$BASE/sessions" -d "$(body 1)"
id=$(sed 's/.*"sessionId":"\([^"]*\)".*/\1/' "$WORK/answer")
for keep_alive in "" -k; do
    for url in "http://$HOST:8080$BASE/sessions/$id" "http://$HOST:9090/readyz"; do
        # shellcheck disable=SC2086
        timeout 15 ab -q -s 10 -n 100 -c 4 $keep_alive -H "Authorization: Bearer $TOKEN" "$url" \
            >"$WORK/ab.log" 2>&1 || fail "ab $keep_alive $url did not end"
        grep -q '^Complete requests: *100$' "$WORK/ab.log" || fail "ab $keep_alive $url: not complete"
        grep -q '^Failed requests: *0$' "$WORK/ab.log" || fail "ab $keep_alive $url: failed requests"
        ! grep -q '^Non-2xx' "$WORK/ab.log" || fail "ab $keep_alive $url: $(grep '^Non-2xx' "$WORK/ab.log")"
    done
done
passed "HTTP/1.0 with and without keep-alive"
