//! The way of a search by GSMA's Telco Finder API: who serves a device, for others to ask it themselves.
//!
//! It passes the rooms of every request up to the routes and finders, and no further: no operator is asked.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use http::{Method, Request, Response};

use super::{Gateway, Rules, legs, trail::Trail};
use crate::{
    dialect::{Dialect, OperatorFound, Search, UnrecognisedReason, check_media},
    policy::{Gsma, OperatorSettings, TelcoFinder},
    qod::{CalledFrom, OperatorId},
    refusal::Refusal,
    route::{NoOperator, Way},
};

/// What the operation is called in the log and the metrics.
const SEARCH: &str = "search";

/// Where searches are taken, and what is told of each operator.
pub(super) struct Searches {
    path: String,
    scope: Arc<str>,
    /// Its errors are those of CAMARA's Commonalities.
    pub(super) told_in: Arc<Dialect>,
    operators: HashMap<OperatorId, Gsma>,
}

impl Searches {
    pub(super) fn new(
        settings: TelcoFinder,
        operators: &[OperatorSettings],
        told_in: Arc<Dialect>,
    ) -> Self {
        let operators = operators.iter().map(|one| (one.id.clone(), one.gsma.clone()));
        Self {
            path: format!("{}/search", settings.path),
            scope: settings.scope.into(),
            told_in,
            operators: operators.collect(),
        }
    }

    pub(super) fn is_at(&self, path: &str) -> bool {
        path == self.path
    }
}

impl Gateway {
    /// Answers a search. Never fails: what goes wrong is an answer too.
    pub(super) async fn search(
        &self,
        rules: &Rules,
        searches: &Searches,
        request: &Request<Bytes>,
        mut trail: Trail,
    ) -> Response<Bytes> {
        trail.searching(SEARCH);
        let found = self.find_operator(rules, searches, request, &mut trail).await;
        trail.end_search(&searches.told_in, found)
    }

    async fn find_operator(
        &self,
        rules: &Rules,
        searches: &Searches,
        request: &Request<Bytes>,
        trail: &mut Trail,
    ) -> Result<Response<Bytes>, Refusal> {
        if request.method() != Method::POST {
            return Err(Refusal::Unrecognised(UnrecognisedReason::NoSuchMethod { allow: "POST" }));
        }
        let client = rules.identity.authenticate(request, None).await?;
        trail.authenticated(&client);
        let from = request.extensions().get().map(|CalledFrom(address)| *address);
        let grant = rules.access.authorize_scope(client, SEARCH, &searches.scope, from)?;
        let admission = rules.limits.admit(grant)?;
        trail.lap("admit");
        // What is not there has no type; that it is missed is told where it is read.
        if !request.body().is_empty() {
            check_media(request.headers())?;
        }
        let search = Search::read(request.body(), &rules.strictness)?;
        trail.lap("parse");
        // A user's token is for the user's own device.
        if admission.grant().client().subject().is_some() {
            return Err(Refusal::DeviceNamedTwice);
        }
        let found = match rules.routes.find(&search.device)? {
            Way::Found(found) => found,
            // Who tries things out makes us ask nobody outside.
            Way::Ask(_) if admission.grant().is_mock() => return Err(Refusal::MockOnly),
            Way::Ask(ask) if search.asks_others => {
                Box::pin(rules.finders.find(&self.caller, &ask, &search.device)).await?
            }
            // Two who ask each other must not do so for ever.
            Way::Ask(_) => return Err(NoOperator::NoRule.into()),
        };
        trail.found(&found);
        admission.grant().reaches(&found.operator)?;
        legs::receives(rules.operator(&found.operator)?, admission.grant().is_mock())?;
        trail.lap("route");
        let gsma = searches.operators.get(&found.operator);
        let gsma = gsma.ok_or(Refusal::Broken("an operator that no policy names"))?;
        Ok(search.render(&OperatorFound {
            operator_id: &gsma.operator_id,
            api_root: gsma.api_root.as_deref(),
            auth_provider_configuration: gsma.auth_provider_configuration.as_deref(),
        }))
    }
}
