#!/usr/bin/env bash
# nginx in front of the gateway, with pooled connections. Proves that pooled HTTP/1.1 connections are served
# and closed as nginx expects, and that the gateway sees the client's address behind it.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
PATH=$PATH:/usr/sbin
need nginx nginx-light
make_policies
sed -i "s|^  sandbox:|&\n    source_networks: [127.88.0.7/32]|" "$WORK/policies/clients.yaml"
sed -i "1,/^[a-z]/s|^listeners:|trusted_proxies: [$HOST/32]\n&|" "$WORK/policies/gateway.yaml"
mkdir "$WORK/nginx"
cat >"$WORK/nginx.conf" <<END
daemon off;
worker_processes 1;
pid $WORK/nginx/pid;
error_log stderr warn;
events { worker_connections 256; }
http {
    access_log off;
    client_body_temp_path $WORK/nginx/body;
    proxy_temp_path $WORK/nginx/proxy;
    fastcgi_temp_path $WORK/nginx/fastcgi;
    uwsgi_temp_path $WORK/nginx/uwsgi;
    scgi_temp_path $WORK/nginx/scgi;
    upstream gateway {
        server $HOST:8080;
        keepalive 8;
    }
    server {
        listen $HOST:8888;
        location / {
            proxy_pass http://gateway;
            proxy_bind $HOST;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host \$host:\$server_port;
            proxy_set_header X-Forwarded-For \$proxy_add_x_forwarded_for;
            proxy_next_upstream off;
        }
    }
}
END
serve
start nginx nginx -p "$WORK/nginx" -c "$WORK/nginx.conf" -e stderr
wait_for "nginx" curl -s -o /dev/null "http://$HOST:8888/"
expect 403 "http://$HOST:8888$BASE/sessions" -d "$(body 1)"
for number in 1 2 3 4 5; do
    expect 201 "http://$HOST:8888$BASE/sessions" -d "$(body $number)" --interface 127.88.0.7
    id=$(sed 's/.*"sessionId":"\([^"]*\)".*/\1/' "$WORK/answer")
    expect 200 "http://$HOST:8888$BASE/sessions/$id" --interface 127.88.0.7
    expect 204 "http://$HOST:8888$BASE/sessions/$id" -X DELETE --interface 127.88.0.7
done
passed "pooled HTTP/1.1 connections, and the client's address behind a trusted proxy"
