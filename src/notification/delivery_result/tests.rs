use bytes::Bytes;
use http::HeaderValue;

use super::*;

// Sun, 06 Nov 1994 08:49:37 GMT
const NOW: Moment = Moment::from_unix_s(784_111_777);

fn classify_status(status: u16, previous: Option<DeliveryFailure>) -> DeliveryResult {
    classify(&Ok(response(status, None)), previous, NOW)
}

fn response(status: u16, retry_after: Option<&str>) -> CallResult {
    let mut headers = HeaderMap::new();
    if let Some(text) = retry_after {
        headers.insert(http::header::RETRY_AFTER, HeaderValue::from_str(text).unwrap());
    }
    let status = StatusCode::from_u16(status).unwrap();
    CallResult::Answered(PeerResponse { status, headers, body: Bytes::new() })
}

fn retry(reason: &'static str) -> DeliveryResult {
    DeliveryResult::Retry(Duration::ZERO, reason)
}

#[test]
fn each_status_has_one_result() {
    for status in 100..600 {
        let result = classify_status(status, None);
        let expected = match status {
            200..=299 => DeliveryResult::Delivered,
            410 => DeliveryResult::SinkGone(DropReason::SinkGone),
            401 | 403 => retry("unauthorized"),
            404 => retry("not_found"),
            408 | 425 | 500..=599 => retry("failed"),
            429 => retry("too_many_requests"),
            _ => DeliveryResult::Dropped(DropReason::Rejected),
        };
        assert_eq!(result, expected, "{status}");
    }
    let reason = || "some reason".to_owned();
    assert_eq!(classify(&Ok(CallResult::NotSent(reason())), None, NOW), retry("unreachable"));
    assert_eq!(classify(&Ok(CallResult::Unknown(reason())), None, NOW), retry("timeout"));
    assert_eq!(
        classify(&Err(ForbiddenAddress), None, NOW),
        DeliveryResult::Dropped(DropReason::ForbiddenAddress)
    );
}

#[test]
fn token_rejected_five_times_in_a_row_is_not_sent_again() {
    for status in [401, 403] {
        for consecutive in 1..4 {
            let previous = Some(DeliveryFailure { reason: "unauthorized", consecutive });
            assert_eq!(classify_status(status, previous), retry("unauthorized"));
        }
        let previous = Some(DeliveryFailure { reason: "unauthorized", consecutive: 4 });
        assert_eq!(
            classify_status(status, previous),
            DeliveryResult::SinkGone(DropReason::Unauthorized)
        );
        let previous = Some(DeliveryFailure { reason: "timeout", consecutive: 100 });
        assert_eq!(classify_status(status, previous), retry("unauthorized"));
    }
}

#[test]
fn retry_after_is_honoured_up_to_one_hour() {
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
        for (status, reason) in [(429, "too_many_requests"), (503, "failed")] {
            let result = classify(&Ok(response(status, Some(text))), None, NOW);
            assert_eq!(result, DeliveryResult::Retry(expected, reason), "{text}");
        }
    }
    assert_eq!(classify(&Ok(response(500, Some("120"))), None, NOW), retry("failed"));
}
