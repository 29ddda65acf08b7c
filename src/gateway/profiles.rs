//! The profiles that a client may ask for, told from the policies: no operator is called.

use http::Uri;

use super::{Rules, Trail, legs};
use crate::{
    dialect::Call,
    limit::Admission,
    outbound::Caller,
    qod::{Answer, Device, OperatorId, ProfileQuery},
    refusal::Refusal,
};

/// The profile of a name.
pub(super) fn one(call: &Call, admission: &Admission) -> Result<Answer, Refusal> {
    let name = Some(call.profile_name()?.to_owned());
    let query = ProfileQuery { name, ..ProfileQuery::default() };
    let found = admission.grant().profiles(&query, None).pop();
    found.map(Answer::Profile).ok_or(Refusal::NoProfile)
}

/// The profiles, up to 0.10. Not to have one is a no of its own there.
pub(super) fn list(
    rules: &Rules,
    call: &Call,
    admission: &Admission,
    uri: &Uri,
) -> Result<Answer, Refusal> {
    let query = uri.query().unwrap_or_default();
    let query = call.dialect().parse_list_profiles(query, &rules.strictness)?;
    let found = admission.grant().profiles(&query, None);
    if found.is_empty() { Err(Refusal::NoProfile) } else { Ok(Answer::Profiles(found)) }
}

/// The profiles, from 0.11 on; of a device, those that its operator has.
pub(super) async fn retrieve(
    rules: &Rules,
    caller: &Caller,
    call: &Call,
    admission: &Admission,
    body: &[u8],
    trail: &mut Trail,
) -> Result<Answer, Refusal> {
    let query = call.dialect().parse_retrieve_profiles(body, &rules.strictness)?;
    trail.lap("parse");
    let client = admission.grant().client();
    let operator = match (&query.device, client.device()) {
        (None, None) => None,
        (named, _) => {
            let device = legs::device_of(call, client, named.as_ref())?;
            Some(operator_of(rules, caller, admission, &device, trail).await?)
        }
    };
    Ok(Answer::Profiles(admission.grant().profiles(&query, operator.as_ref())))
}

async fn operator_of(
    rules: &Rules,
    caller: &Caller,
    admission: &Admission,
    device: &Device,
    trail: &mut Trail,
) -> Result<OperatorId, Refusal> {
    let operator = legs::operator_of(rules, caller, admission, device, trail).await?;
    admission.grant().reaches(operator.id())?;
    operator.dialect().fit_device(device, operator.fitting())?;
    trail.lap("route");
    Ok(operator.id().clone())
}
