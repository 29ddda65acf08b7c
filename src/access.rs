//! Authorization: checks the scopes that an operation requires and the client's contract terms.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;

use crate::{
    identity::AuthenticatedClient,
    qod::{
        ClientId, CreateRequest, Operation, OperatorId, ProfileQuery, ProfileStatus, QosProfile,
    },
};

mod scope;

use self::scope::Scopes;
pub use self::scope::{ScopeForm, ScopeRule};

/// Authorizes clients by the required scope of each operation and by each client's terms.
#[derive(Debug)]
pub struct Access {
    scopes: Scopes,
    clients: HashMap<ClientId, ClientAccess>,
}

// A client's terms, and its required scopes if they differ from the common ones.
#[derive(Debug)]
struct ClientAccess {
    terms: Arc<Terms>,
    scopes: Option<Scopes>,
}

/// What a client's contract allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Operators that the client may use. `None` allows all.
    pub operators: Option<BTreeSet<OperatorId>>,
    /// `QoS` profiles that the client may request, by the gateway's names. `None` allows all.
    pub qos_profiles: Option<BTreeSet<String>>,
    /// Maximum session duration, in seconds.
    pub duration_s_max: u32,
    /// Maximum number of concurrent sessions.
    pub sessions_max: u32,
    /// Maximum number of creates per UTC day. `None` means unlimited.
    pub creates_per_day: Option<u32>,
    /// Name of the dialect used where a path serves several.
    pub dialect: Option<String>,
    /// Names of the dialects that the client may use. `None` allows all that are served.
    pub dialects: Option<BTreeSet<String>>,
    /// Networks that the client may call from. `None` allows all.
    pub source_networks: Option<Vec<IpNet>>,
    /// Purposes (W3C DPV) that its tokens may have. `None` means the configured default.
    pub purposes: Option<Vec<String>>,
    /// True if the client may use simulated operators only.
    pub mock: bool,
    /// All profiles, by the gateway's names; the same for every client.
    pub catalogue: Arc<Catalogue>,
}

/// Offered profiles, keyed by the names that clients use.
pub type Catalogue = BTreeMap<String, Profile>;

/// A `QoS` profile and the operators that offer it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Description for the operations team; not visible to clients.
    pub summary: String,
    /// Operators that offer the profile.
    pub offered_by: BTreeSet<OperatorId>,
    /// The CAMARA description of the profile.
    pub quality: Arc<QosProfile>,
}

/// Proof that a client is authorized for one operation. Only [`Access::authorize`] and
/// [`Access::authorize_scope`] create one.
#[derive(Debug)]
pub struct Grant {
    client: AuthenticatedClient,
    terms: Arc<Terms>,
}

/// Why a request is forbidden.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessDenied {
    /// The token lacks the required scope.
    #[error("`{operation}` requires the scope `{needed}`")]
    Scope {
        /// The requested operation.
        operation: &'static str,
        /// The authentication scheme of the token.
        scheme: &'static str,
        /// A scope that would be sufficient.
        needed: Arc<str>,
    },
    /// The client has no configured terms.
    #[error("the client is not registered")]
    UnknownClient,
    /// The source address is not in the client's networks.
    #[error("the client's terms do not allow calls from this address")]
    Network,
    /// The terms do not allow the dialect.
    #[error("the client's terms do not allow this API release")]
    Dialect,
    /// The terms do not allow the operator.
    #[error("the client's terms do not allow this operator")]
    Operator,
    /// The terms do not allow the profile.
    #[error("the client's terms do not allow this QoS profile")]
    Profile,
    /// The profile is inactive or deprecated: it cannot be used in new sessions.
    #[error("this QoS profile cannot be used in new sessions: its status is {}", .status.name())]
    ProfileNotActive {
        /// Its status.
        status: ProfileStatus,
    },
    /// The profile exists, but the operator does not offer it.
    #[error("the device's operator does not offer this QoS profile")]
    ProfileNotOffered,
    /// The duration is outside the range that the profile and the terms allow.
    #[error("expected a duration of {min_s} to {max_s} seconds for this QoS profile")]
    Duration {
        /// Minimum duration, in seconds.
        min_s: u32,
        /// Maximum duration, in seconds.
        max_s: u32,
    },
}

