//! A client's sessions of a device.

use super::*;
use crate::qod::Device;
use crate::{
    ledger::tests::sample::device,
    qod::{DeviceIpv4, Verbatim},
};

impl LedgerFixture {
    /// Creates a session of this device with the server of this number, at an operator.
    async fn create(
        &self,
        requester: &Requester,
        device: &Device,
        server: u8,
        operator: &str,
    ) -> SessionRecord {
        let server = format!("192.0.2.{server}");
        let request = ReservationRequest {
            operator: operator.into(),
            ..reservation_request(create_request(device.clone(), &server))
        };
        let reservation = self.reserve_for(requester.clone(), request).await.unwrap();
        let granted = self.report(QosStatus::Available);
        let operator_session = format!("{operator} {}", reservation.id());
        self.ledger.confirm(reservation, operator_session, granted).await.unwrap()
    }

    async fn list(&self, requester: &Requester, device: &Device) -> Vec<SessionId> {
        let records = self.ledger.find_by_device_for(requester, device).await.unwrap();
        records.iter().map(|record| record.session.id).collect()
    }
}

fn public(port: u16) -> Device {
    let ipv4 = DeviceIpv4::Public {
        public: "203.0.113.9".parse().unwrap(),
        private: None,
        public_port: Some(port),
    };
    device(|device| device.ipv4 = Some(ipv4))
}

fn legacy(net: &str) -> Device {
    let ipv4 = DeviceIpv4::Legacy(Verbatim::from_value(net.parse().unwrap()));
    device(|device| device.ipv4 = Some(ipv4))
}

fn v6(net: &str) -> Device {
    device(|device| device.ipv6 = Some(Verbatim::from_value(net.parse().unwrap())))
}

#[tokio::test]
async fn sessions_of_all_operators_are_listed_newest_first() {
    let (fixture, c1) = (LedgerFixture::new(), party("c1"));
    let first = fixture.create(&c1, &phone(1), 1, "north").await;
    fixture.advance(1);
    let second = fixture.create(&c1, &phone(1), 2, "south").await;
    fixture.advance(1);
    let third = fixture.create(&c1, &phone(1), 3, "north").await;
    fixture.create(&party("c2"), &phone(1), 4, "north").await;
    fixture.create(&c1, &phone(2), 1, "north").await;
    let ids = [third.session.id, second.session.id, first.session.id];
    assert_eq!(fixture.list(&c1, &phone(1)).await, ids);
    assert_eq!(fixture.list(&party("c3"), &phone(1)).await, []);
}

#[tokio::test]
async fn device_is_found_by_certain_identity() {
    let (fixture, c1) = (LedgerFixture::new(), party("c1"));
    for (own, same, other) in [
        (public(1), public(1), public(2)),
        (v6("2001:db8::1/128"), v6("2001:db8::2/128"), v6("2001:db8:0:1::/64")),
        (legacy("198.51.100.0/24"), legacy("198.51.100.7/32"), legacy("198.51.101.7/32")),
    ] {
        let id = fixture.create(&c1, &own, 1, "north").await.session.id;
        assert_eq!(fixture.list(&c1, &same).await, [id]);
        assert_eq!(fixture.list(&c1, &other).await, []);
        assert_eq!(fixture.list(&c1, &phone(1)).await, []);
    }
    // A number that contradicts the address.
    let both = |digits| Device { ipv6: v6("2001:db8:1::1/128").ipv6, ..phone(digits) };
    let id = fixture.create(&c1, &both(1), 1, "north").await.session.id;
    assert_eq!(fixture.list(&c1, &both(1)).await, [id]);
    assert_eq!(fixture.list(&c1, &both(2)).await, []);
}

#[tokio::test]
async fn user_sees_own_sessions_only() {
    let fixture = LedgerFixture::new();
    let (ann, bob) = (user("c1", "ann"), user("c1", "bob"));
    let id = fixture.create(&ann, &phone(1), 1, "north").await.session.id;
    assert_eq!(fixture.list(&ann, &phone(1)).await, [id]);
    assert_eq!(fixture.list(&ann, &phone(2)).await, []);
    assert_eq!(fixture.list(&bob, &phone(1)).await, []);
    assert_eq!(fixture.list(&party("c1"), &phone(1)).await, [id]);
}

#[tokio::test]
async fn session_without_hold_is_not_listed() {
    let (fixture, c1) = (LedgerFixture::new(), party("c1"));
    let record = fixture.create(&c1, &phone(1), 1, "north").await;
    let request = reservation_request(create_request(phone(1), "192.0.2.2"));
    let _pending = fixture.ledger.reserve_for(c1.clone(), request).await.unwrap();
    assert_eq!(fixture.list(&c1, &phone(1)).await.len(), 2);
    fixture.advance(3606);
    let left = fixture.list(&c1, &phone(1)).await;
    assert!(left.len() == 1 && left != [record.session.id]);
    assert!(fixture.find(&record).await.is_ok());
}

#[tokio::test]
async fn at_most_one_hundred_sessions_are_listed() {
    let (fixture, c1) = (LedgerFixture::new(), party("c1"));
    let mut newest = None;
    for server in 0..=100 {
        fixture.advance(1);
        newest = Some(fixture.create(&c1, &phone(1), server, "north").await.session.id);
    }
    let listed = fixture.list(&c1, &phone(1)).await;
    assert_eq!((listed.len(), listed.first().copied()), (100, newest));
}
