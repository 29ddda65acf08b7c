//! Whose device is meant: the one that the body names, or the one that a three-legged token stands for.

use crate::{
    dialect::{Call, Family},
    identity::Client,
    limit::Admission,
    operator::Operator,
    outbound::Caller,
    qod::{Device, Nai},
    refusal::Refusal,
    route::Way,
};

use super::{Rules, Trail};

/// The device that a request is about. From 1.0 on whoever has a three-legged token must not name
/// one, not even the same; before, it has to be the same, as far as that is known.
pub(super) fn device_of(
    call: &Call,
    client: &Client,
    named: Option<&Device>,
) -> Result<Device, Refusal> {
    let by_user = client.subject().is_some();
    match (named, client.device()) {
        (Some(_), _) if by_user && call.dialect().descriptor().errors.codes == Family::V1 => {
            Err(Refusal::DeviceNamedTwice)
        }
        (Some(named), Some(known)) if !is(named, known) => Err(Refusal::OtherDevice),
        (Some(named), _) => Ok(named.clone()),
        // Only a token that speaks for a user has one.
        (None, Some(known)) => Ok(known.clone()),
        (None, None) => Err(Refusal::NoDevice),
    }
}

/// The operator that serves it: the one whose subscribers the token's issuer knows, else the one that
/// the device leads to. Nothing is waited for unless somebody must be asked.
pub(super) async fn operator_of<'a>(
    rules: &'a Rules,
    caller: &Caller,
    admission: &Admission,
    device: &Device,
    trail: &mut Trail,
) -> Result<&'a std::sync::Arc<Operator>, Refusal> {
    if let Some(home) = admission.grant().client().home() {
        trail.at_operator(home);
        return rules.operator(home);
    }
    let found = match rules.routes.find(device)? {
        Way::Found(found) => found,
        // Outside nobody is asked for the sake of a trial.
        Way::Ask(_) if admission.grant().is_mock() => return Err(Refusal::MockOnly),
        // On the heap: it is large, and would be copied with every future that it is part of.
        Way::Ask(ask) => Box::pin(rules.finders.find(caller, &ask, device)).await?,
    };
    trail.found(&found);
    rules.operator(&found.operator)
}

/// Mock tokens and clients reach simulated operators only. The policies see to it; this makes sure.
pub(super) fn receives(operator: &Operator, mock: bool) -> Result<(), Refusal> {
    if mock && !operator.is_simulated() { Err(Refusal::MockOnly) } else { Ok(()) }
}

// One name that is the same, and none that is another.
fn is(named: &Device, known: &Device) -> bool {
    let phones = named.phone.as_ref().zip(known.phone.as_ref());
    let phones = phones.map(|(named, known)| named.value == known.value);
    let nais = named.nai.as_ref().zip(known.nai.as_ref()).map(|(a, b)| Nai::key(a) == Nai::key(b));
    let same: Vec<bool> = [phones, nais].into_iter().flatten().collect();
    !same.is_empty() && same.into_iter().all(|same| same)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qod::Written;

    fn device(phone: Option<&str>, nai: Option<&str>) -> Device {
        Device {
            phone: phone.map(|number| Written::plain(number.parse().unwrap())),
            nai: nai.map(|nai| nai.parse().unwrap()),
            ..Device::default()
        }
    }

    #[test]
    fn a_device_is_the_known_one_if_one_name_says_so_and_none_denies_it() {
        let known = device(Some("+491510000001"), Some("a@x.example"));
        let number = Some("+491510000001");
        assert!(is(&device(number, None), &known));
        assert!(is(&device(number, Some("a@X.example")), &known));
        assert!(!is(&device(number, Some("b@x.example")), &known));
        assert!(!is(&device(Some("+491510000002"), None), &known));
        assert!(!is(&device(None, None), &known), "nothing says so");
        assert!(!is(&device(number, None), &device(None, Some("a@x.example"))));
    }
}