impl Access {
    /// Creates an authorizer from the scope rule and the terms of each client.
    pub fn new(rule: &ScopeRule, clients: HashMap<ClientId, Arc<Terms>>) -> Self {
        let client_access = |terms: Arc<Terms>| {
            let own_scopes = |purposes: &Vec<String>| {
                Scopes::new(&ScopeRule { purposes: purposes.clone(), ..rule.clone() })
            };
            ClientAccess { scopes: terms.purposes.as_ref().map(own_scopes), terms }
        };
        let clients = clients.into_iter().map(|(id, terms)| (id, client_access(terms))).collect();
        Self { scopes: Scopes::new(rule), clients }
    }

    /// Returns the terms of a client.
    pub fn terms(&self, client: &ClientId) -> Option<&Terms> {
        self.clients.get(client).map(|access| &*access.terms)
    }

    /// Authorizes a client for an operation. `source` is the client's address, if known.
    pub fn authorize(
        &self,
        client: AuthenticatedClient,
        operation: Operation,
        source: Option<IpAddr>,
    ) -> Result<Grant, AccessDenied> {
        let access = self.clients.get(client.id());
        let scopes = access.and_then(|access| access.scopes.as_ref()).unwrap_or(&self.scopes);
        if let Err(needed) = scopes.check(client.scopes(), operation) {
            let (operation, scheme) = (operation.name(), client.scheme());
            return Err(AccessDenied::Scope { operation, scheme, needed });
        }
        Self::issue_grant(client, access, source)
    }

    /// Authorizes a client for an operation that belongs to no dialect and has its own scope.
    pub fn authorize_scope(
        &self,
        client: AuthenticatedClient,
        operation: &'static str,
        needed: &Arc<str>,
        source: Option<IpAddr>,
    ) -> Result<Grant, AccessDenied> {
        if !client.scopes().iter().any(|scope| **scope == **needed) {
            let (scheme, needed) = (client.scheme(), Arc::clone(needed));
            return Err(AccessDenied::Scope { operation, scheme, needed });
        }
        let access = self.clients.get(client.id());
        Self::issue_grant(client, access, source)
    }

    fn issue_grant(
        client: AuthenticatedClient,
        access: Option<&ClientAccess>,
        source: Option<IpAddr>,
    ) -> Result<Grant, AccessDenied> {
        let terms = Arc::clone(&access.ok_or(AccessDenied::UnknownClient)?.terms);
        if !terms.allows_source(source) {
            return Err(AccessDenied::Network);
        }
        Ok(Grant { client, terms })
    }
}

impl Terms {
    /// Creates terms without restrictions except the given duration and session limits.
    #[cfg(test)]
    pub fn open(duration_s_max: u32, sessions_max: u32, catalogue: Arc<Catalogue>) -> Self {
        Self {
            operators: None,
            qos_profiles: None,
            duration_s_max,
            sessions_max,
            creates_per_day: None,
            dialect: None,
            dialects: None,
            source_networks: None,
            purposes: None,
            mock: false,
            catalogue,
        }
    }

    /// Returns whether calls from this address are allowed. An unknown address is in no network.
    pub fn allows_source(&self, address: Option<IpAddr>) -> bool {
        self.source_networks.as_ref().is_none_or(|networks| {
            address.is_some_and(|address| networks.iter().any(|net| net.contains(&address)))
        })
    }

    fn allows_operator(&self, operator: &OperatorId) -> bool {
        self.operators.as_ref().is_none_or(|allowed| allowed.contains(operator))
    }

    /// See [`Grant::check_operator`].
    pub fn check_operator(&self, operator: &OperatorId) -> Result<(), AccessDenied> {
        if self.allows_operator(operator) { Ok(()) } else { Err(AccessDenied::Operator) }
    }

