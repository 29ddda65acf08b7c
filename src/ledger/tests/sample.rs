//! Sessions for tests.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use proptest::{
    collection::vec,
    option::of,
    prelude::*,
    sample::{select, subsequence},
};
use serde_json::Value;

use super::{
    Claim, ConflictRules, Error, KeyHasher, OnUnknown, Requester, Reservation, ReservationRequest,
    SessionRecord, UsageRequest,
};
use crate::qod::{
    ApplicationServer, CreateRequest, Device, DeviceIpv4, GrantedSession, Moment, PhoneNumber,
    PortRange, PortsSpec, QosStatus, StatusInfo, TokenSubject, Verbatim,
};

pub(crate) const START: Moment = Moment::from_unix_s(1_700_000_000);
pub(in crate::ledger) const CALL_DEADLINE: Duration = Duration::from_secs(10);

pub(in crate::ledger) fn party(client: &str) -> Requester {
    Requester { client: client.into(), subject: None }
}

pub(in crate::ledger) fn user(client: &str, subject: &str) -> Requester {
    let subject = TokenSubject { issuer: "https://issuer.example".into(), subject: subject.into() };
    Requester { client: client.into(), subject: Some(subject) }
}

pub(in crate::ledger) fn device(fill: impl FnOnce(&mut Device)) -> Device {
    let mut device = Device::default();
    fill(&mut device);
    device
}

/// A device identified by a phone number with these last digits.
pub(in crate::ledger) fn phone(digits: u32) -> Device {
    let number = PhoneNumber::with_optional_plus(&format!("491510{digits:08}")).unwrap();
    device(|device| device.phone = Some(Verbatim::from_value(number)))
}

/// A create request for one device and one server, for an hour.
pub(in crate::ledger) fn create_request(device: Device, server: &str) -> CreateRequest {
    CreateRequest {
        device: Some(device),
        server: servers(&[server]),
        device_ports: None,
        server_ports: None,
        qos_profile: "QOS_E".to_owned(),
        duration_s: 3600,
        sink: None,
    }
}

/// At most one address of each family.
pub(in crate::ledger) fn servers(list: &[&str]) -> ApplicationServer {
    let (mut ipv4, mut ipv6) = (None, None);
    for text in list {
        let net = text.parse().unwrap_or_else(|_| text.parse::<IpAddr>().unwrap().into());
        match net {
            ipnet::IpNet::V4(net) => ipv4 = Some(Verbatim::from_value(net)),
            ipnet::IpNet::V6(net) => ipv6 = Some(Verbatim::from_value(net)),
        }
    }
    ApplicationServer::Subnets { ipv4, ipv6 }
}

pub(in crate::ledger) fn reservation_request(claimed: CreateRequest) -> ReservationRequest {
    ReservationRequest {
        trace: None,
        operator: "north".into(),
        dialect: "camara-0.10.1".into(),
        client_request: claimed.clone().into(),
        operator_request: claimed,
        rules: ConflictRules::default(),
        sessions_max: 1_000_000,
        creates_per_day: None,
        call_timeout: CALL_DEADLINE,
        poll_interval: None,
        idempotency: None,
        usage: Some(UsageRequest {
            correlator: "c0rrelator".into(),
            operator_dialect: "camara-1.1.0".into(),
            device: 7,
        }),
    }
}

pub(crate) fn granted(status: QosStatus, from: Moment, duration_s: u32) -> GrantedSession {
    let available = status == QosStatus::Available;
    GrantedSession {
        duration_s,
        started_at: available.then_some(from),
        expires_at: available.then(|| from + Duration::from_secs(duration_s.into())),
        status,
        status_info: (status == QosStatus::Unavailable).then_some(StatusInfo::NetworkTerminated),
        messages: Vec::new(),
    }
}

