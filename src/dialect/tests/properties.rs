//! What holds of every wish and of every body.

use http::{HeaderMap, Method};
use proptest::prelude::*;

use super::{
    arbitrary::{fitting, granted, json, name, profiles, wanted},
    *,
};
use crate::qod::{Device, DeviceIpv4, QosStatus, Session, SessionId};

static SESSION_INFO: LazyLock<BTreeMap<&str, Validator>> = LazyLock::new(|| {
    let compile = |name| {
        let file = schemas().join(format!("{}.yaml", dialect(name).descriptor().schema));
        Document::read(&file).unwrap().validator("SessionInfo", Direction::Response).unwrap()
    };
    DIALECTS.names().map(|name| (name, compile(name))).collect()
});

// Is what is told of the fitted device true of the wanted one?
fn same_device(fitted: &Device, wanted: &Device) -> bool {
    let phone = fitted.phone.is_none_or(|own| wanted.phone.is_some_and(|w| w.value == own.value));
    let known = [&wanted.nai, &wanted.external_id];
    let names = [&fitted.nai, &fitted.external_id]
        .into_iter()
        .all(|name| name.is_none() || known.contains(&name));
    let ipv4 = fitted.ipv4.as_ref().is_none_or(|own| match (own, wanted.ipv4.as_ref()) {
        (DeviceIpv4::Legacy(own), Some(DeviceIpv4::Legacy(net))) => net.value.contains(&own.value),
        (DeviceIpv4::Legacy(own), Some(DeviceIpv4::Public { public, private, .. })) => {
            own.value.prefix_len() == 32
                && [Some(*public), *private].contains(&Some(own.value.addr()))
        }
        (DeviceIpv4::Public { public, .. }, Some(DeviceIpv4::Legacy(net))) => {
            net.value.prefix_len() == 32 && net.value.addr() == *public
        }
        // What goes beside the public address is told whole or in part, but never not at all.
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
    let ipv6 =
        fitted.ipv6.is_none_or(|own| wanted.ipv6.is_some_and(|net| net.value.contains(&own.value)));
    phone && names && ipv4 && ipv6
}

// Says what the wanted profile is at an operator that has no such one.
fn agreed(operator: &str, wanted: &CreateSession, fitting: Fitting) -> Fitting {
    let rule = dialect(operator).rule();
    if rule.profiles.contains(&&*wanted.qos_profile) {
        return fitting;
    }
    let theirs = profiles(rule)[0].to_owned();
    Fitting { qos_profiles: BTreeMap::from([(wanted.qos_profile.clone(), theirs)]), ..fitting }
}

proptest! {
    #[test]
    fn a_wish_that_is_written_is_read_as_it_was(
        (name, wanted) in name().prop_flat_map(|name| (Just(name), wanted(name))),
    ) {
        let body = dialect(name).create_session_request(&wanted, wanted.sink.as_ref());
        let strict =
            Strictness { unknown_members: UnknownMembers::Refuse, ..Strictness::default() };
        prop_assert_eq!(dialect(name).parse_create_session(&body, &strict).unwrap(), wanted);
    }

    #[test]
    fn nothing_is_ever_widened(
        (client, wanted) in name().prop_flat_map(|name| (Just(name), wanted(name))),
        operator in name(),
        fitting in fitting(),
    ) {
        let fitting = agreed(operator, &wanted, fitting);
        let Ok(fitted) = dialect(operator).fit(&wanted, &fitting) else { return Ok(()) };
        prop_assert!(fitted.flow().within(&wanted.flow()), "{} to {}", client, operator);
        prop_assert!(fitted.duration_s <= wanted.duration_s.min(fitting.duration_s_max));
        let theirs = fitting.qos_profiles.get(&wanted.qos_profile).unwrap_or(&wanted.qos_profile);
        prop_assert_eq!(&fitted.qos_profile, theirs);
        prop_assert_eq!(&fitted.sink, &None);
        let (told, given) = (fitted.device.as_ref().unwrap(), wanted.device.as_ref().unwrap());
        prop_assert!(!told.is_empty() && same_device(told, given));
        let taken = |kind| fitting.identifiers.is_empty() || fitting.identifiers.contains(&kind);
        prop_assert!(told.kinds().all(taken));
        let sent = dialect(operator).create_session_request(&fitted, None);
        let read = dialect(operator).parse_create_session(&sent, &Strictness::default());
        prop_assert_eq!(read.unwrap(), fitted);
    }

    #[test]
    fn what_can_be_said_at_all_is_said_where_everything_may_be(
        (name, wanted) in name().prop_flat_map(|name| (Just(name), wanted(name))),
    ) {
        let everything =
            Fitting { device_masks: true, duration_s_max: u32::MAX, ..Fitting::default() };
        let everything = agreed(name, &wanted, everything);
        let fitted = dialect(name).fit(&wanted, &everything).unwrap();
        prop_assert_eq!(fitted.flow(), wanted.flow());
        prop_assert_eq!(fitted.device.unwrap().kinds().count(), wanted.device.unwrap().kinds().count());
    }

    #[test]
    fn an_answer_is_as_its_schema_says_and_read_as_it_was_written(
        (name, wanted) in name().prop_flat_map(|name| (Just(name), wanted(name))),
        granted in granted(),
    ) {
        let device = wanted.device.clone();
        let session = Session { id: SessionId::random(), wanted, granted };
        let response = dialect(name).render_answer(&Answer::Found(session.clone()));
        let json = Json::parse(response.body(), &Bounds::default()).unwrap();
        prop_assert_eq!(SESSION_INFO[name].faults(&json), []);
        let (id, read) = dialect(name).read_session(response.body()).unwrap();
        prop_assert_eq!(id, session.id.to_string());
        let Granted { started_at, expires_at, status, .. } = session.granted;
        let (knows_status, untimed) = match dialect(name).family() {
            Family::V01 | Family::V08 => (false, false),
            Family::V010 => (true, false),
            Family::V011 | Family::V1 => (true, status == QosStatus::Requested),
        };
        prop_assert_eq!(read.started_at, started_at.filter(|_| !untimed));
        prop_assert_eq!(read.expires_at, expires_at.filter(|_| !untimed));
        prop_assert!(read.status == status || !knows_status);
        let sessions = vec![session.clone(); 3];
        let listed = dialect(name).render_answer(&Answer::Retrieved(sessions));
        let told = dialect(name).read_sessions(listed.body()).unwrap();
        let narrowed = session.wanted.device.map(|device| device.kinds().count()) > Some(1);
        if dialect(name).has(Operation::RetrieveSessions) && !narrowed {
            prop_assert!(told.complete && told.sessions.len() == 3);
            prop_assert_eq!(told.sessions[0].wanted.device.as_ref(), device.as_ref());
        }
    }

    #[test]
    fn no_body_is_too_much(name in name(), body in any::<Vec<u8>>(), status in any::<u16>()) {
        read_all(name, &body, status);
    }

    #[test]
    fn no_json_is_too_much(name in name(), json in json(), status in any::<u16>()) {
        read_all(name, json.to_string().as_bytes(), status);
    }

    #[test]
    fn no_path_is_too_much(path in ".{0,40}", tail in "/(sessions|qos-profiles)(/[^/]{0,9}){0,3}") {
        let speaks = Speaks::One(Arc::clone(dialect("camara-0.10.1")));
        let apis = Apis::new(vec![api("", speaks)]);
        for path in [&path, &tail, &format!("{path}{tail}")] {
            if let Ok(call) = apis.recognise(&Method::GET, path, &HeaderMap::new(), b"") {
                _ = call.session_id();
                _ = call.profile_name();
            }
        }
    }
}

// Whatever it is, it is taken or refused; and what is refused is told where.
fn read_all(name: &str, body: &[u8], status: u16) {
    let (dialect, strictness) = (dialect(name), Strictness::default());
    if let Err(malformed) = dialect.parse_create_session(body, &strictness) {
        assert!((1..=16).contains(&malformed.faults.len()));
    }
    _ = dialect.parse_extend_session(body, &strictness);
    _ = dialect.parse_retrieve_sessions(body, &strictness);
    _ = dialect.parse_retrieve_profiles(body, &strictness);
    _ = dialect.parse_list_profiles(&String::from_utf8_lossy(body), &strictness);
    _ = dialect.read_session(body);
    if let Ok(told) = dialect.read_sessions(body) {
        assert!(told.sessions.len() <= crate::qod::RETRIEVED_MAX);
    }
    _ = read_event(body);
    _ = dialect.read_problem(status, body);
    let candidates = DIALECTS.names().map(|name| Arc::clone(super::dialect(name))).collect();
    let speaks = Speaks::Sniffed { candidates, fallback: Arc::clone(dialect) };
    let apis = Apis::new(vec![api("", speaks)]);
    assert!(apis.recognise(&Method::POST, "/sessions", &HeaderMap::new(), body).is_ok());
}