    /// See [`Grant::check_dialect`].
    pub fn check_dialect(&self, dialect: &str) -> Result<(), AccessDenied> {
        let allowed = self.dialects.as_ref();
        if allowed.is_none_or(|allowed| allowed.contains(dialect)) {
            return Ok(());
        }
        Err(AccessDenied::Dialect)
    }

    /// See [`Grant::duration_s_max`].
    pub fn duration_s_max(&self, qos_profile: &str) -> u32 {
        let profile = self.catalogue.get(qos_profile);
        let profile_max = profile.map(|profile| profile.quality.duration_s_max);
        profile_max.map_or(self.duration_s_max, |max_s| max_s.min(self.duration_s_max))
    }

    /// See [`Grant::check_request`].
    pub fn check_request(
        &self,
        operator: &OperatorId,
        request: &CreateRequest,
    ) -> Result<(), AccessDenied> {
        self.check_operator(operator)?;
        let Self { qos_profiles, catalogue, .. } = self;
        if qos_profiles.as_ref().is_some_and(|allowed| !allowed.contains(&request.qos_profile)) {
            return Err(AccessDenied::Profile);
        }
        let mut min_s = 1;
        if let Some(profile) = catalogue.get(&request.qos_profile) {
            let status = profile.quality.status;
            if status != ProfileStatus::Active {
                return Err(AccessDenied::ProfileNotActive { status });
            }
            if !profile.offered_by.contains(operator) {
                return Err(AccessDenied::ProfileNotOffered);
            }
            min_s = profile.quality.duration_s_min;
        }
        let max_s = self.duration_s_max(&request.qos_profile);
        if (min_s..=max_s).contains(&request.duration_s) {
            Ok(())
        } else {
            Err(AccessDenied::Duration { min_s, max_s })
        }
    }
}

impl Grant {
    /// Returns the authorized client.
    pub fn client(&self) -> &AuthenticatedClient {
        &self.client
    }

    /// Returns the client's terms.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Checks that the terms allow the dialect.
    pub fn check_dialect(&self, dialect: &str) -> Result<(), AccessDenied> {
        self.terms.check_dialect(dialect)
    }

    /// Returns whether the client may use simulated operators only.
    pub fn is_mock(&self) -> bool {
        self.terms.mock || self.client.is_mock()
    }

    /// Checks that the terms allow the operator.
    pub fn check_operator(&self, operator: &OperatorId) -> Result<(), AccessDenied> {
        self.terms.check_operator(operator)
    }

    /// Returns the profiles that match the query, that the terms allow, and that `operator` offers
    /// (without an operator: any operator that the terms allow). Sorted by name.
    pub fn profiles(
        &self,
        query: &ProfileQuery,
        operator: Option<&OperatorId>,
    ) -> Vec<Arc<QosProfile>> {
        let Terms { qos_profiles, catalogue, .. } = self.terms();
        let is_allowed = |name: &String| qos_profiles.as_ref().is_none_or(|all| all.contains(name));
        let is_offered = |profile: &Profile| {
            let mut offering =
                profile.offered_by.iter().filter(|id| self.terms.allows_operator(id));
            offering.any(|id| operator.is_none_or(|operator| operator == id))
        };
        catalogue
            .iter()
            .filter(|(name, profile)| is_allowed(name) && is_offered(profile))
            .map(|(_, profile)| &profile.quality)
            .filter(|quality| quality.matches(query))
            .cloned()
            .collect()
    }

    /// Returns the maximum total duration of a session with this profile, in seconds.
    pub fn duration_s_max(&self, qos_profile: &str) -> u32 {
        self.terms.duration_s_max(qos_profile)
    }

    /// Checks a create request against the terms. The profile has the gateway's name. A profile
    /// that is not in the catalogue is rejected later, when it is mapped to the operator's name.
    pub fn check_request(
        &self,
        operator: &OperatorId,
        request: &CreateRequest,
    ) -> Result<(), AccessDenied> {
        self.terms.check_request(operator, request)
    }
}

#[cfg(test)]
mod tests;
