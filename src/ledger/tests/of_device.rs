//! A client's sessions of a device.

use super::*;
use crate::{
    ledger::sample::device,
    qod::{DeviceIpv4, Written},
};

impl Desk {
    /// A session of this device with the server of this number, at an operator.
    async fn of(&self, party: &Party, device: &Device, server: u8, operator: &str) -> Record {
        let server = format!("192.0.2.{server}");
        let booking =
            Booking { operator: operator.into(), ..booking(asked(device.clone(), &server)) };
        let reservation = self.held(party.clone(), booking).await.unwrap();
        let granted = self.told(QosStatus::Available);
        let name = format!("{operator} {}", reservation.id());
        self.ledger.confirm(reservation, name, granted).await.unwrap()
    }

    async fn list(&self, party: &Party, device: &Device) -> Vec<SessionId> {
        let records = self.ledger.of_device_for(party, device).await.unwrap();
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
    let ipv4 = DeviceIpv4::Legacy(Written::plain(net.parse().unwrap()));
    device(|device| device.ipv4 = Some(ipv4))
}

fn v6(net: &str) -> Device {
    device(|device| device.ipv6 = Some(Written::plain(net.parse().unwrap())))
}

#[tokio::test]
async fn they_are_its_own_at_all_operators_the_newest_first() {
    let (desk, c1) = (Desk::new(), party("c1"));
    let first = desk.of(&c1, &phone(1), 1, "north").await;
    desk.advance(1);
    let second = desk.of(&c1, &phone(1), 2, "south").await;
    desk.advance(1);
    let third = desk.of(&c1, &phone(1), 3, "north").await;
    desk.of(&party("c2"), &phone(1), 4, "north").await;
    desk.of(&c1, &phone(2), 1, "north").await;
    let ids = [third.session.id, second.session.id, first.session.id];
    assert_eq!(desk.list(&c1, &phone(1)).await, ids);
    assert_eq!(desk.list(&party("c3"), &phone(1)).await, []);
}

#[tokio::test]
async fn a_device_is_found_by_what_makes_it_surely_the_same() {
    let (desk, c1) = (Desk::new(), party("c1"));
    for (own, same, other) in [
        (public(1), public(1), public(2)),
        (v6("2001:db8::1/128"), v6("2001:db8::2/128"), v6("2001:db8:0:1::/64")),
        (legacy("198.51.100.0/24"), legacy("198.51.100.7/32"), legacy("198.51.101.7/32")),
    ] {
        let id = desk.of(&c1, &own, 1, "north").await.session.id;
        assert_eq!(desk.list(&c1, &same).await, [id]);
        assert_eq!(desk.list(&c1, &other).await, []);
        assert_eq!(desk.list(&c1, &phone(1)).await, []);
    }
    // A number that belies the address.
    let both = |digits| Device { ipv6: v6("2001:db8:1::1/128").ipv6, ..phone(digits) };
    let id = desk.of(&c1, &both(1), 1, "north").await.session.id;
    assert_eq!(desk.list(&c1, &both(1)).await, [id]);
    assert_eq!(desk.list(&c1, &both(2)).await, []);
}

#[tokio::test]
async fn a_user_is_told_of_its_own_sessions_only() {
    let desk = Desk::new();
    let (ann, bob) = (user("c1", "ann"), user("c1", "bob"));
    let id = desk.of(&ann, &phone(1), 1, "north").await.session.id;
    assert_eq!(desk.list(&ann, &phone(1)).await, [id]);
    assert_eq!(desk.list(&ann, &phone(2)).await, []);
    assert_eq!(desk.list(&bob, &phone(1)).await, []);
    assert_eq!(desk.list(&party("c1"), &phone(1)).await, [id]);
}

#[tokio::test]
async fn what_holds_nothing_any_more_is_not_among_them() {
    let (desk, c1) = (Desk::new(), party("c1"));
    let record = desk.of(&c1, &phone(1), 1, "north").await;
    let wanted = booking(asked(phone(1), "192.0.2.2"));
    let _pending = desk.ledger.reserve_for(c1.clone(), wanted).await.unwrap();
    assert_eq!(desk.list(&c1, &phone(1)).await.len(), 2);
    desk.advance(3606);
    let left = desk.list(&c1, &phone(1)).await;
    assert!(left.len() == 1 && left != [record.session.id]);
    assert!(desk.find(&record).await.is_ok());
}

#[tokio::test]
async fn they_are_a_hundred_at_most() {
    let (desk, c1) = (Desk::new(), party("c1"));
    let mut newest = None;
    for server in 0..=100 {
        desk.advance(1);
        newest = Some(desk.of(&c1, &phone(1), server, "north").await.session.id);
    }
    let told = desk.list(&c1, &phone(1)).await;
    assert_eq!((told.len(), told.first().copied()), (100, newest));
}
