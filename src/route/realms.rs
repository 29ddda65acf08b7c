//! Routes by realm: the domain behind the `@`.

use std::{collections::HashMap, fmt, str::FromStr};

use super::{Lookup, Target};

// A domain name is no longer (RFC 1035 §2.3.4).
const BYTES_MAX: usize = 255;

/// A domain and all below it, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Realm(Box<[u8]>);

/// A text is not a realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a realm is labels of letters, digits and `-`, with dots between them")]
pub struct NotARealm;

#[derive(Debug, Default)]
pub(super) struct Realms(HashMap<Realm, Target>);

impl FromStr for Realm {
    type Err = NotARealm;

    fn from_str(text: &str) -> Result<Self, NotARealm> {
        let sound = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if text.len() > BYTES_MAX || !text.split('.').all(sound) {
            return Err(NotARealm);
        }
        Ok(Self(text.to_ascii_lowercase().into_bytes().into_boxed_slice()))
    }
}

impl Realm {
    /// Is it this domain, or one above it?
    pub fn is_of(&self, domain: &str) -> bool {
        let lower = domain.to_ascii_lowercase();
        lower
            .strip_suffix(&self.to_string())
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }

    /// How many bytes it has.
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
    pub(super) fn insert(&mut self, realm: Realm, target: Target) {
        self.0.insert(realm, target);
    }

    /// Where the next domain above one leads that has a route.
    pub(super) fn above(&self, realm: &Realm) -> Option<&Target> {
        let mut above = realm.0.split(|byte| *byte == b'.');
        let mut rest: &[u8] = &realm.0;
        loop {
            rest = rest.get(above.next()?.len() + 1..)?;
            if let Some(target) = self.0.get(rest) {
                return Some(target);
            }
        }
    }

    /// The route of the longest of its domains: itself, then what follows each dot.
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
                Some(behind) => rest = behind,
                None => return Lookup::Nothing,
            }
        }
    }
}
