//! The profiles: what a client asks for of them, and what it is told of one, as far as its release
//! has words.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::{
    Profiles, Strictness, UnknownMembers,
    descriptor::Rule,
    fault::{Faults, Malformed},
    node::Node,
    wish, written,
};
use crate::qod::{
    BitRate, Country, L4sQueue, ProfileQuery, ProfileStatus, QosProfile, Rates, ServiceClass,
    is_profile_name,
};

const NAME_EXPECTED: &str = "expected a profile's name of 3 to 256 letters, digits and `_.-`";

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
struct WrittenProfile<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    country_availability: Option<Vec<WrittenCountry<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_min_upstream_rate: Option<WrittenRate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_upstream_rate: Option<WrittenRate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_upstream_burst_rate: Option<WrittenRate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_min_downstream_rate: Option<WrittenRate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_downstream_rate: Option<WrittenRate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_downstream_burst_rate: Option<WrittenRate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_duration: Option<WrittenTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_duration: Option<WrittenTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packet_delay_budget: Option<WrittenTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter: Option<WrittenTime>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packet_error_loss_rate: Option<u8>,
    #[serde(rename = "l4sQueueType", skip_serializing_if = "Option::is_none")]
    l4s_queue_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_class: Option<&'static str>,
}

#[derive(Serialize)]
struct WrittenRate {
    value: u16,
    unit: &'static str,
}

#[derive(Serialize)]
struct WrittenTime {
    value: u32,
    unit: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenCountry<'a> {
    country_name: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    networks: &'a [String],
}

/// Reads which profile a path names.
pub(super) fn read_name(name: &str) -> Result<&str, Malformed> {
    if is_profile_name(name) { Ok(name) } else { Err(Malformed::at("", NAME_EXPECTED)) }
}

/// Reads a search from 0.11 on.
pub(super) fn read_search(
    body: &Node<'_>,
    rule: &Rule,
    strictness: &Strictness,
    faults: &mut Faults,
) -> ProfileQuery {
    if strictness.unknown_members == UnknownMembers::Refuse {
        body.only(&["device", "name", "status"], faults);
    }
    let device = body.member("device").and_then(|device| wish::read_device(&device, rule, faults));
    let name = body.member("name").and_then(|name| {
        let read = |text: &str| is_profile_name(text).then(|| text.to_owned());
        name.parsed(faults, NAME_EXPECTED, read)
    });
    let status = body
        .member("status")
        .and_then(|status| status.parsed(faults, STATUS_EXPECTED, ProfileStatus::named));
    ProfileQuery { device, name, status }
}

/// Reads a search in a URL, up to 0.10. Neither names nor states have characters that would have to
/// be escaped there: what is escaped is none of them.
pub(super) fn read_url_query(
    query: &str,
    strictness: &Strictness,
) -> Result<ProfileQuery, Malformed> {
    let mut wanted = ProfileQuery::default();
    let wrong = |name: &str, reason: &str| Err(Malformed::at("", format!("`{name}`: {reason}")));
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "name" if wanted.name.is_none() => wanted.name = Some(value.to_owned()),
            "status" if wanted.status.is_none() => match ProfileStatus::named(value) {
                Some(status) => wanted.status = Some(status),
                None => return wrong(key, STATUS_EXPECTED),
            },
            "name" | "status" => return wrong(key, "expected to be told once"),
            _ if strictness.unknown_members == UnknownMembers::Refuse => {
                return Err(Malformed::at("", "expected no parameter but `name` and `status`"));
            }
            _ => {}
        }
    }
    Ok(wanted)
}

/// Writes what a client is told of a profile.
pub(super) fn write(profile: &QosProfile, form: &Profiles) -> Bytes {
    let Rates { target_min, max, max_burst } = profile.downstream;
    let seconds = |s: u32| time(Duration::from_secs(s.into()));
    let countries = form.countries && !profile.countries.is_empty();
    written(&WrittenProfile {
        name: &profile.name,
        description: profile.description.as_deref(),
        status: profile.status.name(),
        country_availability: countries
            .then(|| profile.countries.iter().map(WrittenCountry::from).collect()),
        target_min_upstream_rate: profile.upstream.target_min.map(rate),
        max_upstream_rate: profile.upstream.max.map(rate),
        max_upstream_burst_rate: profile.upstream.max_burst.map(rate),
        target_min_downstream_rate: target_min.map(rate),
        max_downstream_rate: max.map(rate),
        max_downstream_burst_rate: max_burst.map(rate),
        min_duration: seconds(profile.duration_s_min),
        max_duration: seconds(profile.duration_s_max),
        priority: profile.priority,
        packet_delay_budget: profile.packet_delay_budget.and_then(time),
        jitter: profile.jitter.and_then(time),
        packet_error_loss_rate: profile.packet_error_loss_rate,
        l4s_queue_type: profile.l4s_queue.filter(|_| form.classes).map(L4sQueue::name),
        service_class: profile.service_class.filter(|_| form.classes).map(ServiceClass::name),
    })
}

fn rate(rate: BitRate) -> WrittenRate {
    WrittenRate { value: rate.value(), unit: rate.unit().name() }
}

// In the largest unit that it is a whole number of; nothing, if there is none, for a number of 32
// bits with a sign is all that there is room for.
fn time(time: Duration) -> Option<WrittenTime> {
    UNITS.into_iter().find_map(|(unit, length)| {
        let (nanos, unit_nanos) = (time.as_nanos(), length.as_nanos());
        let value = i32::try_from(nanos / unit_nanos).ok()?.unsigned_abs();
        (value > 0 && nanos % unit_nanos == 0).then_some(WrittenTime { value, unit })
    })
}

impl<'a> From<&'a Country> for WrittenCountry<'a> {
    fn from(country: &'a Country) -> Self {
        Self { country_name: &country.code, networks: &country.networks }
    }
}
