//! Property tests of requests, translations and bodies.

use http::{HeaderMap, Method};
use proptest::prelude::*;

use super::{
    arbitrary::{create_request, granted, json, name, profiles, translation_settings},
    descriptor::{StatusForm, TimeForm},
    *,
};
use crate::json::{Json, JsonLimits};
use crate::qod::{Device, DeviceIpv4, QosStatus, Session, SessionId};

static SESSION_INFO: LazyLock<BTreeMap<&str, SchemaValidator>> = LazyLock::new(|| {
    let compile = |name| {
        let file = schemas().join(format!("{}.yaml", dialect(name).descriptor().schema));
        OpenApiDocument::read(&file).unwrap().validator("SessionInfo", Direction::Response).unwrap()
    };
    DIALECTS.names().map(|name| (name, compile(name))).collect()
});

// Whether the translated device identifies the requested one.
fn same_device(translated: &Device, wanted: &Device) -> bool {
    let phone =
        translated.phone.is_none_or(|own| wanted.phone.is_some_and(|w| w.value == own.value));
    let known = [&wanted.nai, &wanted.external_id];
    let names = [&translated.nai, &translated.external_id]
        .into_iter()
        .all(|name| name.is_none() || known.contains(&name));
    let ipv4 = translated.ipv4.as_ref().is_none_or(|own| match (own, wanted.ipv4.as_ref()) {
        (DeviceIpv4::Legacy(own), Some(DeviceIpv4::Legacy(net))) => net.value.contains(&own.value),
        (DeviceIpv4::Legacy(own), Some(DeviceIpv4::Public { public, private, .. })) => {
            own.value.prefix_len() == 32
                && [Some(*public), *private].contains(&Some(own.value.addr()))
        }
        (DeviceIpv4::Public { public, .. }, Some(DeviceIpv4::Legacy(net))) => {
            net.value.prefix_len() == 32 && net.value.addr() == *public
        }
        // At least one of the private address and the public port must be present.
        (
            DeviceIpv4::Public { public, private, public_port },
            Some(DeviceIpv4::Public { public: p, private: own, public_port: port }),
        ) => {
            public == p
                && (private.is_some() || public_port.is_some())
                && (private.is_none() || private == own)
                && (public_port.is_none() || public_port == port)
        }
        (_, None) => false,
    });
    let ipv6 = translated
        .ipv6
        .is_none_or(|own| wanted.ipv6.is_some_and(|net| net.value.contains(&own.value)));
    phone && names && ipv4 && ipv6
}

// Adds a mapping for the requested profile if the operator's dialect does not have it.
fn with_profile(
    operator: &str,
    wanted: &CreateRequest,
    settings: TranslationSettings,
) -> TranslationSettings {
    let rule = dialect(operator).rule();
    if rule.profiles.contains(&&*wanted.qos_profile) {
        return settings;
    }
    let theirs = profiles(rule)[0].to_owned();
    TranslationSettings {
        qos_profiles: BTreeMap::from([(wanted.qos_profile.clone(), theirs)]),
        ..settings
    }
}

