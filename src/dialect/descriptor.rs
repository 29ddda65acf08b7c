//! The dialects, as data: what tells one from the others of its family.

use crate::qod::Operation;

/// Releases that share a codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// CAMARA 0.8: `ueId`, `asId`, `qos`.
    V08,
    /// CAMARA 0.10: `device`, `applicationServer`, `qosProfile`, `webhook`.
    V010,
    /// CAMARA 0.11: `sink`, `sinkCredential`, `statusInfo`.
    V011,
    /// CAMARA 1.0 and 1.1: the bodies of 0.11, and other errors.
    V1,
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
    /// What the URL to notify is called in 0.8.
    pub notify_field: &'static str,
    /// How an error is put.
    pub error_shape: ErrorShape,
    /// How an event is put, and where it is posted.
    pub event_shape: EventShape,
    /// What a create is answered with when it succeeds.
    pub created_status: u16,
    /// The code that goes with 503. That of 0.8.0 is misspelt in the release itself.
    pub unavailable_code: &'static str,
    /// A header of the client's that proves its possession of a key, and so tells the dialect.
    pub proof_header: Option<&'static str>,
    /// A header that names an exchange: echoed to the client, and sent on to an operator.
    pub transaction_header: Option<&'static str>,
    /// What a correlator may be; nothing, if the release does not say.
    pub correlator: Option<Correlator>,
    /// Has a sink to be an https URL?
    pub https_sink: bool,
    /// The code of a sink that may not be notified.
    pub sink_code: &'static str,
    /// The status and code of a profile that is not offered now.
    pub profile_not_applicable: (u16, &'static str),
    /// Is a device shown by one of its identifiers only?
    pub one_identifier: bool,
}

/// What a release lets an `x-correlator` be.
#[derive(Debug, PartialEq, Eq)]
pub struct Correlator {
    /// What it may have beside letters and digits.
    pub punctuation: &'static str,
    /// How long it may be.
    pub length_max: usize,
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

/// How an event is put, and where it is posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventShape {
    /// `{sessionId, event}` at `/notifications` below the sink's URL, with the token in the query.
    /// There is one event: the end.
    End,
    /// A `CloudEvent` at the sink's URL, with the token as bearer.
    CloudEvent {
        /// Its `type`.
        event_type: &'static str,
    },
}

// What CAMARA 0.8.1 is, and what the other dialects of its family vary.
const CAMARA_0_8_1: Descriptor = Descriptor {
    name: "camara-0.8.1",
    family: Family::V08,
    schema: "camara-0.8.1",
    default_path: "/qod/v0",
    notify_field: "notificationUrl",
    error_shape: ErrorShape::CodeMessage,
    event_shape: EventShape::End,
    created_status: 201,
    unavailable_code: "SERVICE_UNAVAILABLE",
    proof_header: None,
    transaction_header: None,
    correlator: None,
    https_sink: false,
    sink_code: "INVALID_INPUT",
    profile_not_applicable: (400, "INVALID_INPUT"),
    one_identifier: false,
};

const CAMARA_0_10_1: Descriptor = Descriptor {
    name: "camara-0.10.1",
    family: Family::V010,
    schema: "camara-0.10.1",
    error_shape: ErrorShape::StatusCodeMessage,
    event_shape: EventShape::CloudEvent {
        event_type: "org.camaraproject.qod.v0.qos-status-changed",
    },
    unavailable_code: "UNAVAILABLE",
    sink_code: "INVALID_ARGUMENT",
    profile_not_applicable: (400, "INVALID_ARGUMENT"),
    ..CAMARA_0_8_1
};

const CAMARA_1_0_0: Descriptor = Descriptor {
    name: "camara-1.0.0",
    family: Family::V1,
    schema: "camara-1.0.0",
    default_path: "/quality-on-demand/v1",
    event_shape: EventShape::CloudEvent {
        event_type: "org.camaraproject.quality-on-demand.v1.qos-status-changed",
    },
    correlator: Some(Correlator { punctuation: "-", length_max: 55 }),
    ..CAMARA_0_10_1
};

/// Every dialect, oldest first.
pub(super) static ALL: [Descriptor; 8] = [
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
    Descriptor {
        name: "camara-0.11.1",
        family: Family::V011,
        schema: "camara-0.11.1",
        default_path: "/quality-on-demand/v0.11",
        event_shape: EventShape::CloudEvent {
            event_type: "org.camaraproject.quality-on-demand.v0.qos-status-changed",
        },
        correlator: None,
        ..CAMARA_1_0_0
    },
    CAMARA_1_0_0,
    Descriptor {
        name: "camara-1.1.0",
        schema: "camara-1.1.0",
        correlator: Some(Correlator { punctuation: "-_:;./<>{}", length_max: 256 }),
        https_sink: true,
        sink_code: "INVALID_SINK",
        profile_not_applicable: (422, "QUALITY_ON_DEMAND.QOS_PROFILE_NOT_APPLICABLE"),
        one_identifier: true,
        ..CAMARA_1_0_0
    },
];

impl Family {
    /// Does it have this operation?
    pub const fn has(self, operation: Operation) -> bool {
        match operation {
            Operation::CreateSession | Operation::GetSession | Operation::DeleteSession => true,
            Operation::ExtendSession => match self {
                Self::V08 => false,
                Self::V010 | Self::V011 | Self::V1 => true,
            },
            Operation::RetrieveSessions => match self {
                Self::V08 | Self::V010 => false,
                Self::V011 | Self::V1 => true,
            },
        }
    }
}

impl Correlator {
    /// Is this one?
    pub fn admits(&self, value: &[u8]) -> bool {
        let known =
            |byte: &u8| byte.is_ascii_alphanumeric() || self.punctuation.as_bytes().contains(byte);
        value.len() <= self.length_max && value.iter().all(known)
    }
}
