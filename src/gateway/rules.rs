//! What the policies say, put into the rooms that follow it: one reading, for one request whole.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::finding::Searches;
use crate::{
    access::Access,
    dialect::{Api, Apis, Call, Dialect, Dialects, SchemaFault, Speaks, Strictness},
    finder::{self, Finder, Finders},
    identity::{self, Identity},
    limit::{Admission, Limits},
    metrics::Named,
    operator::{self, Operator, Operators},
    outbound::{Caller, Endpoint, Trust},
    policy::{self, ApiSetting, ExpiringToken, HealthChecks, OperatorSettings, Policy, Written},
    qod::{CreateSession, Moment, OperatorId},
    refusal::Refusal,
};

/// One reading of the policies.
pub struct Rules {
    /// What was read.
    pub written: Written,
    /// The folder of the OpenAPI documents.
    pub schemas: PathBuf,
    /// Every dialect there is.
    pub dialects: Arc<Dialects>,
    /// What an error is told in on a path that no API is on.
    pub plainest: Arc<Dialect>,
    /// Which path speaks what.
    pub apis: Apis,
    // Where it is told which operator serves a device.
    pub(super) searches: Option<Searches>,
    /// What if a sink's token is good for less time than its session?
    pub expiring_token: ExpiringToken,
    /// How bodies are read.
    pub strictness: Strictness,
    /// Whose tokens to trust.
    pub identity: Arc<Identity>,
    /// What each client may do.
    pub access: Access,
    /// How often.
    pub limits: Limits,
    /// Which operator serves which device.
    pub routes: crate::route::Routes,
    /// Who knows it where no route does.
    pub finders: Finders,
    /// How to reach each.
    pub operators: Operators,
}

impl Rules {
    /// Puts policies that have been checked into force. What they say as they did before stays as it
    /// is, with all that it remembers.
    ///
    /// # Errors
    /// What the check cannot see: a key file that has changed since, a schema that is missing.
    pub fn new(policy: Policy, caller: &Caller, before: Option<&Self>) -> Result<Self, String> {
        let written = policy.written;
        let dialects = before
            .filter(|before| before.written.same_dialects(&written))
            .map(|before| Arc::clone(&before.dialects));
        let dialects = dialects.map_or_else(
            || Dialects::load_all(&policy.schemas, &policy.dialects).map(Arc::new),
            Ok,
        );
        let dialects = dialects.map_err(|faults| unread(&policy.schemas, &faults))?;
        let named = |name: &str| {
            dialects.named(name).cloned().ok_or_else(|| format!("no dialect is called `{name}`"))
        };
        let identity = before.filter(|before| before.written.same_identity(&written)).map_or_else(
            || identity_of(policy.identity, caller, before.map(|before| &*before.identity)),
            |it| Ok(Arc::clone(&it.identity)),
        )?;
        let apis = policy.apis.into_iter().map(|api| api_of(api, &named));
        // Its errors have the shape and the codes of CAMARA's Commonalities.
        let told_in = named("camara-1.1.0")?;
        let searches = policy.telco_finder;
        let searches = searches.map(|settings| Searches::new(settings, &policy.operators, told_in));
        let callback_url = policy.server.callbacks.map(|callbacks| callbacks.url.into());
        let known_as = names_of(&policy.operators);
        let finders = policy.finders.into_iter().map(|finder| finder_of(finder, &written, before));
        let finders: Vec<_> = finders.collect();
        let operators = policy
            .operators
            .into_iter()
            .map(|operator| {
                let kept = before
                    .filter(|before| before.written.same_operator(&written, &operator.id))
                    .and_then(|before| before.operators.find(&operator.id));
                kept.map_or_else(
                    || operator_of(operator, callback_url.clone(), &named),
                    |kept| Ok(Arc::clone(kept)),
                )
            })
            .collect::<Result<Vec<_>, String>>()?;
        let Caller { clock, metrics, .. } = caller.clone();
        Ok(Self {
            plainest: named("camara-0.10.1")?,
            apis: Apis::new(apis.collect::<Result<_, _>>()?),
            searches,
            expiring_token: policy.notifications.expiring_token,
            strictness: policy.strictness,
            identity,
            access: policy.access,
            limits: Limits::new(policy.limits, clock, metrics, before.map(|before| &before.limits)),
            routes: policy.routes.following(before.map(|before| &before.routes)),
            finders: Finders::new(finders, known_as),
            operators: Operators::new(operators),
            schemas: policy.schemas,
            dialects,
            written,
        })
    }

