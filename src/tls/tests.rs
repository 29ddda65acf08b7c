use super::*;

fn pair() -> (String, String) {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (certified.cert.pem(), certified.key_pair.serialize_pem())
}

fn files() -> CertificateFiles {
    CertificateFiles { certificate: "own.pem".into(), key: "own.key".into() }
}

fn error(chain: &str, key: &str) -> String {
    files().certified_key(&Secret::new(chain), &Secret::new(key)).unwrap_err()
}

#[test]
fn certificate_and_key_must_match() {
    let ((chain, key), (_, other)) = (pair(), pair());
    let (_, expires) = files().certified_key(&Secret::new(&*chain), &Secret::new(&*key)).unwrap();
    assert_eq!(expires, Moment::from_unix_s(67_090_118_400));
    assert!(error(&chain, &other).starts_with("`own.key` is not the key of the certificate in"));
    assert_eq!(error(&chain, ""), "`own.key` contains no private key in PEM");
    assert_eq!(error("", &key), "`own.pem` contains no certificate in PEM");
    assert_eq!(error(&key, &key), "`own.pem` contains no certificate in PEM");
    let rubbish = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert_eq!(error(rubbish, &key), "`own.pem` is not a valid X.509 certificate");
    assert!(read_roots(Path::new("ca.pem"), &Secret::new(rubbish)).is_err());
}

#[test]
fn thumbprints_are_equal_only_for_the_same_certificate() {
    let [one, same, other] =
        [b"one", b"one", b"two"].map(|der| CertificateThumbprint::from_der(der));
    assert!(one.equals(&same) && !one.equals(&other));
}
