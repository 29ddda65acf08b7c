//! What CAMARA 1.2 has of its own: lists of servers, strictness, bounds, credentials by a key.

use super::*;
use crate::qod::{ApplicationServer, Device, DeviceIpv4, Kind, PortRange, PortsSpec};

const NAME: &str = "camara-1.2.0-rc.3";
const EARLY: &str = "camara-1.1.0";

fn with(pointer: &str, value: Value) -> Value {
    let mut body = body(NAME);
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    body.pointer_mut(parent).unwrap()[field] = value;
    body
}

fn servers(list: &[&str]) -> Value {
    with("/applicationServer", json!({ "ipAddresses": list }))
}

#[track_caller]
fn faults(body: &Value) -> Vec<(String, Kind)> {
    let malformed = parse(NAME, body).expect_err(&body.to_string());
    malformed.faults.into_iter().map(|fault| (fault.pointer, fault.kind)).collect()
}

#[track_caller]
fn refused(body: &Value, at: &str, kind: Kind) {
    assert_eq!(faults(body), [(at.to_owned(), kind)], "{body}");
}

#[test]
fn a_list_of_servers_is_kept_as_it_was_written() {
    let list = ["198.51.100.7", "2001:DB8::7", "203.0.113.20"];
    let wanted = parse(NAME, &servers(&list)).unwrap();
    assert_eq!(wanted.flow().servers.len(), 3);
    let fitted = dialect(NAME).fit(&wanted, &Fitting::default()).unwrap();
    let sent = dialect(NAME).create_session_request(&fitted, None);
    let sent: Value = serde_json::from_slice(&sent).unwrap();
    assert_eq!(sent["applicationServer"], json!({ "ipAddresses": list }));
    let sixteen: Vec<String> = (0..16).map(|last| format!("198.51.100.{last}")).collect();
    let sixteen: Vec<&str> = sixteen.iter().map(String::as_str).collect();
    assert!(parse(NAME, &servers(&sixteen)).is_ok());
}

