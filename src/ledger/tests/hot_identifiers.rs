//! Measures creates while many live sessions share an identifier. Run it alone, optimized: `cargo test
//! --release --lib -- --ignored --nocapture --test-threads 1 hot_identifier_cost`.

#![expect(clippy::print_stdout, reason = "prints measurements")]

use std::{net::Ipv4Addr, time::Duration};

use super::{sample::device, *};
use crate::qod::{Device, DeviceIpv4, PortsSpec, Verbatim};

const SESSIONS: u32 = 100_000;
const MEASURED: u32 = 2000;

/// A session of which an identifier is shared.
struct SharedIdentifier {
    name: &'static str,
    unknown: OnUnknown,
    /// The sessions that are live, by number.
    live: fn(u32) -> (Requester, CreateRequest),
    /// The measured sessions.
    measured: fn(u32) -> (Requester, CreateRequest),
}

// No client reaches the maximum of one client before the maximum of all.
fn client(n: u32) -> Requester {
    party(&format!("c{}", n % 8))
}

fn by_phone(n: u32, fill: impl FnOnce(&mut Device)) -> (Requester, CreateRequest) {
    let mut device = phone(n);
    fill(&mut device);
    (client(n), create_request(device, "192.0.2.1"))
}

fn behind(n: u32, private: Option<Ipv4Addr>, port: Option<u16>) -> (Requester, CreateRequest) {
    let public = [203, 0, 113, 9].into();
    by_phone(n, |device| {
        device.ipv4 = Some(DeviceIpv4::Public { public, private, public_port: port });
    })
}

fn in_network(n: u32, net: &str) -> (Requester, CreateRequest) {
    let net = Verbatim::from_value(net.parse().unwrap());
    by_phone(n, |device| device.ipv6 = Some(net))
}

// One of 65,536 device ports for each of 65,536 server ports: the flows of one device do not overlap.
fn one_flow(n: u32, device: Option<Device>) -> CreateRequest {
    let [high, mid, low, last] = n.to_be_bytes().map(u16::from);
    let ports = |port| Some(PortsSpec { ranges: Vec::new(), ports: vec![port] });
    CreateRequest {
        device,
        device_ports: ports(low << 8 | last),
        server_ports: ports(high << 8 | mid),
        ..create_request(phone(0), "192.0.2.1")
    }
}

fn by_nai(n: u32, nai: &str) -> (Requester, CreateRequest) {
    let device = device(|device| device.nai = Some(nai.parse().unwrap()));
    (client(n), one_flow(n, Some(device)))
}

fn unshared(n: u32) -> (Requester, CreateRequest) {
    by_phone(n, |_| ())
}

// A user of a three-legged token, without another identifier.
fn by_user(n: u32) -> (Requester, CreateRequest) {
    (user(&format!("c{}", n % 8), "s1"), one_flow(n, None))
}

fn shared_identifiers() -> Vec<SharedIdentifier> {
    let case = |name, live: fn(u32) -> (Requester, CreateRequest)| SharedIdentifier {
        name,
        unknown: OnUnknown::Forward,
        live,
        measured: live,
    };
    let refuse = |case| SharedIdentifier { unknown: OnUnknown::Refuse, ..case };
    let only_nai = |n| by_nai(n, &format!("user{n}@x.example"));
    vec![
        case("none: each has its own phone number", unshared),
        case("public address, each with its own port", |n| {
            behind(n, None, Some(u16::try_from(n % 65_536).unwrap()))
        }),
        case("public address without port", |n| behind(n, None, None)),
        refuse(case("public address without port, `refuse`", |n| behind(n, None, None))),
        case("public address and port", |n| behind(n, None, Some(443))),
        case("public and private address", |n| behind(n, Some([10, 0, 0, 1].into()), None)),
        case("IPv6 /64", |n| in_network(n, "2001:db8::/64")),
        SharedIdentifier {
            measured: |n| in_network(n, "2001:db8::/48"),
            ..case("IPv6 /48 of which each has a /64", |n| {
                in_network(n, &format!("2001:db8:0:{:x}::/64", n % 65_536))
            })
        },
        case("phone number", |n| (client(n), one_flow(n, Some(phone(0))))),
        case("network access identifier", |n| by_nai(n, "a@x.example")),
        case("user", by_user),
        SharedIdentifier {
            measured: only_nai,
            ..case("none: measured without phone number", unshared)
        },
        refuse(SharedIdentifier {
            measured: only_nai,
            ..case("none: measured without phone number, `refuse`", unshared)
        }),
    ]
}

/// The median time of creates, and how many were accepted.
async fn measure(
    ledger: &Ledger,
    clock: &Clock,
    unknown: OnUnknown,
    requests: impl Iterator<Item = (Requester, CreateRequest)>,
) -> (Duration, usize) {
    let (mut times, mut accepted) = (Vec::new(), 0);
    for (number, (requester, wanted)) in requests.enumerate() {
        let since = clock.tick();
        let created = create(ledger, unknown, requester, wanted, number).await;
        times.push(clock.elapsed(since));
        if let Some(record) = created {
            accepted += 1;
            let record = ledger.begin_delete(&record).await.unwrap();
            ledger.finish_delete(&record).await.unwrap();
        }
    }
    times.sort_unstable();
    (times[times.len() / 2], accepted)
}

async fn create(
    ledger: &Ledger,
    unknown: OnUnknown,
    requester: Requester,
    wanted: CreateRequest,
    number: usize,
) -> Option<SessionRecord> {
    let request = ReservationRequest {
        sessions_max: u32::MAX,
        rules: ConflictRules { unknown, ..ConflictRules::default() },
        ..reservation_request(wanted)
    };
    let reserved = ledger.reserve_for(requester, request).await.ok()?;
    let ReserveOutcome::New(reservation) = reserved else { return None };
    let report = granted(QosStatus::Available, ledger.now(), 36_000);
    ledger.confirm(reservation, format!("operator-session-{number}"), report).await.ok()
}

/// Prints the time of a create in the ledger, of a session that shares the identifier and of one that
/// does not, while as many live sessions as allowed share it.
#[tokio::test]
#[ignore = "prints a measurement"]
async fn hot_identifier_cost() {
    let clock = Clock::system();
    println!("| shared by the live sessions | live | create with it | … accepted | other device |");
    for SharedIdentifier { name, unknown, live, measured } in shared_identifiers() {
        let ledger = Ledger::in_memory(clock.clone());
        let mut sessions = 0;
        for n in 0..SESSIONS {
            let (requester, wanted) = live(n);
            // The ids differ from those of measured sessions.
            let number = usize::try_from(n + SESSIONS).unwrap();
            let created = create(&ledger, OnUnknown::Forward, requester, wanted, number).await;
            sessions += u32::from(created.is_some());
        }
        let numbers = SESSIONS..SESSIONS + MEASURED;
        let requests = numbers.clone().map(measured);
        let (own, accepted) = measure(&ledger, &clock, unknown, requests).await;
        let others = numbers.map(|n| unshared(n + SESSIONS));
        let (other, _) = measure(&ledger, &clock, OnUnknown::Forward, others).await;
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        println!(
            "| {name} | {sessions} | {:.1} µs | {accepted} of {MEASURED} | {:.1} µs |",
            micros(own),
            micros(other)
        );
    }
}
