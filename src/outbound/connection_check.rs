//! The result of a trial of a peer, for `check --connect`.

use http::{HeaderMap, header::DATE};
use jiff::fmt::rfc2822::DateTimeParser;

use super::PeerResponse;
use crate::qod::Moment;

/// The result of a trial of one endpoint of a peer.
#[derive(Debug)]
pub struct ConnectionCheck {
    /// Its URL, or the file that is read instead.
    pub url: String,
    /// What it answered, or why it cannot be used.
    pub result: Result<String, String>,
}

// Tokens, proofs and the times of sessions tolerate smaller differences. `Date` has whole seconds.
const CLOCK_DIFFERENCE_MIN_S: u64 = 10;

impl ConnectionCheck {
    /// The result of an answer that was received at this time. A clock that differs is added to it.
    pub fn answered(
        url: String,
        result: Result<String, String>,
        response: &PeerResponse,
        now: Moment,
    ) -> Self {
        let result = result.map(|text| match clock_difference(&response.headers, now) {
            Some(difference) => format!("{text}; {difference}"),
            None => text,
        });
        Self { url, result }
    }
}

/// How the clock of a peer differs from this one, by the `Date` of its response.
fn clock_difference(headers: &HeaderMap, now: Moment) -> Option<String> {
    let date = DateTimeParser::new().parse_timestamp(headers.get(DATE)?.as_bytes()).ok()?;
    let (theirs, ours) = (u64::try_from(date.as_second()).ok()?, now.unix_s());
    let difference_s = theirs.abs_diff(ours);
    let direction = if theirs > ours { "ahead of" } else { "behind" };
    (difference_s >= CLOCK_DIFFERENCE_MIN_S)
        .then(|| format!("its clock is {difference_s} s {direction} this one"))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn differing_clock_is_described() {
        let date =
            |text: &'static str| HeaderMap::from_iter([(DATE, HeaderValue::from_static(text))]);
        // 1994-11-15T08:12:31Z.
        let now = Moment::from_unix_s(784_887_151);
        let at = |text| clock_difference(&date(text), now);
        assert_eq!(at("Tue, 15 Nov 1994 08:12:31 GMT"), None);
        assert_eq!(at("Tue, 15 Nov 1994 08:12:40 GMT"), None);
        let ahead = at("Tue, 15 Nov 1994 08:14:31 GMT").unwrap();
        assert_eq!(ahead, "its clock is 120 s ahead of this one");
        let behind = at("Tue, 15 Nov 1994 07:12:31 GMT").unwrap();
        assert_eq!(behind, "its clock is 3600 s behind this one");
        assert_eq!(at("yesterday"), None);
        assert_eq!(clock_difference(&HeaderMap::new(), now), None);
    }
}
