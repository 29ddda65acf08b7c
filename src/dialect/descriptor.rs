//! Descriptors: the properties of a dialect, as data. The codecs read them and know no releases.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::qod::{IdentifierKind, Operation, ProblemKind};

mod released;

pub(super) use self::released::{MEMBER_NAMES, released};

/// A dialect without its schemas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Name used in policies and metrics.
    pub name: Cow<'static, str>,
    /// The document that defines its bodies: a file in `schemas/`, without `.yaml`.
    pub schema: Cow<'static, str>,
    /// The base path in the release's document.
    pub default_path: &'static str,
    /// The operations it has.
    pub operations: &'static [Operation],
    /// Format of requests and constraints on them.
    pub(super) rule: RequestRule,
    /// Format of sessions.
    pub(super) session_shape: SessionShape,
    /// Format and target URL of notifications.
    pub(super) event_shape: EventShape,
    /// Where profiles are served, and which of their members it has.
    pub profiles: ProfilesApi,
    /// HTTP status of a successful create.
    pub created_status: u16,
    /// Limits of an extension, beyond its schema.
    pub extension: ExtensionLimit,
    /// Whether a request with a three-legged token must not name a device. Otherwise it may name the
    /// device of the token.
    pub rejects_device_with_three_legged_token: bool,
    /// Format and codes of errors.
    pub errors: ErrorFormat,
    /// The request header with the client's proof of possession. Its presence identifies the
    /// dialect.
    pub proof_header: Option<&'static str>,
    /// The transaction id header: echoed to the client and forwarded to the operator.
    pub transaction_header: Option<&'static str>,
    /// Format of `x-correlator`.
    pub correlator: CorrelatorFormat,
    /// Whether a session id that is no UUID is reported as an unknown session. Releases before 0.10
    /// document no other error.
    pub(super) invalid_session_id_is_unknown: bool,
}

/// One of a release's APIs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApiKind {
    /// Sessions; in 0.9 and 0.10 also profiles.
    #[default]
    Sessions,
    /// Profiles, from 0.11 on.
    QosProfiles,
}

/// Where a release serves profiles, if it does, and which of their members it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfilesApi {
    /// The document of the separate profiles API; `None` if profiles are part of the sessions API.
    pub schema: Option<Cow<'static, str>>,
    /// Whether profiles have `l4sQueueType` and `serviceClass`.
    pub(super) has_traffic_classes: bool,
    /// Whether profiles have `countryAvailability`.
    pub(super) has_countries: bool,
}

/// Format of requests and constraints on them. Schemas define some constraints too, but only for
/// bodies of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RequestRule {
    /// Whether unknown members are rejected regardless of the policies.
    pub(super) strict: bool,
    /// Names of the members.
    pub(super) names: &'static MemberNames,
    pub(super) device: DeviceRule,
    /// Format of the application server.
    pub(super) servers: ServerForm,
    /// The profiles of an operator without configured profiles.
    pub(super) profiles: &'static [&'static str],
    /// The lowest valid port.
    pub(super) port_min: u16,
    /// Format of ports.
    pub(super) ports: PortsForm,
    pub(super) duration: DurationRule,
    pub(super) sink: SinkRule,
}

/// Names of the members of a create request and of a session, as far as releases differ.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MemberNames {
    pub(super) device: &'static str,
    pub(super) server: &'static str,
    pub(super) device_ports: &'static str,
    pub(super) server_ports: &'static str,
    /// Members with a protocol. The only supported value is `ANY`.
    pub(super) protocols: &'static [&'static str],
    pub(super) profile: &'static str,
    pub(super) session_id: &'static str,
    /// The members that identify these names in a request.
    pub(super) distinctive: &'static [&'static str],
    /// The dialect with this sink field is the likeliest one for a request without a sink.
    pub(super) usual_sink: Option<&'static str>,
}

/// Format of a device and constraints on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeviceRule {
    /// Whether a device is required.
    pub(super) required: bool,
    /// Its form.
    pub(super) form: DeviceForm,
    /// Whether a phone number must have a plus sign.
    pub(super) plus_required: bool,
    /// Format of its IPv4 address.
    pub(super) ipv4: Ipv4Form,
    /// Format of its IPv6 address.
    pub(super) ipv6: Ipv6Form,
}

