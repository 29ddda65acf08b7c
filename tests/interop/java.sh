#!/usr/bin/env bash
# The HttpClient of the JDK, with its defaults: it offers an upgrade to h2c with the first request of each
# connection. Proves that such requests, with a body too, are served.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need java default-jdk-headless
need javac default-jdk-headless
make_policies
serve
java "$(dirname "$0")/Sessions.java" "http://$HOST:8080$BASE/sessions" "$TOKEN" "$(body 1)" \
    >"$WORK/java.log" 2>&1 || fail "$(cat "$WORK/java.log")"
passed "create, read and delete with java.net.http.HttpClient"
