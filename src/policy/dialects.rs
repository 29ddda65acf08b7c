//! `dialects.yaml`: dialects like a known one but for what is said here. The file may be missing.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    fault::{Fault, expected_one_of, shown},
    source::Spot,
    words::Part,
};
use crate::{
    dialect::{self, Descriptors, Variant, VariantFault},
    qod::Kind,
};

/// Dialects of your own.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    /// Each by the name that paths, operators and clients have for it.
    dialects: BTreeMap<String, Part<Entry>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// The released dialect that it is like.
    like: String,
    /// Its document: a file of the schemas folder, without `.yaml`.
    schema: Option<String>,
    /// The document of its API for profiles.
    profiles_schema: Option<String>,
    /// What the URL to notify is called (0.8).
    sink_field: Option<String>,
    /// Has a sink to be an https URL?
    https_sinks: Option<bool>,
    /// Has a device to be named?
    device_required: Option<bool>,
    /// Has a phone number to have its plus?
    phone_plus: Option<bool>,
    /// The lowest port.
    port_min: Option<u16>,
    /// What a create is answered with when it succeeds.
    created_status: Option<u16>,
    /// The `type` of its events.
    event_type: Option<String>,
    /// How an error is put.
    error_shape: Option<ErrorShape>,
    /// Statuses and codes of its own, by the kind of no.
    #[serde(default)]
    codes: BTreeMap<String, CodeEntry>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ErrorShape {
    CodeMessage,
    StatusCodeMessage,
    Devedge,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CodeEntry {
    /// The status.
    status: u16,
    /// The code.
    #[schemars(length(min = 1))]
    code: String,
}

impl File {
    /// Adds what the file says to the released dialects.
    pub(super) fn judge(self, root: Spot<'_>, faults: &mut Vec<Fault>) -> Descriptors {
        let mut descriptors = Descriptors::released();
        let all = root.key("dialects");
        for (name, entry) in self.dialects {
            let at = all.key(&name);
            if !is_name(&name) {
                let message = format!(
                    "{} is no dialect's name: expected 1 to 40 small letters, digits, `.` and `-`",
                    shown(&name)
                );
                faults.push(all.name(&name).fault(message));
            }
            let Some(entry) = at.read(entry, faults) else { continue };
            let variant = entry.variant(name.clone(), at, faults);
            match descriptors.add(&variant) {
                Ok(()) => {}
                Err(VariantFault { key: "name", message }) => {
                    faults.push(all.name(&name).fault(message));
                }
                Err(VariantFault { key: "like", .. }) => {
                    let known = Descriptors::released().names();
                    let expected = expected_one_of(Some(&variant.like), &known);
                    faults.push(at.key("like").fault(format!("no released dialect: {expected}")));
                }
                Err(VariantFault { key, message }) => faults.push(at.key(key).fault(message)),
            }
        }
        descriptors
    }
}

/// A label in metrics and logs.
fn is_name(name: &str) -> bool {
    let sound = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
    };
    (1..=40).contains(&name.len()) && name.bytes().all(sound)
}

impl Entry {
    fn variant(self, name: String, at: Spot<'_>, faults: &mut Vec<Fault>) -> Variant {
        let mut codes = Vec::new();
        for (kind, CodeEntry { status, code }) in self.codes {
            if let Some(kind) = Kind::named(&kind) {
                codes.push((kind, status, code));
            } else {
                let expected = expected_one_of(Some(&kind), &Kind::ALL.map(Kind::name));
                faults.push(at.key("codes").name(&kind).fault(expected));
            }
        }
        Variant {
            name,
            like: self.like,
            schema: self.schema,
            profiles_schema: self.profiles_schema,
            sink_field: self.sink_field,
            https_sinks: self.https_sinks,
            device_required: self.device_required,
            phone_plus: self.phone_plus,
            port_min: self.port_min,
            created_status: self.created_status,
            event_type: self.event_type,
            error_shape: self.error_shape.map(ErrorShape::setting),
            codes,
        }
    }
}

impl ErrorShape {
    const fn setting(self) -> dialect::ErrorShape {
        match self {
            Self::CodeMessage => dialect::ErrorShape::CodeMessage,
            Self::StatusCodeMessage => dialect::ErrorShape::StatusCodeMessage,
            Self::Devedge => dialect::ErrorShape::DevEdge,
        }
    }
}