/// Format of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DeviceForm {
    /// Its IPv4 address alone, as a text.
    Ipv4,
    /// An object with some of these identifiers, in this order.
    Identifiers([(IdentifierKind, &'static str); 4]),
}

/// Format of a device's IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ipv4Form {
    /// A single address or a network.
    Net,
    /// The public address with a private address or a public port.
    Public,
    /// The public address; its public port is the single device port.
    WithDevicePort,
}

/// Format of a device's IPv6 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ipv6Form {
    /// A single address.
    Address,
    /// A single address or a network.
    Net,
    /// A single address or a network from clients; operators receive a single address.
    NetFromClients,
}

/// Format of an application server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerForm {
    /// One IPv4 address or network, as a text.
    Ipv4,
    /// An object with one address or network of each family, in members with these names.
    Subnets([&'static str; 2]),
    /// One address or network of each family, or a list of addresses.
    SubnetsOrList([&'static str; 2]),
}

/// Format of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PortsForm {
    /// A text: `5010-5020,5021`.
    Text,
    /// A list of ranges and a list of ports.
    Lists,
    /// A list of exactly one port.
    SinglePort,
}

/// Constraints on the duration, in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DurationRule {
    /// Whether it is required. If it is optional and missing, the maximum applies.
    pub(super) required: bool,
    /// The maximum duration.
    pub(super) s_max: u32,
    /// The maximum of a single extension.
    pub(super) extension_s_max: u32,
}

/// Format of the sink and constraints on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SinkRule {
    pub(super) form: SinkForm,
    /// The top-level member with the sink, or with its URL.
    pub(super) field: &'static str,
    /// Whether its URL must use https.
    pub(super) https: bool,
}

/// Format of the sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SinkForm {
    /// The URL and `notificationAuthToken`, at the top level.
    UrlAndToken,
    /// An object with `notificationUrl` and `notificationAuthToken`.
    Webhook,
    /// The URL, and a credential in `sinkCredential`.
    Credential {
        /// Whether the release defines `PRIVATE_KEY_JWT` credentials.
        allows_private_key_jwt: bool,
    },
}

/// Format of a session in responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SessionShape {
    pub(super) status: StatusForm,
    pub(super) times: TimeForm,
    /// Whether it has `messages`.
    pub(super) has_messages: bool,
    /// Whether it contains only one of the device's identifiers.
    pub(super) has_single_identifier: bool,
}

/// Which members describe the status of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatusForm {
    /// None: every reported session is available.
    None,
    /// `qosStatus`
    Status,
    /// `qosStatus` and `statusInfo`
    StatusAndReason,
}

/// Format of the times of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeForm {
    /// Seconds since the epoch. They are always present; those of a session that is only requested are
    /// provisional.
    EpochSeconds,
    /// RFC 3339. A session that is only requested has none; the duration of an ended session is its
    /// actual duration.
    Rfc3339,
}

/// Limits of an extension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtensionLimit {
    /// Whether an extension beyond the maximum of the client's terms is reduced to it. Otherwise it is
    /// rejected.
    pub is_clamped: bool,
    /// Maximum remaining duration after an extension, in seconds.
    pub remaining_s_max: u64,
}

/// Format and codes of a dialect's errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorFormat {
    /// Members of the error body.
    pub shape: ErrorShape,
    /// The table of its codes, except for the codes below.
    pub codes: ErrorCodes,
    /// The message of a conflict with another session.
    pub conflict_message: &'static str,
    /// The code of status 503. The code of 0.8.0 is misspelt in the release itself.
    pub unavailable_code: &'static str,
    /// The code of a sink that is not allowed.
    pub sink_code: &'static str,
    /// Status and code of a `PRIVATE_KEY_JWT` credential, which the gateway does not support.
    pub private_key_jwt: (u16, &'static str),
    /// Status and code of a profile that exists but cannot be used.
    pub profile_not_applicable: (u16, &'static str),
    /// Status and code of identifiers that contradict each other.
    pub identifier_mismatch: (u16, &'static str),
    /// Maximum length of a message; `None` if the release does not limit it.
    pub(super) message_chars_max: Option<usize>,
    /// Status and code of individual kinds; these take precedence.
    pub overrides: Vec<(ProblemKind, u16, String)>,
}

/// A table of statuses and codes. `refusal` defines the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCodes {
    /// CAMARA 0.8, and the statuses of 0.1.
    V0_8,
    /// CAMARA 0.9 and 0.10.
    V0_10,
    /// CAMARA 0.11.
    V0_11,
    /// CAMARA 1.0 to 1.2.
    V1,
}

/// Format of `x-correlator`. A response echoes a value of this format; any other value is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CorrelatorFormat {
    /// The allowed characters besides letters and digits.
    pub punctuation: &'static str,
    /// Maximum length in bytes.
    pub length_max: usize,
    /// Whether a request with another value is rejected.
    pub enforced: bool,
}

