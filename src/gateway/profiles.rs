//! The `QoS` profiles that a client may use, read from the policy snapshot. No operator is called.

use std::sync::Arc;

use super::{RequestContext, subject};
use crate::{
    dialect::ApiRequest,
    limit::Admission,
    qod::{ApiResponse, Device, OperatorId, ProfileQuery, QosProfile},
    refusal::Refusal,
    route::NoOperator,
};

/// `getQosProfile`: the profile of this name. With a three-legged token, it must be a profile of the
/// user's operator.
pub(super) async fn get(
    context: &mut RequestContext<'_>,
    call: &ApiRequest,
    admission: &Admission,
) -> Result<ApiResponse, Refusal> {
    let name = Some(call.profile_name()?.to_owned());
    let query = ProfileQuery { name, ..ProfileQuery::default() };
    let found = find_for_subject(context, admission, &query).await?.pop();
    found.map(ApiResponse::Profile).ok_or(Refusal::ProfileNotFound)
}

/// `getQosProfiles`, up to 0.10: the matching profiles. These releases document 404 if there are none.
pub(super) async fn list(
    context: &mut RequestContext<'_>,
    call: &ApiRequest,
    admission: &Admission,
) -> Result<ApiResponse, Refusal> {
    let query = context.request.uri().query().unwrap_or_default();
    let query = call.dialect().parse_list_profiles(query, &context.policy.strictness)?;
    let Some(query) = query else { return Err(Refusal::ProfileNotFound) };
    let found = find_for_subject(context, admission, &query).await?;
    if found.is_empty() { Err(Refusal::ProfileNotFound) } else { Ok(ApiResponse::Profiles(found)) }
}

// The matching profiles; if the token determines the operator, those that it offers. A device that no
// operator serves has none: these operations document no error about a device.
async fn find_for_subject(
    context: &mut RequestContext<'_>,
    admission: &Admission,
    query: &ProfileQuery,
) -> Result<Vec<Arc<QosProfile>>, Refusal> {
    match operator_of_token(context, admission).await {
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
    context: &mut RequestContext<'_>,
    call: &ApiRequest,
    admission: &Admission,
) -> Result<ApiResponse, Refusal> {
    let (body, strictness) = (context.request.body(), &context.policy.strictness);
    let query = call.dialect().parse_retrieve_profiles(body, strictness)?;
    context.log.end_stage("parse");
    let client = admission.grant().client();
    let operator = match &query.device {
        None => operator_of_token(context, admission).await?,
        Some(named) => {
            let device = subject::resolve_device(call, client, Some(named))?;
            Some(resolve_operator(context, admission, &device).await?)
        }
    };
    Ok(ApiResponse::Profiles(admission.grant().profiles(&query, operator.as_ref())))
}

// The operator of the token's device, or the home operator of its issuer; `None` if it has neither.
async fn operator_of_token(
    context: &mut RequestContext<'_>,
    admission: &Admission,
) -> Result<Option<OperatorId>, Refusal> {
    let client = admission.grant().client();
    let Some(device) = client.device() else {
        let home = client.home_operator();
        if let Some(home) = home {
            context.log.set_operator(home);
            admission.grant().check_operator(home)?;
        }
        return Ok(home.cloned());
    };
    resolve_operator(context, admission, device).await.map(Some)
}

async fn resolve_operator(
    context: &mut RequestContext<'_>,
    admission: &Admission,
    device: &Device,
) -> Result<OperatorId, Refusal> {
    let operator = subject::resolve_operator(context, admission, device).await?;
    admission.grant().check_operator(operator.id())?;
    operator.dialect().translate_device(device, operator.fitting())?;
    context.log.end_stage("route");
    Ok(operator.id().clone())
}
