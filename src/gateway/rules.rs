//! What the policies say, put into the rooms that follow it: one reading, for one request whole.

use std::{sync::Arc, time::Duration};

use crate::{
    access::Access,
    dialect::{Api, Apis, Call, Dialect, Dialects, Speaks, Strictness},
    identity::Identity,
    limit::{Admission, Limits},
    operator::{self, Caller, Operator, Operators},
    outbound::Endpoint,
    policy::{self, ApiSetting, ExpiringToken, OperatorSettings, Policy},
    qod::{CreateSession, Moment, OperatorId},
    refusal::Refusal,
};

/// One reading of the policies.
pub struct Rules {
    /// Every dialect there is.
    pub dialects: Arc<Dialects>,
    /// What an error is told in on a path that no API is on.
    pub plainest: Arc<Dialect>,
    /// Which path speaks what.
    pub apis: Apis,
    /// What if a sink's token is good for less time than its session?
    pub expiring_token: ExpiringToken,
    /// How bodies are read.
    pub strictness: Strictness,
    /// Whose tokens to trust.
    pub identity: Identity,
    /// What each client may do.
    pub access: Access,
    /// How often.
    pub limits: Limits,
    /// Which operator serves which device.
    pub routes: crate::route::Routes,
    /// How to reach each.
    pub operators: Operators,
}

impl Rules {
    /// Puts policies that have been checked into force.
    ///
    /// # Errors
    /// What the check cannot see: a key file that has changed since, a schema that is missing.
    pub fn new(policy: Policy, dialects: &Arc<Dialects>, caller: &Caller) -> Result<Self, String> {
        let Caller { outbound, clock, metrics } = caller.clone();
        let named = |name: &str| {
            dialects.named(name).cloned().ok_or_else(|| format!("no dialect is called `{name}`"))
        };
        let identity = Identity::new(policy.identity, outbound, clock.clone(), metrics.clone())
            .map_err(|faults| format!("{faults:?}"))?;
        let apis = policy.apis.into_iter().map(|api| api_of(api, &named));
        let callback_url = policy.server.callbacks.map(|callbacks| callbacks.url.into());
        let operators = policy
            .operators
            .into_iter()
            .map(|operator| operator_of(operator, callback_url.clone(), &named));
        Ok(Self {
            plainest: named("camara-0.10.1")?,
            apis: Apis::new(apis.collect::<Result<_, _>>()?),
            expiring_token: policy.notifications.expiring_token,
            strictness: policy.strictness,
            identity,
            access: policy.access,
            limits: Limits::new(policy.limits, clock, metrics),
            routes: policy.routes,
            operators: Operators::new(operators.collect::<Result<_, _>>()?),
            dialects: Arc::clone(dialects),
        })
    }

    /// The operator of this name.
    pub(super) fn operator(&self, id: &OperatorId) -> Result<&Arc<Operator>, Refusal> {
        self.operators.find(id).ok_or(Refusal::Broken("an operator that no policy names"))
    }

    /// Is the token of a client's sink good for as long as its session?
    pub(super) fn admit_sink(&self, wanted: &CreateSession, now: Moment) -> Result<(), Refusal> {
        let ends = wanted.sink.as_ref().and_then(|sink| sink.token_expires_at);
        let lasts = Duration::from_secs(wanted.duration_s.into());
        match (self.expiring_token, ends) {
            (_, Some(ends)) if ends >= now + lasts => Ok(()),
            (_, None) => Ok(()),
            (ExpiringToken::Refuse, Some(_)) => Err(Refusal::SinkTokenExpires),
            (ExpiringToken::Accept, Some(_)) => {
                tracing::warn!(
                    "a client will not hear of its session's end: its sink's token is over before"
                );
                Ok(())
            }
        }
    }

    /// What a path leaves open the client's terms may say.
    pub(super) fn settle_dialect(&self, call: &mut Call, admission: &Admission) {
        let terms = admission.grant().terms();
        if let Some(dialect) = terms.dialect.as_deref().and_then(|name| self.dialects.named(name)) {
            call.prefer(dialect);
        }
    }
}

fn api_of(
    api: ApiSetting,
    named: &impl Fn(&str) -> Result<Arc<Dialect>, String>,
) -> Result<Api, String> {
    let speaks = match api.speaks {
        policy::Speaks::One(name) => Speaks::One(named(&name)?),
        policy::Speaks::Auto { candidates, fallback } => Speaks::Sniffed {
            candidates: candidates.iter().map(|name| named(name)).collect::<Result<_, _>>()?,
            fallback: named(&fallback)?,
        },
    };
    Ok(Api { path: api.path, speaks, serves: api.serves })
}

fn operator_of(
    settings: OperatorSettings,
    callback_url: Option<Arc<str>>,
    named: &impl Fn(&str) -> Result<Arc<Dialect>, String>,
) -> Result<operator::Settings, String> {
    let endpoint = Endpoint::parse(&settings.endpoint, settings.connections_max)
        .map_err(|error| format!("operator {}: {error}", settings.id))?;
    Ok(operator::Settings {
        id: settings.id,
        dialect: named(&settings.dialect)?,
        endpoint,
        simulated: settings.simulated,
        credentials: settings.credentials,
        callback_url: callback_url.filter(|_| settings.callbacks),
        poll_every: settings.poll_every,
        timeout: settings.timeout,
        fitting: settings.fitting,
        rules: settings.rules,
    })
}
