//! The dialects, as data: what tells one from the others of its family.

use crate::qod::{IdentifierKind, Kind, Operation};

mod released;

pub(super) use self::released::ALL;

/// Releases that share a codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// CAMARA 0.1: `ueAddr`, `asAddr`, `protocolIn`, `protocolOut`.
    V01,
    /// CAMARA 0.8: `ueId`, `asId`, `qos`.
    V08,
    /// CAMARA 0.9 and 0.10: `device`, `applicationServer`, `qosProfile`, `webhook`.
    V010,
    /// CAMARA 0.11: `sink`, `sinkCredential`, `statusInfo`.
    V011,
    /// CAMARA 1.0 to 1.2: the bodies of 0.11, and other errors.
    V1,
}

/// A dialect, but for its schemas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// As policies and metrics have it.
    pub name: &'static str,
    /// Whose codec it takes.
    pub family: Family,
    /// The document that describes its bodies: a file of `schemas/`, without `.yaml`.
    pub schema: &'static str,
    /// The path that the release's document serves it under.
    pub default_path: &'static str,
    /// What can be asked in it.
    pub operations: &'static [Operation],
    /// What may be wished for.
    pub(super) rule: Rule,
    /// How an event is put, and where it is posted.
    pub event_shape: EventShape,
    /// Where the profiles are, and what can be told of one.
    pub profiles: Profiles,
    /// What a create is answered with when it succeeds.
    pub created_status: u16,
    /// Is a device shown by one of its identifiers only?
    pub one_identifier: bool,
    /// What it says no with.
    pub errors: Errors,
    /// A header of the client's that proves its possession of a key, and so tells the dialect.
    pub proof_header: Option<&'static str>,
    /// A header that names an exchange: echoed to the client, and sent on to an operator.
    pub transaction_header: Option<&'static str>,
    /// What a correlator may be; nothing, if the release does not say.
    pub correlator: Option<Correlator>,
}

/// One of a release's APIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serves {
    /// The sessions; in 0.9 and 0.10 the profiles too.
    Sessions,
    /// From 0.11 on: the profiles.
    QosProfiles,
}

/// Where a release has the profiles, if it has them, and what can be told of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profiles {
    /// The document of the API that they are; nothing, if they are served beside the sessions.
    pub schema: Option<&'static str>,
    /// Are there words for queues and classes of traffic?
    pub(super) classes: bool,
    /// And for countries?
    pub(super) countries: bool,
}

/// What may be wished for. A schema says some of it too; what it says, it says of bodies only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// Are members that nobody knows refused, whatever the policies say?
    pub(super) strict: bool,
    pub(super) device: DeviceRule,
    /// How servers are given.
    pub(super) servers: Servers,
    /// The profiles of an operator of which nothing else is said.
    pub(super) profiles: &'static [&'static str],
    /// The lowest port.
    pub(super) port_min: u16,
    /// Is a list of ports one port, and no range?
    pub(super) one_port: bool,
    pub(super) duration: DurationRule,
    pub(super) sink: SinkRule,
}

/// How a device is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeviceRule {
    /// Has it to be named?
    pub(super) required: bool,
    /// What it may be known by.
    pub(super) kinds: &'static [IdentifierKind],
    /// Has a phone number to have its plus?
    pub(super) plus: bool,
    /// How its IPv4 address is given.
    pub(super) ipv4: Ipv4Form,
    /// May its IPv6 address be a network?
    pub(super) ipv6_masks: bool,
}

/// How a device's IPv4 address is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ipv4Form {
    /// Alone, or as a network.
    Net,
    /// As the Internet sees it, beside a private address or a port.
    Public,
    /// As the Internet sees it; its port is the one of the device's ports.
    WithDevicePort,
}

/// How servers are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Servers {
    /// One IPv4 address or network.
    Ipv4,
    /// One address or network of each family.
    Subnets,
    /// So, or as a list of addresses.
    SubnetsOrList,
}

/// How long a session may be, in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DurationRule {
    /// Has it to be told? If not, the longest is meant.
    pub(super) required: bool,
    /// The longest.
    pub(super) s_max: u32,
    /// By how much it may be extended at once.
    pub(super) extension_s_max: u32,
}

/// How a sink is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SinkRule {
    /// The member at the top that has it, or its URL.
    pub(super) field: &'static str,
    /// Has its URL to be https?
    pub(super) https: bool,
    /// Are there credentials that the one who notifies fetches with a key of its own?
    pub(super) key_credentials: bool,
}

/// What a dialect says no with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    /// How an error is put.
    pub shape: ErrorShape,
    /// Whose codes it has, but for those here.
    pub codes: Family,
    /// The code that goes with 503. That of 0.8.0 is misspelt in the release itself.
    pub unavailable: &'static str,
    /// The code of a sink that may not be notified.
    pub sink: &'static str,
    /// The status and code of a credential that would have to be fetched with a key of ours.
    pub private_key_jwt: (u16, &'static str),
    /// The status and code of a profile that is not offered now.
    pub profile_not_applicable: (u16, &'static str),
    /// How long a message may be; nothing, if the release does not say.
    pub message_chars_max: Option<usize>,
    /// The status and code of these kinds, which go before all others.
    pub own: &'static [(Kind, u16, &'static str)],
}

/// What a release lets an `x-correlator` be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Correlator {
    /// What it may have beside letters and digits.
    pub punctuation: &'static str,
    /// How long it may be.
    pub length_max: usize,
}

/// How an error is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorShape {
    /// `{message}`; nothing at all with 401, 403 and 404.
    Message,
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
    /// `{event}` at the sink's URL, with the token as bearer. It has no word for an end that the
    /// client asked for.
    Change,
    /// A `CloudEvent` at the sink's URL, with the token as bearer.
    CloudEvent {
        /// Its `type`.
        event_type: &'static str,
    },
}

/// A day: the longest session up to 0.10.
pub(super) const DAY_S: u32 = 86_400;

impl Descriptor {
    /// Has whoever speaks it to be given https URLs to notify?
    pub const fn https_sinks_only(&self) -> bool {
        self.rule.sink.https
    }

    /// Can this be asked in it?
    pub fn has(&self, operation: Operation) -> bool {
        self.operations.contains(&operation)
    }

    /// And of this API of its release?
    pub fn has_at(&self, api: Serves, operation: Operation) -> bool {
        let own = match operation {
            Operation::CreateSession
            | Operation::GetSession
            | Operation::DeleteSession
            | Operation::ExtendSession
            | Operation::RetrieveSessions => Serves::Sessions,
            Operation::GetQosProfile
            | Operation::ListQosProfiles
            | Operation::RetrieveQosProfiles => match self.profiles.schema {
                Some(_) => Serves::QosProfiles,
                None => Serves::Sessions,
            },
        };
        own == api && self.has(operation)
    }
}

impl DeviceRule {
    /// May a device be known by this?
    pub(super) fn knows(&self, kind: IdentifierKind) -> bool {
        self.kinds.contains(&kind)
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
