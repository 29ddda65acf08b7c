use bytes::Bytes;
use http::HeaderValue;

use super::*;

// Sun, 06 Nov 1994 08:49:37 GMT
const NOW: Moment = Moment::from_unix_s(784_111_777);

fn judged(status: u16, before: Option<Failure>) -> Verdict {
    judge(&Ok(answered(status, None)), before, NOW)
}

fn answered(status: u16, retry_after: Option<&str>) -> Sent {
    let mut headers = HeaderMap::new();
    if let Some(text) = retry_after {
        headers.insert(http::header::RETRY_AFTER, HeaderValue::from_str(text).unwrap());
    }
    let status = StatusCode::from_u16(status).unwrap();
    Sent::Answered(Answered { status, headers, body: Bytes::new() })
}

fn again(why: &'static str) -> Verdict {
    Verdict::Again(Duration::ZERO, why)
}

#[test]
fn each_answer_has_one_meaning() {
    for status in 100..600 {
        let verdict = judged(status, None);
        let expected = match status {
            200..=299 => Verdict::Delivered,
            410 => Verdict::Gone(Reason::Gone),
            401 | 403 => again("unauthorized"),
            404 => again("not_found"),
            408 | 425 | 500..=599 => again("failed"),
            429 => again("too_many_requests"),
            _ => Verdict::Dropped(Reason::Refused),
        };
        assert_eq!(verdict, expected, "{status}");
    }
    let reason = || "some reason".to_owned();
    assert_eq!(judge(&Ok(Sent::NotSent(reason())), None, NOW), again("not_reached"));
    assert_eq!(judge(&Ok(Sent::Unknown(reason())), None, NOW), again("no_answer"));
    assert_eq!(judge(&Err(Forbidden), None, NOW), Verdict::Dropped(Reason::Forbidden));
}

#[test]
fn a_token_that_is_not_taken_five_times_in_a_row_is_not_shown_again() {
    for status in [401, 403] {
        for in_a_row in 1..4 {
            let before = Some(Failure { why: "unauthorized", in_a_row });
            assert_eq!(judged(status, before), again("unauthorized"));
        }
        let before = Some(Failure { why: "unauthorized", in_a_row: 4 });
        assert_eq!(judged(status, before), Verdict::Gone(Reason::Unauthorized));
        let before = Some(Failure { why: "no_answer", in_a_row: 100 });
        assert_eq!(judged(status, before), again("unauthorized"));
    }
}

#[test]
fn a_sink_that_says_when_to_come_again_is_heeded_within_bounds() {
    let hour = Duration::from_hours(1);
    let cases = [
        ("0", Duration::ZERO),
        ("120", Duration::from_mins(2)),
        (" 7 ", Duration::from_secs(7)),
        ("3600", hour),
        ("3601", hour),
        ("99999999999999999999999999", hour),
        ("Sun, 06 Nov 1994 08:50:07 GMT", Duration::from_secs(30)),
        ("Sun, 06 Nov 1994 08:49:00 GMT", Duration::ZERO),
        ("Wed, 06 Nov 2999 08:49:00 GMT", hour),
        ("", Duration::ZERO),
        ("-5", Duration::ZERO),
        ("1.5", Duration::ZERO),
        ("soon", Duration::ZERO),
    ];
    for (text, expected) in cases {
        for (status, why) in [(429, "too_many_requests"), (503, "failed")] {
            let verdict = judge(&Ok(answered(status, Some(text))), None, NOW);
            assert_eq!(verdict, Verdict::Again(expected, why), "{text}");
        }
    }
    assert_eq!(judge(&Ok(answered(500, Some("120"))), None, NOW), again("failed"));
}
