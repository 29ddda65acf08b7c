//! `QoS` profiles: parses profile queries and serializes profiles with the members that the release
//! defines.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::{
    ProfilesApi, Strictness, UnknownMembers,
    cursor::BodyCursor,
    descriptor::RequestRule,
    device, json_body,
    validation::{MalformedRequest, ValidationErrors},
};
use crate::qod::{
    BitRate, BitRates, CountryAvailability, L4sQueue, ProfileQuery, ProfileStatus, QosProfile,
    ServiceClass, is_profile_name,
};

const NAME_EXPECTED: &str = "expected a QoS profile name of 3 to 256 letters, digits and `_.-`";

const STATUS_EXPECTED: &str = "expected `ACTIVE`, `INACTIVE` or `DEPRECATED`";

// CAMARA's `TimeUnitEnum`.
const UNITS: [(&str, Duration); 7] = [
    ("Days", Duration::from_hours(24)),
    ("Hours", Duration::from_hours(1)),
    ("Minutes", Duration::from_mins(1)),
    ("Seconds", Duration::from_secs(1)),
    ("Milliseconds", Duration::from_millis(1)),
    ("Microseconds", Duration::from_micros(1)),
    ("Nanoseconds", Duration::from_nanos(1)),
];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QosProfileBody<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    country_availability: Option<Vec<CountryAvailabilityBody<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_min_upstream_rate: Option<RateBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_upstream_rate: Option<RateBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_upstream_burst_rate: Option<RateBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_min_downstream_rate: Option<RateBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_downstream_rate: Option<RateBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_downstream_burst_rate: Option<RateBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_duration: Option<DurationBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_duration: Option<DurationBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packet_delay_budget: Option<DurationBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter: Option<DurationBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packet_error_loss_rate: Option<u8>,
    #[serde(rename = "l4sQueueType", skip_serializing_if = "Option::is_none")]
    l4s_queue_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_class: Option<&'static str>,
}

#[derive(Serialize)]
struct RateBody {
    value: u16,
    unit: &'static str,
}

#[derive(Serialize)]
struct DurationBody {
    value: u32,
    unit: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CountryAvailabilityBody<'a> {
    country_name: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    networks: &'a [String],
}

/// Parses the profile name of a path.
pub(super) fn read_name(name: &str) -> Result<&str, MalformedRequest> {
    if is_profile_name(name) { Ok(name) } else { Err(MalformedRequest::at("", NAME_EXPECTED)) }
}

/// Parses a query in a body, as used from 0.11 on.
pub(super) fn read_query(
    body: &BodyCursor<'_>,
    rule: &RequestRule,
    strictness: &Strictness,
    errors: &mut ValidationErrors,
) -> ProfileQuery {
    if strictness.unknown_members == UnknownMembers::Reject {
        body.allow_only(&["device", "name", "status"], errors);
    }
    let device = body.member("device").and_then(|device| device::read(&device, rule, errors));
    let name = body.member("name").and_then(|name| {
        let read = |text: &str| is_profile_name(text).then(|| text.to_owned());
        name.parse(errors, NAME_EXPECTED, read)
    });
    let status = body
        .member("status")
        .and_then(|status| status.parse(errors, STATUS_EXPECTED, ProfileStatus::from_name));
    ProfileQuery { device, name, status }
}

/// Parses a query in a URL, as used up to 0.10. Values are not percent-decoded, because valid names
/// and states contain no characters that need encoding. Returns `None` if no profile can match: these
/// releases document no error for an invalid value.
pub(super) fn read_url_query(
    query: &str,
    strictness: &Strictness,
) -> Result<Option<ProfileQuery>, MalformedRequest> {
    let mut parsed = ProfileQuery::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "name" if parsed.name.is_none() => parsed.name = Some(value.to_owned()),
            "status" if parsed.status.is_none() => match ProfileStatus::from_name(value) {
                Some(status) => parsed.status = Some(status),
                None => return Ok(None),
            },
            "name" | "status" => return Ok(None),
            _ if strictness.unknown_members == UnknownMembers::Reject => {
                return Err(MalformedRequest::at(
                    "",
                    "unexpected parameter; expected only `name` and `status`",
                ));
            }
            _ => {}
        }
    }
    Ok(Some(parsed))
}

/// Serializes a profile.
pub(super) fn write(profile: &QosProfile, api: &ProfilesApi) -> Bytes {
    let BitRates { target_min, max, max_burst } = profile.downstream;
    let seconds = |s: u32| duration_body(Duration::from_secs(s.into()));
    let countries = api.has_countries && !profile.countries.is_empty();
    json_body(&QosProfileBody {
        name: &profile.name,
        description: profile.description.as_deref(),
        status: profile.status.name(),
        country_availability: countries
            .then(|| profile.countries.iter().map(CountryAvailabilityBody::from).collect()),
        target_min_upstream_rate: profile.upstream.target_min.map(rate_body),
        max_upstream_rate: profile.upstream.max.map(rate_body),
        max_upstream_burst_rate: profile.upstream.max_burst.map(rate_body),
        target_min_downstream_rate: target_min.map(rate_body),
        max_downstream_rate: max.map(rate_body),
        max_downstream_burst_rate: max_burst.map(rate_body),
        min_duration: seconds(profile.duration_s_min),
        max_duration: seconds(profile.duration_s_max),
        priority: profile.priority,
        packet_delay_budget: profile.packet_delay_budget.and_then(duration_body),
        jitter: profile.jitter.and_then(duration_body),
        packet_error_loss_rate: profile.packet_error_loss_rate,
        l4s_queue_type: profile.l4s_queue.filter(|_| api.has_traffic_classes).map(L4sQueue::name),
        service_class: profile
            .service_class
            .filter(|_| api.has_traffic_classes)
            .map(ServiceClass::name),
    })
}

fn rate_body(rate: BitRate) -> RateBody {
    RateBody { value: rate.value(), unit: rate.unit().name() }
}

// Uses the largest unit that yields an integer. Returns `None` if the value exceeds a signed 32-bit
// integer in every such unit.
fn duration_body(time: Duration) -> Option<DurationBody> {
    UNITS.into_iter().find_map(|(unit, length)| {
        let (nanos, unit_nanos) = (time.as_nanos(), length.as_nanos());
        let value = i32::try_from(nanos / unit_nanos).ok()?.unsigned_abs();
        (value > 0 && nanos % unit_nanos == 0).then_some(DurationBody { value, unit })
    })
}

impl<'a> From<&'a CountryAvailability> for CountryAvailabilityBody<'a> {
    fn from(country: &'a CountryAvailability) -> Self {
        Self { country_name: &country.code, networks: &country.networks }
    }
}
