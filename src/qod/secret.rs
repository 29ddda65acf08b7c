//! Secret text that must not appear in any log, error or response.

use std::fmt;

use zeroize::Zeroize;

/// A token or key. `Debug` prints `***`, and the memory is zeroed on drop.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text as a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the secret without its line terminator.
    ///
    /// # Errors
    /// If the secret is not one non-empty line of visible ASCII. A secret is sent in a header
    /// field, where other characters could inject further fields.
    pub fn single_line(&self) -> Result<Self, String> {
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

    /// The text itself, for sending it to its peer only.
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
