//! The words of Quality on Demand, in one canonical form: the newest CAMARA release's.
//!
//! Every dialect is translated into these on the way in and out of them on the way back. Nothing
//! here reads, waits or remembers, so nothing here can fail but a constructor.

mod device;
mod flow;
mod moment;
mod names;
mod ports;
mod problem;
mod profile;
mod secret;
mod session;
mod written;

pub use self::{
    device::{Device, DeviceIpv4, IdentifierKind, Nai, NotAnIdentifier, PhoneNumber},
    flow::{ApplicationServer, Flow},
    moment::Moment,
    names::{CalledFrom, ClientId, FinderId, NotASessionId, OperatorId, SessionId, Subject},
    ports::{PortRange, PortSet, PortsSpec},
    problem::{Kind, Pace, Problem},
    profile::{
        BitRate, Country, L4sQueue, ProfileQuery, ProfileStatus, QosProfile, RateUnit, Rates,
        ServiceClass, is_profile_name,
    },
    secret::Secret,
    session::{
        Answer, CreateSession, Event, Granted, Message, Operation, QosStatus, RETRIEVED_MAX,
        Session, Severity, Sink, StatusInfo,
    },
    written::Written,
};
