//! The same session in every dialect, compared with
//! `tests/golden/<dialect>.{request,response}.json`. `UPDATE_GOLDEN=1` rewrites the files.

use std::fs;

use super::{descriptor::PortsForm, *};
use crate::qod::{
    ApplicationServer, Device, DeviceIpv4, Moment, PortRange, PortsSpec, QosStatus, Secret,
    Session, Verbatim,
};

fn wanted() -> CreateRequest {
    let number = "+4915112345678".parse().unwrap();
    let net = "198.51.100.0/24".parse().unwrap();
    CreateRequest {
        device: Some(Device { phone: Some(Verbatim::from_value(number)), ..Device::default() }),
        server: ApplicationServer::Subnets { ipv4: Some(Verbatim::from_value(net)), ipv6: None },
        device_ports: Some(PortsSpec {
            ranges: vec![PortRange { from: 5010, to: 5020 }],
            ports: vec![5060],
        }),
        server_ports: Some(PortsSpec { ranges: Vec::new(), ports: vec![443] }),
        qos_profile: "QOS_E".to_owned(),
        duration_s: 3600,
        sink: Some(Sink {
            url: "https://app.example.com/cb".to_owned(),
            token: Some(Secret::new("c8974e592c2fa383d4a3960714")),
            token_expires_at: Some(Moment::from_unix_s(1_796_126_400)),
        }),
    }
}

// The same request within the limits of the dialect: a single device port, and in 0.1 an address
// and a profile of that release.
fn request_in(name: &str) -> CreateRequest {
    let mut wanted = wanted();
    if dialect(name).rule().ports == PortsForm::SinglePort {
        wanted.device_ports = Some(PortsSpec { ranges: Vec::new(), ports: vec![5060] });
    }
    if is_v01(name) {
        let net = Verbatim::from_text("203.0.113.9/32".parse().unwrap(), "203.0.113.9");
        wanted.device = Some(Device { ipv4: Some(DeviceIpv4::Legacy(net)), ..Device::default() });
        wanted.qos_profile = "LOW_LATENCY".to_owned();
    }
    wanted
}

fn is_v01(name: &str) -> bool {
    dialect(name).rule().names.device == "ueAddr"
}

// The request as parsed by dialects that cannot represent the expiry of a token.
fn request_without_expiry_in(name: &str) -> CreateRequest {
    let mut wanted = request_in(name);
    if dialect(name).rule().sink.field != "sink" {
        wanted.sink.as_mut().unwrap().token_expires_at = None;
    }
    wanted
}

fn session_in(name: &str) -> Session {
    Session { wanted: request_in(name).into(), ..session() }
}

fn session() -> Session {
    let granted = GrantedSession {
        duration_s: 3600,
        started_at: Some(Moment::from_unix_s(1_764_590_400)),
        expires_at: Some(Moment::from_unix_s(1_764_594_000)),
        status: QosStatus::Available,
        status_info: None,
        messages: Vec::new(),
    };
    let id = "3fa85f64-5717-4562-b3fc-2c963f66afa6".parse().unwrap();
    Session { id, wanted: wanted().into(), granted }
}

// Compares a body with the golden file and returns the file's content.
#[track_caller]
pub(super) fn golden(name: &str, direction: &str, ours: &[u8]) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let file = folder.join(format!("{name}.{direction}.json"));
    let ours: Value = serde_json::from_slice(ours).unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, format!("{ours:#}\n")).unwrap();
    }
    let theirs: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(ours, theirs, "{}", file.display());
    theirs
}

#[test]
fn requests_match_their_golden_files() {
    for name in DIALECTS.names() {
        let wanted = request_in(name);
        let ours = dialect(name).create_session_request(&wanted, wanted.sink.as_ref());
        let file = golden(name, "request", &ours);
        assert_eq!(parse(name, &file).unwrap(), request_without_expiry_in(name), "{name}");
    }
}

#[test]
fn responses_match_their_golden_files() {
    for name in DIALECTS.names() {
        let response = dialect(name).render_response(&ApiResponse::Created(session_in(name)));
        let file = golden(name, "response", response.body());
        let (id, granted) = dialect(name)
            .read_session(file.to_string().as_bytes(), TimesWithoutOffset::Reject)
            .unwrap();
        assert_eq!((id, granted), (session().id.to_string(), session().granted), "{name}");
    }
}

#[test]
fn every_client_request_is_translated_to_every_operator_dialect() {
    for (client, operator) in pairs() {
        let wanted = request_in(client);
        let ours = dialect(client).create_session_request(&wanted, wanted.sink.as_ref());
        let wanted = parse(client, &serde_json::from_slice(&ours).unwrap()).unwrap();
        let translated =
            dialect(operator).translate_complete(&wanted, &TranslationSettings::default());
        // No other dialect has the profiles of 0.1.
        if is_v01(client) || is_v01(operator) {
            assert_eq!(translated, Err(Untranslatable::UnknownProfile), "{client} to {operator}");
            continue;
        }
        let one_port = |name| dialect(name).rule().ports == PortsForm::SinglePort;
        if one_port(operator) && !one_port(client) {
            assert_eq!(translated, Err(Untranslatable::SinglePortOnly), "{client}");
            continue;
        }
        let translated = translated.unwrap();
        let sent = dialect(operator).create_session_request(&translated, None);
        let full = CreateRequest { device_ports: wanted.device_ports, ..self::wanted() };
        let theirs = dialect(operator).create_session_request(&full, full.sink.as_ref());
        let mut expected = serde_json::from_slice::<Value>(&theirs).unwrap();
        if one_port(client) == one_port(operator) {
            assert_eq!(expected, golden(operator, "request", &theirs));
        }
        for field in [
            "notificationUri",
            "notificationUrl",
            "notificationAuthToken",
            "webhook",
            "sink",
            "sinkCredential",
        ] {
            expected.as_object_mut().unwrap().remove(field);
        }
        assert_eq!(serde_json::from_slice::<Value>(&sent).unwrap(), expected);
    }
}

#[test]
fn every_operator_response_is_rendered_in_every_client_dialect() {
    for (operator, client) in pairs() {
        let theirs = dialect(operator).render_response(&ApiResponse::Created(session()));
        let (_, granted) =
            dialect(operator).read_session(theirs.body(), TimesWithoutOffset::Reject).unwrap();
        let answer = ApiResponse::Created(Session { granted, ..session_in(client) });
        golden(client, "response", dialect(client).render_response(&answer).body());
    }
}

pub(super) fn pairs() -> impl Iterator<Item = (&'static str, &'static str)> {
    DIALECTS.names().flat_map(|one| DIALECTS.names().map(move |other| (one, other)))
}
