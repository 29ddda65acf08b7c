//! Parses the `Retry-After` header (RFC 9110 §10.2.3).

use std::time::Duration;

use http::{HeaderMap, header::RETRY_AFTER};
use jiff::fmt::rfc2822::DateTimeParser;

use crate::qod::Moment;

/// The delay of `Retry-After`, which is in seconds or a date; `None` if it is missing or invalid.
pub fn retry_after(headers: &HeaderMap, now: Moment) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits {
        // A number that overflows means a very long time.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let at = DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Moment::from_unix_s(u64::try_from(at.as_second()).ok()?).since(now))
}
