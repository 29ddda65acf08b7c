//! `dialects.yaml`: custom dialects, each based on a released one. The file is optional.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    diagnostic::{expected_one_of, quoted},
    scalars::Section,
    validation::Validation,
};
use crate::{
    dialect::{CustomDialect, CustomDialectError, Descriptors, ErrorShape},
    qod::ProblemKind,
};

/// Custom dialects.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DialectsFile {
    /// The dialects by the name that other files refer to.
    dialects: BTreeMap<String, Section<DialectEntry>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DialectEntry {
    /// The released dialect that this one is based on.
    based_on: String,
    /// The OpenAPI document: the name of a file of the schemas folder, without `.yaml`.
    schema: Option<String>,
    /// The OpenAPI document of the `QoS` profiles API.
    profiles_schema: Option<String>,
    /// The name of the member with the notification URL (0.8).
    sink_field: Option<String>,
    /// Whether a sink must be an https URL.
    https_sinks: Option<bool>,
    /// Whether the device is required.
    device_required: Option<bool>,
    /// Whether a phone number must start with `+`.
    phone_plus: Option<bool>,
    /// The minimum port.
    port_min: Option<u16>,
    /// The HTTP status of a successful create.
    created_status: Option<u16>,
    /// The `type` of its events (`CloudEvents`).
    event_type: Option<String>,
    /// The format of an error body.
    error_shape: Option<ErrorShape>,
    /// HTTP statuses and error codes by kind of rejection.
    #[serde(default)]
    codes: BTreeMap<String, CodeEntry>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CodeEntry {
    /// The HTTP status.
    status: u16,
    /// The error code.
    #[schemars(length(min = 1))]
    code: String,
}

impl DialectsFile {
    /// Adds the custom dialects to the released ones.
    pub(super) fn validate(self, root: Validation<'_>) -> Descriptors {
        let mut descriptors = Descriptors::released();
        let all = root.key("dialects");
        let describe = |name: &str| {
            format!(
                "invalid dialect name {name}; expected 1 to 40 lower-case letters, digits, `.` and `-`"
            )
        };
        for (at, name, entry) in all.entries(self.dialects, is_valid_name, describe) {
            let variant = entry.variant(name.clone(), at);
            match descriptors.add(&variant) {
                Ok(()) => {}
                Err(CustomDialectError { key: "name", message }) => {
                    all.key_name(&name).report(message);
                }
                Err(CustomDialectError { key: "based_on", .. }) => {
                    let released = Descriptors::released();
                    let message = format!(
                        "unknown released dialect {}; {}",
                        quoted(&variant.based_on),
                        expected_one_of(Some(&variant.based_on), &released.names())
                    );
                    at.key("based_on").report(message);
                }
                Err(CustomDialectError { key, message }) => at.key(key).report(message),
            }
        }
        descriptors
    }
}

/// A dialect name is a label in metrics and logs.
fn is_valid_name(name: &str) -> bool {
    let allowed = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
    };
    (1..=40).contains(&name.len()) && name.bytes().all(allowed)
}

impl DialectEntry {
    fn variant(self, name: String, at: Validation<'_>) -> CustomDialect {
        let mut codes = Vec::new();
        for (kind, CodeEntry { status, code }) in self.codes {
            if let Some(kind) = ProblemKind::from_name(&kind) {
                codes.push((kind, status, code));
            } else {
                let message = format!(
                    "unknown rejection kind {}; {}",
                    quoted(&kind),
                    expected_one_of(Some(&kind), &ProblemKind::ALL.map(ProblemKind::name))
                );
                at.key("codes").key_name(&kind).report(message);
            }
        }
        CustomDialect {
            name,
            based_on: self.based_on,
            schema: self.schema,
            profiles_schema: self.profiles_schema,
            sink_field: self.sink_field,
            https_sinks: self.https_sinks,
            device_required: self.device_required,
            phone_plus: self.phone_plus,
            port_min: self.port_min,
            created_status: self.created_status,
            event_type: self.event_type,
            error_shape: self.error_shape,
            codes,
        }
    }
}
