//! The deterministic rules of Telefónica's Open Gateway sandbox, from its documentation: an identifier
//! that ends in 9 gets a conflict; a public IPv4 address requires its public port.

use super::SimulatorError;
use crate::qod::{CreateRequest, DeviceIpv4, ProblemKind};

/// Validates a create request by the rules of the sandbox.
pub(super) fn validate(create: &CreateRequest) -> Result<(), SimulatorError> {
    let Some(device) = &create.device else {
        return Err(SimulatorError::new(
            ProblemKind::InvalidArgument,
            "Expected property is missing: device",
        ));
    };
    if let Some(DeviceIpv4::Public { public_port: None, .. }) = &device.ipv4 {
        return Err(SimulatorError::new(ProblemKind::InvalidArgument, "Missing publicPort"));
    }
    let phone = device.phone.as_ref().map(|phone| phone.value.to_string());
    let ipv4 = device.ipv4.as_ref().map(|ipv4| match ipv4 {
        DeviceIpv4::Public { public, .. } => public.to_string(),
        DeviceIpv4::Legacy(net) => net.value.addr().to_string(),
    });
    let ipv6 = device.ipv6.as_ref().map(|net| net.value.addr().to_string());
    let nai = device
        .nai
        .iter()
        .chain(&device.external_id)
        .map(|nai| nai.as_str().split('@').next().unwrap_or_default().to_owned());
    let mut names = phone.into_iter().chain(ipv4).chain(ipv6).chain(nai);
    if names.any(|name| name.ends_with('9')) {
        return Err(SimulatorError::new(
            ProblemKind::Conflict,
            "Another session is created for the same UE",
        ));
    }
    Ok(())
}
