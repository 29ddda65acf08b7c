//! Measurements of hot keys. Run by hand:
//! `cargo test --release --lib -- --ignored --nocapture --test-threads 1 ledger::postgres::tests::benchmarks`

#![expect(clippy::print_stdout, reason = "prints measurements")]

use super::*;
use crate::{
    ledger::{
        Ledger,
        tests::sample::{START, create_request, device, party, phone, reservation_request},
    },
    qod::{CreateRequest, DeviceIpv4},
};

// The number of reservations of one measurement.
const SAMPLE: u32 = 100;

/// Reserves sessions one after the other, and prints the mean time of those after each number.
async fn measure(
    name: &str,
    counts: &[u32],
    create: impl Fn(u32) -> (&'static str, CreateRequest),
) {
    let Some(schema) = TestSchema::new() else { return };
    let (clock, system) = (Clock::fixed(START), Clock::system());
    let ledger = Ledger::with_store(schema.store(&clock), KeyHasher::new([7; 32]), clock.clone());
    let mut next = 0;
    for count in counts {
        let mut started = system.tick();
        while next < count + SAMPLE {
            if next == *count {
                started = system.tick();
            }
            let (client, create) = create(next);
            let request = reservation_request(create);
            ledger.reserve_for(party(client), request).await.unwrap();
            next += 1;
        }
        let mean = system.elapsed(started) / SAMPLE;
        println!("{name}: {count} live sessions: {} µs a reservation", mean.as_micros());
    }
}

#[tokio::test]
#[ignore = "prints a measurement"]
async fn ports_of_one_public_address() {
    measure("ports of one address", &[0, 1000, 5000, 10_000], |n| {
        let public = std::net::Ipv4Addr::new(198, 51, 100, 7);
        let port = Some(u16::try_from(1024 + n).unwrap());
        let behind_nat = device(|device| {
            device.ipv4 = Some(DeviceIpv4::Public { public, private: None, public_port: port });
        });
        ("c1", create_request(behind_nat, "192.0.2.1"))
    })
    .await;
}

#[tokio::test]
#[ignore = "prints a measurement"]
async fn disjoint_flows_of_one_device() {
    measure("flows of one device", &[0, 100, 400, 900], |n| {
        let client = if n < 512 { "c1" } else { "c2" };
        let server = format!("10.0.{}.{}", n / 250, n % 250);
        (client, create_request(phone(1), &server))
    })
    .await;
}
