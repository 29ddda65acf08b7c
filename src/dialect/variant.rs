//! Dialects that the policies add: a release or an operator's own way of one, like a dialect that is
//! known but for what is said of it. A new minor release needs its document, and no code.

use std::sync::{Mutex, PoisonError};

use super::{
    Descriptor, ErrorShape, EventShape, Family,
    descriptor::{ALL, DeviceRule, Errors, Profiles, Rule, SinkRule},
};
use crate::qod::Kind;

/// A dialect as the policies describe it. What is not said is as in the one that it is like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variant {
    /// What it is called.
    pub name: String,
    /// The dialect that it is like.
    pub like: String,
    /// Its document: a file of `schemas/`, without `.yaml`.
    pub schema: Option<String>,
    /// That of its API for profiles.
    pub profiles_schema: Option<String>,
    /// The member at the top that has a client's sink, or its URL.
    pub sink_field: Option<String>,
    /// Has a sink to be an https URL?
    pub https_sinks: Option<bool>,
    /// Has a device to be named?
    pub device_required: Option<bool>,
    /// Has a phone number to have its plus?
    pub phone_plus: Option<bool>,
    /// The lowest port.
    pub port_min: Option<u16>,
    /// What a create is answered with when it succeeds.
    pub created_status: Option<u16>,
    /// The `type` of its `CloudEvents`.
    pub event_type: Option<String>,
    /// How an error is put.
    pub error_shape: Option<ErrorShape>,
    /// The status and code of a kind of no.
    pub codes: Vec<(Kind, u16, String)>,
}

/// What of a variant cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct VariantFault {
    /// The key that says it.
    pub key: &'static str,
    /// What is expected.
    pub message: String,
}

/// The dialects that there are: the released ones, and those that the policies add.
#[derive(Clone, Debug)]
pub struct Descriptors(Vec<&'static Descriptor>);

// What was described once. The same description is not kept twice, however often policies are read.
static KEPT: Mutex<Vec<(Variant, &'static Descriptor)>> = Mutex::new(Vec::new());

impl Descriptors {
    /// The released ones, oldest first.
    pub fn released() -> Self {
        Self(ALL.iter().collect())
    }

    /// Adds one.
    pub fn add(&mut self, variant: &Variant) -> Result<(), VariantFault> {
        let fault = |key, message: String| Err(VariantFault { key, message });
        if self.named(&variant.name).is_some() {
            return fault("name", "there is a dialect of this name already".to_owned());
        }
        let Some(like) = ALL.iter().find(|known| known.name == variant.like) else {
            let message = "expected a released dialect to be like".to_owned();
            return fault("like", message);
        };
        variant.suits(like)?;
        let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.iter().find(|(known, _)| known == variant).map(|(_, known)| *known);
        let descriptor = known.unwrap_or_else(|| {
            let descriptor: &'static Descriptor = Box::leak(Box::new(variant.described(like)));
            kept.push((variant.clone(), descriptor));
            descriptor
        });
        self.0.push(descriptor);
        Ok(())
    }

    /// The one of this name.
    pub fn named(&self, name: &str) -> Option<&'static Descriptor> {
        self.0.iter().copied().find(|descriptor| descriptor.name == name)
    }

    /// All names, the released ones first.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|descriptor| descriptor.name).collect()
    }

    pub(super) fn each(&self) -> impl Iterator<Item = &'static Descriptor> + '_ {
        self.0.iter().copied()
    }
}

impl Default for Descriptors {
    fn default() -> Self {
        Self::released()
    }
}

impl Variant {
    // Only what the codec of its family can follow.
    fn suits(&self, like: &Descriptor) -> Result<(), VariantFault> {
        let fault = |key, message: &str| Err(VariantFault { key, message: message.to_owned() });
        let is_cloud_event = matches!(like.event_shape, EventShape::CloudEvent { .. });
        if self.event_type.is_some() && !is_cloud_event {
            return fault("event_type", "the dialect that it is like has no CloudEvents");
        }
        let names: &[&str] = match like.family {
            Family::V08 => &["notificationUri", "notificationUrl"],
            Family::V01 | Family::V010 | Family::V011 | Family::V1 => &[like.rule.sink.field],
        };
        if self.sink_field.as_deref().is_some_and(|field| !names.contains(&field)) {
            return fault("sink_field", &format!("expected {}", names.join(" or ")));
        }
        if self.created_status.is_some_and(|status| !matches!(status, 200 | 201)) {
            return fault("created_status", "expected 200 or 201");
        }
        if self.profiles_schema.is_some() && like.profiles.schema.is_none() {
            return fault("profiles_schema", "the dialect that it is like has no API for profiles");
        }
        if self.codes.iter().any(|(_, status, _)| !(400..=599).contains(status)) {
            return fault("codes", "expected a status from 400 to 599");
        }
        Ok(())
    }

