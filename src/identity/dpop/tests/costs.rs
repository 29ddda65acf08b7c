//! What a proof costs beside its token, for people to read: see `identity::tests::costs`.

use super::*;
use crate::identity::tests::{
    bearing,
    costs::{TIMES, current, measure},
};

/// A token that was seen before and is bound to a key, with a proof that never was.
#[tokio::test]
#[ignore = "a measurement, for people to read"]
async fn what_a_token_costs_with_its_proof() {
    let clock = Clock::system();
    let identity = trusting(&clock);
    for signer in [&*P256, &*ED25519, &*RSA] {
        let mut told = current(&clock, 0);
        told["cnf"] = json!({ "jkt": thumbprint(signer) });
        let holder = Holder { signer, token: P256.token(&told) };
        let proved = |number: usize| {
            let mut claims = holder.claims(&format!("{}-{number}", signer.kid));
            claims["iat"] = json!(clock.now().unix_s());
            let mut request = bearing("");
            *request.method_mut() = Method::POST;
            *request.uri_mut() = PATH.parse().unwrap();
            let headers = request.headers_mut();
            let shown = format!("DPoP {}", holder.token);
            headers.insert(AUTHORIZATION, HeaderValue::from_str(&shown).unwrap());
            let proof = holder.proof(&claims);
            headers.insert(FIELD, HeaderValue::from_str(&proof).unwrap());
            request
        };
        let requests: Vec<Request<Bytes>> = (0..TIMES).map(proved).collect();
        let what = format!("seen before, with a new proof by {}", signer.algorithm());
        measure(&what, &identity, &requests).await;
    }
}
