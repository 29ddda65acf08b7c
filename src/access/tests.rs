use bytes::Bytes;
use http::{HeaderValue, Request, header::AUTHORIZATION};

use super::*;
use crate::{
    clock::Clock,
    identity::{Authenticator, MockToken, ProofSettings, Settings},
    metrics::Metrics,
    outbound::Outbound,
    qod::{BitRates, Secret},
};

async fn client() -> AuthenticatedClient {
    let token = Secret::new("token");
    let mock = MockToken { token, client: "app".into(), scopes: Vec::new() };
    let settings = Settings {
        issuers: vec![],
        mock_tokens: vec![mock],
        cache_entries_max: 0,
        proofs: ProofSettings::default(),
    };
    let metrics = Metrics::new().unwrap();
    let identity = Authenticator::new(settings, Outbound::new(), Clock::system(), metrics).unwrap();
    let bearer = HeaderValue::from_static("Bearer token");
    let mut request = Request::new(Bytes::new());
    request.headers_mut().insert(AUTHORIZATION, bearer);
    identity.authenticate(&request, None).await.unwrap()
}

fn profile(name: &str, status: ProfileStatus, offered_by: &[&str]) -> (String, Profile) {
    let quality = QosProfile {
        name: name.to_owned(),
        description: None,
        status,
        duration_s_min: 1,
        duration_s_max: 600,
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
    let offered_by = offered_by.iter().map(|name| OperatorId::from(*name)).collect();
    let profile = Profile { summary: String::new(), offered_by, quality: Arc::new(quality) };
    (name.to_owned(), profile)
}

/// Names of the visible profiles for a client with these terms, out of three at two operators.
async fn visible_profiles(
    operators: Option<&[&str]>,
    qos_profiles: Option<&[&str]>,
    query: &ProfileQuery,
    operator: Option<&str>,
) -> Vec<String> {
    let catalogue = Catalogue::from_iter([
        profile("QOS_S", ProfileStatus::Inactive, &["south"]),
        profile("QOS_E", ProfileStatus::Active, &["north", "south"]),
        profile("QOS_N", ProfileStatus::Active, &["north"]),
    ]);
    let terms = Terms {
        operators: operators
            .map(|names| names.iter().map(|name| OperatorId::from(*name)).collect()),
        qos_profiles: qos_profiles.map(|names| names.iter().map(|&name| name.into()).collect()),
        ..Terms::open(600, 1, Arc::new(catalogue))
    };
    let grant = Grant { client: client().await, terms: Arc::new(terms) };
    let operator = operator.map(OperatorId::from);
    let found = grant.profiles(query, operator.as_ref());
    found.iter().map(|profile| profile.name.clone()).collect()
}

#[tokio::test]
async fn profiles_are_listed_if_the_terms_allow_them_and_an_operator_offers_them() {
    let all = ProfileQuery::default();
    assert_eq!(visible_profiles(None, None, &all, None).await, ["QOS_E", "QOS_N", "QOS_S"]);
    assert_eq!(visible_profiles(Some(&["south"]), None, &all, None).await, ["QOS_E", "QOS_S"]);
    assert_eq!(visible_profiles(None, Some(&["QOS_N", "QOS_X"]), &all, None).await, ["QOS_N"]);
    assert_eq!(visible_profiles(Some(&["south"]), Some(&["QOS_N"]), &all, None).await, [""; 0]);
    assert_eq!(visible_profiles(None, None, &all, Some("north")).await, ["QOS_E", "QOS_N"]);
    assert_eq!(visible_profiles(Some(&["south"]), None, &all, Some("north")).await, [""; 0]);
    assert_eq!(visible_profiles(None, None, &all, Some("west")).await, [""; 0]);
}

#[tokio::test]
async fn listed_profiles_match_the_query() {
    let query = |name: Option<&str>, status| ProfileQuery {
        name: name.map(str::to_owned),
        status,
        device: None,
    };
    let active = Some(ProfileStatus::Active);
    assert_eq!(visible_profiles(None, None, &query(None, active), None).await, ["QOS_E", "QOS_N"]);
    assert_eq!(visible_profiles(None, None, &query(Some("QOS_N"), None), None).await, ["QOS_N"]);
    assert_eq!(visible_profiles(None, None, &query(Some("QOS_S"), active), None).await, [""; 0]);
    assert_eq!(visible_profiles(None, None, &query(Some("qos_s"), None), None).await, [""; 0]);
    let deprecated = Some(ProfileStatus::Deprecated);
    assert_eq!(visible_profiles(None, None, &query(None, deprecated), None).await, [""; 0]);
}

#[tokio::test]
async fn maximum_duration_is_the_lower_of_terms_and_profile() {
    let duration_max = async |duration_s_max, name| {
        let catalogue = Catalogue::from_iter([profile("QOS_E", ProfileStatus::Active, &["north"])]);
        let terms = Terms::open(duration_s_max, 1, Arc::new(catalogue));
        Grant { client: client().await, terms: Arc::new(terms) }.duration_s_max(name)
    };
    assert_eq!(duration_max(300, "QOS_E").await, 300);
    assert_eq!(duration_max(900, "QOS_E").await, 600);
    assert_eq!(
        duration_max(900, "QOS_X").await,
        900,
        "a profile that is no longer in the catalogue"
    );
}

#[tokio::test]
async fn new_session_needs_an_active_profile_that_the_operator_offers() {
    let catalogue = Catalogue::from_iter([
        profile("QOS_E", ProfileStatus::Active, &["north"]),
        profile("OFF", ProfileStatus::Inactive, &["north"]),
        profile("OLD", ProfileStatus::Deprecated, &["north"]),
        profile("SOUTH", ProfileStatus::Active, &["south"]),
    ]);
    let terms = Terms::open(600, 1, Arc::new(catalogue));
    let check = |qos_profile: &str| {
        let ipv4 = "203.0.113.5/32".parse().map(crate::qod::Verbatim::from_value).ok();
        let request = CreateRequest {
            device: None,
            server: crate::qod::ApplicationServer::Subnets { ipv4, ipv6: None },
            device_ports: None,
            server_ports: None,
            qos_profile: qos_profile.to_owned(),
            duration_s: 60,
            sink: None,
        };
        terms.check_request(&OperatorId::from("north"), &request)
    };
    let not_active = |status| Err(AccessDenied::ProfileNotActive { status });
    assert_eq!(check("QOS_E"), Ok(()));
    assert_eq!(check("OFF"), not_active(ProfileStatus::Inactive));
    assert_eq!(check("OLD"), not_active(ProfileStatus::Deprecated));
    assert_eq!(check("SOUTH"), Err(AccessDenied::ProfileNotOffered));
    assert_eq!(check("NONE"), Ok(()), "the translation rejects it");
}
