//! GSMA's Telco Finder API: returns the operator of a device, so that the client can call it directly.
//!
//! A search passes the same stages as a CAMARA request up to the routes and finders. No operator is called.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use http::{Method, Response};

use super::{RequestContext, subject};
use crate::{
    dialect::{Dialect, FinderSearch, FoundOperator, UnmatchedReason, check_media_type},
    operator::{self, Gsma},
    policy::TelcoFinder,
    qod::OperatorId,
    refusal::Refusal,
    route::{NoOperator, Resolution},
};

/// The name of the operation in the log and the metrics.
const SEARCH: &str = "search";

/// The Telco Finder API: its path, its scope, and the GSMA identity of each operator.
pub(super) struct TelcoFinderApi {
    path: String,
    scope: Arc<str>,
    /// The dialect of its error responses, which have the form of CAMARA's Commonalities.
    pub(super) error_dialect: Arc<Dialect>,
    operators: HashMap<OperatorId, Gsma>,
}

impl TelcoFinderApi {
    pub(super) fn new(
        settings: TelcoFinder,
        operators: &[operator::Settings],
        error_dialect: Arc<Dialect>,
    ) -> Self {
        let operators =
            operators.iter().map(|operator| (operator.id.clone(), operator.gsma.clone()));
        Self {
            path: format!("{}/search", settings.path),
            scope: settings.scope.into(),
            error_dialect,
            operators: operators.collect(),
        }
    }

    pub(super) fn is_at(&self, path: &str) -> bool {
        path == self.path
    }
}

/// Handles a search. Infallible: an error is a response too.
pub(super) async fn search(
    api: &TelcoFinderApi,
    mut context: RequestContext<'_>,
) -> Response<Bytes> {
    context.log.set_telco_finder(SEARCH);
    let outcome = find_operator(api, &mut context).await;
    context.log.finish_search(&api.error_dialect, outcome)
}

async fn find_operator(
    api: &TelcoFinderApi,
    context: &mut RequestContext<'_>,
) -> Result<Response<Bytes>, Refusal> {
    let (policy, request) = (context.policy, context.request);
    if request.method() != Method::POST {
        return Err(Refusal::Unrecognised(UnmatchedReason::MethodNotAllowed { allow: "POST" }));
    }
    let client = policy.identity.authenticate(request, None).await?;
    context.log.set_client(&client, &policy.access);
    let grant = policy.access.authorize_scope(client, SEARCH, &api.scope, context.source)?;
    let admission = policy.limits.admit(grant).await?;
    context.log.end_stage("admit");
    // An empty body has no media type; parsing rejects it.
    if !request.body().is_empty() {
        check_media_type(request.headers())?;
    }
    let search = FinderSearch::parse(request.body(), &policy.strictness)?;
    context.log.end_stage("parse");
    // A three-legged token already identifies the device.
    if admission.grant().client().subject().is_some() {
        return Err(Refusal::DeviceUnnecessary);
    }
    let found = match policy.routes.find(&search.device)? {
        Resolution::Operator(found) => found,
        // A mock token never causes a call to an external finder.
        Resolution::AskFinders(_) if admission.grant().is_mock() => {
            return Err(Refusal::MockOnly);
        }
        Resolution::AskFinders(ask) if search.is_deep => {
            Box::pin(policy.finders.find(context.caller, &ask, &search.device)).await?
        }
        // Finders that call each other must not do so in a loop.
        Resolution::AskFinders(_) => return Err(NoOperator::NoRoute.into()),
    };
    context.log.set_route(&found);
    admission.grant().check_operator(&found.operator)?;
    subject::require_simulated_for_mock(
        policy.operator(&found.operator)?,
        admission.grant().is_mock(),
    )?;
    context.log.end_stage("route");
    let gsma = api.operators.get(&found.operator);
    let gsma = gsma.ok_or(Refusal::Internal("the operator is not in the policy snapshot"))?;
    Ok(search.render(&FoundOperator {
        operator_id: &gsma.operator_id,
        api_root: gsma.api_root.as_deref(),
        auth_provider_configuration: gsma.auth_provider_configuration.as_deref(),
    }))
}
