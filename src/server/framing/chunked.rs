//! Checks the chunked transfer coding byte by byte (RFC 9112 §7.1). Pingora decodes it leniently; this check
//! lets only bytes pass that every recipient reads the same way.

// The longest chunk size: 16 hexadecimal digits, with a value below 2^32.
const SIZE_DIGITS_MAX: u8 = 16;
const SIZE_MAX: u64 = u32::MAX as u64;

// The bytes of all chunk extensions and trailer fields of a message together.
const OVERHEAD_BYTES_MAX: usize = 8 * 1024;

/// The position in a chunked body.
#[derive(Debug)]
pub(in crate::server) struct ChunkedCheck {
    place: Place,
    overhead: usize,
    data: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Size { size: u64, digits: u8 },
    // Whitespace after the size, before `;`.
    BeforeExtension { size: u64 },
    Extension { size: u64, quote: Quote },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    // The start of a trailer field, or of the empty line that ends the message.
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quote {
    Outside,
    Inside,
    Escaped,
}

impl ChunkedCheck {
    pub(in crate::server) fn new() -> Self {
        Self { place: Place::Size { size: 0, digits: 0 }, overhead: 0, data: 0 }
    }

    /// Whether the body is complete.
    pub(in crate::server) fn is_complete(&self) -> bool {
        self.place == Place::End
    }

    /// The size of the decoded body, as far as its chunks have begun.
    pub(in crate::server) fn data_bytes(&self) -> u64 {
        self.data
    }

    /// Returns how many of these bytes belong to the body. The others follow it.
    ///
    /// # Errors
    /// If the bytes are not a chunked body.
    pub(in crate::server) fn accept(&mut self, bytes: &[u8]) -> Result<usize, &'static str> {
        let mut rest = bytes;
        while !self.is_complete() {
            if let Place::Data { left } = self.place {
                let skipped = left.min(rest.len() as u64);
                self.place = if skipped == left {
                    Place::DataCr
                } else {
                    Place::Data { left: left - skipped }
                };
                rest =
                    usize::try_from(skipped).ok().and_then(|n| rest.get(n..)).unwrap_or_default();
            }
            let Some((byte, more)) = rest.split_first() else { break };
            self.place = self.next(*byte)?;
            rest = more;
        }
        Ok(bytes.len() - rest.len())
    }

    fn next(&mut self, byte: u8) -> Result<Place, &'static str> {
        let invalid = Err("invalid chunk in the body");
        match (self.place, byte) {
            (Place::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                next_digit(size, digits, byte)
            }
            (Place::Size { digits: 0, .. }, _) => invalid,
            (
                Place::Size { size, .. } | Place::Extension { size, quote: Quote::Outside },
                b'\r',
            ) => Ok(Place::SizeLf { size }),
            (Place::Size { size, .. } | Place::BeforeExtension { size }, b' ' | b'\t') => {
                self.count(Place::BeforeExtension { size })
            }
            (Place::Size { size, .. } | Place::BeforeExtension { size }, b';') => {
                self.count(Place::Extension { size, quote: Quote::Outside })
            }
            (Place::Extension { size, quote }, _) if is_text(byte) => {
                self.count(Place::Extension { size, quote: quote.next(byte) })
            }
            (Place::SizeLf { size: 0 } | Place::TrailerLf, b'\n') => Ok(Place::TrailerStart),
            (Place::SizeLf { size }, b'\n') => {
                self.data = self.data.saturating_add(size);
                Ok(Place::Data { left: size })
            }
            (Place::DataCr, b'\r') => Ok(Place::DataLf),
            (Place::DataLf, b'\n') => Ok(Place::Size { size: 0, digits: 0 }),
            (Place::TrailerStart, b'\r') => Ok(Place::EndLf),
            (Place::TrailerStart | Place::TrailerName, _) if is_token(byte) => {
                self.count(Place::TrailerName)
            }
            (Place::TrailerName, b':') => self.count(Place::TrailerValue),
            (Place::TrailerValue, b'\r') => Ok(Place::TrailerLf),
            (Place::TrailerValue, _) if is_text(byte) => self.count(Place::TrailerValue),
            (Place::EndLf, b'\n') => Ok(Place::End),
            _ => invalid,
        }
    }

    fn count(&mut self, next: Place) -> Result<Place, &'static str> {
        self.overhead += 1;
        if self.overhead > OVERHEAD_BYTES_MAX {
            return Err("too many chunk extensions or trailer fields in the body");
        }
        Ok(next)
    }
}

impl Quote {
    fn next(self, byte: u8) -> Self {
        match (self, byte) {
            (Self::Outside, b'"') | (Self::Escaped, _) => Self::Inside,
            (Self::Inside, b'"') | (Self::Outside, _) => Self::Outside,
            (Self::Inside, b'\\') => Self::Escaped,
            (Self::Inside, _) => Self::Inside,
        }
    }
}

fn next_digit(size: u64, digits: u8, byte: u8) -> Result<Place, &'static str> {
    let digit = char::from(byte).to_digit(16).unwrap_or_default();
    let size = size.saturating_mul(16).saturating_add(digit.into());
    if digits >= SIZE_DIGITS_MAX || size > SIZE_MAX {
        return Err("chunk in the body is too large");
    }
    Ok(Place::Size { size, digits: digits + 1 })
}

// The bytes of a field value and of a chunk extension: no control character except the tabulator.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
