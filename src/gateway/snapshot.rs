//! The policy snapshot: a validated set of policy files, as the settings of each stage. A request uses one
//! snapshot from its start to its end.

use std::{path::PathBuf, sync::Arc, time::Duration};

use http::Uri;

use super::telco_finder::TelcoFinderApi;
use crate::{
    access::Access,
    dialect::{
        Api, ApiRequest, Apis, Dialect, DialectSelection, Dialects, SchemaError, Strictness,
    },
    finder::{self, Finder, Finders},
    identity::{self, Authenticator, SharedReplays},
    limit::{Admission, Limits, SharedLimits},
    metrics::ConfiguredEntities,
    operator::{self, Operator, Operators},
    outbound::{Caller, Guard, Trust},
    policy::{self, ApiSetting, ExpiringToken, Fingerprint, Policy},
    qod::{CreateRequest, Moment, OperatorId},
    refusal::Refusal,
    telemetry,
};

/// A loaded and validated set of policy files.
pub struct PolicySnapshot {
    /// The fingerprint of the files, and the location of each setting.
    pub fingerprint: Fingerprint,
    /// The folder of the OpenAPI documents.
    pub schemas: PathBuf,
    /// All dialects.
    pub dialects: Arc<Dialects>,
    /// The dialect of error responses on paths that belong to no API.
    pub error_dialect: Arc<Dialect>,
    /// The APIs, by path.
    pub apis: Apis,
    // The Telco Finder API, if it is enabled.
    pub(super) telco_finder: Option<TelcoFinderApi>,
    // The addresses that sinks may have.
    sink_guard: Guard,
    /// The action for a sink token that expires before its session ends.
    pub expiring_token: ExpiringToken,
    /// How long usage records are stored; `None` if none are written.
    pub usage_kept_for: Option<Duration>,
    /// The strictness of body parsing.
    pub strictness: Strictness,
    /// The trusted token issuers.
    pub identity: Arc<Authenticator>,
    /// The terms of each client.
    pub access: Access,
    /// The rate limits.
    pub limits: Limits,
    /// The routes from devices to operators.
    pub routes: crate::route::Routes,
    /// The finders, for devices that no route matches.
    pub finders: Finders,
    /// The operators.
    pub operators: Operators,
    /// The tracing of requests; `None` if it is off.
    pub telemetry: Option<Arc<telemetry::Settings>>,
}

impl PolicySnapshot {
    /// Builds a snapshot from validated policies. Objects whose settings did not change since `before`
    /// are reused with their state.
    ///
    /// # Errors
    /// Errors that validation cannot find, such as a key file that changed since, or a missing schema.
    pub fn new(policy: Policy, caller: &Caller, before: Option<&Self>) -> Result<Self, String> {
        let written = policy.fingerprint;
        let dialects = before
            .filter(|before| before.fingerprint.same_dialects(&written))
            .map(|before| Arc::clone(&before.dialects));
        let dialects = dialects
            .map_or_else(|| Dialects::load(&policy.schemas, &policy.dialects).map(Arc::new), Ok);
        let dialects = dialects.map_err(|faults| describe_schema_errors(&faults))?;
        let named = |name: &str| {
            dialects.get(name).cloned().ok_or_else(|| format!("unknown dialect `{name}`"))
        };
        let identity =
            before.filter(|before| before.fingerprint.same_identity(&written)).map_or_else(
                || build_identity(policy.identity, caller, before.map(|before| &*before.identity)),
                |before| Ok(Arc::clone(&before.identity)),
            )?;
        let apis = policy.apis.into_iter().map(|api| build_api(api, &named));
        // The errors of the Telco Finder API have the form and codes of CAMARA's Commonalities.
        let error_dialect = named("camara-1.1.0")?;
        let searches = policy.telco_finder;
        let searches = searches
            .map(|settings| TelcoFinderApi::new(settings, &policy.operators, error_dialect));
        let callback_url = policy.server.callbacks.map(|callbacks| callbacks.url.into());
        let operator_names = operator_names(&policy.operators);
        let finders =
            policy.finders.into_iter().map(|finder| build_finder(finder, &written, before));
        let finders: Vec<_> = finders.collect();
        let operators = policy
            .operators
            .into_iter()
            .map(|operator| {
                let reused = before
                    .filter(|before| before.fingerprint.same_operator(&written, &operator.id))
                    .and_then(|before| before.operators.find(&operator.id));
                reused.map_or_else(
                    || {
                        let dialect = named(&operator.dialect)?;
                        Ok(Arc::new(Operator::new(operator, dialect, callback_url.clone())))
                    },
                    |reused| Ok(Arc::clone(reused)),
                )
            })
            .collect::<Result<Vec<_>, String>>()?;
        let Caller { clock, metrics, .. } = caller.clone();
        Ok(Self {
            error_dialect: named("camara-0.10.1")?,
            apis: Apis::new(apis.collect::<Result<_, _>>()?, policy.strictness),
            telco_finder: searches,
            sink_guard: Guard::new(policy.notifications.settings.private_networks),
            expiring_token: policy.notifications.expiring_token,
            usage_kept_for: policy.usage_kept_for,
            strictness: policy.strictness,
            identity,
            access: policy.access,
            limits: Limits::new(policy.limits, clock, metrics, before.map(|before| &before.limits)),
            routes: policy.routes.with_previous(before.map(|before| &before.routes)),
            finders: Finders::new(finders, operator_names),
            operators: Operators::new(operators),
            telemetry: policy.telemetry.map(Arc::new),
            schemas: policy.schemas,
            dialects,
            fingerprint: written,
        })
    }

    /// Connects rate limits and replay protection to those of other replicas. A snapshot that replaces this
    /// one is connected, too.
    pub fn share(&mut self, limits: SharedLimits, replays: SharedReplays) {
        self.limits.share(limits);
        self.identity.share_proofs(replays);
    }

