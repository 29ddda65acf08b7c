//! A value beside the words that it was written in: compared by the one, echoed by the other.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A parsed value and its original text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Written<T> {
    /// What was meant.
    pub value: T,
    /// How it was put, where that differs from how we would put it.
    text: Option<Text>,
}

// The longest text that is kept: an IPv6 prefix in full, or a masked IPv4-mapped address.
const TEXT_BYTES_MAX: usize = 50;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Text {
    bytes: [u8; TEXT_BYTES_MAX],
    length: u8,
}

impl<T: fmt::Display> Written<T> {
    /// A value and the text that it was read from. A text over 50 bytes is not kept.
    pub fn from_text(value: T, text: &str) -> Self {
        if value.to_string() == text {
            return Self { value, text: None };
        }
        Self { value, text: Text::new(text) }
    }

    /// The text as it came, or the value's own.
    pub fn text(&self) -> String {
        match self.text.as_ref().and_then(Text::as_str) {
            Some(text) => text.to_owned(),
            None => self.value.to_string(),
        }
    }
}

impl<T> Written<T> {
    /// A value that nobody has written yet.
    pub fn plain(value: T) -> Self {
        Self { value, text: None }
    }
}

impl<T: fmt::Debug> fmt::Debug for Written<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str().unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&str>::deserialize(deserializer)?;
        Self::new(text).ok_or_else(|| de::Error::custom("a text over 50 bytes"))
    }
}

impl Text {
    fn new(text: &str) -> Option<Self> {
        let mut bytes = [0; TEXT_BYTES_MAX];
        bytes.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(Self { bytes, length: u8::try_from(text.len()).ok()? })
    }

    fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes.get(..usize::from(self.length))?).ok()
    }
}