/// A session that was requested at [`START`], for an hour, with the report of its operator a second
/// later.
pub(crate) fn confirmed(report: GrantedSession) -> SessionRecord {
    let (client, request) =
        (party("c1"), reservation_request(create_request(phone(1), "192.0.2.1")));
    let claim = Claim::new(&KeyHasher::random(), &client, &request);
    let pending = SessionRecord::new_pending(&client, &request, claim, None, START);
    let answered_at = START + Duration::from_secs(1);
    pending.confirmed("operator-1".to_owned(), report, answered_at).unwrap()
}

/// Two sessions and the expected result of the conflict rule, in either order.
pub(in crate::ledger) struct VectorPair {
    pub(in crate::ledger) name: String,
    pub(in crate::ledger) expected: String,
    pub(in crate::ledger) one: (Requester, CreateRequest),
    pub(in crate::ledger) other: (Requester, CreateRequest),
}

impl VectorPair {
    /// Asserts the result of the second reservation, while `held` is that of the first one. Returns the
    /// second one if it was allowed.
    pub(in crate::ledger) fn expect_verdict(
        &self,
        (first, second): (&Requester, &Requester),
        unknown: OnUnknown,
        held: &Reservation,
        result: Result<Reservation, Error>,
    ) -> Option<Reservation> {
        let same_client = first.client == second.client;
        let visible = second.subject.is_none() || second.subject == first.subject;
        let own_session = (same_client && visible).then(|| held.id());
        let name = &self.name;
        let is_unknown = self.expected == "unknown";
        if self.expected == "conflict" || (is_unknown && unknown == OnUnknown::Refuse) {
            let conflict = Error::Conflict { own_session, device_ambiguous: is_unknown };
            assert_eq!(result.err(), Some(conflict), "{name}");
            return None;
        }
        let reservation = result.unwrap();
        assert_eq!(reservation.device_ambiguous(), is_unknown, "{name}");
        Some(reservation)
    }
}

/// The pairs of `conflict/tests/vectors.json`.
pub(in crate::ledger) fn vector_pairs() -> Vec<VectorPair> {
    let list: Vec<Value> =
        serde_json::from_str(include_str!("../conflict/tests/vectors.json")).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let pair = |pair: &Value| VectorPair {
        name: text(&pair["name"]),
        expected: text(&pair["verdict"]),
        one: parse_side(&pair["one"]),
        other: parse_side(&pair["other"]),
    };
    list.iter().map(pair).collect()
}

