//! Profile queries and rendered profiles, in every release that has them.

use std::time::Duration;

use http::{HeaderMap, Method};
use proptest::{collection::vec, option, prelude::*, sample::select};

use super::{golden::golden, *};
use crate::json::{Json, JsonLimits};
use crate::qod::{
    BitRate, BitRates, CountryAvailability, L4sQueue, ProblemKind, ProfileQuery, ProfileStatus,
    QosProfile, RateUnit, ServiceClass,
};

static QOS_PROFILE: LazyLock<BTreeMap<&str, SchemaValidator>> = LazyLock::new(|| {
    let compile = |name| {
        let Descriptor { schema, profiles, .. } = &**dialect(name).descriptor();
        let schema = profiles.schema.as_ref().unwrap_or(schema);
        let file = schemas().join(format!("{schema}.yaml"));
        OpenApiDocument::read(&file).unwrap().validator("QosProfile", Direction::Response).unwrap()
    };
    with_profiles().map(|name| (name, compile(name))).collect()
});

fn in_sessions_api() -> impl Iterator<Item = &'static str> {
    with_profiles().filter(|name| dialect(name).descriptor().profiles.schema.is_none())
}

fn in_separate_api() -> impl Iterator<Item = &'static str> {
    with_profiles().filter(|name| dialect(name).descriptor().profiles.schema.is_some())
}

fn with_profiles() -> impl Iterator<Item = &'static str> {
    DIALECTS.names().filter(|name| dialect(name).has(Operation::GetQosProfile))
}

fn full() -> QosProfile {
    let rate = BitRate::new;
    QosProfile {
        name: "QOS_E".to_owned(),
        description: Some("Stable latency, für \"Spiele\"".to_owned()),
        status: ProfileStatus::Deprecated,
        duration_s_min: 90,
        duration_s_max: 86_400,
        upstream: BitRates {
            target_min: rate(500, RateUnit::Kbps),
            max: rate(2, RateUnit::Mbps),
            max_burst: rate(4, RateUnit::Mbps),
        },
        downstream: BitRates {
            target_min: rate(0, RateUnit::Bps),
            max: rate(1024, RateUnit::Gbps),
            max_burst: rate(2, RateUnit::Tbps),
        },
        priority: Some(20),
        packet_delay_budget: Some(Duration::from_millis(20)),
        jitter: Some(Duration::from_micros(2_500)),
        packet_error_loss_rate: Some(3),
        l4s_queue: Some(L4sQueue::Mixed),
        service_class: Some(ServiceClass::RealTimeInteractive),
        countries: vec![
            CountryAvailability { code: "DE".to_owned(), networks: vec!["26299".to_owned()] },
            CountryAvailability { code: "NO".to_owned(), networks: Vec::new() },
        ],
    }
}

// The rendered profile, after validation against the document of the release.
fn rendered(name: &str, profile: QosProfile) -> Value {
    let response = dialect(name).render_response(&ApiResponse::Profile(Arc::new(profile)));
    assert_eq!(response.status(), 200);
    let json = Json::parse(response.body(), &JsonLimits::default()).unwrap();
    assert_eq!(QOS_PROFILE[name].violations(&json), [], "{name}");
    serde_json::from_slice(response.body()).unwrap()
}

#[test]
fn releases_before_0_9_and_one_variant_have_no_profiles() {
    let operations =
        [Operation::GetQosProfile, Operation::ListQosProfiles, Operation::RetrieveQosProfiles];
    for name in DIALECTS.names().filter(|name| with_profiles().all(|known| known != *name)) {
        let early = !dialect(name).descriptor().has_session_status();
        assert!(early || name == "telefonica-1.1", "{name}");
        assert!(operations.iter().all(|operation| !dialect(name).has(*operation)), "{name}");
    }
}

#[test]
fn every_release_renders_the_members_it_defines() {
    let late = ["l4sQueueType", "serviceClass", "countryAvailability"];
    for name in with_profiles() {
        let missing = match name {
            "camara-1.0.0" => &late[2..],
            _ if dialect(name).descriptor().profiles.has_countries => &[],
            _ => &late[..],
        };
        let rendered = rendered(name, full());
        assert_eq!(golden(name, "profile", rendered.to_string().as_bytes()), rendered);
        for member in late {
            assert_eq!(
                rendered.get(member).is_none(),
                missing.contains(&member),
                "{name} {member}"
            );
        }
    }
}