    /// The TLS trust settings of all peers that the gateway calls, by the kind and the name of the peer.
    pub(super) fn trust_settings(&self) -> impl Iterator<Item = ((&'static str, &str), &Trust)> {
        let operators = self
            .operators
            .all()
            .filter_map(|operator| Some((("operator", &*operator.id().0), operator.trust()?)));
        let finders =
            self.finders.all().map(|finder| (("finder", &*finder.id().0), finder.trust()));
        let imports = self.routes.polls().map(|poll| (("import", poll.url()), poll.trust()));
        let collector = self.telemetry.iter();
        let collector =
            collector.map(|settings| (("telemetry", "collector"), settings.endpoint.trust()));
        operators.chain(finders).chain(imports).chain(collector)
    }

    /// The Telco Finder API, if this is its path.
    pub(super) fn telco_finder_at(&self, path: &str) -> Option<&TelcoFinderApi> {
        self.telco_finder.as_ref().filter(|searches| searches.is_at(path))
    }

    /// The operator with this id.
    ///
    /// # Errors
    /// If the snapshot has no such operator; a reload rejects the removal of an operator in use.
    pub(super) fn operator(&self, id: &OperatorId) -> Result<&Arc<Operator>, Refusal> {
        self.operators
            .find(id)
            .ok_or(Refusal::Internal("the operator is not in the policy snapshot"))
    }

    /// Checks that the client's sink may be called, and that its access token is valid until the session
    /// ends. A sink whose host is a name may turn out to be forbidden when it is called.
    pub(super) fn check_sink(&self, requested: &CreateRequest, now: Moment) -> Result<(), Refusal> {
        let url: Option<Uri> = requested.sink.as_ref().and_then(|sink| sink.url.parse().ok());
        let host = url.as_ref().and_then(Uri::host);
        if host.is_some_and(|host| !self.sink_guard.permits_host(host)) {
            return Err(Refusal::SinkForbidden);
        }
        let expires_at = requested.sink.as_ref().and_then(|sink| sink.token_expires_at);
        let duration = Duration::from_secs(requested.duration_s.into());
        match (self.expiring_token, expires_at) {
            (_, Some(expires_at)) if expires_at >= now + duration => Ok(()),
            (_, None) => Ok(()),
            (ExpiringToken::Reject, Some(_)) => Err(Refusal::SinkTokenExpires),
            (ExpiringToken::Accept, Some(_)) => {
                tracing::warn!(
                    event = "sink_token_expires_early",
                    "sink token expires before the session ends; later notifications will be dropped"
                );
                Ok(())
            }
        }
    }

    /// Applies the dialect of the client's terms if the path does not determine one.
    pub(super) fn apply_client_dialect(&self, call: &mut ApiRequest, admission: &Admission) {
        let terms = admission.grant().terms();
        if let Some(dialect) = terms.dialect.as_deref().and_then(|name| self.dialects.get(name)) {
            call.prefer(dialect);
        }
    }
}

impl ConfiguredEntities for PolicySnapshot {
    fn endpoints(&self, operator: &str) -> Option<usize> {
        self.operators.find(&operator.into()).map(|operator| operator.endpoint_count())
    }

    fn has_issuer(&self, issuer: &str) -> bool {
        self.identity.trusts(issuer)
    }

    fn has_finder(&self, finder: &str) -> bool {
        self.finders.get(&finder.into()).is_some()
    }

    fn has_import(&self, url: &str) -> bool {
        self.routes.polls().any(|poll| poll.url() == url)
    }

    fn has_collector(&self) -> bool {
        self.telemetry.is_some()
    }
}

fn build_identity(
    settings: identity::Settings,
    caller: &Caller,
    before: Option<&Authenticator>,
) -> Result<Arc<Authenticator>, String> {
    let Caller { outbound, clock, metrics } = caller.clone();
    let identity = Authenticator::new(settings, outbound, clock, metrics);
    identity
        .map(|identity| Arc::new(identity.replacing(before)))
        .map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// The errors of the OpenAPI documents in a folder, one for each line.
pub fn describe_schema_errors(faults: &[SchemaError]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn build_api(
    api: ApiSetting,
    named: &impl Fn(&str) -> Result<Arc<Dialect>, String>,
) -> Result<Api, String> {
    let speaks = match api.dialect {
        policy::DialectSetting::Fixed(name) => DialectSelection::Fixed(named(&name)?),
        policy::DialectSetting::Detected { candidates, fallback } => DialectSelection::Detected {
            candidates: candidates.iter().map(|name| named(name)).collect::<Result<_, _>>()?,
            fallback: named(&fallback)?,
        },
    };
    Ok(Api { path: api.path, dialects: speaks, kind: api.serves })
}

fn build_finder(
    settings: finder::Settings,
    written: &Fingerprint,
    before: Option<&PolicySnapshot>,
) -> Arc<Finder> {
    let reused = before
        .filter(|before| before.fingerprint.same_finder(written, &settings.id))
        .and_then(|before| before.finders.get(&settings.id));
    reused.map_or_else(|| Arc::new(Finder::new(settings)), Arc::clone)
}

/// The names of the operators in the replies of finders.
fn operator_names(operators: &[operator::Settings]) -> finder::OperatorNames {
    let mut names = finder::OperatorNames::default();
    for operator::Settings { id, gsma, .. } in operators {
        names.operators.insert(gsma.operator_id.clone(), id.clone());
        names.networks.extend(gsma.networks.iter().map(|code| (code.clone(), id.clone())));
    }
    names
}

#[cfg(any(fuzzing, test))]
pub(crate) mod fuzz;
#[cfg(test)]
mod tests;
