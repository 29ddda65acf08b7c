mod fetching;
mod keys;
mod proofs;
mod token_endpoint;

use std::path::PathBuf;

use super::*;
use crate::{clock::Clock, metrics::Metrics, outbound::Outbound, qod::Moment};

/// A file that is removed when the test ends.
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
async fn changed_file_is_reloaded_and_invalid_file_is_ignored() {
    let (file, Caller { clock, .. }) = (TempFile::new("one\n"), caller());
    let reloadable = Reloadable::from_file(file.0.clone(), bearer).unwrap();
    let current =
        async || reloadable.current(&clock, FILE_CHECK_INTERVAL).await.to_str().unwrap().to_owned();
    assert_eq!(current().await, "Bearer one");
    file.write("two\n");
    assert_eq!(current().await, "Bearer one", "it was checked just before");
    clock.advance(FILE_CHECK_INTERVAL);
    assert_eq!(current().await, "Bearer two");
    file.write("two\nlines\n");
    clock.advance(FILE_CHECK_INTERVAL);
    assert_eq!(current().await, "Bearer two");
    std::fs::remove_file(&file.0).unwrap();
    clock.advance(FILE_CHECK_INTERVAL);
    assert_eq!(current().await, "Bearer two");
    file.write("three\n");
    clock.advance(FILE_CHECK_INTERVAL);
    assert_eq!(current().await, "Bearer three");
}

#[test]
fn error_messages_and_debug_output_contain_no_secret() {
    let file = TempFile::new("hush hush\n");
    let error = Reloadable::from_file(file.0.clone(), bearer).unwrap_err();
    assert!(!error.contains("hush"), "{error}");
    let error = Reloadable::from_file(file.0.clone(), SigningKey::from_pem).unwrap_err();
    assert!(
        error.starts_with("expected one unencrypted private key in PEM") && !error.contains("hush")
    );
    let settings = Settings {
        authorization: Authorization::Fixed(Reloadable::fixed(
            bearer(&Secret::new("hush")).unwrap(),
        )),
        ..Settings::default()
    };
    assert!(!format!("{settings:?}").contains("hush"));
}

#[test]
fn only_rsa_and_p256_signing_keys_are_accepted() {
    for pem in [&keys::RSA.private, &keys::RSA.pkcs1(), &keys::P256.private] {
        assert!(SigningKey::from_pem(&Secret::new(&**pem)).is_ok());
    }
    assert!(SigningKey::rsa_from_pem(&Secret::new(&*keys::RSA.private)).is_ok());
    assert!(SigningKey::rsa_from_pem(&Secret::new(&*keys::P256.private)).is_err());
    for pem in
        [&*keys::RSA.public, "", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
    {
        assert!(SigningKey::from_pem(&Secret::new(pem)).is_err());
    }
}