#[test]
fn unset_members_are_omitted() {
    let bare = QosProfile {
        name: "a.b-c".to_owned(),
        description: None,
        status: ProfileStatus::Active,
        duration_s_min: 1,
        duration_s_max: 5_400,
        upstream: BitRates::default(),
        downstream: BitRates::default(),
        priority: None,
        packet_delay_budget: None,
        jitter: None,
        packet_error_loss_rate: None,
        l4s_queue: None,
        service_class: None,
        countries: Vec::new(),
    };
    for name in with_profiles() {
        let expected = json!({
            "name": "a.b-c",
            "status": "ACTIVE",
            "minDuration": {"value": 1, "unit": "Seconds"},
            "maxDuration": {"value": 90, "unit": "Minutes"},
        });
        assert_eq!(rendered(name, bare.clone()), expected);
    }
}

#[test]
fn list_contains_at_most_a_hundred_profiles() {
    for name in with_profiles() {
        let list = |count| {
            let profiles = std::iter::repeat_n(Arc::new(full()), count).collect();
            let response = dialect(name).render_response(&ApiResponse::Profiles(profiles));
            serde_json::from_slice::<Vec<Value>>(response.body()).unwrap()
        };
        assert_eq!(list(101).len(), 100);
        assert_eq!(list(2), [rendered(name, full()), rendered(name, full())]);
        assert!(list(0).is_empty());
    }
}

#[test]
fn query_with_every_member_is_parsed() {
    let read = |name: &str, body: &str| {
        dialect(name).parse_retrieve_profiles(body.as_bytes(), &Strictness::default())
    };
    for name in in_separate_api() {
        assert_eq!(read(name, "{}").unwrap(), ProfileQuery::default());
        let body =
            r#"{"device":{"phoneNumber":"+441632960123"},"name":"QOS_E","status":"INACTIVE"}"#;
        let query = read(name, body).unwrap();
        assert_eq!(query.device.unwrap().phone.unwrap().value.to_string(), "+441632960123");
        assert_eq!(query.name.unwrap(), "QOS_E");
        assert_eq!(query.status.unwrap(), ProfileStatus::Inactive);
        for body in [
            "",
            "[]",
            r#"{"device":{}}"#,
            r#"{"device":null}"#,
            r#"{"device":{"imsi":"1"}}"#,
            r#"{"device":{"phoneNumber":"441632960123"}}"#,
            r#"{"device":{"ipv4Address":{"publicAddress":"203.0.113.9"}}}"#,
            r#"{"device":{"ipv6Address":"2001:db8::/64"}}"#,
            r#"{"name":"QE"}"#,
            r#"{"name":"QOS E"}"#,
            r#"{"name":7}"#,
            r#"{"status":"active"}"#,
            r#"{"status":"ACTIVE","status":"ACTIVE"}"#,
        ] {
            assert_eq!(
                read(name, body).unwrap_err().kind(),
                ProblemKind::InvalidArgument,
                "{body}"
            );
        }
        let unknown = br#"{"more":1}"#;
        let strict =
            Strictness { unknown_members: UnknownMembers::Reject, ..Strictness::default() };
        assert!(dialect(name).parse_retrieve_profiles(unknown, &strict).is_err());
        let rejected =
            dialect(name).parse_retrieve_profiles(unknown, &Strictness::default()).is_err();
        assert_eq!(
            rejected,
            name == "camara-1.2.0-rc.3",
            "the release itself rejects unknown members"
        );
    }
}

#[test]
fn query_in_a_url_is_parsed() {
    let (lax, name) = (Strictness::default(), "camara-0.10.1");
    let read = |query: &str| dialect(name).parse_list_profiles(query, &lax);
    let query = |name: Option<&str>, status| ProfileQuery {
        name: name.map(str::to_owned),
        status,
        device: None,
    };
    let read = |query: &str| read(query).unwrap();
    let query = |name, status| Some(query(name, status));
    assert_eq!(read(""), query(None, None));
    assert_eq!(read("name=QOS_E"), query(Some("QOS_E"), None));
    let deprecated = Some(ProfileStatus::Deprecated);
    assert_eq!(read("status=DEPRECATED&name=a"), query(Some("a"), deprecated));
    assert_eq!(read("&x=1&name=QOS%5FE&"), query(Some("QOS%5FE"), None));
    assert_eq!(read("name"), query(Some(""), None));
    for none in ["status=", "status=AAA", "name=a&name=a", "status=ACTIVE&status=ACTIVE"] {
        assert_eq!(read(none), None, "no profile matches {none}");
    }
    let strict = Strictness { unknown_members: UnknownMembers::Reject, ..lax };
    assert!(dialect(name).parse_list_profiles("x=1", &strict).is_err());
    assert!(dialect(name).parse_list_profiles("name=abc", &strict).is_ok());
}