#[test]
fn a_list_of_servers_that_is_none() {
    let (list, bad) = ("/applicationServer/ipAddresses", Kind::InvalidArgument);
    let many: Vec<String> = (0..17).map(|last| format!("198.51.100.{last}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    refused(&servers(&many), list, bad);
    refused(&servers(&[]), list, bad);
    refused(&servers(&["198.51.100.7", "198.51.100.7"]), list, bad);
    refused(&servers(&["2001:db8::7", "2001:DB8:0::7"]), list, bad);
    let second = format!("{list}/1");
    for text in ["198.51.100.0/24", "198.51.100.7/32", "2001:db8::/64", "a.example", "010.0.0.1"] {
        refused(&servers(&["198.51.100.7", text]), &second, bad);
    }
    refused(&servers(&["198.51.100.7", "::ffff:198.51.100.8"]), &second, bad);
    for value in [json!("198.51.100.7"), json!({}), json!(null), json!([1])] {
        let body = with("/applicationServer", json!({ "ipAddresses": value }));
        assert!(faults(&body).iter().all(|(at, _)| at.starts_with("/applicationServer")), "{body}");
    }
    let both = json!({ "ipAddresses": ["198.51.100.7"], "ipv4Address": "198.51.100.7" });
    let expected = [("/applicationServer/ipv4Address".to_owned(), bad)];
    assert!(faults(&with("/applicationServer", both)).contains(&expected[0]));
}

#[test]
fn networks_of_servers_have_the_form_that_the_release_asks_for() {
    for (name, text) in [
        ("ipv4Address", "198.51.100.0/33"),
        ("ipv4Address", "198.51.100"),
        ("ipv6Address", "2001:db8::/129"),
        ("ipv6Address", "2001:db8::g"),
    ] {
        let at = format!("/applicationServer/{name}");
        refused(&with("/applicationServer", json!({ name: text })), &at, Kind::InvalidArgument);
    }
    let both = json!({ "ipv4Address": "198.51.100.7/24", "ipv6Address": "2001:db8::/64" });
    assert!(parse(NAME, &with("/applicationServer", both)).is_ok());
}

#[test]
fn an_older_operator_is_told_a_list_only_if_it_is_one_network() {
    let told = |list: &[&str]| {
        let wanted = parse(NAME, &servers(list)).unwrap();
        let fitted = dialect(EARLY).fit(&wanted, &Fitting::default())?;
        assert!(fitted.flow().within(&wanted.flow()) && wanted.flow().within(&fitted.flow()));
        let sent = dialect(EARLY).create_session_request(&fitted, None);
        let sent: Value = serde_json::from_slice(&sent).unwrap();
        Ok(sent["applicationServer"].clone())
    };
    let one = json!({ "ipv4Address": "198.51.100.7" });
    assert_eq!(told(&["198.51.100.7"]).unwrap(), one);
    let four = ["198.51.100.6", "198.51.100.4", "198.51.100.7", "198.51.100.5"];
    assert_eq!(told(&four).unwrap(), json!({ "ipv4Address": "198.51.100.4/30" }));
    let each = json!({ "ipv4Address": "198.51.100.7", "ipv6Address": "2001:db8::/127" });
    assert_eq!(told(&["2001:db8::1", "198.51.100.7", "2001:db8::"]).unwrap(), each);
    for list in [
        &["198.51.100.5", "198.51.100.6"][..],
        &["198.51.100.4", "198.51.100.5", "198.51.100.6"],
        &["2001:db8::1", "2001:db8::2"],
    ] {
        assert_eq!(told(list), Err(Unfit::Servers), "{list:?}");
    }
}

#[test]
fn a_list_is_shown_in_older_words_by_its_first_addresses() {
    let wanted = parse(NAME, &servers(&["198.51.100.5", "198.51.100.9", "2001:db8::1"])).unwrap();
    let shown = dialect(EARLY).create_session_request(&wanted, None);
    let shown: Value = serde_json::from_slice(&shown).unwrap();
    let first = json!({ "ipv4Address": "198.51.100.5", "ipv6Address": "2001:db8::1" });
    assert_eq!(shown["applicationServer"], first);
}

#[test]
fn what_nobody_knows_is_refused_whatever_the_policies_say() {
    let lenient = Strictness::default();
    assert_eq!(lenient.unknown_members, UnknownMembers::Drop);
    let mut sound = with("/sink", json!("https://a.example/"));
    sound["sinkCredential"] = json!({
        "credentialType": "ACCESSTOKEN", "accessToken": "t",
        "accessTokenExpiresUtc": "2030-01-01T00:00:00Z", "accessTokenType": "bearer",
    });
    sound["device"]["ipv4Address"] = json!({ "publicAddress": "203.0.113.9", "publicPort": 1 });
    sound["devicePorts"] = json!({ "ranges": [{ "from": 1, "to": 2 }] });
    assert!(parse(NAME, &sound).is_ok());
    for place in [
        "",
        "/device",
        "/device/ipv4Address",
        "/applicationServer",
        "/devicePorts",
        "/devicePorts/ranges/0",
        "/sinkCredential",
    ] {
        let mut body = sound.clone();
        body.pointer_mut(place).unwrap()["colour"] = json!("green");
        refused(&body, &format!("{place}/colour"), Kind::InvalidArgument);
    }
    let extend = br#"{"requestedAdditionalDuration": 1, "x": 1}"#;
    assert!(dialect(NAME).parse_extend_session(extend, &lenient).is_err());
    assert!(dialect(EARLY).parse_extend_session(extend, &lenient).is_ok());
    assert!(dialect(NAME).parse_retrieve_sessions(br#"{"x": 1}"#, &lenient).is_err());
}

#[test]
fn ports_begin_with_1() {
    for ports in [json!({ "ports": [0] }), json!({ "ranges": [{ "from": 0, "to": 9 }] })] {
        let body = with("/applicationServerPorts", ports);
        let below = faults(&body);
        assert!(below.len() == 1 && below[0].1 == Kind::OutOfRange, "{below:?}");
    }
    let public = json!({ "publicAddress": "203.0.113.9", "publicPort": 0 });
    let at = "/device/ipv4Address/publicPort";
    refused(&with("/device/ipv4Address", public), at, Kind::OutOfRange);
}

#[test]
fn port_0_of_an_older_client_is_left_out_of_a_range_and_otherwise_refused() {
    let wanted = |ranges: &[(u16, u16)], ports: &[u16]| {
        let ranges = ranges.iter().map(|&(from, to)| PortRange { from, to }).collect();
        let spec = PortsSpec { ranges, ports: ports.to_vec() };
        CreateSession { server_ports: Some(spec), ..parse(EARLY, &body(EARLY)).unwrap() }
    };
    let fit = |wanted| dialect(NAME).fit(&wanted, &Fitting::default());
    let fitted = fit(wanted(&[(0, 9), (20, 30)], &[443])).unwrap();
    assert!(fitted.flow().within(&wanted(&[(0, 9), (20, 30)], &[443]).flow()));
    let ranges = [PortRange { from: 1, to: 9 }, PortRange { from: 20, to: 30 }];
    assert_eq!(fitted.server_ports.unwrap().ranges, ranges);
    let low = Err(Unfit::PortTooLow { min: 1 });
    assert_eq!(fit(wanted(&[], &[0, 443])), low);
    assert_eq!(fit(wanted(&[(0, 0)], &[443])), low);
    assert_eq!(
        dialect(EARLY).fit(&wanted(&[], &[0]), &Fitting::default()).unwrap().device_ports,
        None
    );

    let mut hidden = parse(EARLY, &body(EARLY)).unwrap();
    let public = "203.0.113.9".parse().unwrap();
    let ipv4 = DeviceIpv4::Public { public, private: None, public_port: Some(0) };
    hidden.device = Some(Device { ipv4: Some(ipv4), ..Device::default() });
    assert_eq!(fit(hidden), Err(Unfit::Ipv4NotExpressible));
}

#[test]
fn texts_have_bounds() {
    let long = |length: usize| format!("https://a.example/{}", "x".repeat(length - 18));
    assert!(parse(NAME, &with("/sink", json!(long(2048)))).is_ok());
    refused(&with("/sink", json!(long(2049))), "/sink", Kind::InvalidSink);
    refused(&with("/duration", json!(2_147_483_648_u32)), "/duration", Kind::DurationOutOfRange);
    let nai = "/device/networkAccessIdentifier";
    assert!(parse(NAME, &with(nai, json!("x".repeat(2048)))).is_ok());
    refused(&with(nai, json!("x".repeat(2049))), nai, Kind::InvalidArgument);
}

#[test]
fn a_credential_by_a_key_is_understood_and_not_to_be_had() {
    let credential = |credential| {
        let mut body = with("/sink", json!("https://a.example/"));
        body["sinkCredential"] = credential;
        body
    };
    let key = json!({
        "credentialType": "PRIVATE_KEY_JWT", "clientId": "a", "tokenUri": "https://a.example/token",
    });
    let at = "/sinkCredential/credentialType";
    refused(&credential(key.clone()), at, Kind::CredentialNotConfigured);
    let bare = json!({ "credentialType": "PRIVATE_KEY_JWT" });
    refused(&credential(bare), at, Kind::CredentialNotConfigured);
    for other in ["PLAIN", "REFRESHTOKEN", "OTHER"] {
        refused(&credential(json!({ "credentialType": other })), at, Kind::InvalidArgument);
    }
    // Whatever else is wrong is told first.
    let mut odd = key;
    odd["tokenUri"] = json!("http://a.example/token");
    let malformed = parse(NAME, &credential(odd)).unwrap_err();
    assert_eq!((malformed.faults.len(), malformed.kind()), (2, Kind::InvalidArgument));
    let token = |length: usize| {
        credential(json!({
            "credentialType": "ACCESSTOKEN", "accessToken": "t".repeat(length),
            "accessTokenExpiresUtc": "2030-01-01T00:00:00Z", "accessTokenType": "bearer",
        }))
    };
    assert!(parse(NAME, &token(4096)).is_ok());
    refused(&token(4097), "/sinkCredential/accessToken", Kind::InvalidArgument);
}

#[test]
fn a_message_is_cut_where_the_release_bounds_it() {
    let problem = |message: String| {
        let (kind, code) = (Kind::InvalidArgument, "INVALID_ARGUMENT".into());
        Problem { kind, status: 400, code, message, pace: None, challenge: None, retry_after: None }
    };
    let told = |name: &str, length: usize| {
        let response = dialect(name).render_problem(&problem("é".repeat(length)));
        let body: Value = serde_json::from_slice(response.body()).unwrap();
        body["message"].as_str().unwrap().chars().count()
    };
    assert_eq!((told(NAME, 512), told(NAME, 513), told(NAME, 9000)), (512, 512, 512));
    assert_eq!(told(EARLY, 9000), 9000);
}

#[test]
fn an_operators_session_with_a_list_is_read() {
    let listed = json!([{
        "sessionId": "7", "duration": 60, "qosStatus": "UNAVAILABLE",
        "statusInfo": "NETWORK_TERMINATED", "qosProfile": "QOS_E",
        "applicationServer": { "ipAddresses": ["198.51.100.7", "198.51.100.9"] },
    }]);
    let told = dialect(NAME).read_sessions(listed.to_string().as_bytes()).unwrap();
    assert!(told.complete);
    let ApplicationServer::Addresses(list) = &told.sessions[0].wanted.server else { panic!() };
    assert_eq!(list.len(), 2);
}
