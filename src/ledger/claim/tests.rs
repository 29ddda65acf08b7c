use super::{
    super::tests::sample::{create_request, device, party, phone, reservation_request, user},
    *,
};
use crate::qod::Verbatim;

fn keys(device: &Device) -> DeviceKeys {
    DeviceKeys::new(&KeyHasher { secret: [7; 32] }, Some(device), None)
}

#[test]
fn claim_contains_no_personal_identifiers() {
    let mut request = create_request(phone(42), "192.0.2.1");
    request.device.as_mut().unwrap().nai = Some("somebody@domain.example".parse().unwrap());
    let claim =
        Claim::new(&KeyHasher::random(), &user("c1", "s-17"), &reservation_request(request));
    let debug = format!("{claim:?}");
    for private in ["000042", "somebody", "domain", "s-17"] {
        assert!(!debug.contains(private), "{debug}");
    }
}

#[test]
fn hash_depends_on_secret_and_kind() {
    let text = "a@x.example";
    let nai = device(|device| device.nai = Some(text.parse().unwrap()));
    let external = device(|device| device.external_id = Some(text.parse().unwrap()));
    assert_eq!(keys(&nai), keys(&nai));
    assert_ne!(keys(&nai).permanent[0].hash, keys(&external).permanent[0].hash);
    let other_secret = DeviceKeys::new(&KeyHasher::random(), Some(&nai), None);
    assert_ne!(other_secret, keys(&nai));
}

#[test]
fn hash_keeps_part_boundaries() {
    let hasher = KeyHasher::random();
    let subject = |issuer: &str, subject: &str| TokenSubject {
        issuer: issuer.into(),
        subject: subject.into(),
    };
    assert_ne!(hasher.subject(&subject("ab", "c")), hasher.subject(&subject("a", "bc")));
}

#[test]
fn ipv6_address_is_truncated_to_its_64() {
    let with =
        |net: &str| device(|device| device.ipv6 = Some(Verbatim::from_value(net.parse().unwrap())));
    assert_eq!(keys(&with("2001:db8::1:2:3:4/128")), keys(&with("2001:db8::/64")));
    assert_eq!(keys(&with("2001:db8::1:2:3:4/56")), keys(&with("2001:db8::/56")));
}

#[test]
fn network_wider_than_allowed_is_too_broad() {
    let v6 =
        |net: &str| device(|device| device.ipv6 = Some(Verbatim::from_value(net.parse().unwrap())));
    let v4 = |net: &str| {
        device(|device| {
            device.ipv4 = Some(DeviceIpv4::Legacy(Verbatim::from_value(net.parse().unwrap())));
        })
    };
    let rules = ConflictRules::default();
    for (device, broad) in [
        (v6("2001:db8::/47"), true),
        (v6("2001:db8::/48"), false),
        (v6("2001:db8::1/128"), false),
        (v4("192.0.2.0/23"), true),
        (v4("192.0.2.0/24"), false),
        (v4("192.0.2.1/32"), false),
        (phone(1), false),
    ] {
        assert_eq!(keys(&device).is_too_broad(&rules), broad, "{device:?}");
    }
    let strict = ConflictRules { device_prefix_v6_min: 128, ..rules };
    assert!(!keys(&v6("2001:db8::1/128")).is_too_broad(&strict));
}

#[test]
fn kinds_are_distinguished() {
    let claim = Claim::new(
        &KeyHasher::random(),
        &party("c1"),
        &reservation_request(create_request(phone(1), "192.0.2.1")),
    );
    assert_eq!(claim.keys.kind_bits(), 1);
    assert_eq!(claim.keys.subject(), None);
    assert_eq!(DeviceKeys::new(&KeyHasher::random(), None, None).kind_bits(), 0);
}