fn detect(
    name: &str,
    kind: ApiKind,
    method: &Method,
    path: &str,
) -> Result<ApiRequest, UnmatchedReason> {
    let dialects = DialectSelection::Fixed(Arc::clone(dialect(name)));
    let apis =
        Apis::new(vec![Api { path: "/x/v1".to_owned(), dialects, kind }], Strictness::default());
    let call = apis.detect(method, &format!("/x/v1{path}"), &HeaderMap::new(), b"");
    call.map_err(|unmatched| unmatched.reason)
}

#[test]
fn up_to_0_10_profiles_are_part_of_the_sessions_api() {
    for name in in_sessions_api() {
        let get = |path: &str| detect(name, ApiKind::Sessions, &Method::GET, path);
        let call = get("/qos-profiles").unwrap();
        assert_eq!(call.operation(), Operation::ListQosProfiles);
        assert!(call.check_media_type(&HeaderMap::new()).is_ok());
        let call = get("/qos-profiles/QOS_E").unwrap();
        assert_eq!(call.operation(), Operation::GetQosProfile);
        assert_eq!(call.profile_name().unwrap(), "QOS_E");
        let post = |path: &str| detect(name, ApiKind::Sessions, &Method::POST, path).unwrap_err();
        let allow = UnmatchedReason::MethodNotAllowed { allow: "GET" };
        assert_eq!(post("/qos-profiles"), allow);
        assert_eq!(post("/qos-profiles/QOS_E"), allow);
        for nowhere in ["/retrieve-qos-profiles", "/qos-profiles/", "/qos-profiles/QOS_E/x"] {
            assert_eq!(post(nowhere), UnmatchedReason::PathNotFound, "{nowhere}");
        }
    }
}

#[test]
fn from_0_11_on_profiles_are_a_separate_api() {
    for name in in_separate_api() {
        let get = |kind, path: &str| detect(name, kind, &Method::GET, path);
        let post = |kind, path: &str| detect(name, kind, &Method::POST, path);
        let call = post(ApiKind::QosProfiles, "/retrieve-qos-profiles").unwrap();
        assert_eq!(call.operation(), Operation::RetrieveQosProfiles);
        assert!(call.check_media_type(&HeaderMap::new()).is_err());
        let call = get(ApiKind::QosProfiles, "/qos-profiles/QOS_E").unwrap();
        assert_eq!(call.operation(), Operation::GetQosProfile);
        let nowhere = UnmatchedReason::PathNotFound;
        assert_eq!(get(ApiKind::QosProfiles, "/qos-profiles").unwrap_err(), nowhere);
        assert_eq!(post(ApiKind::QosProfiles, "/sessions").unwrap_err(), nowhere);
        assert_eq!(post(ApiKind::Sessions, "/retrieve-qos-profiles").unwrap_err(), nowhere);
        assert_eq!(get(ApiKind::Sessions, "/qos-profiles/QOS_E").unwrap_err(), nowhere);
    }
}

#[test]
fn invalid_profile_name_is_rejected() {
    let long = "x".repeat(257);
    for name in ["ab", ".", "..", "QOS%20E", "QOS~E", "a;b;c", &long] {
        let path = format!("/qos-profiles/{name}");
        let call = detect("camara-0.11.1", ApiKind::QosProfiles, &Method::GET, &path).unwrap();
        assert_eq!(call.profile_name().unwrap_err().kind(), ProblemKind::InvalidArgument, "{name}");
    }
}

#[test]
fn clients_own_release_is_preferred_if_served_at_the_path() {
    let candidates = ["camara-1.0.0", "camara-0.10.1"].map(|name| Arc::clone(dialect(name)));
    let fallback = Arc::clone(dialect("camara-1.1.0"));
    let dialects = DialectSelection::Detected { candidates: candidates.into(), fallback };
    let apis = Apis::new(
        vec![Api { path: String::new(), dialects, kind: ApiKind::QosProfiles }],
        Strictness::default(),
    );
    let path = "/qos-profiles/QOS_E";
    let mut call = apis.detect(&Method::GET, path, &HeaderMap::new(), b"").unwrap();
    assert_eq!(call.dialect().name(), "camara-1.1.0");
    call.prefer(dialect("camara-0.10.1"));
    assert_eq!(call.dialect().name(), "camara-1.1.0", "it has them elsewhere");
    call.prefer(dialect("camara-1.0.0"));
    assert_eq!(call.dialect().name(), "camara-1.0.0");
}

