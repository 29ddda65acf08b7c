//! Benchmark of proof verification; see `identity::tests::costs`.

use super::*;
use crate::identity::tests::{
    bearing,
    benchmarks::{TIMES, current, measure},
};

/// A cached bound token with a new proof.
#[tokio::test]
#[ignore = "a benchmark, run by hand"]
async fn benchmark_token_with_proof() {
    let clock = Clock::system();
    let identity = trusting(&clock);
    for signer in [&*P256, &*ED25519, &*RSA] {
        let mut token_claims = current(&clock, 0);
        token_claims["cnf"] = json!({ "jkt": thumbprint(signer) });
        let holder = KeyHolder { signer, token: P256.token(&token_claims) };
        let signed_request = |number: usize| {
            let mut claims = holder.claims(&format!("{}-{number}", signer.kid));
            claims["iat"] = json!(clock.now().unix_s());
            let mut request = bearing("");
            *request.method_mut() = Method::POST;
            *request.uri_mut() = PATH.parse().unwrap();
            let headers = request.headers_mut();
            let authorization = format!("DPoP {}", holder.token);
            headers.insert(AUTHORIZATION, HeaderValue::from_str(&authorization).unwrap());
            let proof = holder.proof(&claims);
            headers.insert(HEADER, HeaderValue::from_str(&proof).unwrap());
            request
        };
        let requests: Vec<Request<Bytes>> = (0..TIMES).map(signed_request).collect();
        let what = format!("cached, with a new proof by {}", signer.algorithm());
        measure(&what, &identity, &requests).await;
    }
}
