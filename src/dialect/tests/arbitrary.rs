//! Strategies for random requests and bodies.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use proptest::{
    collection::{hash_set, vec},
    option,
    prelude::*,
    sample::select,
};

use super::{
    descriptor::{DeviceForm, Ipv4Form, Ipv6Form, PortsForm, ServerForm},
    *,
};
use crate::qod::{
    ApplicationServer, Device, DeviceIpv4, IdentifierKind, Moment, Nai, PhoneNumber, PortRange,
    PortsSpec, QosStatus, Secret, Verbatim,
};

pub(super) fn name() -> impl Strategy<Value = &'static str> {
    select(DIALECTS.names().collect::<Vec<_>>())
}

// A create request that the dialect can represent.
pub(super) fn create_request(name: &str) -> impl Strategy<Value = CreateRequest> + use<> {
    let rule = dialect(name).rule();
    let ports = || option::of(ports(rule));
    let sink = option::of(sink(rule));
    let duration_s = duration_s(rule);
    (device(rule), server(rule), ports(), ports(), profile(rule), duration_s, sink).prop_map(
        move |(device, server, device_ports, server_ports, qos_profile, duration_s, sink)| {
            // In these dialects the port is part of the address.
            let port_in_address =
                device.ipv4.is_some() && rule.device.ipv4 == Ipv4Form::WithDevicePort;
            let device_ports = device_ports.filter(|_| !port_in_address);
            let device = Some(device);
            CreateRequest {
                device,
                server,
                device_ports,
                server_ports,
                qos_profile,
                duration_s,
                sink,
            }
        },
    )
}

fn duration_s(rule: &RequestRule) -> impl Strategy<Value = u32> + use<> {
    prop_oneof![1..=86_400_u32, 1..=rule.duration.s_max]
}

pub(super) fn translation_settings() -> impl Strategy<Value = TranslationSettings> {
    let legacy = select(vec![
        LegacyIpv4::Reject,
        LegacyIpv4::PublicIsPrivate,
        LegacyIpv4::PublicWithDevicePort,
    ]);
    let kinds = option::of(select(IdentifierKind::ALL.to_vec()));
    (kinds, any::<[bool; 5]>(), legacy, 1..=100_000_u32).prop_map(
        |(kind, [nai, private, networks, prefix, cap], legacy_ipv4, duration_s_max)| {
            TranslationSettings {
                identifiers: kind.into_iter().collect(),
                external_id_as_nai: nai,
                legacy_ipv4,
                private_ipv4_as_legacy: private,
                allow_prefixes: networks,
                ipv6_prefix_as_address: prefix,
                qos_profiles: BTreeMap::new(),
                duration_s_max,
                clamp_duration: cap,
            }
        },
    )
}

pub(super) fn granted() -> impl Strategy<Value = GrantedSession> {
    let status = select(vec![QosStatus::Requested, QosStatus::Available, QosStatus::Unavailable]);
    (1..=86_400_u32, 0..=4_000_000_000_u64, status).prop_map(|(duration_s, start, status)| {
        GrantedSession {
            duration_s,
            started_at: Some(Moment::from_unix_s(start)),
            expires_at: Some(Moment::from_unix_s(start + u64::from(duration_s))),
            status,
            status_info: None,
            messages: Vec::new(),
        }
    })
}

fn device(rule: &'static RequestRule) -> impl Strategy<Value = Device> {
    // If the address is the only kind of identifier, most devices should have one.
    let address = if rule.device.form == DeviceForm::Ipv4 { 0.9 } else { 0.5 };
    let names = (option::of(phone(rule)), option::of(nai()), option::of(nai()));
    (names, option::weighted(address, ipv4(rule)), option::of(ipv6(rule)))
        .prop_map(|((phone, nai, external_id), ipv4, ipv6)| {
            let all = Device { phone, nai, external_id, ipv4, ipv6 };
            all.with_only(|kind| rule.device.allows(kind))
        })
        .prop_filter("at least one identifier", |device| !device.is_empty())
}

