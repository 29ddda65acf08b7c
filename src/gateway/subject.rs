//! The subject of a request: the device in the body, or the device of a three-legged token, and the
//! operator that serves it.

use std::sync::Arc;

use crate::{
    dialect::ApiRequest,
    identity::AuthenticatedClient,
    limit::Admission,
    operator::Operator,
    qod::{Device, DeviceIpv4, KeyedHash, Nai},
    refusal::Refusal,
    route::Resolution,
};

use super::{RequestContext, admin::masked_device_to_json};

/// The device that a request refers to. From 1.0 on, a request with a three-legged token must not name
/// a device. Before 1.0, it may name the device of the token; a known mismatch is rejected.
pub(super) fn resolve_device(
    call: &ApiRequest,
    client: &AuthenticatedClient,
    named: Option<&Device>,
) -> Result<Device, Refusal> {
    let is_three_legged = client.subject().is_some();
    let rejects_device = call.dialect().descriptor().rejects_device_with_three_legged_token;
    match (named, client.device()) {
        (Some(_), _) if is_three_legged && rejects_device => Err(Refusal::DeviceUnnecessary),
        (Some(named), Some(known)) if !is_same_device(named, known) => Err(Refusal::DeviceMismatch),
        (Some(named), _) => Ok(named.clone()),
        // Only a three-legged token has a device.
        (None, Some(known)) => Ok(known.clone()),
        (None, None) => Err(Refusal::DeviceMissing),
    }
}

/// The operator that serves the device: the home operator of the token's issuer if it has one, otherwise
/// the operator that the routes yield. Waits only if a finder must be called.
pub(super) async fn resolve_operator<'r>(
    context: &mut RequestContext<'r>,
    admission: &Admission,
    device: &Device,
) -> Result<&'r Arc<Operator>, Refusal> {
    let policy = context.policy;
    if let Some(home) = admission.grant().client().home_operator() {
        context.log.set_operator(home);
        tracing::debug!(
            event = "route_resolved",
            operator = &*home.0,
            matched_by = "token",
            device = %masked_device_to_json(device),
            "operator of the device found"
        );
        return policy.operator(home);
    }
    let found = match policy.routes.find(device)? {
        Resolution::Operator(found) => found,
        // A mock token never causes a call to an external finder.
        Resolution::AskFinders(_) if admission.grant().is_mock() => return Err(Refusal::MockOnly),
        // Boxed: the future is large, and every future that contains it would be as large.
        Resolution::AskFinders(ask) => {
            Box::pin(policy.finders.find(context.caller, &ask, device)).await?
        }
    };
    context.log.set_route(&found);
    tracing::debug!(
        event = "route_resolved",
        operator = &*found.operator.0,
        matched_by = found.matched_by.name(),
        device = %masked_device_to_json(device),
        "operator of the device found"
    );
    policy.operator(&found.operator)
}

/// Rejects a mock client unless the operator is simulated. Policy validation already ensures this; the
/// check here is a second line of defence.
pub(super) fn require_simulated_for_mock(operator: &Operator, mock: bool) -> Result<(), Refusal> {
    if mock && !operator.is_simulated() { Err(Refusal::MockOnly) } else { Ok(()) }
}

// At least one identifier is equal, and no identifier differs.
fn is_same_device(named: &Device, known: &Device) -> bool {
    let phones = named.phone.as_ref().zip(known.phone.as_ref());
    let phones = phones.map(|(named, known)| named.value == known.value);
    let nais = named
        .nai
        .as_ref()
        .zip(known.nai.as_ref())
        .map(|(a, b)| Nai::normalized(a) == Nai::normalized(b));
    let same: Vec<bool> = [phones, nais].into_iter().flatten().collect();
    !same.is_empty() && same.into_iter().all(|same| same)
}

/// The hash by which the rate limit of a device counts it. It covers the first identifier alone, so that
/// an additional identifier does not make another device.
pub(super) fn hash_device(hasher: &KeyedHash, device: &Device) -> u64 {
    let Device { phone, nai, external_id, ipv4, ipv6 } = device;
    let names = (nai.as_ref().map(Nai::normalized), external_id.as_ref().map(Nai::normalized));
    match (phone, names, ipv4, ipv6) {
        (Some(phone), ..) => hasher.short_hash(&[b"phone", phone.value.to_string().as_bytes()]),
        (_, (Some(nai), _), ..) => hasher.short_hash(&[b"nai", nai.as_bytes()]),
        (_, (_, Some(id)), ..) => hasher.short_hash(&[b"external", id.as_bytes()]),
        (_, _, Some(DeviceIpv4::Public { public, private, public_port }), _) => {
            let private = private.map(|private| private.octets()).unwrap_or_default();
            let port = public_port.unwrap_or_default().to_be_bytes();
            hasher.short_hash(&[b"public", &public.octets(), &private, &port])
        }
        (_, _, Some(DeviceIpv4::Legacy(net)), _) => {
            let (network, length) = (net.value.network().octets(), net.value.prefix_len());
            hasher.short_hash(&[b"ipv4", &network, &[length]])
        }
        (.., ipv6) => {
            let slash_64 = ipv6.as_ref().map_or(0, |net| net.value.addr().to_bits() >> 64);
            hasher.short_hash(&[b"ipv6", &slash_64.to_be_bytes()])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qod::Verbatim;

    fn device(phone: Option<&str>, nai: Option<&str>) -> Device {
        Device {
            phone: phone.map(|number| Verbatim::from_value(number.parse().unwrap())),
            nai: nai.map(|nai| nai.parse().unwrap()),
            ..Device::default()
        }
    }

    #[test]
    fn devices_are_the_same_if_an_identifier_is_equal_and_none_differs() {
        let known = device(Some("+491510000001"), Some("a@x.example"));
        let number = Some("+491510000001");
        assert!(is_same_device(&device(number, None), &known));
        assert!(is_same_device(&device(number, Some("a@X.example")), &known));
        assert!(!is_same_device(&device(number, Some("b@x.example")), &known));
        assert!(!is_same_device(&device(Some("+491510000002"), None), &known));
        assert!(!is_same_device(&device(None, None), &known), "no identifier is equal");
        assert!(!is_same_device(&device(number, None), &device(None, Some("a@x.example"))));
    }
    #[test]
    fn hash_of_a_device_is_that_of_its_first_identifier() {
        let hash = |device: &Device| hash_device(&KeyedHash::new([1; 32]), device);
        let number = Some("+491510000001");
        let with_nai = device(number, Some("a@x.example"));
        assert_eq!(hash(&device(number, None)), hash(&with_nai));
        assert_eq!(
            hash(&device(None, Some("a@x.example"))),
            hash(&device(None, Some("a@X.example")))
        );
        let behind_nat = |port| Device {
            ipv4: Some(DeviceIpv4::Public {
                public: "198.51.100.1".parse().unwrap(),
                private: None,
                public_port: Some(port),
            }),
            ..Device::default()
        };
        let others = [with_nai, device(None, Some("a@x.example")), behind_nat(1), behind_nat(2)];
        let mut hashes = others.map(|device| hash(&device));
        hashes.sort_unstable();
        assert!(hashes.windows(2).all(|pair| pair[0] != pair[1]), "{hashes:?}");
        let other_secret = KeyedHash::new([2; 32]);
        assert_ne!(hash(&behind_nat(1)), hash_device(&other_secret, &behind_nat(1)));
    }
}
