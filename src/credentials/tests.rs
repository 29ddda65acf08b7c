mod fetching;
mod keys;
mod proofs;
mod spoken;

use std::path::PathBuf;

use super::*;
use crate::{clock::Clock, metrics::Metrics, outbound::Outbound, qod::Moment};

/// A file that is gone when the test is over.
struct TempFile(PathBuf);

impl TempFile {
    fn new(text: &str) -> Self {
        let file = Self(std::env::temp_dir().join(format!("qod-secret-{}", uuid::Uuid::new_v4())));
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).unwrap();
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn caller() -> Caller {
    Caller {
        outbound: Outbound::new(),
        clock: Clock::fixed(Moment::from_unix_s(1_800_000_000)),
        metrics: Metrics::new().unwrap(),
    }
}

#[tokio::test]
async fn a_changed_file_is_read_anew_after_a_while_and_a_spoilt_one_is_not() {
    let (file, Caller { clock, .. }) = (TempFile::new("one\n"), caller());
    let kept = Kept::of_file(file.0.clone(), bearer).unwrap();
    let shown = async || kept.current(&clock, LOOK_EVERY).await.to_str().unwrap().to_owned();
    assert_eq!(shown().await, "Bearer one");
    file.write("two\n");
    assert_eq!(shown().await, "Bearer one", "it was just looked at");
    clock.advance(LOOK_EVERY);
    assert_eq!(shown().await, "Bearer two");
    file.write("two\nlines\n");
    clock.advance(LOOK_EVERY);
    assert_eq!(shown().await, "Bearer two");
    std::fs::remove_file(&file.0).unwrap();
    clock.advance(LOOK_EVERY);
    assert_eq!(shown().await, "Bearer two");
    file.write("three\n");
    clock.advance(LOOK_EVERY);
    assert_eq!(shown().await, "Bearer three");
}

#[test]
fn nothing_of_a_secret_is_in_what_is_wrong_with_it() {
    let file = TempFile::new("hush hush\n");
    let fault = Kept::of_file(file.0.clone(), bearer).unwrap_err();
    assert!(!fault.contains("hush"), "{fault}");
    let fault = Kept::of_file(file.0.clone(), SigningKey::read).unwrap_err();
    assert!(fault.starts_with("expected one private key in PEM") && !fault.contains("hush"));
    let settings = Settings {
        authorization: Authorization::Fixed(Kept::fixed(bearer(&Secret::new("hush")).unwrap())),
        ..Settings::default()
    };
    assert!(!format!("{settings:?}").contains("hush"));
}

#[test]
fn only_an_rsa_or_p256_key_signs() {
    for pem in [&keys::RSA.private, &keys::RSA.pkcs1(), &keys::P256.private] {
        assert!(SigningKey::read(&Secret::new(&**pem)).is_ok());
    }
    assert!(SigningKey::read_rsa(&Secret::new(&*keys::RSA.private)).is_ok());
    assert!(SigningKey::read_rsa(&Secret::new(&*keys::P256.private)).is_err());
    for pem in
        [&*keys::RSA.public, "", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
    {
        assert!(SigningKey::read(&Secret::new(pem)).is_err());
    }
}
