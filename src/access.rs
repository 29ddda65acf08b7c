//! What a client may do: the scopes that an operation asks for, and the terms of its contract.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

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
    clients: HashMap<ClientId, Arc<Terms>>,
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
    /// What it speaks where a path leaves that open; a known dialect's name.
    pub dialect: Option<String>,
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
    #[error("`{}` needs the scope `{needed}`", operation.name())]
    Scope {
        /// What was asked.
        operation: Operation,
        /// A scope that would do.
        needed: Arc<str>,
    },
    /// There are no terms with this client.
    #[error("the client is not registered here")]
    Stranger,
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
        Self { scopes: Scopes::new(rule), clients }
    }

    /// Gives a client leave for an operation.
    pub fn authorize(&self, client: Client, operation: Operation) -> Result<Grant, Forbidden> {
        if let Err(needed) = self.scopes.check(client.scopes(), operation) {
            return Err(Forbidden::Scope { operation, needed });
        }
        let terms = Arc::clone(self.clients.get(client.id()).ok_or(Forbidden::Stranger)?);
        Ok(Grant { client, terms })
    }
}

impl Terms {
    fn allow(&self, operator: &OperatorId) -> bool {
        self.operators.as_ref().is_none_or(|allowed| allowed.contains(operator))
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

    /// Do the terms allow this operator?
    pub fn reaches(&self, operator: &OperatorId) -> Result<(), Forbidden> {
        if self.terms.allow(operator) { Ok(()) } else { Err(Forbidden::Operator) }
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
        let Terms { duration_s_max, catalogue, .. } = self.terms();
        let of_profile = catalogue.get(qos_profile).map(|profile| profile.quality.duration_s_max);
        of_profile.map_or(*duration_s_max, |max_s| max_s.min(*duration_s_max))
    }

    /// Do the terms reach as far as this wish? Its profile is still by our name; one that the
    /// catalogue does not know is left for the operator's names to refuse.
    pub fn permits(&self, operator: &OperatorId, wanted: &CreateSession) -> Result<(), Forbidden> {
        self.reaches(operator)?;
        let Terms { qos_profiles, catalogue, .. } = self.terms();
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

#[cfg(test)]
mod tests;