/// Members of an error body.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorShape {
    /// `{message}`; an empty body with 401, 403 and 404.
    #[serde(skip)]
    Message,
    /// `{code, message}`
    CodeMessage,
    /// `{status, code, message}`
    StatusCodeMessage,
    /// `{reasonCode, systemMessage, userMessage}`
    #[serde(rename = "devedge")]
    DevEdge,
}

/// Format and target URL of notifications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EventShape {
    /// `{sessionId, event}` at `/notifications` below the sink's URL, with the token in the query.
    /// The only event is the termination of a session.
    Termination,
    /// `{event}` at the sink's URL, with the token as bearer. It cannot represent
    /// `DELETE_REQUESTED`.
    StatusChange,
    /// A `CloudEvent` at the sink's URL, with the token as bearer.
    CloudEvent {
        /// Its `type`.
        event_type: Cow<'static, str>,
    },
}

/// One day: the maximum duration of a session up to 0.10.
pub(super) const DAY_S: u32 = 86_400;

impl Descriptor {
    /// Whether sinks must have https URLs.
    pub const fn requires_https_sinks(&self) -> bool {
        self.rule.sink.https
    }

    /// Whether sessions have a status. Without one, every reported session is available.
    pub fn has_session_status(&self) -> bool {
        self.session_shape.status != StatusForm::None
    }

    /// Whether it has this operation.
    pub fn has(&self, operation: Operation) -> bool {
        self.operations.contains(&operation)
    }

    /// Whether this API of the release has this operation.
    pub(super) fn has_in(&self, api: ApiKind, operation: Operation) -> bool {
        let owner = match operation {
            Operation::CreateSession
            | Operation::GetSession
            | Operation::DeleteSession
            | Operation::ExtendSession
            | Operation::RetrieveSessions => ApiKind::Sessions,
            Operation::GetQosProfile
            | Operation::ListQosProfiles
            | Operation::RetrieveQosProfiles => match self.profiles.schema {
                Some(_) => ApiKind::QosProfiles,
                None => ApiKind::Sessions,
            },
        };
        owner == api && self.has(operation)
    }
}

impl MemberNames {
    /// The names that this top-level member of a create request identifies.
    pub(super) fn identified_by(member: &str) -> Option<&'static Self> {
        MEMBER_NAMES.into_iter().find(|names| names.distinctive.contains(&member))
    }
}

impl DeviceRule {
    /// Whether this kind of identifier is allowed.
    pub(super) fn allows(&self, kind: IdentifierKind) -> bool {
        match self.form {
            DeviceForm::Ipv4 => kind == IdentifierKind::Ipv4Address,
            DeviceForm::Identifiers(members) => members.iter().any(|(own, _)| *own == kind),
        }
    }
}

impl SinkRule {
    /// The names that `field` may have.
    pub(super) fn supported_fields(&self) -> &[&'static str] {
        match self.form {
            SinkForm::UrlAndToken => &["notificationUri", "notificationUrl"],
            SinkForm::Webhook | SinkForm::Credential { .. } => std::slice::from_ref(&self.field),
        }
    }
}

impl CorrelatorFormat {
    /// Whether the value has this format.
    pub fn matches(&self, value: &[u8]) -> bool {
        let allowed =
            |byte: &u8| byte.is_ascii_alphanumeric() || self.punctuation.as_bytes().contains(byte);
        value.len() <= self.length_max && value.iter().all(allowed)
    }
}
