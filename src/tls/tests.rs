use super::*;

fn pair() -> (String, String) {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (certified.cert.pem(), certified.key_pair.serialize_pem())
}

fn files() -> Files {
    Files { certificate: "own.pem".into(), key: "own.key".into() }
}

fn fault(chain: &str, key: &str) -> String {
    files().certified(&Secret::new(chain), &Secret::new(key)).unwrap_err()
}

#[test]
fn a_pair_is_taken_only_if_it_is_one() {
    let ((chain, key), (_, other)) = (pair(), pair());
    let (_, expires) = files().certified(&Secret::new(&*chain), &Secret::new(&*key)).unwrap();
    assert_eq!(expires, Moment::from_unix_s(67_090_118_400));
    assert!(fault(&chain, &other).starts_with("`own.key` is not the key of the certificate in"));
    assert_eq!(fault(&chain, ""), "`own.key` has no private key in PEM");
    assert_eq!(fault("", &key), "`own.pem` has no certificate in PEM");
    assert_eq!(fault(&key, &key), "`own.pem` has no certificate in PEM");
    let rubbish = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(fault(rubbish, &key), "`own.pem` cannot be understood");
    assert!(roots(Path::new("ca.pem"), &Secret::new(rubbish)).is_err());
}

#[test]
fn a_thumbprint_is_the_certificates_own() {
    let [one, same, other] = [b"one", b"one", b"two"].map(|der| Thumbprint::of(der));
    assert!(one.equals(&same) && !one.equals(&other));
}
