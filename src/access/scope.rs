//! The forms in which tokens say what they are for; they changed from release to release.

use std::sync::Arc;

use crate::qod::Operation;

/// Which scopes are good for what. Every comparison is of whole tokens, byte by byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeRule {
    /// The forms that are accepted.
    pub forms: Vec<ScopeForm>,
    /// The purposes of the W3C's Data Privacy Vocabulary, as `RequestedServiceProvision`.
    pub purposes: Vec<String>,
    /// The API's names, as `qod` and `quality-on-demand`.
    pub api_names: Vec<String>,
}

/// How a scope is written (CAMARA Identity and Consent Management, 0.1 to 0.4, and the API's own
/// documents).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeForm {
    /// `dpv:RequestedServiceProvision#qod`: every operation. `#qos-profiles`: those of profiles.
    PurposeApi,
    /// `dpv:RequestedServiceProvision#quality-on-demand:sessions:create`: that operation.
    PurposeOperation,
    /// `dpv:RequestedServiceProvision quality-on-demand:sessions:create`: that operation, if there
    /// is one purpose and no more.
    PurposeAndOperation,
    /// `quality-on-demand:sessions:create`: that operation.
    Operation,
    /// `qod-sessions-write`, `-read`, `-delete` and `qod-profiles-read` (0.9 and 0.10): the
    /// operations of that kind.
    QodSessions,
}

/// The rule, worked out beforehand: what each operation asks for.
#[derive(Debug)]
pub(super) struct Scopes {
    create: Needs,
    read: Needs,
    delete: Needs,
    extend: Needs,
    retrieve: Needs,
    profiles: Needs,
    // The purposes that count for `with_purpose`, as whole tokens.
    purposes: Vec<Arc<str>>,
}

const PROFILES: &str = "qos-profiles";

#[derive(Debug, Default)]
struct Needs {
    alone: Vec<Arc<str>>,
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
            Needs::new(rule, &rule.api_names, &operations.collect::<Vec<_>>(), kind)
        };
        // From 0.11 on the profiles are an API of their own, and its name is always this.
        let names = [rule.api_names.as_slice(), &[PROFILES.to_owned()]].concat();
        let read_profiles = [format!("{PROFILES}:read")];
        Self {
            create: sessions("create", "sessions-write"),
            read: sessions("read", "sessions-read"),
            delete: sessions("delete", "sessions-delete"),
            extend: sessions("update", "sessions-write"),
            retrieve: sessions("retrieve-by-device", "sessions-read"),
            profiles: Needs::new(rule, &names, &read_profiles, "profiles-read"),
            purposes: rule.purposes.iter().map(|name| format!("dpv:{name}").into()).collect(),
        }
    }

    /// Is one of these scopes good for the operation? If not: one that would be.
    pub(super) fn check(&self, scopes: &[Box<str>], operation: Operation) -> Result<(), Arc<str>> {
        let needs = match operation {
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
        if has(&needs.alone) || (has(&needs.with_purpose) && self.has_one_purpose(scopes)) {
            return Ok(());
        }
        let mut good = needs.alone.iter().chain(&needs.with_purpose);
        Err(good.next().cloned().unwrap_or_default())
    }

    fn has_one_purpose(&self, scopes: &[Box<str>]) -> bool {
        let mut purposes = scopes.iter().filter(|scope| scope.starts_with("dpv:"));
        match (purposes.next(), purposes.next()) {
            (Some(only), None) => self.purposes.iter().any(|known| **known == **only),
            _ => false,
        }
    }
}

impl Needs {
    fn new(rule: &ScopeRule, api_names: &[String], operations: &[String], kind: &str) -> Self {
        let ScopeRule { forms, purposes, api_names: _ } = rule;
        let purposed = |names: &[String]| -> Vec<Arc<str>> {
            let each = |name: &String| {
                let name = name.clone();
                purposes.iter().map(move |purpose| format!("dpv:{purpose}#{name}").into())
            };
            names.iter().flat_map(each).collect()
        };
        let mut needs = Self::default();
        for form in forms {
            match form {
                ScopeForm::PurposeApi => needs.alone.extend(purposed(api_names)),
                ScopeForm::PurposeOperation => needs.alone.extend(purposed(operations)),
                ScopeForm::PurposeAndOperation => {
                    needs.with_purpose.extend(operations.iter().map(|name| name.as_str().into()));
                }
                ScopeForm::Operation => {
                    needs.alone.extend(operations.iter().map(|name| name.as_str().into()));
                }
                ScopeForm::QodSessions => needs.alone.push(format!("qod-{kind}").into()),
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

    fn good(form: ScopeForm, scopes: &[&str], operation: Operation) -> bool {
        let api_names = vec!["qod".to_owned(), "quality-on-demand".to_owned()];
        let rule = ScopeRule { forms: vec![form], api_names, ..ScopeRule::default() };
        let scopes: Vec<Box<str>> = scopes.iter().map(|&scope| scope.into()).collect();
        Scopes::new(&rule).check(&scopes, operation).is_ok()
    }

    #[test]
    fn profiles_are_read_by_each_form_of_their_scope() {
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
                assert!(good(form, scopes, operation), "{form:?} {scopes:?}");
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
                assert!(!good(form, scopes, operation), "{form:?} {scopes:?}");
            }
        }
    }

    #[test]
    fn who_may_read_profiles_may_not_read_sessions_for_it() {
        for (form, scope) in [
            (ScopeForm::PurposeApi, "dpv:RequestedServiceProvision#qos-profiles"),
            (ScopeForm::PurposeOperation, "dpv:RequestedServiceProvision#qos-profiles:read"),
            (ScopeForm::Operation, "qos-profiles:read"),
            (ScopeForm::QodSessions, "qod-profiles-read"),
        ] {
            for operation in [Operation::GetSession, Operation::CreateSession] {
                assert!(!good(form, &[scope], operation), "{scope}");
            }
        }
        assert!(good(ScopeForm::QodSessions, &["qod-sessions-write"], Operation::ExtendSession));
        let retrieve = "quality-on-demand:sessions:retrieve-by-device";
        assert!(good(ScopeForm::Operation, &[retrieve], Operation::RetrieveSessions));
    }
}
