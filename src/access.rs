//! What a client may do: the scopes that an operation asks for, and the terms of its contract.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;

use crate::{
    identity::Client,
    qod::{
        ClientId, CreateSession, Operation, OperatorId, ProfileQuery, ProfileStatus, QosProfile,
    },
};

mod scope;

use self::scope::Scopes;
pub use self::scope::{ScopeForm, ScopeRule};

/// Knows what scope each operation asks for, and every client's terms.
#[derive(Debug)]
pub struct Access {
    scopes: Scopes,
    clients: HashMap<ClientId, Party>,
}

// A client, and what its tokens must be good for if that is not what all must.
#[derive(Debug)]
struct Party {
    terms: Arc<Terms>,
    scopes: Option<Scopes>,
}

/// What a client's contract allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The operators that it may reach; any, if there is no list.
    pub operators: Option<BTreeSet<OperatorId>>,
    /// The profiles that it may ask for, by our names; any, if there is no list.
    pub qos_profiles: Option<BTreeSet<String>>,
    /// The longest session that it may ask for, in seconds.
    pub duration_s_max: u32,
    /// How many sessions it may hold at one time.
    pub sessions_max: u32,
    /// How many it may begin in one day of UTC; any number, if that is not said.
    pub creates_per_day: Option<u32>,
    /// What it speaks where a path leaves that open; a known dialect's name.
    pub dialect: Option<String>,
    /// What it may speak, by the dialects' names; any that is served, if there is no list.
    pub dialects: Option<BTreeSet<String>>,
    /// Where it may call from; anywhere, if there is no list.
    pub source_networks: Option<Vec<IpNet>>,
    /// The purposes that its tokens may be for (W3C DPV), if not all that count here.
    pub purposes: Option<Vec<String>>,
    /// Is it for trying things out, and reaches simulated operators only?
    pub mock: bool,
    /// All profiles, by our names; the same for every client.
    pub catalogue: Arc<Catalogue>,
}

/// The profiles that are offered, by the names that clients use.
pub type Catalogue = BTreeMap<String, Profile>;

/// A quality that is offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// For the gateway's own people.
    pub summary: String,
    /// The operators that have it.
    pub offered_by: BTreeSet<OperatorId>,
    /// What it is.
    pub quality: Arc<QosProfile>,
}

/// Leave for one client to do one thing. Only [`Access::authorize`] makes one:
///
/// ```compile_fail
/// # use std::sync::Arc;
/// # use qod_gateway::{access::{Grant, Terms}, identity::Client};
/// fn forge(client: Client, terms: Arc<Terms>) -> Grant {
///     Grant { client, terms }
/// }
/// ```
#[derive(Debug)]
pub struct Grant {
    client: Client,
    terms: Arc<Terms>,
}

/// Why a client may not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    /// The token lacks the scope.
    #[error("`{operation}` needs the scope `{needed}`")]
    Scope {
        /// What was asked.
        operation: &'static str,
        /// A scope that would do.
        needed: Arc<str>,
    },
    /// There are no terms with this client.
    #[error("the client is not registered here")]
    Stranger,
    /// It calls from elsewhere.
    #[error("the client's terms do not allow calls from this address")]
    Network,
    /// The terms do not name the dialect.
    #[error("the client's terms do not allow this API release")]
    Dialect,
    /// The terms do not name the operator.
    #[error("the client's terms do not allow this operator")]
    Operator,
    /// The terms do not name the profile.
    #[error("the client's terms do not allow this QoS profile")]
    Profile,
    /// The profile is known, but not offered at the moment.
    #[error("this QoS profile is not offered at the moment")]
    ProfileInactive,
    /// The session would be shorter or longer than the profile and the terms allow.
    #[error("a session with this QoS profile may last from {min_s} to {max_s} s")]
    Duration {
        /// The shortest that they allow, in seconds.
        min_s: u32,
        /// The longest that they allow, in seconds.
        max_s: u32,
    },
}

impl Access {
    /// Asks every token for a scope by this rule, and holds each client to its terms.
    pub fn new(rule: &ScopeRule, clients: HashMap<ClientId, Arc<Terms>>) -> Self {
        let party = |terms: Arc<Terms>| {
            let own = |purposes: &Vec<String>| {
                Scopes::new(&ScopeRule { purposes: purposes.clone(), ..rule.clone() })
            };
            Party { scopes: terms.purposes.as_ref().map(own), terms }
        };
        let clients = clients.into_iter().map(|(id, terms)| (id, party(terms))).collect();
        Self { scopes: Scopes::new(rule), clients }
    }

    /// The terms of a client, if there are any.
    pub fn terms(&self, client: &ClientId) -> Option<&Terms> {
        self.clients.get(client).map(|party| &*party.terms)
    }

    /// Gives a client leave for an operation, which it calls for from an address.
    pub fn authorize(
        &self,
        client: Client,
        operation: Operation,
        from: Option<IpAddr>,
    ) -> Result<Grant, Forbidden> {
        let party = self.clients.get(client.id());
        let scopes = party.and_then(|party| party.scopes.as_ref()).unwrap_or(&self.scopes);
        if let Err(needed) = scopes.check(client.scopes(), operation) {
            return Err(Forbidden::Scope { operation: operation.name(), needed });
        }
        Self::admit(client, party, from)
    }

