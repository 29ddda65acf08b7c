//! A gateway in front of several operators' Quality on Demand APIs.
//!
//! A request meets the rooms of this house in this order, and each stamps it with a proof that the
//! next one asks for. No later stage can be reached without the stamp of the one before:
//!
//! | room         | its question                              | its stamp                   |
//! |--------------|-------------------------------------------|-----------------------------|
//! | [`dialect`]  | which API is spoken, and what is asked?   | [`dialect::Call`]           |
//! | [`identity`] | who is calling?                           | [`identity::Client`]        |
//! | [`access`]   | may this client do this?                  | [`access::Grant`]           |
//! | [`limit`]    | not too often?                            | [`limit::Admission`]        |
//! | [`route`]    | which operator serves this device?        | [`route::Found`]            |
//! | [`finder`]   | who knows it, if no route does?           | [`route::Found`] too        |
//! | [`ledger`]   | is the flow free? hold it                 | [`ledger::Reservation`]     |
//! | [`operator`] | does the operator grant it?               | [`operator::Outcome`]       |
//! | [`notification`] | has the client heard what happened since? | none: nothing comes after it |
//!
//! [`gateway`] walks a request through them, in one file: the one to read first. [`refusal`] is the
//! one table of all that we say no with. [`simulator`] is an operator of our own making.
//! [`credentials`] are what the gateway shows to those that it calls itself.
//!
//! The law of the house: a room imports only rooms that the request has already passed, and the
//! ground ([`qod`], [`clock`], [`kept`], [`json`], [`metrics`], [`audit`], [`tls`], [`outbound`]). [`policy`] stands above
//! the rooms: each owns its own settings type, and `policy` alone knows how those are written in YAML.

// In reading order: from the door down to the ground.
pub mod cli;
pub mod server;
pub mod gateway;

pub mod simulator;
pub mod policy;
pub mod refusal;

pub mod notification;
pub mod operator;
pub mod ledger;
pub mod finder;
pub mod route;
pub mod limit;
pub mod access;
pub mod credentials;
pub mod identity;
pub mod dialect;

pub mod outbound;
pub mod tls;
pub mod audit;
pub mod metrics;
pub mod json;
pub mod clock;
mod faults;
pub mod kept;
pub mod qod;
