//! Text that must never be seen: in no log, no error, no answer.

use std::fmt;

use zeroize::Zeroize;

/// A token or key. It prints as `***`, and is wiped from memory when nobody has it any more.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Keeps this text from being seen.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The one line that it is, without its end.
    ///
    /// # Errors
    /// If it is none. A secret ends up in a header field: whatever else stands in it would break
    /// out of there.
    pub fn line(&self) -> Result<Self, String> {
        let text = self.0.strip_suffix('\n').unwrap_or(&self.0);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            return Err("the secret is empty".to_owned());
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the secret is not one line of visible ASCII characters".to_owned());
        }
        Ok(Self::new(text))
    }

    /// The text itself; only for the wire that it is meant for.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
