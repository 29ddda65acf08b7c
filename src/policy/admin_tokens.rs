//! The bearer tokens of the admin listener: a file with one token a line. Several tokens are valid at a
//! time, so that a token can be replaced without a gap. Only their hashes stay in memory.

use std::path::{Path, PathBuf};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use sha2::{Digest as _, Sha256};

use crate::{
    qod::Secret,
    reloadable::{Reloadable, read_secret},
};

/// The hashes of the valid tokens. Never empty.
#[derive(Clone)]
pub struct AdminTokens(Vec<[u8; 32]>);

const TOKEN_BYTES_MIN: usize = 32;
const TOKENS_MAX: usize = 16;

impl AdminTokens {
    /// Loads the tokens of a file. The result is reloadable.
    ///
    /// # Errors
    /// Why the file cannot be used, without its content.
    pub fn read(file: PathBuf) -> Result<Reloadable<Self>, String> {
        Reloadable::from_file(file, |text| {
            let tokens = lines(text)?;
            Ok(Self(tokens.iter().map(|token| hash(token.reveal())).collect()))
        })
    }

    /// Whether this is a valid token. The time does not depend on how much of it is right.
    pub fn contains(&self, token: &str) -> bool {
        let presented = hash(token);
        let is_equal = |known: &[u8; 32]| verify_slices_are_equal(known, &presented).is_ok();
        // All are compared, whichever is equal.
        self.0.iter().filter(|known| is_equal(known)).count() > 0
    }
}

/// Reads the token that this program presents: the first one of the file.
///
/// # Errors
/// Why the file cannot be used, without its content.
pub fn read_admin_token(file: &Path) -> Result<Secret, String> {
    let tokens = read_secret(file).and_then(|text| {
        lines(&text).map_err(|error| format!("{error} (in `{}`)", file.display()))
    });
    tokens?.into_iter().next().ok_or_else(|| format!("`{}` contains no token", file.display()))
}

// The tokens of a file. Empty lines are ignored.
fn lines(text: &Secret) -> Result<Vec<Secret>, String> {
    let mut tokens = Vec::new();
    for (index, line) in text.reveal().lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let number = index + 1;
        let token = Secret::new(line).single_line();
        let token = token.map_err(|error| format!("line {number}: {error}"))?;
        if token.reveal().len() < TOKEN_BYTES_MIN {
            return Err(format!(
                "line {number}: the token is shorter than {TOKEN_BYTES_MIN} bytes; make one with \
                 `openssl rand -hex 32`"
            ));
        }
        tokens.push(token);
    }
    match tokens.len() {
        0 => Err("the file contains no token".to_owned()),
        1..=TOKENS_MAX => Ok(tokens),
        _ => Err(format!("the file contains more than {TOKENS_MAX} tokens")),
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// The output omits the hashes.
impl std::fmt::Debug for AdminTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AdminTokens({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_file<T>(text: &str, read: impl Fn(&Path) -> T) -> T {
        let path = std::env::temp_dir().join(uuid::Uuid::new_v4().to_string());
        std::fs::write(&path, text).unwrap();
        let result = read(&path);
        std::fs::remove_file(path).unwrap();
        result
    }

    #[test]
    fn every_token_of_the_file_is_valid_and_the_first_is_presented() {
        let [one, two] = ["a".repeat(32), "b".repeat(64)];
        let text = format!("{one}\n\n{two}\r\n");
        let tokens = in_file(&text, |path| AdminTokens::read(path.to_owned()).unwrap().load());
        assert!(tokens.contains(&one) && tokens.contains(&two));
        for wrong in ["", "a", "b", &"a".repeat(33), &text] {
            assert!(!tokens.contains(wrong), "{wrong}");
        }
        assert_eq!(in_file(&text, read_admin_token).unwrap().reveal(), one);
        assert_eq!(format!("{tokens:?}"), "AdminTokens(2)");
    }

    #[test]
    fn unusable_file_is_rejected_without_its_content() {
        let valid = "valid-token-of-at-least-32-characters";
        for (text, reason) in [
            (String::new(), "contains no token"),
            ("\n\n".to_owned(), "contains no token"),
            (format!("{valid}\nshort-token"), "line 2: the token is shorter than 32 bytes"),
            (format!("{valid} {valid}"), "line 1"),
            (format!("{valid}\n").repeat(17), "more than 16 tokens"),
        ] {
            let error = in_file(&text, |path| AdminTokens::read(path.to_owned()).unwrap_err());
            assert!(error.contains(reason) && !error.contains("valid-token"), "{error}");
            assert!(!error.contains("short-token"), "{error}");
            assert!(in_file(&text, read_admin_token).is_err());
        }
    }
}