    fn described(&self, like: &'static Descriptor) -> Descriptor {
        let Descriptor { rule, profiles, errors, .. } = like;
        let codes: Vec<_> =
            self.codes.iter().map(|(kind, status, code)| (*kind, *status, kept(code))).collect();
        let event_shape = match (&self.event_type, like.event_shape) {
            (Some(event_type), EventShape::CloudEvent { .. }) => {
                EventShape::CloudEvent { event_type: kept(event_type) }
            }
            (_, shape) => shape,
        };
        Descriptor {
            name: kept(&self.name),
            schema: self.schema.as_deref().map_or(like.schema, kept),
            rule: Rule {
                device: DeviceRule {
                    required: self.device_required.unwrap_or(rule.device.required),
                    plus: self.phone_plus.unwrap_or(rule.device.plus),
                    ..rule.device.clone()
                },
                port_min: self.port_min.unwrap_or(rule.port_min),
                sink: SinkRule {
                    field: self.sink_field.as_deref().map_or(rule.sink.field, kept),
                    https: self.https_sinks.unwrap_or(rule.sink.https),
                    ..rule.sink.clone()
                },
                ..rule.clone()
            },
            event_shape,
            profiles: Profiles {
                schema: self.profiles_schema.as_deref().map(kept).or(profiles.schema),
                ..profiles.clone()
            },
            created_status: self.created_status.unwrap_or(like.created_status),
            errors: Errors {
                shape: self.error_shape.unwrap_or(errors.shape),
                own: Box::leak(codes.into()),
                ..errors.clone()
            },
            ..like.clone()
        }
    }
}

fn kept(text: &str) -> &'static str {
    Box::leak(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant() -> Variant {
        Variant {
            name: "acme".to_owned(),
            like: "camara-1.1.0".to_owned(),
            event_type: Some("org.acme.changed".to_owned()),
            error_shape: Some(ErrorShape::CodeMessage),
            codes: vec![(Kind::Conflict, 409, "ALREADY_EXISTS".to_owned())],
            created_status: Some(200),
            https_sinks: Some(false),
            port_min: Some(1),
            ..Variant::default()
        }
    }

    #[test]
    fn a_variant_is_like_another_but_for_what_is_said() {
        let mut all = Descriptors::released();
        all.add(&variant()).unwrap();
        let (ours, like) = (all.named("acme").unwrap(), all.named("camara-1.1.0").unwrap());
        assert_eq!((ours.family, ours.schema), (like.family, like.schema));
        assert_eq!(ours.event_shape, EventShape::CloudEvent { event_type: "org.acme.changed" });
        assert_eq!((ours.created_status, ours.rule.port_min), (200, 1));
        assert_eq!(ours.errors.own, [(Kind::Conflict, 409, "ALREADY_EXISTS")]);
        assert!(like.rule.sink.https && !ours.rule.sink.https);
        let plain =
            Variant { name: "b".to_owned(), like: "devedge".to_owned(), ..Variant::default() };
        all.add(&plain).unwrap();
        let (plain, devedge) = (all.named("b").unwrap(), all.named("devedge").unwrap());
        assert_eq!(*plain, Descriptor { name: "b", ..devedge.clone() });
        // Read again, it is the very same.
        let mut again = Descriptors::released();
        again.add(&variant()).unwrap();
        assert!(std::ptr::eq(again.named("acme").unwrap(), ours));
    }

    #[test]
    fn what_no_codec_can_follow_is_refused_by_its_key() {
        let key = |change: fn(&mut Variant)| {
            let mut variant = variant();
            change(&mut variant);
            Descriptors::released().add(&variant).unwrap_err().key
        };
        assert_eq!(key(|v| v.name = "devedge".to_owned()), "name");
        assert_eq!(key(|v| v.like = "camara-9".to_owned()), "like");
        assert_eq!(key(|v| v.like = "camara-0.8.1".to_owned()), "event_type");
        assert_eq!(key(|v| v.sink_field = Some("callback".to_owned())), "sink_field");
        assert_eq!(key(|v| v.created_status = Some(204)), "created_status");
        assert_eq!(key(|v| v.codes = vec![(Kind::Conflict, 200, "OK".to_owned())]), "codes");
        let profiles = |v: &mut Variant| {
            (v.like, v.event_type) = ("camara-0.8.1".to_owned(), None);
            v.profiles_schema = Some("x".to_owned());
        };
        assert_eq!(key(profiles), "profiles_schema");
    }
}
