//! Scope formats: how tokens name the operations that they authorize in each CAMARA release.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::qod::Operation;

/// Defines the accepted scopes. Scope tokens are compared byte by byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeRule {
    /// Accepted scope formats.
    pub forms: Vec<ScopeForm>,
    /// Purposes of the W3C Data Privacy Vocabulary, such as `RequestedServiceProvision`.
    pub purposes: Vec<String>,
    /// API names, such as `qod` and `quality-on-demand`.
    pub api_names: Vec<String>,
}

/// A scope format (CAMARA Identity and Consent Management 0.1 to 0.4, and the API documents).
#[derive(Clone, Copy, Debug, Eq, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScopeForm {
    /// `dpv:RequestedServiceProvision#qod`: every operation. `#qos-profiles`: those of profiles.
    PurposeApi,
    /// `dpv:RequestedServiceProvision#quality-on-demand:sessions:create`: that operation.
    PurposeOperation,
    /// `dpv:RequestedServiceProvision quality-on-demand:sessions:create`: that operation, if the
    /// token has exactly one purpose.
    PurposeAndOperation,
    /// `quality-on-demand:sessions:create`: that operation.
    Operation,
    /// `qod-sessions-write`, `-read`, `-delete` and `qod-profiles-read` (0.9 and 0.10): the
    /// operations of that kind.
    QodSessions,
}

/// The required scopes of each operation, computed from a [`ScopeRule`].
#[derive(Debug)]
pub(super) struct Scopes {
    create: RequiredScopes,
    read: RequiredScopes,
    delete: RequiredScopes,
    extend: RequiredScopes,
    retrieve: RequiredScopes,
    profiles: RequiredScopes,
    // Accepted purposes for `with_purpose`, as complete scope tokens.
    purposes: Vec<Arc<str>>,
}

const PROFILES: &str = "qos-profiles";

#[derive(Debug, Default)]
struct RequiredScopes {
    sufficient: Vec<Arc<str>>,
    with_purpose: Vec<Arc<str>>,
}

impl Default for ScopeRule {
    /// `dpv:RequestedServiceProvision#qod`, and nothing else.
    fn default() -> Self {
        Self {
            forms: vec![ScopeForm::PurposeApi],
            purposes: vec!["RequestedServiceProvision".to_owned()],
            api_names: vec!["qod".to_owned()],
        }
    }
}

impl Scopes {
    pub(super) fn new(rule: &ScopeRule) -> Self {
        let sessions = |verb: &str, kind: &str| {
            let operations = rule.api_names.iter().map(|api| format!("{api}:sessions:{verb}"));
            RequiredScopes::new(rule, &rule.api_names, &operations.collect::<Vec<_>>(), kind)
        };
        // Since 0.11, QoS profiles are a separate API with this fixed name.
        let names = [rule.api_names.as_slice(), &[PROFILES.to_owned()]].concat();
        let read_profiles = [format!("{PROFILES}:read")];
        Self {
            create: sessions("create", "sessions-write"),
            read: sessions("read", "sessions-read"),
            delete: sessions("delete", "sessions-delete"),
            extend: sessions("update", "sessions-write"),
            retrieve: sessions("retrieve-by-device", "sessions-read"),
            profiles: RequiredScopes::new(rule, &names, &read_profiles, "profiles-read"),
            purposes: rule.purposes.iter().map(|name| format!("dpv:{name}").into()).collect(),
        }
    }

    /// Checks the scopes for an operation.
    ///
    /// # Errors
    /// A scope that would be sufficient.
    pub(super) fn check(&self, scopes: &[Box<str>], operation: Operation) -> Result<(), Arc<str>> {
        let required = match operation {
            Operation::CreateSession => &self.create,
            Operation::GetSession => &self.read,
            Operation::DeleteSession => &self.delete,
            Operation::ExtendSession => &self.extend,
            Operation::RetrieveSessions => &self.retrieve,
            Operation::GetQosProfile
            | Operation::ListQosProfiles
            | Operation::RetrieveQosProfiles => &self.profiles,
        };
        let has = |needed: &[Arc<str>]| {
            scopes.iter().any(|scope| needed.iter().any(|needed| **needed == **scope))
        };
        if has(&required.sufficient)
            || (has(&required.with_purpose) && self.has_one_purpose(scopes))
        {
            return Ok(());
        }
        let mut sufficient = required.sufficient.iter().chain(&required.with_purpose);
        Err(sufficient.next().cloned().unwrap_or_default())
    }