    /// Whom those that are called must be known by, and what they are shown: by what each is, and its
    /// name.
    pub(super) fn trusts(&self) -> impl Iterator<Item = ((&'static str, &str), &Trust)> {
        let operators = self
            .operators
            .all()
            .filter_map(|operator| Some((("operator", &*operator.id().0), operator.trust()?)));
        let finders =
            self.finders.all().map(|finder| (("finder", &*finder.id().0), finder.trust()));
        let imports = self.routes.polls().map(|poll| (("import", poll.url()), poll.trust()));
        operators.chain(finders).chain(imports)
    }

    /// The searches that are taken at this path.
    pub(super) fn searches_at(&self, path: &str) -> Option<&Searches> {
        self.searches.as_ref().filter(|searches| searches.is_at(path))
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

impl Named for Rules {
    fn endpoints(&self, operator: &str) -> Option<usize> {
        self.operators.find(&operator.into()).map(|operator| operator.endpoints_count())
    }

    fn has_issuer(&self, issuer: &str) -> bool {
        self.identity.trusts(issuer)
    }

    fn has_finder(&self, finder: &str) -> bool {
        self.finders.named(&finder.into()).is_some()
    }

    fn has_import(&self, url: &str) -> bool {
        self.routes.polls().any(|poll| poll.url() == url)
    }
}

fn identity_of(
    settings: identity::Settings,
    caller: &Caller,
    before: Option<&Identity>,
) -> Result<Arc<Identity>, String> {
    let Caller { outbound, clock, metrics } = caller.clone();
    let identity = Identity::new(settings, outbound, clock, metrics);
    identity
        .map(|identity| Arc::new(identity.following(before)))
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// What is wrong with the documents in a folder.
pub fn unread(schemas: &Path, faults: &[SchemaFault]) -> String {
    let line = |fault: &SchemaFault| {
        schemas.join(&fault.file).display().to_string() + ": " + &fault.message
    };
    faults.iter().map(line).collect::<Vec<_>>().join("\n")
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

fn finder_of(settings: finder::Settings, written: &Written, before: Option<&Rules>) -> Arc<Finder> {
    let kept = before
        .filter(|before| before.written.same_finder(written, &settings.id))
        .and_then(|before| before.finders.named(&settings.id));
    kept.map_or_else(|| Arc::new(Finder::new(settings)), Arc::clone)
}

/// What the operators are called where finders name them.
fn names_of(operators: &[OperatorSettings]) -> finder::Names {
    let mut names = finder::Names::default();
    for OperatorSettings { id, gsma, .. } in operators {
        names.operators.insert(gsma.operator_id.clone(), id.clone());
        names.networks.extend(gsma.networks.iter().map(|code| (code.clone(), id.clone())));
    }
    names
}

fn operator_of(
    settings: OperatorSettings,
    callback_url: Option<Arc<str>>,
    named: &impl Fn(&str) -> Result<Arc<Dialect>, String>,
) -> Result<Arc<Operator>, String> {
    let endpoints = |connections_max| {
        let endpoint = |url| Endpoint::parse(url, connections_max);
        let trusting = |endpoint: Endpoint| endpoint.trusting(settings.trust.clone());
        let all = settings.endpoints.iter().map(|url| endpoint(url).map(trusting));
        let all: Result<Vec<_>, _> = all.collect();
        all.map_err(|error| format!("operator {}: {error}", settings.id))
    };
    let health = settings.health.as_ref().map(|HealthChecks { path, every }| {
        // With connections of their own: those of the calls may all be taken.
        let at_path = endpoints(1)?.into_iter().map(|endpoint| endpoint.at(path)).collect();
        Ok::<_, String>(operator::health::Settings { endpoints: at_path, every: *every })
    });
    let (health, endpoints) = (health.transpose()?, endpoints(settings.connections_max)?);
    Ok(Arc::new(Operator::new(operator::Settings {
        id: settings.id,
        dialect: named(&settings.dialect)?,
        endpoints,
        simulated: settings.simulated,
        credentials: settings.credentials,
        callback_url: callback_url.filter(|_| settings.callbacks),
        poll_every: settings.poll_every,
        timeout: settings.timeout,
        breaker: settings.breaker,
        health,
        fitting: settings.fitting,
        rules: settings.rules,
    })))
}

#[cfg(test)]
mod tests;
