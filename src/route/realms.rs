//! Routes by realm: the domain after the `@`.

use std::{collections::HashMap, fmt, str::FromStr};

use super::{Lookup, Target};

// The maximum length of a domain name (RFC 1035 §2.3.4).
const BYTES_MAX: usize = 255;

/// A domain and its subdomains, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Realm(Box<[u8]>);

/// A text is not a valid realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a domain name: labels of letters, digits and `-`, separated by dots")]
pub struct InvalidRealm;

#[derive(Debug, Default)]
pub(super) struct Realms(HashMap<Realm, Target>);

impl FromStr for Realm {
    type Err = InvalidRealm;

    fn from_str(text: &str) -> Result<Self, InvalidRealm> {
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if text.len() > BYTES_MAX || !text.split('.').all(is_label) {
            return Err(InvalidRealm);
        }
        Ok(Self(text.to_ascii_lowercase().into_bytes().into_boxed_slice()))
    }
}

impl Realm {
    /// Is `domain` this domain or a subdomain of it?
    pub fn matches(&self, domain: &str) -> bool {
        let lower = domain.to_ascii_lowercase();
        lower
            .strip_suffix(&self.to_string())
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// The length in bytes.
    pub fn byte_count(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl std::borrow::Borrow<[u8]> for Realm {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl Realms {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn insert(&mut self, realm: Realm, target: Target) {
        self.0.insert(realm, target);
    }

    /// The realms that have a route.
    pub(super) fn all(&self) -> impl Iterator<Item = &Realm> {
        self.0.keys()
    }

    /// The target of this realm: its own, or that of the nearest parent domain that has a route.
    pub(super) fn target(&self, realm: &Realm) -> Option<&Target> {
        self.0.get(realm).or_else(|| self.parent_target(realm))
    }

    /// The target of the nearest parent domain that has a route.
    pub(super) fn parent_target(&self, realm: &Realm) -> Option<&Target> {
        let mut labels = realm.0.split(|byte| *byte == b'.');
        let mut rest: &[u8] = &realm.0;
        loop {
            rest = rest.get(labels.next()?.len() + 1..)?;
            if let Some(target) = self.0.get(rest) {
                return Some(target);
            }
        }
    }

    /// The target of the longest matching domain: the realm itself, then each parent domain.
    pub(super) fn find(&self, realm: &str) -> Lookup<'_> {
        let mut lower = [0; BYTES_MAX];
        let Some(lower) = lower.get_mut(..realm.len()) else { return Lookup::Nothing };
        lower.copy_from_slice(realm.as_bytes());
        lower.make_ascii_lowercase();
        let mut rest: &[u8] = lower;
        loop {
            if let Some(target) = self.0.get(rest) {
                return target.into();
            }
            let dot = rest.iter().position(|byte| *byte == b'.');
            match dot.and_then(|dot| rest.get(dot + 1..)) {
                Some(parent) => rest = parent,
                None => return Lookup::Nothing,
            }
        }
    }
}
