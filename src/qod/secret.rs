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
        self.line(|byte| byte.is_ascii_graphic(), "visible ASCII characters")
    }

    /// Returns a client secret without its line terminator. It may contain spaces (`VSCHAR` in
    /// RFC 6749, appendix A.2), because it is sent encoded.
    ///
    /// # Errors
    /// If the secret is not one non-empty line of visible ASCII and spaces.
    pub fn client_secret(&self) -> Result<Self, String> {
        let is_vschar = |byte: u8| matches!(byte, 0x20..=0x7e);
        self.line(is_vschar, "visible ASCII characters and spaces")
    }

    fn line(&self, allows: impl Fn(u8) -> bool, expected: &str) -> Result<Self, String> {
        let text = self.0.strip_suffix('\n').unwrap_or(&self.0);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() {
            return Err("the secret is empty".to_owned());
        }
        let fault = match text {
            _ if text.starts_with('\u{feff}') => "it begins with a byte order mark",
            _ if text.contains(['\n', '\r']) => "it has more than one line",
            _ if text.contains([' ', '\t']) && !text.bytes().all(&allows) => {
                "it contains a space or tab"
            }
            _ if !text.bytes().all(&allows) => "it contains a character other than visible ASCII",
            _ => return Ok(Self::new(text)),
        };
        Err(format!("the secret is not one line of {expected}: {fault}"))
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
