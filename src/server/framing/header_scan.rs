//! Finds the end of an HTTP/1 header, in the way in which pingora's parser does.

use memchr::memchr;

/// The position in a header.
#[derive(Debug)]
pub(in crate::server) struct HeaderScan {
    place: Place,
    request_line: RequestLine,
    bytes: usize,
    bytes_max: usize,
}

// Pingora escapes spaces and control characters in the target, also a CR, at which another parser may end the
// line (RFC 9112 §2.2, §3).
#[derive(Debug, Default)]
struct RequestLine {
    spaces: usize,
    after_cr: bool,
    has_control: bool,
    has_ended: bool,
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
        Self { place: Place::Start, request_line: RequestLine::default(), bytes: 0, bytes_max }
    }

    /// Whether the header is complete.
    pub(in crate::server) fn is_complete(&self) -> bool {
        self.place == Place::End
    }

    /// Whether the header is not complete at its maximum size.
    pub(in crate::server) fn is_overlong(&self) -> bool {
        !self.is_complete() && self.bytes >= self.bytes_max
    }

    /// Whether the request line has other than three parts, or a control character.
    pub(in crate::server) fn has_invalid_request_line(&self) -> bool {
        self.request_line.has_control || self.request_line.spaces != 2
    }

    /// Returns how many of these bytes belong to the header, up to its maximum size.
    pub(in crate::server) fn accept(&mut self, bytes: &[u8]) -> usize {
        let before = self.bytes;
        let mut rest = bytes.get(..self.bytes_max - before).unwrap_or(bytes);
        while !self.is_complete() {
            if self.place == Place::Line && self.request_line.has_ended {
                // Only the end of a field line matters.
                let skipped = memchr(b'\n', rest).unwrap_or(rest.len());
                rest = rest.get(skipped..).unwrap_or_default();
                self.bytes += skipped;
            }
            let Some((byte, more)) = rest.split_first() else { break };
            rest = more;
            self.bytes += 1;
            self.place = match (self.place, byte) {
                (Place::Start, b'\r' | b'\n') => Place::Start,
                (Place::LineStart, b'\n') => Place::End,
                (Place::LineStart, b'\r') | (_, b'\n') => Place::LineStart,
                (_, _) => Place::Line,
            };
            if self.place != Place::Start {
                self.request_line.accept(*byte);
            }
        }
        self.bytes - before
    }
}

impl RequestLine {
    fn accept(&mut self, byte: u8) {
        if self.has_ended {
            return;
        }
        match byte {
            b'\n' => self.has_ended = true,
            b' ' => self.spaces += 1,
            _ => {}
        }
        let is_end = matches!(byte, b'\r' | b'\n');
        self.has_control |= self.after_cr && byte != b'\n' || byte.is_ascii_control() && !is_end;
        self.after_cr = byte == b'\r';
    }
}
