//! What holds is tried beside the signing of it, in `operator::credentials`; here is what cannot.

use proptest::prelude::*;

use super::*;

#[test]
fn a_key_is_an_rsa_key_in_pem() {
    for text in ["", "key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
        assert!(ProofKey::read(text.as_bytes()).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn rubbish_is_no_proof(token in "[A-Za-z0-9._-]{0,200}") {
        let (headers, method) = (HeaderMap::new(), Method::GET);
        let request = Request { method: &method, target: "/", headers: &headers, body: b"" };
        let proof = verify(&token, &ProofKey(Vec::new()), &request, Moment::from_unix_s(0));
        prop_assert!(proof.is_err());
    }
}