fn phone(rule: &RequestRule) -> impl Strategy<Value = Verbatim<PhoneNumber>> + use<> {
    let pattern =
        if rule.device.plus_required { "\\+[1-9][0-9]{4,14}" } else { "\\+?[1-9][0-9]{4,14}" };
    pattern.prop_map(|text| {
        Verbatim::from_text(PhoneNumber::with_optional_plus(&text).unwrap(), &text)
    })
}

fn nai() -> impl Strategy<Value = Nai> {
    "[a-z0-9\"\\\\é]{1,8}@[a-zA-Z.]{1,8}".prop_map(|text| text.parse().unwrap())
}

fn ipv4(rule: &RequestRule) -> BoxedStrategy<DeviceIpv4> {
    match rule.device.ipv4 {
        Ipv4Form::Net => ipv4_net().prop_map(DeviceIpv4::Legacy).boxed(),
        Ipv4Form::Public => (any::<[Ipv4Addr; 2]>(), any::<bool>(), option::of(port(rule)))
            .prop_map(|([public, other], same, public_port)| {
                let private = if same { public } else { other };
                let private = (same || public_port.is_none()).then_some(private);
                DeviceIpv4::Public { public, private, public_port }
            })
            .boxed(),
        Ipv4Form::WithDevicePort => (any::<Ipv4Addr>(), port(rule))
            .prop_map(|(public, port)| DeviceIpv4::Public {
                public,
                private: None,
                public_port: Some(port),
            })
            .boxed(),
    }
}

fn ipv6(rule: &RequestRule) -> BoxedStrategy<Verbatim<Ipv6Net>> {
    if rule.device.ipv6 == Ipv6Form::Net {
        return ipv6_net().boxed();
    }
    ipv6_address()
        .prop_map(|address| Verbatim::from_text(address.into(), &address.to_string()))
        .boxed()
}

fn ipv6_address() -> impl Strategy<Value = Ipv6Addr> {
    any::<Ipv6Addr>().prop_filter("not IPv4-mapped", |address| address.to_ipv4_mapped().is_none())
}

fn ipv4_net() -> impl Strategy<Value = Verbatim<Ipv4Net>> {
    (any::<Ipv4Addr>(), 0..=32_u8, any::<bool>()).prop_map(|(address, length, bare)| {
        let net = Ipv4Net::new(address, length).unwrap();
        if bare {
            Verbatim::from_text(address.into(), &address.to_string())
        } else {
            Verbatim::from_value(net)
        }
    })
}

fn ipv6_net() -> impl Strategy<Value = Verbatim<Ipv6Net>> {
    let length = prop_oneof![Just(64), 0..=128_u8];
    (ipv6_address(), length, any::<bool>()).prop_map(|(address, length, bare)| {
        let net = Ipv6Net::new(address, length).unwrap();
        if bare {
            Verbatim::from_text(address.into(), &address.to_string())
        } else {
            Verbatim::from_value(net)
        }
    })
}

fn server(rule: &RequestRule) -> BoxedStrategy<ApplicationServer> {
    let subnets = (option::of(ipv4_net()), option::of(ipv6_net()))
        .prop_filter("at least one network", |(ipv4, ipv6)| ipv4.is_some() || ipv6.is_some())
        .prop_map(|(ipv4, ipv6)| ApplicationServer::Subnets { ipv4, ipv6 });
    match rule.servers {
        ServerForm::Ipv4 => ipv4_net()
            .prop_map(|net| ApplicationServer::Subnets { ipv4: Some(net), ipv6: None })
            .boxed(),
        ServerForm::Subnets(_) => subnets.boxed(),
        ServerForm::SubnetsOrList(_) => prop_oneof![subnets, list()].boxed(),
    }
}

// Mostly adjacent addresses, so that some lists form one network.
fn list() -> impl Strategy<Value = ApplicationServer> {
    let near = |first: u32| {
        let v4 = (first..first.saturating_add(4)).prop_map(|bits| Ipv4Addr::from_bits(bits).into());
        prop_oneof![4 => v4, 1 => ipv6_address().prop_map(IpAddr::V6)]
    };
    let addresses = any::<u32>().prop_flat_map(move |first| hash_set(near(first), 1..=16));
    addresses.prop_map(|list| {
        ApplicationServer::Addresses(list.into_iter().map(Verbatim::from_value).collect())
    })
}

