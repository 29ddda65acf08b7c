//! The dialects, as data: what tells one from the others of its family.

use crate::qod::Operation;

/// Releases that share a codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// CAMARA 0.8: `ueId`, `asId`, `qos`.
    V08,
    /// CAMARA 0.10: `device`, `applicationServer`, `qosProfile`, `webhook`.
    V010,
}

/// A dialect, but for its schemas.
#[derive(Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// As policies and metrics have it.
    pub name: &'static str,
    /// Whose codec it takes.
    pub family: Family,
    /// The document that describes its bodies: a file of `schemas/`, without `.yaml`.
    pub schema: &'static str,
    /// The path that the release's document serves it under.
    pub default_path: &'static str,
    /// What the URL to notify is called; 0.10 has it within `webhook`.
    pub notify_field: &'static str,
    /// How an error is put.
    pub error_shape: ErrorShape,
    /// What a create is answered with when it succeeds.
    pub created_status: u16,
    /// The code that goes with 503. That of 0.8.0 is misspelt in the release itself.
    pub unavailable_code: &'static str,
    /// A header of the client's that proves its possession of a key, and so tells the dialect.
    pub proof_header: Option<&'static str>,
    /// A header that names an exchange: echoed to the client, and sent on to an operator.
    pub transaction_header: Option<&'static str>,
}

/// How an error is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorShape {
    /// `{code, message}`
    CodeMessage,
    /// `{status, code, message}`
    StatusCodeMessage,
    /// `{reasonCode, systemMessage, userMessage}`
    DevEdge,
}

// What CAMARA 0.8.1 is, and what the other dialects of its family vary.
const CAMARA_0_8_1: Descriptor = Descriptor {
    name: "camara-0.8.1",
    family: Family::V08,
    schema: "camara-0.8.1",
    default_path: "/qod/v0",
    notify_field: "notificationUrl",
    error_shape: ErrorShape::CodeMessage,
    created_status: 201,
    unavailable_code: "SERVICE_UNAVAILABLE",
    proof_header: None,
    transaction_header: None,
};

const CAMARA_0_10_1: Descriptor = Descriptor {
    name: "camara-0.10.1",
    family: Family::V010,
    schema: "camara-0.10.1",
    error_shape: ErrorShape::StatusCodeMessage,
    unavailable_code: "UNAVAILABLE",
    ..CAMARA_0_8_1
};

/// Every dialect, oldest first.
pub(super) static ALL: [Descriptor; 5] = [
    Descriptor {
        name: "camara-0.8.0",
        schema: "camara-0.8.0",
        notify_field: "notificationUri",
        unavailable_code: "SERVICE_UNAVALIBLE",
        ..CAMARA_0_8_1
    },
    CAMARA_0_8_1,
    Descriptor {
        name: "devedge",
        error_shape: ErrorShape::DevEdge,
        created_status: 200,
        proof_header: Some("x-authorization"),
        transaction_header: Some("x-transaction-id"),
        ..CAMARA_0_8_1
    },
    CAMARA_0_10_1,
    Descriptor { name: "telefonica-0.10", error_shape: ErrorShape::CodeMessage, ..CAMARA_0_10_1 },
];

impl Family {
    /// Does it have this operation?
    pub const fn has(self, operation: Operation) -> bool {
        match operation {
            Operation::CreateSession | Operation::GetSession | Operation::DeleteSession => true,
            Operation::ExtendSession => match self {
                Self::V08 => false,
                Self::V010 => true,
            },
        }
    }
}
