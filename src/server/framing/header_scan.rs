//! Finds the end of an HTTP/1 header, in the way in which pingora's parser does.

/// The position in a header.
#[derive(Debug)]
pub(in crate::server) struct HeaderScan {
    place: Place,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    // Empty lines before the request line are ignored (RFC 9112 §2.2).
    Start,
    LineStart,
    Line,
    End,
}

impl HeaderScan {
    pub(in crate::server) fn new(bytes_max: usize) -> Self {
        Self { place: Place::Start, bytes: 0, bytes_max }
    }

    /// Whether the header is complete.
    pub(in crate::server) fn is_complete(&self) -> bool {
        self.place == Place::End
    }

    /// Whether the header is not complete at its maximum size.
    pub(in crate::server) fn is_overlong(&self) -> bool {
        !self.is_complete() && self.bytes >= self.bytes_max
    }

    /// Returns how many of these bytes belong to the header, up to its maximum size.
    pub(in crate::server) fn accept(&mut self, bytes: &[u8]) -> usize {
        let before = self.bytes;
        for byte in bytes.iter().take(self.bytes_max - before) {
            if self.is_complete() {
                break;
            }
            self.bytes += 1;
            self.place = match (self.place, byte) {
                (Place::Start, b'\r' | b'\n') => Place::Start,
                (Place::LineStart, b'\n') => Place::End,
                (Place::LineStart, b'\r') | (_, b'\n') => Place::LineStart,
                (_, _) => Place::Line,
            };
        }
        self.bytes - before
    }
}
