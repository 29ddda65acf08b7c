//! The times of sessions and events: RFC 3339, and seconds since the epoch.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use schemars::JsonSchema;
use serde::Deserialize;

use super::descriptor::TimeForm;
use crate::{json::Json, qod::Moment};

// The end of the year 9999. A later time is not in seconds.
const UNIX_S_MAX: u64 = 253_402_300_799;

/// How to read an operator's times that have no offset from UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimesWithoutOffset {
    /// They are invalid, as in RFC 3339.
    #[default]
    Reject,
    /// They are in UTC.
    Utc,
}

/// Parses a time of an operator's session.
pub(super) fn read(
    json: &Json<'_>,
    form: TimeForm,
    without_offset: TimesWithoutOffset,
) -> Option<Moment> {
    match (form, without_offset) {
        (TimeForm::EpochSeconds, _) => {
            json.as_u64().filter(|&seconds| seconds <= UNIX_S_MAX).map(Moment::from_unix_s)
        }
        (TimeForm::Rfc3339, TimesWithoutOffset::Reject) => parse_time(json.as_str()?),
        (TimeForm::Rfc3339, TimesWithoutOffset::Utc) => parse_time_or_utc(json.as_str()?),
    }
}

/// Parses a time with an offset (RFC 3339), not before the epoch.
pub(super) fn parse_time(text: &str) -> Option<Moment> {
    moment(text.parse().ok()?)
}

// As `parse_time`; a time without an offset is in UTC.
fn parse_time_or_utc(text: &str) -> Option<Moment> {
    parse_time(text).or_else(|| {
        let has_time = text.contains(['T', 't', ' ']);
        let time: DateTime = text.parse().ok().filter(|_| has_time)?;
        moment(TimeZone::UTC.to_timestamp(time).ok()?)
    })
}

fn moment(time: Timestamp) -> Option<Moment> {
    u64::try_from(time.as_millisecond()).ok().map(Moment::from_unix_ms)
}

/// Formats a time, rounded down to whole seconds.
pub(super) fn format_time(moment: Moment) -> String {
    to_timestamp(moment).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Converts a time to a timestamp in UTC (RFC 3339); the latest representable one if it is later.
pub(super) fn to_timestamp(moment: Moment) -> Timestamp {
    let milliseconds = i64::try_from(moment.unix_ms()).ok();
    let time = milliseconds.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.unwrap_or(Timestamp::MAX)
}