    /// Gives a client leave for what is of no dialect, and has a scope of its own.
    pub fn authorize_scope(
        &self,
        client: Client,
        operation: &'static str,
        needed: &Arc<str>,
        from: Option<IpAddr>,
    ) -> Result<Grant, Forbidden> {
        if !client.scopes().iter().any(|scope| **scope == **needed) {
            return Err(Forbidden::Scope { operation, needed: Arc::clone(needed) });
        }
        let party = self.clients.get(client.id());
        Self::admit(client, party, from)
    }

    fn admit(
        client: Client,
        party: Option<&Party>,
        from: Option<IpAddr>,
    ) -> Result<Grant, Forbidden> {
        let terms = Arc::clone(&party.ok_or(Forbidden::Stranger)?.terms);
        if !terms.allow_calls_from(from) {
            return Err(Forbidden::Network);
        }
        Ok(Grant { client, terms })
    }
}

impl Terms {
    /// Terms that forbid nothing but what lasts longer, or is more, than these say.
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

    /// May calls come from this address? One that nobody knows is in no network.
    pub fn allow_calls_from(&self, address: Option<IpAddr>) -> bool {
        self.source_networks.as_ref().is_none_or(|networks| {
            address.is_some_and(|address| networks.iter().any(|net| net.contains(&address)))
        })
    }

    fn allow(&self, operator: &OperatorId) -> bool {
        self.operators.as_ref().is_none_or(|allowed| allowed.contains(operator))
    }

    /// What [`Grant::reaches`] says of these terms.
    pub fn reach(&self, operator: &OperatorId) -> Result<(), Forbidden> {
        if self.allow(operator) { Ok(()) } else { Err(Forbidden::Operator) }
    }

    /// What [`Grant::speaks`] says of these terms.
    pub fn allow_dialect(&self, dialect: &str) -> Result<(), Forbidden> {
        let allowed = self.dialects.as_ref();
        if allowed.is_none_or(|allowed| allowed.contains(dialect)) {
            return Ok(());
        }
        Err(Forbidden::Dialect)
    }

    /// What [`Grant::duration_s_max`] says of these terms.
    pub fn duration_s_max(&self, qos_profile: &str) -> u32 {
        let of_profile = self.catalogue.get(qos_profile);
        let of_profile = of_profile.map(|profile| profile.quality.duration_s_max);
        of_profile.map_or(self.duration_s_max, |max_s| max_s.min(self.duration_s_max))
    }

    /// What [`Grant::permits`] says of these terms.
    pub fn permit(&self, operator: &OperatorId, wanted: &CreateSession) -> Result<(), Forbidden> {
        self.reach(operator)?;
        let Self { qos_profiles, catalogue, .. } = self;
        if qos_profiles.as_ref().is_some_and(|allowed| !allowed.contains(&wanted.qos_profile)) {
            return Err(Forbidden::Profile);
        }
        let mut min_s = 1;
        if let Some(profile) = catalogue.get(&wanted.qos_profile) {
            if profile.quality.status == ProfileStatus::Inactive {
                return Err(Forbidden::ProfileInactive);
            }
            min_s = profile.quality.duration_s_min;
        }
        let max_s = self.duration_s_max(&wanted.qos_profile);
        if (min_s..=max_s).contains(&wanted.duration_s) {
            Ok(())
        } else {
            Err(Forbidden::Duration { min_s, max_s })
        }
    }
}

impl Grant {
    /// Whose leave it is.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What it allows.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Do the terms allow what is spoken?
    pub fn speaks(&self, dialect: &str) -> Result<(), Forbidden> {
        self.terms.allow_dialect(dialect)
    }

    /// Is it for simulated operators only?
    pub fn is_mock(&self) -> bool {
        self.terms.mock || self.client.is_mock()
    }

    /// Do the terms allow this operator?
    pub fn reaches(&self, operator: &OperatorId) -> Result<(), Forbidden> {
        self.terms.reach(operator)
    }

    /// The profiles that the client may know of and asks for: those that its terms allow, and that
    /// this operator has; or, without one, any that it may reach. Sorted by name.
    pub fn profiles(
        &self,
        query: &ProfileQuery,
        operator: Option<&OperatorId>,
    ) -> Vec<Arc<QosProfile>> {
        let Terms { qos_profiles, catalogue, .. } = self.terms();
        let named = |name: &String| qos_profiles.as_ref().is_none_or(|all| all.contains(name));
        let offered = |profile: &Profile| {
            let mut by = profile.offered_by.iter().filter(|by| self.terms.allow(by));
            by.any(|by| operator.is_none_or(|operator| operator == by))
        };
        catalogue
            .iter()
            .filter(|(name, profile)| named(name) && offered(profile))
            .map(|(_, profile)| &profile.quality)
            .filter(|quality| quality.answers(query))
            .cloned()
            .collect()
    }

    /// How long a session of this profile may be in all, in seconds.
    pub fn duration_s_max(&self, qos_profile: &str) -> u32 {
        self.terms.duration_s_max(qos_profile)
    }

    /// Do the terms reach as far as this wish? Its profile is still by our name; one that the
    /// catalogue does not know is left for the operator's names to refuse.
    pub fn permits(&self, operator: &OperatorId, wanted: &CreateSession) -> Result<(), Forbidden> {
        self.terms.permit(operator, wanted)
    }
}

#[cfg(test)]
mod tests;
