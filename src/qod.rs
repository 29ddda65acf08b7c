//! The canonical data model of Quality on Demand: that of the newest CAMARA release.
//!
//! Every dialect is translated into these types and back. This module does no I/O and has no state,
//! so only constructors can fail.

mod device;
mod flow;
mod keyed_hash;
mod moment;
mod names;
mod ports;
mod problem;
mod profile;
mod secret;
mod session;
mod verbatim;

use std::ops::RangeInclusive;

pub use self::{
    device::{Device, DeviceIpv4, IdentifierKind, Nai, PhoneNumber},
    flow::{ApplicationServer, Flow},
    keyed_hash::KeyedHash,
    moment::Moment,
    names::{
        ClientId, FinderId, OperatorId, SessionId, SourceAddress, SourceNetwork, TokenSubject,
    },
    ports::{PORT_RANGES_MAX, PortRange, PortSet, PortsSpec},
    problem::{Problem, ProblemKind, RateLimitStatus},
    profile::{
        BitRate, BitRates, CountryAvailability, L4sQueue, ProfileQuery, ProfileStatus, QosProfile,
        RateUnit, ServiceClass, is_profile_name,
    },
    secret::Secret,
    session::{
        ApiResponse, CreateRequest, GrantedSession, Operation, QosStatus, RETRIEVED_MAX, Session,
        SessionEvent, SessionMessage, Severity, Sink, StatusInfo,
    },
    verbatim::Verbatim,
};

/// Whether the number of characters of a text is in this range. Lengths in `OpenAPI` documents count
/// characters, not bytes.
pub fn has_length(text: &str, chars: &RangeInclusive<usize>) -> bool {
    chars.contains(&text.chars().count())
}
