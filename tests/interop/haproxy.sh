#!/usr/bin/env bash
# HAProxy in front of the gateway. Proves that its health check works, and that the gateway sees the client's
# address behind it.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
PATH=$PATH:/usr/sbin
need haproxy haproxy
make_policies
# The sandbox client may call from one network only, which is not that of HAProxy.
sed -i "s|^  sandbox:|&\n    source_networks: [127.88.0.7/32]|" "$WORK/policies/clients.yaml"
sed -i "1,/^[a-z]/s|^listeners:|trusted_proxies: [$HOST/32]\n&|" "$WORK/policies/gateway.yaml"
cat >"$WORK/haproxy.cfg" <<END
defaults
    mode http
    timeout connect 2s
    timeout client 35s
    timeout server 35s
    option forwardfor
frontend api
    bind $HOST:8888
    default_backend gateway
backend gateway
    option httpchk GET /readyz
    http-check expect status 200
    source $HOST
    server one $HOST:8080 check port 9090 inter 1s fall 2 rise 1
frontend stats
    bind $HOST:8889
    stats enable
    stats uri /stats
END
serve
start haproxy haproxy -f "$WORK/haproxy.cfg"
is_up() { curl -s "http://$HOST:8889/stats;csv" | grep '^gateway,one,' | grep -q ',UP,'; }
wait_for "the server to be up" is_up
expect 403 "http://$HOST:8888$BASE/sessions" -d "$(body 1)"
expect 201 "http://$HOST:8888$BASE/sessions" -d "$(body 1)" --interface 127.88.0.7
for number in 2 3 4 5; do
    expect 201 "http://$HOST:8888$BASE/sessions" -d "$(body $number)" --interface 127.88.0.7
done
passed "health check, HTTP/1.1, and the client's address behind a trusted proxy"
