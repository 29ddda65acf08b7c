//! Custom dialects: the policies define a release or an operator's variant by its differences from
//! a released dialect. A new minor release needs only its document, no code.

use std::sync::{Mutex, PoisonError};

use super::{
    Descriptor, ErrorShape, EventShape,
    descriptor::{ALL, DeviceRule, ErrorFormat, Family, ProfilesApi, RequestRule, SinkRule},
};
use crate::qod::ProblemKind;

/// A dialect defined by the policies. Unset properties are those of the dialect it is based on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CustomDialect {
    /// Its name.
    pub name: String,
    /// The released dialect it is based on.
    pub based_on: String,
    /// Its document: a file in `schemas/`, without `.yaml`.
    pub schema: Option<String>,
    /// The document of its profiles API.
    pub profiles_schema: Option<String>,
    /// The top-level member with the sink, or with its URL.
    pub sink_field: Option<String>,
    /// Whether the sink's URL must use https.
    pub https_sinks: Option<bool>,
    /// Whether a device is required.
    pub device_required: Option<bool>,
    /// Whether a phone number must have a plus sign.
    pub phone_plus: Option<bool>,
    /// The lowest valid port.
    pub port_min: Option<u16>,
    /// HTTP status of a successful create.
    pub created_status: Option<u16>,
    /// The `type` of its `CloudEvents`.
    pub event_type: Option<String>,
    /// Members of the error body.
    pub error_shape: Option<ErrorShape>,
    /// Status and code of individual kinds of problem.
    pub codes: Vec<(ProblemKind, u16, String)>,
}

/// An invalid property of a custom dialect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct CustomDialectError {
    /// The policy key.
    pub key: &'static str,
    /// What is expected.
    pub message: String,
}

/// All known dialects: the released ones and the custom ones.
#[derive(Clone, Debug)]
pub struct Descriptors(Vec<&'static Descriptor>);

// Interned descriptors. Policies can be reloaded any number of times without leaking equal
// descriptors.
static INTERNED: Mutex<Vec<(CustomDialect, &'static Descriptor)>> = Mutex::new(Vec::new());

impl Descriptors {
    /// The released dialects, oldest first.
    pub fn released() -> Self {
        Self(ALL.iter().collect())
    }

    /// Adds a custom dialect.
    ///
    /// # Errors
    /// If its name is taken, its base is unknown, or the codec does not support a property.
    pub fn add(&mut self, variant: &CustomDialect) -> Result<(), CustomDialectError> {
        let error = |key, message: String| Err(CustomDialectError { key, message });
        if self.get(&variant.name).is_some() {
            return error("name", "a dialect with this name already exists".to_owned());
        }
        let Some(base) = ALL.iter().find(|released| released.name == variant.based_on) else {
            let message = "expected the name of a released dialect".to_owned();
            return error("based_on", message);
        };
        variant.validate(base)?;
        let mut interned = INTERNED.lock().unwrap_or_else(PoisonError::into_inner);
        let existing =
            interned.iter().find(|(known, _)| known == variant).map(|(_, descriptor)| *descriptor);
        let descriptor = existing.unwrap_or_else(|| {
            let descriptor: &'static Descriptor = Box::leak(Box::new(variant.descriptor(base)));
            interned.push((variant.clone(), descriptor));
            descriptor
        });
        self.0.push(descriptor);
        Ok(())
    }

    /// The descriptor with this name.
    pub fn get(&self, name: &str) -> Option<&'static Descriptor> {
        self.0.iter().copied().find(|descriptor| descriptor.name == name)
    }

    /// All names, released dialects first.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.iter().map(|descriptor| descriptor.name).collect()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &'static Descriptor> + '_ {
        self.0.iter().copied()
    }
}

impl Default for Descriptors {
    fn default() -> Self {
        Self::released()
    }
}

impl CustomDialect {
    // Accepts only properties that the codec of the family supports.
    fn validate(&self, base: &Descriptor) -> Result<(), CustomDialectError> {
        let error =
            |key, message: &str| Err(CustomDialectError { key, message: message.to_owned() });
        let is_cloud_event = matches!(base.event_shape, EventShape::CloudEvent { .. });
        if self.event_type.is_some() && !is_cloud_event {
            return error("event_type", "the dialect it is based on has no CloudEvents");
        }
        let names: &[&str] = match base.family {
            Family::V08 => &["notificationUri", "notificationUrl"],
            Family::V01 | Family::V010 | Family::V011 | Family::V1 => &[base.rule.sink.field],
        };
        if self.sink_field.as_deref().is_some_and(|field| !names.contains(&field)) {
            return error("sink_field", &format!("expected {}", names.join(" or ")));
        }
        if self.created_status.is_some_and(|status| !matches!(status, 200 | 201)) {
            return error("created_status", "expected 200 or 201");
        }
        if self.profiles_schema.is_some() && base.profiles.schema.is_none() {
            return error("profiles_schema", "the dialect it is based on has no profiles API");
        }
        if self.codes.iter().any(|(_, status, _)| !(400..=599).contains(status)) {
            return error("codes", "expected a status from 400 to 599");
        }
        Ok(())
    }