fn port(rule: &RequestRule) -> impl Strategy<Value = u16> + use<> {
    rule.port_min..=u16::MAX
}

fn ports(rule: &RequestRule) -> BoxedStrategy<PortsSpec> {
    if rule.ports == PortsForm::SinglePort {
        let one = |port| PortsSpec { ranges: Vec::new(), ports: vec![port] };
        return port(rule).prop_map(one).boxed();
    }
    let range =
        [port(rule), port(rule)].prop_map(|[a, b]| PortRange { from: a.min(b), to: a.max(b) });
    (vec(range, 0..4), vec(port(rule), 0..4))
        .prop_filter("at least one port", |(ranges, ports)| ranges.len() + ports.len() > 0)
        .prop_map(|(ranges, ports)| PortsSpec { ranges, ports })
        .boxed()
}

fn profile(rule: &RequestRule) -> impl Strategy<Value = String> + use<> {
    select(profiles(rule).to_vec()).prop_map(str::to_owned)
}

/// The profiles of a dialect.
pub(super) fn profiles(rule: &RequestRule) -> &'static [&'static str] {
    const OF_0_1: [&str; 4] = ["LOW_LATENCY", "THROUGHPUT_S", "THROUGHPUT_M", "THROUGHPUT_L"];
    if rule.profiles.is_empty() { &OF_0_1 } else { rule.profiles }
}

pub(super) fn sink(rule: &RequestRule) -> impl Strategy<Value = Sink> + use<> {
    // From 0.11 on, except for one variant.
    let has_credentials = rule.sink.field == "sink";
    let scheme = if has_credentials { "https" } else { "https?" };
    let url = format!("{scheme}://[a-z]{{1,9}}\\.example(:[1-9][0-9]{{1,3}})?/[a-z0-9/?=&]{{0,9}}");
    let url = proptest::string::string_regex(&url).unwrap();
    let token = option::of(("[!-~]{20,40}", 0..=4_000_000_000_u64));
    (url, token).prop_map(move |(url, token)| {
        let (token, until) = token.map(|(token, until)| (Secret::new(token), until)).unzip();
        let token_expires_at = until.filter(|_| has_credentials).map(Moment::from_unix_s);
        Sink { url, token, token_expires_at }
    })
}

// Random JSON that resembles valid bodies.
pub(super) fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (0..70_000_u32).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[0-9.:/+a-f]{0,20}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        select(vec!["QOS_E", "198.51.100.7", "AVAILABLE", "2001:db8::/64", "QOS_STATUS_CHANGED"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 6, |inner| {
        let member = (
            prop_oneof![select(NAMES.to_vec()).prop_map(str::to_owned), any::<String>()],
            inner.clone(),
        );
        prop_oneof![
            vec(inner, 0..5).prop_map(Value::from),
            vec(member, 0..9).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

pub(super) const NAMES: [&str; 53] = [
    "duration",
    "ueId",
    "asId",
    "uePorts",
    "asPorts",
    "qos",
    "notificationUrl",
    "notificationUri",
    "notificationAuthToken",
    "externalId",
    "msisdn",
    "ipv4addr",
    "ipv6addr",
    "device",
    "applicationServer",
    "devicePorts",
    "applicationServerPorts",
    "qosProfile",
    "webhook",
    "phoneNumber",
    "networkAccessIdentifier",
    "ipv4Address",
    "ipv6Address",
    "publicAddress",
    "privateAddress",
    "publicPort",
    "ranges",
    "ports",
    "from",
    "to",
    "id",
    "sessionId",
    "messages",
    "qosStatus",
    "startedAt",
    "expiresAt",
    "sink",
    "sinkCredential",
    "credentialType",
    "accessToken",
    "accessTokenExpiresUtc",
    "accessTokenType",
    "type",
    "data",
    "event",
    "eventType",
    "eventDetail",
    "statusInfo",
    "ipAddresses",
    "ueAddr",
    "asAddr",
    "protocolIn",
    "protocolOut",
];
