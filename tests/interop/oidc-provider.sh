#!/usr/bin/env bash
# node-oidc-provider as authorization server, with its defaults for JWT access tokens. Proves that its tokens
# are accepted by discovery, keys, audience and scope, and that a token without the scope is rejected.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need node nodejs
need npm npm
VERSION=9.13.3
SCOPE='dpv:RequestedServiceProvision#qod'
make_policies
mkdir "$WORK/node"
cp "$(dirname "$0")/oidc-provider.mjs" "$WORK/node/"
(cd "$WORK/node" && npm install --silent --no-audit --no-fund --ignore-scripts "oidc-provider@$VERSION" >../npm.log 2>&1) || {
    [ -z "${QOD_INTEROP_REQUIRED:-}" ] || fail "oidc-provider@$VERSION cannot be installed"
    echo "$NAME: skipped: npm cannot install oidc-provider@$VERSION"
    exit 0
}
cat >>"$WORK/policies/clients.yaml" <<END

issuers:
  - issuer: http://$HOST:7000
    audiences: ["urn:qod"]
    jwks_discovery: openid_configuration
    algorithms: [RS256]
END
sed -i "s|^  sandbox:|  partner:\n    operators: [telefonica-es]\n&|" "$WORK/policies/clients.yaml"
start issuer node "$WORK/node/oidc-provider.mjs" $HOST 7000
wait_for "the issuer" curl -sf -o /dev/null "http://$HOST:7000/.well-known/openid-configuration"
serve
token() {
    curl -sf -u partner:partner-secret -d grant_type=client_credentials -d resource=urn:qod \
        --data-urlencode "scope=$1" "http://$HOST:7000/token" | sed 's/.*"access_token":"\([^"]*\)".*/\1/'
}
BEARER=$(token "$SCOPE") expect 201 "http://$HOST:8080$BASE/sessions" -d "$(body 1)"
BEARER=$(token other) expect 403 "http://$HOST:8080$BASE/sessions" -d "$(body 2)"
BEARER=$(token "$SCOPE")x expect 401 "http://$HOST:8080$BASE/sessions" -d "$(body 3)"
passed "tokens of node-oidc-provider $VERSION"
