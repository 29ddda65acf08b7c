//! A parsed value with its original text: comparisons use the value, responses echo the text.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A parsed value and its original text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Verbatim<T> {
    /// The value.
    pub value: T,
    /// The original text, if it differs from the canonical text.
    text: Option<OriginalText>,
}

// The maximum length of a stored text: a full IPv6 prefix, or a masked IPv4-mapped address.
const TEXT_BYTES_MAX: usize = 50;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct OriginalText {
    bytes: [u8; TEXT_BYTES_MAX],
    length: u8,
}

impl<T: fmt::Display> Verbatim<T> {
    /// Creates a value with its original text. A text over 50 bytes is not stored.
    pub fn from_text(value: T, text: &str) -> Self {
        if value.to_string() == text {
            return Self { value, text: None };
        }
        Self { value, text: OriginalText::new(text) }
    }

    /// The original text, or the canonical text of the value.
    pub fn text(&self) -> String {
        match self.text.as_ref().and_then(OriginalText::as_str) {
            Some(text) => text.to_owned(),
            None => self.value.to_string(),
        }
    }
}

impl<T> Verbatim<T> {
    /// Creates a value without an original text.
    pub fn from_value(value: T) -> Self {
        Self { value, text: None }
    }
}

impl<T: fmt::Debug> fmt::Debug for Verbatim<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl Serialize for OriginalText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str().unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for OriginalText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&str>::deserialize(deserializer)?;
        Self::new(text).ok_or_else(|| de::Error::custom("text over 50 bytes"))
    }
}

impl OriginalText {
    fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; TEXT_BYTES_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self { bytes, length: u8::try_from(text.len()).ok()? })
    }

    fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes.get(..usize::from(self.length))?).ok()
    }
}