proptest! {
    #[test]
    fn serialized_request_parses_back(
        (name, wanted) in name().prop_flat_map(|name| (Just(name), create_request(name))),
    ) {
        let body = dialect(name).create_session_request(&wanted, wanted.sink.as_ref());
        let strict =
            Strictness { unknown_members: UnknownMembers::Reject, ..Strictness::default() };
        prop_assert_eq!(dialect(name).parse_create_session(&body, &strict).unwrap(), wanted);
    }

    #[test]
    fn translation_never_widens_a_request(
        (client, wanted) in name().prop_flat_map(|name| (Just(name), create_request(name))),
        operator in name(),
        settings in translation_settings(),
    ) {
        let settings = with_profile(operator, &wanted, settings);
        let Ok(translated) = dialect(operator).translate_complete(&wanted, &settings) else { return Ok(()) };
        prop_assert!(translated.flow().is_within(&wanted.flow()), "{} to {}", client, operator);
        prop_assert!(translated.duration_s <= wanted.duration_s.min(settings.duration_s_max));
        let theirs = settings.qos_profiles.get(&wanted.qos_profile).unwrap_or(&wanted.qos_profile);
        prop_assert_eq!(&translated.qos_profile, theirs);
        prop_assert_eq!(&translated.sink, &None);
        let (parsed, given) = (translated.device.as_ref().unwrap(), wanted.device.as_ref().unwrap());
        prop_assert!(!parsed.is_empty() && same_device(parsed, given));
        let taken = |kind| settings.identifiers.is_empty() || settings.identifiers.contains(&kind);
        prop_assert!(parsed.kinds().all(taken));
        let sent = dialect(operator).create_session_request(&translated, None);
        let read = dialect(operator).parse_create_session(&sent, &Strictness::default());
        prop_assert_eq!(read.unwrap(), translated);
    }

    #[test]
    fn translation_is_lossless_if_everything_is_allowed(
        (name, wanted) in name().prop_flat_map(|name| (Just(name), create_request(name))),
    ) {
        let everything =
            TranslationSettings { allow_prefixes: true, duration_s_max: u32::MAX, ..TranslationSettings::default() };
        let everything = with_profile(name, &wanted, everything);
        let translated = dialect(name).translate_complete(&wanted, &everything).unwrap();
        prop_assert_eq!(translated.flow(), wanted.flow());
        prop_assert_eq!(translated.device.unwrap().kinds().count(), wanted.device.unwrap().kinds().count());
    }

    #[test]
    fn rendered_session_matches_its_schema_and_parses_back(
        (name, wanted) in name().prop_flat_map(|name| (Just(name), create_request(name))),
        granted in granted(),
    ) {
        let device = wanted.device.clone();
        let session = Session { id: SessionId::random(), wanted: wanted.into(), granted };
        let response = dialect(name).render_response(&ApiResponse::Found(session.clone()));
        let json = Json::parse(response.body(), &JsonLimits::default()).unwrap();
        prop_assert_eq!(SESSION_INFO[name].violations(&json), []);
        let (id, read) = dialect(name).read_session(response.body(), TimesWithoutOffset::Reject).unwrap();
        prop_assert_eq!(id, session.id.to_string());
        let GrantedSession { started_at, expires_at, status, .. } = session.granted;
        let shape = &dialect(name).descriptor().session_shape;
        let untimed = shape.times == TimeForm::Rfc3339 && status == QosStatus::Requested;
        let knows_status = shape.status != StatusForm::None;
        prop_assert_eq!(read.started_at, started_at.filter(|_| !untimed));
        prop_assert_eq!(read.expires_at, expires_at.filter(|_| !untimed));
        prop_assert!(read.status == status || !knows_status);
        let sessions = vec![session.clone(); 3];
        let listed = dialect(name).render_response(&ApiResponse::Retrieved(sessions));
        let parsed = dialect(name).read_sessions(listed.body(), TimesWithoutOffset::Reject).unwrap();
        let narrowed = session.wanted.device.as_ref().map(|device| device.kinds().count()) > Some(1);
        if dialect(name).has(Operation::RetrieveSessions) && !narrowed {
            prop_assert!(parsed.complete && parsed.sessions.len() == 3);
            prop_assert_eq!(parsed.sessions[0].wanted.device.as_ref(), device.as_ref());
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(name in name(), body in any::<Vec<u8>>(), status in any::<u16>()) {
        parse_with_every_parser(name, &body, status);
    }

    #[test]
    fn arbitrary_json_never_panics(name in name(), json in json(), status in any::<u16>()) {
        parse_with_every_parser(name, json.to_string().as_bytes(), status);
    }

    #[test]
    fn arbitrary_paths_never_panic(path in ".{0,40}", tail in "/(sessions|qos-profiles)(/[^/]{0,9}){0,3}") {
        let speaks = DialectSelection::Fixed(Arc::clone(dialect("camara-0.10.1")));
        let apis = Apis::new(vec![api("", speaks)], Strictness::default());
        for path in [&path, &tail, &format!("{path}{tail}")] {
            if let Ok(call) = apis.detect(&Method::GET, path, &HeaderMap::new(), b"") {
                _ = call.session_id();
                _ = call.profile_name();
            }
        }
    }
}

// Every parser either accepts the body or rejects it with a valid pointer.
fn parse_with_every_parser(name: &str, body: &[u8], status: u16) {
    let (dialect, strictness) = (dialect(name), Strictness::default());
    if let Err(malformed) = dialect.parse_create_session(body, &strictness) {
        assert!((1..=16).contains(&malformed.errors.len()));
    }
    _ = dialect.parse_extend_session(body, &strictness);
    _ = dialect.parse_retrieve_sessions(body, &strictness);
    _ = dialect.parse_retrieve_profiles(body, &strictness);
    _ = dialect.parse_list_profiles(&String::from_utf8_lossy(body), &strictness);
    _ = dialect.read_session(body, TimesWithoutOffset::Reject);
    if let Ok(parsed) = dialect.read_sessions(body, TimesWithoutOffset::Reject) {
        assert!(parsed.sessions.len() <= crate::qod::RETRIEVED_MAX);
    }
    _ = read_event(body);
    _ = dialect.read_problem(status, body);
    let candidates = DIALECTS.names().map(|name| Arc::clone(super::dialect(name))).collect();
    let speaks = DialectSelection::Detected { candidates, fallback: Arc::clone(dialect) };
    let apis = Apis::new(vec![api("", speaks)], Strictness::default());
    assert!(apis.detect(&Method::POST, "/sessions", &HeaderMap::new(), body).is_ok());
}