    fn has_one_purpose(&self, scopes: &[Box<str>]) -> bool {
        let mut purposes = scopes.iter().filter(|scope| scope.starts_with("dpv:"));
        match (purposes.next(), purposes.next()) {
            (Some(only), None) => self.purposes.iter().any(|known| **known == **only),
            _ => false,
        }
    }
}

impl RequiredScopes {
    fn new(rule: &ScopeRule, api_names: &[String], operations: &[String], kind: &str) -> Self {
        let ScopeRule { forms, purposes, api_names: _ } = rule;
        let with_each_purpose = |names: &[String]| -> Vec<Arc<str>> {
            let per_name = |name: &String| {
                let name = name.clone();
                purposes.iter().map(move |purpose| format!("dpv:{purpose}#{name}").into())
            };
            names.iter().flat_map(per_name).collect()
        };
        let mut needs = Self::default();
        for form in forms {
            match form {
                ScopeForm::PurposeApi => needs.sufficient.extend(with_each_purpose(api_names)),
                ScopeForm::PurposeOperation => {
                    needs.sufficient.extend(with_each_purpose(operations));
                }
                ScopeForm::PurposeAndOperation => {
                    needs.with_purpose.extend(operations.iter().map(|name| name.as_str().into()));
                }
                ScopeForm::Operation => {
                    needs.sufficient.extend(operations.iter().map(|name| name.as_str().into()));
                }
                ScopeForm::QodSessions => needs.sufficient.push(format!("qod-{kind}").into()),
            }
        }
        needs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILES: [Operation; 3] =
        [Operation::GetQosProfile, Operation::ListQosProfiles, Operation::RetrieveQosProfiles];

    fn is_authorized(form: ScopeForm, scopes: &[&str], operation: Operation) -> bool {
        let api_names = vec!["qod".to_owned(), "quality-on-demand".to_owned()];
        let rule = ScopeRule { forms: vec![form], api_names, ..ScopeRule::default() };
        let scopes: Vec<Box<str>> = scopes.iter().map(|&scope| scope.into()).collect();
        Scopes::new(&rule).check(&scopes, operation).is_ok()
    }

    #[test]
    fn profile_operations_accept_every_profile_scope_format() {
        let purpose = "dpv:RequestedServiceProvision";
        for operation in PROFILES {
            for (form, scopes) in [
                (ScopeForm::PurposeApi, &["dpv:RequestedServiceProvision#qod"][..]),
                (ScopeForm::PurposeApi, &["dpv:RequestedServiceProvision#qos-profiles"]),
                (ScopeForm::PurposeOperation, &["dpv:RequestedServiceProvision#qos-profiles:read"]),
                (ScopeForm::PurposeAndOperation, &[purpose, "qos-profiles:read"]),
                (ScopeForm::Operation, &["qos-profiles:read"]),
                (ScopeForm::QodSessions, &["qod-profiles-read"]),
            ] {
                assert!(is_authorized(form, scopes, operation), "{form:?} {scopes:?}");
            }
            for (form, scopes) in [
                (ScopeForm::PurposeAndOperation, &["qos-profiles:read"][..]),
                (ScopeForm::PurposeAndOperation, &[purpose, "dpv:Other", "qos-profiles:read"]),
                (ScopeForm::Operation, &["quality-on-demand:sessions:read"]),
                (ScopeForm::Operation, &["qod:qos-profiles:read"]),
                (ScopeForm::Operation, &["qod-profiles-read"]),
                (ScopeForm::QodSessions, &["qod-sessions-read"]),
                (ScopeForm::QodSessions, &["qos-profiles:read"]),
            ] {
                assert!(!is_authorized(form, scopes, operation), "{form:?} {scopes:?}");
            }
        }
    }

    #[test]
    fn profile_scopes_do_not_authorize_session_operations() {
        for (form, scope) in [
            (ScopeForm::PurposeApi, "dpv:RequestedServiceProvision#qos-profiles"),
            (ScopeForm::PurposeOperation, "dpv:RequestedServiceProvision#qos-profiles:read"),
            (ScopeForm::Operation, "qos-profiles:read"),
            (ScopeForm::QodSessions, "qod-profiles-read"),
        ] {
            for operation in [Operation::GetSession, Operation::CreateSession] {
                assert!(!is_authorized(form, &[scope], operation), "{scope}");
            }
        }
        assert!(is_authorized(
            ScopeForm::QodSessions,
            &["qod-sessions-write"],
            Operation::ExtendSession
        ));
        let retrieve = "quality-on-demand:sessions:retrieve-by-device";
        assert!(is_authorized(ScopeForm::Operation, &[retrieve], Operation::RetrieveSessions));
    }
}