fn parse_side(json: &Value) -> (Requester, CreateRequest) {
    let text = |name: &str| json[name].as_str();
    let parsed = device(|device| {
        device.phone = text("phoneNumber")
            .map(|text| Verbatim::from_text(PhoneNumber::with_optional_plus(text).unwrap(), text));
        device.nai = text("networkAccessIdentifier").map(|text| text.parse().unwrap());
        device.ipv6 = text("ipv6Address")
            .map(|text| Verbatim::from_text(text.parse::<Ipv6Addr>().unwrap().into(), text));
        device.ipv4 = text("publicAddress").map(|public| DeviceIpv4::Public {
            public: public.parse().unwrap(),
            private: text("privateAddress").map(|private| private.parse().unwrap()),
            public_port: json["publicPort"].as_u64().map(|port| port.try_into().unwrap()),
        });
        if let Some(net) = text("ipv4addr") {
            let value = net.parse().unwrap_or_else(|_| net.parse::<Ipv4Addr>().unwrap().into());
            device.ipv4 = Some(DeviceIpv4::Legacy(Verbatim::from_text(value, net)));
        }
    });
    let list: Vec<&str> =
        json["servers"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let wanted = CreateRequest {
        device: Some(parsed).filter(|device| !device.is_empty()),
        server: servers(&list),
        device_ports: parse_ports(&json["devicePorts"]),
        server_ports: parse_ports(&json["serverPorts"]),
        qos_profile: text("qosProfile").unwrap_or("QOS_E").to_owned(),
        duration_s: 3600,
        sink: None,
    };
    let client = text("client").unwrap_or("c1");
    (text("subject").map_or_else(|| party(client), |subject| user(client, subject)), wanted)
}

fn parse_ports(json: &Value) -> Option<PortsSpec> {
    let mut spec = PortsSpec::default();
    for text in json.as_array()?.iter().map(|text| text.as_str().unwrap()) {
        match text.split_once('-') {
            Some((from, to)) => {
                spec.ranges
                    .push(PortRange { from: from.parse().unwrap(), to: to.parse().unwrap() });
            }
            None => spec.ports.push(text.parse().unwrap()),
        }
    }
    Some(spec)
}

/// Devices of the test domain, in which many are equal and many are not comparable.
pub(in crate::ledger) fn any_device() -> impl Strategy<Value = Device> {
    let nai = |text: &'static str| -> crate::qod::Nai { text.parse().unwrap() };
    let v6 = ["2001:db8::1", "2001:db8::/48", "2001:db8:0:2::/63", "2001:db8:0:3::/64"];
    let v6 = select(v6.to_vec()).prop_map(|text| {
        let net = text.parse().unwrap_or_else(|_| text.parse::<Ipv6Addr>().unwrap().into());
        Verbatim::from_value(net)
    });
    (
        of(select(vec![phone(1), phone(2), phone(3)])),
        of(select(vec![nai("a@x.example"), nai("a@X.example"), nai("b@x.example")])),
        of(select(vec![nai("a@x.example"), nai("b@x.example")])),
        of(any_ipv4()),
        of(v6),
    )
        .prop_map(|(phone, nai, external_id, ipv4, ipv6)| Device {
            phone: phone.and_then(|device| device.phone),
            nai,
            external_id,
            ipv4,
            ipv6,
        })
}

fn any_ipv4() -> impl Strategy<Value = DeviceIpv4> {
    let address = |last: u8| Ipv4Addr::new(203, 0, 113, last);
    let public = (0..2_u8, of(0..2_u8), of(1..3_u16)).prop_map(move |(public, private, port)| {
        DeviceIpv4::Public {
            public: address(public),
            private: private.map(address),
            public_port: port,
        }
    });
    let legacy = (0..4_u8, 30..=32_u8).prop_map(move |(last, length)| {
        DeviceIpv4::Legacy(Verbatim::from_value(
            ipnet::Ipv4Net::new(address(last), length).unwrap(),
        ))
    });
    prop_oneof![public, legacy]
}

const ADDRESSES: [&str; 6] =
    ["192.0.2.0", "192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8:f::2", "2001:db8:f::3"];

/// Create requests of the test domain: four servers of each family, eight ports.
pub(in crate::ledger) fn any_create_request() -> impl Strategy<Value = CreateRequest> {
    let v4 =
        of(select(&["192.0.2.0/30", "192.0.2.0/31", "192.0.2.2/31", "192.0.2.1", "192.0.2.3"][..]));
    let v6 = of(select(&["2001:db8:f::/126", "2001:db8:f::2/127", "2001:db8:f::1"][..]));
    let subnets = (v4, v6).prop_map(|(v4, v6)| {
        let list: Vec<&str> = v4.into_iter().chain(v6).collect();
        servers(if list.is_empty() { &["192.0.2.1"] } else { &list })
    });
    let list = subsequence(&ADDRESSES[..], 1..=ADDRESSES.len()).prop_map(|list| {
        let address = |text: &&str| Verbatim::from_value(text.parse().unwrap());
        ApplicationServer::Addresses(list.iter().map(address).collect())
    });
    let server = prop_oneof![2 => subnets, 1 => list];
    (any_device(), server, of(any_ports()), of(any_ports())).prop_map(
        |(device, server, device_ports, server_ports)| CreateRequest {
            server,
            device_ports,
            server_ports,
            ..create_request(device, "192.0.2.1")
        },
    )
}

fn any_ports() -> impl Strategy<Value = PortsSpec> {
    let range = (0..8_u16, 0..3_u16)
        .prop_map(|(from, more)| PortRange { from, to: from.saturating_add(more).min(7) });
    (vec(range, 0..2), vec(0..8_u16, 0..3)).prop_map(|(ranges, ports)| {
        let ports = if ranges.is_empty() && ports.is_empty() { vec![0] } else { ports };
        PortsSpec { ranges, ports }
    })
}
