//! The `QoS` profiles that a client may use, read from the policy snapshot. No operator is called.

use http::Uri;

use super::{PolicySnapshot, RequestLog, subject};
use crate::{
    dialect::ApiRequest,
    limit::Admission,
    outbound::Caller,
    qod::{ApiResponse, Device, OperatorId, ProfileQuery},
    refusal::Refusal,
};

/// `getQosProfile`: the profile of this name.
pub(super) fn get(call: &ApiRequest, admission: &Admission) -> Result<ApiResponse, Refusal> {
    let name = Some(call.profile_name()?.to_owned());
    let query = ProfileQuery { name, ..ProfileQuery::default() };
    let found = admission.grant().profiles(&query, None).pop();
    found.map(ApiResponse::Profile).ok_or(Refusal::ProfileNotFound)
}

/// `getQosProfiles`, up to 0.10: the matching profiles. These releases document 404 if there are none.
pub(super) fn list(
    policy: &PolicySnapshot,
    call: &ApiRequest,
    admission: &Admission,
    uri: &Uri,
) -> Result<ApiResponse, Refusal> {
    let query = uri.query().unwrap_or_default();
    let query = call.dialect().parse_list_profiles(query, &policy.strictness)?;
    let found = admission.grant().profiles(&query, None);
    if found.is_empty() { Err(Refusal::ProfileNotFound) } else { Ok(ApiResponse::Profiles(found)) }
}

/// `retrieveQoSProfiles`, from 0.11 on: the matching profiles; with a device, those of its operator.
pub(super) async fn retrieve(
    policy: &PolicySnapshot,
    caller: &Caller,
    call: &ApiRequest,
    admission: &Admission,
    body: &[u8],
    log: &mut RequestLog,
) -> Result<ApiResponse, Refusal> {
    let query = call.dialect().parse_retrieve_profiles(body, &policy.strictness)?;
    log.end_stage("parse");
    let client = admission.grant().client();
    let operator = match (&query.device, client.device()) {
        (None, None) => None,
        (named, _) => {
            let device = subject::resolve_device(call, client, named.as_ref())?;
            Some(resolve_operator(policy, caller, admission, &device, log).await?)
        }
    };
    Ok(ApiResponse::Profiles(admission.grant().profiles(&query, operator.as_ref())))
}

async fn resolve_operator(
    policy: &PolicySnapshot,
    caller: &Caller,
    admission: &Admission,
    device: &Device,
    log: &mut RequestLog,
) -> Result<OperatorId, Refusal> {
    let operator = subject::resolve_operator(policy, caller, admission, device, log).await?;
    admission.grant().check_operator(operator.id())?;
    operator.dialect().translate_device(device, operator.fitting())?;
    log.end_stage("route");
    Ok(operator.id().clone())
}