    fn descriptor(&self, base: &'static Descriptor) -> Descriptor {
        let Descriptor { rule, profiles, errors, .. } = base;
        let codes: Vec<_> =
            self.codes.iter().map(|(kind, status, code)| (*kind, *status, leak(code))).collect();
        let event_shape = match (&self.event_type, base.event_shape) {
            (Some(event_type), EventShape::CloudEvent { .. }) => {
                EventShape::CloudEvent { event_type: leak(event_type) }
            }
            (_, shape) => shape,
        };
        Descriptor {
            name: leak(&self.name),
            schema: self.schema.as_deref().map_or(base.schema, leak),
            rule: RequestRule {
                device: DeviceRule {
                    required: self.device_required.unwrap_or(rule.device.required),
                    plus_required: self.phone_plus.unwrap_or(rule.device.plus_required),
                    ..rule.device.clone()
                },
                port_min: self.port_min.unwrap_or(rule.port_min),
                sink: SinkRule {
                    field: self.sink_field.as_deref().map_or(rule.sink.field, leak),
                    https: self.https_sinks.unwrap_or(rule.sink.https),
                    ..rule.sink.clone()
                },
                ..rule.clone()
            },
            event_shape,
            profiles: ProfilesApi {
                schema: self.profiles_schema.as_deref().map(leak).or(profiles.schema),
                ..profiles.clone()
            },
            created_status: self.created_status.unwrap_or(base.created_status),
            errors: ErrorFormat {
                shape: self.error_shape.unwrap_or(errors.shape),
                overrides: Box::leak(codes.into()),
                ..errors.clone()
            },
            ..base.clone()
        }
    }
}

fn leak(text: &str) -> &'static str {
    Box::leak(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn custom_dialect() -> CustomDialect {
        CustomDialect {
            name: "acme".to_owned(),
            based_on: "camara-1.1.0".to_owned(),
            event_type: Some("org.acme.changed".to_owned()),
            error_shape: Some(ErrorShape::CodeMessage),
            codes: vec![(ProblemKind::Conflict, 409, "ALREADY_EXISTS".to_owned())],
            created_status: Some(200),
            https_sinks: Some(false),
            port_min: Some(1),
            ..CustomDialect::default()
        }
    }

    #[test]
    fn custom_dialect_differs_from_its_base_in_set_properties_only() {
        let mut all = Descriptors::released();
        all.add(&custom_dialect()).unwrap();
        let (custom, base) = (all.get("acme").unwrap(), all.get("camara-1.1.0").unwrap());
        assert_eq!((custom.family, custom.schema), (base.family, base.schema));
        assert_eq!(custom.event_shape, EventShape::CloudEvent { event_type: "org.acme.changed" });
        assert_eq!((custom.created_status, custom.rule.port_min), (200, 1));
        assert_eq!(custom.errors.overrides, [(ProblemKind::Conflict, 409, "ALREADY_EXISTS")]);
        assert!(base.rule.sink.https && !custom.rule.sink.https);
        let plain = CustomDialect {
            name: "b".to_owned(),
            based_on: "devedge".to_owned(),
            ..CustomDialect::default()
        };
        all.add(&plain).unwrap();
        let (plain, devedge) = (all.get("b").unwrap(), all.get("devedge").unwrap());
        assert_eq!(*plain, Descriptor { name: "b", ..devedge.clone() });
        // An equal definition yields the same descriptor.
        let mut reloaded = Descriptors::released();
        reloaded.add(&custom_dialect()).unwrap();
        assert!(std::ptr::eq(reloaded.get("acme").unwrap(), custom));
    }

    #[test]
    fn unsupported_property_is_rejected_with_its_key() {
        let key = |change: fn(&mut CustomDialect)| {
            let mut variant = custom_dialect();
            change(&mut variant);
            Descriptors::released().add(&variant).unwrap_err().key
        };
        assert_eq!(key(|v| v.name = "devedge".to_owned()), "name");
        assert_eq!(key(|v| v.based_on = "camara-9".to_owned()), "based_on");
        assert_eq!(key(|v| v.based_on = "camara-0.8.1".to_owned()), "event_type");
        assert_eq!(key(|v| v.sink_field = Some("callback".to_owned())), "sink_field");
        assert_eq!(key(|v| v.created_status = Some(204)), "created_status");
        assert_eq!(key(|v| v.codes = vec![(ProblemKind::Conflict, 200, "OK".to_owned())]), "codes");
        let profiles = |v: &mut CustomDialect| {
            (v.based_on, v.event_type) = ("camara-0.8.1".to_owned(), None);
            v.profiles_schema = Some("x".to_owned());
        };
        assert_eq!(key(profiles), "profiles_schema");
    }
}
