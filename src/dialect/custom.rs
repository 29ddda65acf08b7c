//! Custom dialects: the policies define a release or an operator's variant by its differences from
//! a released dialect. A new minor release needs only its document, no code.

use std::sync::Arc;

use super::{
    Descriptor, ErrorShape, EventShape,
    descriptor::{RequestRule, released},
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
pub struct Descriptors {
    // The released ones first.
    all: Vec<Arc<Descriptor>>,
    released_count: usize,
}

impl Descriptors {
    /// The released dialects, oldest first.
    pub fn released() -> Self {
        let all: Vec<_> = released().into_iter().map(Arc::new).collect();
        Self { released_count: all.len(), all }
    }

    /// Adds a custom dialect.
    ///
    /// # Errors
    /// If its name is taken, its base is unknown, or the codec does not support a property.
    pub fn add(&mut self, custom: &CustomDialect) -> Result<(), CustomDialectError> {
        let error = |key, message: String| Err(CustomDialectError { key, message });
        if self.get(&custom.name).is_some() {
            return error("name", "a dialect with this name already exists".to_owned());
        }
        let mut released = self.all.iter().take(self.released_count);
        let Some(base) = released.find(|released| released.name == custom.based_on) else {
            let message = "expected the name of a released dialect".to_owned();
            return error("based_on", message);
        };
        let descriptor = custom.descriptor(base)?;
        self.all.push(Arc::new(descriptor));
        Ok(())
    }

    /// Adds a release that exists only in a test.
    #[cfg(test)]
    pub(crate) fn insert(&mut self, release: Descriptor) {
        self.all.push(Arc::new(release));
    }

    /// The descriptor with this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Descriptor>> {
        self.all.iter().find(|descriptor| descriptor.name == name)
    }

    /// All names, released dialects first.
    pub fn names(&self) -> Vec<&str> {
        self.all.iter().map(|descriptor| &*descriptor.name).collect()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Descriptor>> {
        self.all.iter()
    }
}

impl Default for Descriptors {
    fn default() -> Self {
        Self::released()
    }
}

impl CustomDialect {
    // Accepts only properties that the codec supports.
    fn descriptor(&self, base: &Descriptor) -> Result<Descriptor, CustomDialectError> {
        let error =
            |key, message: &str| Err(CustomDialectError { key, message: message.to_owned() });
        let mut descriptor = base.clone();
        descriptor.name = self.name.clone().into();
        if let Some(own) = &self.event_type {
            let EventShape::CloudEvent { event_type } = &mut descriptor.event_shape else {
                return error("event_type", "the dialect it is based on has no CloudEvents");
            };
            *event_type = own.clone().into();
        }
        if let Some(own) = &self.sink_field {
            let names = base.rule.sink.supported_fields();
            let Some(field) = names.iter().find(|name| *name == own) else {
                return error("sink_field", &format!("expected {}", names.join(" or ")));
            };
            descriptor.rule.sink.field = field;
        }
        if self.created_status.is_some_and(|status| !matches!(status, 200 | 201)) {
            return error("created_status", "expected 200 or 201");
        }
        if let Some(own) = &self.profiles_schema {
            let Some(schema) = &mut descriptor.profiles.schema else {
                return error("profiles_schema", "the dialect it is based on has no profiles API");
            };
            *schema = own.clone().into();
        }
        if self.codes.iter().any(|(_, status, _)| !(400..=599).contains(status)) {
            return error("codes", "expected a status from 400 to 599");
        }
        descriptor.errors.overrides.clone_from(&self.codes);
        if let Some(own) = &self.schema {
            descriptor.schema = own.clone().into();
        }
        let RequestRule { device, port_min, sink, .. } = &mut descriptor.rule;
        replace(&mut device.required, self.device_required);
        replace(&mut device.plus_required, self.phone_plus);
        replace(port_min, self.port_min);
        replace(&mut sink.https, self.https_sinks);
        replace(&mut descriptor.created_status, self.created_status);
        replace(&mut descriptor.errors.shape, self.error_shape);
        Ok(descriptor)
    }
}

fn replace<T>(property: &mut T, own: Option<T>) {
    if let Some(own) = own {
        *property = own;
    }
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
        assert_eq!((custom.rule.names, &custom.schema), (base.rule.names, &base.schema));
        let event_type = "org.acme.changed".into();
        assert_eq!(custom.event_shape, EventShape::CloudEvent { event_type });
        assert_eq!((custom.created_status, custom.rule.port_min), (200, 1));
        assert_eq!(custom.errors.overrides, custom_dialect().codes);
        assert!(base.rule.sink.https && !custom.rule.sink.https);
        let plain = CustomDialect {
            name: "b".to_owned(),
            based_on: "devedge".to_owned(),
            ..CustomDialect::default()
        };
        all.add(&plain).unwrap();
        let (plain, devedge) = (all.get("b").unwrap(), all.get("devedge").unwrap());
        assert_eq!(**plain, Descriptor { name: "b".into(), ..Descriptor::clone(devedge) });
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
        assert_eq!(key(|v| v.based_on = "acme".to_owned()), "based_on");
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
