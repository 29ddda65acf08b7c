//! A gateway in front of the Quality on Demand APIs of several operators.
//!
//! A request passes the following modules in this order. Each one returns a type that proves that its
//! stage succeeded, and the next stage takes that type as an argument, so no stage can be skipped:
//!
//! | module           | question                                                   | type that proves it          |
//! |------------------|------------------------------------------------------------|------------------------------|
//! | [`dialect`]      | Which API release is used, and which operation is called?  | [`dialect::ApiRequest`]      |
//! | [`identity`]     | Which client sends the request?                            | [`identity::AuthenticatedClient`] |
//! | [`access`]       | Is the client authorized for the operation?                | [`access::Grant`]            |
//! | [`limit`]        | Is the client within its rate limits?                      | [`limit::Admission`]         |
//! | [`route`]        | Which operator serves the device?                          | [`route::ResolvedOperator`] |
//! | [`finder`]       | Which operator serves it, if no route matches?             | [`route::ResolvedOperator`] |
//! | [`ledger`]       | Is the flow free? If so, reserve it.                       | [`ledger::Reservation`]      |
//! | [`operator`]     | Does the operator accept the session?                      | [`operator::Outcome`]        |
//! | [`notification`] | Did the client receive the status changes of the session?  | none: it is the last stage   |
//!
//! [`gateway`] is the request path through these modules; read it first. [`refusal`] defines all
//! rejections. [`credentials`] authenticate the gateway to operators and finders. [`simulator`] is a
//! simulated operator. [`policy`] reads the YAML files: each module defines its own settings type, and
//! only `policy` defines how the settings are written.
//!
//! Import order: a module imports only modules of earlier stages and the base modules ([`qod`], [`clock`],
//! [`service`], [`reloadable`], [`json`], [`metrics`], [`log_writer`], [`audit`], [`tls`], [`outbound`],
//! [`postgres`]). A test checks this.

// From the entry points down to the base modules.
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
pub mod cli;
mod server;
mod gateway;

mod simulator;
mod policy;
mod refusal;

mod notification;
mod operator;
mod ledger;
mod finder;
mod route;
mod limit;
mod access;
mod credentials;
mod identity;
mod dialect;

mod postgres;
mod telemetry;
mod outbound;
mod tls;
mod audit;
mod log_writer;
mod metrics;
mod json;
mod clock;
mod trace;
mod faults;
mod reloadable;
mod service;
mod qod;