#[test]
fn operators_have_no_profile_paths() {
    for name in with_profiles() {
        assert_eq!(dialect(name).operation_path(Operation::GetQosProfile, None), None);
        assert_eq!(dialect(name).operation_path(Operation::ListQosProfiles, None), None);
        assert_eq!(dialect(name).operation_path(Operation::RetrieveQosProfiles, None), None);
    }
}

fn rates() -> impl Strategy<Value = BitRates> {
    let rate = || {
        let unit = select(RateUnit::ALL.to_vec());
        option::of(
            (0..=BitRate::VALUE_MAX, unit)
                .prop_map(|(value, unit)| BitRate::new(value, unit).unwrap()),
        )
    };
    [rate(), rate(), rate()].prop_map(|[target_min, max, max_burst]| BitRates {
        target_min,
        max,
        max_burst,
    })
}

// Longer and shorter than policies allow.
fn delay() -> impl Strategy<Value = Option<Duration>> {
    option::of((any::<u32>(), 0..12_u32).prop_map(|(value, zeros)| {
        Duration::from_nanos(u64::from(value)).saturating_mul(10_u32.saturating_pow(zeros))
    }))
}

fn country() -> impl Strategy<Value = CountryAvailability> {
    ("[A-Z]{2}", vec("[0-9]{5,6}", 0..3))
        .prop_map(|(code, networks)| CountryAvailability { code, networks })
}

prop_compose! {
    fn profile()(
        name in "[a-zA-Z0-9_.-]{3,256}",
        description in option::of("[^\\p{Cc}]{1,1024}"),
        status in select(ProfileStatus::ALL.to_vec()),
        (duration_s_min, duration_s_max) in any::<(u32, u32)>(),
        (upstream, downstream) in (rates(), rates()),
        priority in option::of(1..=100_u8),
        (packet_delay_budget, jitter) in (delay(), delay()),
        packet_error_loss_rate in option::of(1..=10_u8),
        l4s_queue in option::of(select(vec![L4sQueue::Without, L4sQueue::Only, L4sQueue::Mixed])),
        service_class in option::of(select(ServiceClass::ALL.to_vec())),
        countries in vec(country(), 0..4),
    ) -> QosProfile {
        QosProfile {
            name, description, status, duration_s_min, duration_s_max, upstream, downstream,
            priority, packet_delay_budget, jitter, packet_error_loss_rate, l4s_queue,
            service_class, countries,
        }
    }
}

// A rendered duration in nanoseconds.
fn nanos(time: &Value) -> u128 {
    let unit = match time["unit"].as_str().unwrap() {
        "Days" => 86_400_000_000_000,
        "Hours" => 3_600_000_000_000,
        "Minutes" => 60_000_000_000,
        "Seconds" => 1_000_000_000,
        "Milliseconds" => 1_000_000,
        "Microseconds" => 1_000,
        "Nanoseconds" => 1,
        other => panic!("{other}"),
    };
    u128::from(time["value"].as_u64().unwrap()) * unit
}

proptest! {
    #[test]
    fn rendered_profile_matches_its_schema(profile in profile()) {
        for name in with_profiles() {
            let rendered = rendered(name, profile.clone());
            prop_assert_eq!(&rendered["name"], &json!(profile.name));
            prop_assert_eq!(&rendered["status"], &json!(profile.status.name()));
            for (member, time) in [
                ("jitter", profile.jitter),
                ("packetDelayBudget", profile.packet_delay_budget),
                ("minDuration", Some(Duration::from_secs(profile.duration_s_min.into()))),
                ("maxDuration", Some(Duration::from_secs(profile.duration_s_max.into()))),
            ] {
                // Durations that cannot be represented exactly are omitted, never rounded.
                if let Some(rendered) = rendered.get(member) {
                    prop_assert_eq!(Some(nanos(rendered)), time.map(|time| time.as_nanos()));
                }
            }
            for (member, rate) in [
                ("maxUpstreamRate", profile.upstream.max),
                ("targetMinDownstreamRate", profile.downstream.target_min),
            ] {
                let rendered = rendered.get(member).map(|value| value["value"].as_u64().unwrap());
                prop_assert_eq!(rendered, rate.map(|rate| rate.value().into()));
            }
        }
    }
}
