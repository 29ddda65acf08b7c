//! The `QoS` profiles that a client may use, read from the policy snapshot. No operator is called.

use std::sync::Arc;

use http::Uri;

use super::{PolicySnapshot, RequestLog, subject};
use crate::{
    dialect::ApiRequest,
    limit::Admission,
    outbound::Caller,
    qod::{ApiResponse, Device, OperatorId, ProfileQuery, QosProfile},
    refusal::Refusal,
    route::NoOperator,
};

/// `getQosProfile`: the profile of this name. With a three-legged token, it must be a profile of the
/// user's operator.
pub(super) async fn get(
    policy: &PolicySnapshot,
    caller: &Caller,
    call: &ApiRequest,
    admission: &Admission,
    log: &mut RequestLog,
) -> Result<ApiResponse, Refusal> {
    let name = Some(call.profile_name()?.to_owned());
    let query = ProfileQuery { name, ..ProfileQuery::default() };
    let found = find_for_subject(policy, caller, admission, &query, log).await?.pop();
    found.map(ApiResponse::Profile).ok_or(Refusal::ProfileNotFound)
}

/// `getQosProfiles`, up to 0.10: the matching profiles. These releases document 404 if there are none.
pub(super) async fn list(
    policy: &PolicySnapshot,
    caller: &Caller,
    call: &ApiRequest,
    admission: &Admission,
    uri: &Uri,
    log: &mut RequestLog,
) -> Result<ApiResponse, Refusal> {
    let query = uri.query().unwrap_or_default();
    let query = call.dialect().parse_list_profiles(query, &policy.strictness)?;
    let Some(query) = query else { return Err(Refusal::ProfileNotFound) };
    let found = find_for_subject(policy, caller, admission, &query, log).await?;
    if found.is_empty() { Err(Refusal::ProfileNotFound) } else { Ok(ApiResponse::Profiles(found)) }
}

// The matching profiles; if the token determines the operator, those that it offers. A device that no
// operator serves has none: these operations document no error about a device.
async fn find_for_subject(
    policy: &PolicySnapshot,
    caller: &Caller,
    admission: &Admission,
    query: &ProfileQuery,
    log: &mut RequestLog,
) -> Result<Vec<Arc<QosProfile>>, Refusal> {
    match operator_of_token(policy, caller, admission, log).await {
        Ok(operator) => Ok(admission.grant().profiles(query, operator.as_ref())),
        Err(
            Refusal::NoOperator(
                NoOperator::NoRoute | NoOperator::UnsupportedIdentifiers | NoOperator::Disagreement,
            )
            | Refusal::Forbidden(_)
            | Refusal::Untranslatable(_),
        ) => Ok(Vec::new()),
        Err(refusal) => Err(refusal),
    }
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
    let operator = match &query.device {
        None => operator_of_token(policy, caller, admission, log).await?,
        Some(named) => {
            let device = subject::resolve_device(call, client, Some(named))?;
            Some(resolve_operator(policy, caller, admission, &device, log).await?)
        }
    };
    Ok(ApiResponse::Profiles(admission.grant().profiles(&query, operator.as_ref())))
}

// The operator of the token's device, or the home operator of its issuer; `None` if it has neither.
async fn operator_of_token(
    policy: &PolicySnapshot,
    caller: &Caller,
    admission: &Admission,
    log: &mut RequestLog,
) -> Result<Option<OperatorId>, Refusal> {
    let client = admission.grant().client();
    let Some(device) = client.device() else {
        let home = client.home_operator();
        if let Some(home) = home {
            log.set_operator(home);
            admission.grant().check_operator(home)?;
        }
        return Ok(home.cloned());
    };
    resolve_operator(policy, caller, admission, device, log).await.map(Some)
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
