//! Integration tests of the gateway: real processes and sockets, with simulated operators.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may panic")]
#![expect(clippy::indexing_slicing, clippy::string_slice, reason = "tests may panic")]
#![expect(clippy::disallowed_methods, reason = "tests have no injected clock")]
#![expect(clippy::format_push_string, clippy::print_stderr, reason = "diagnostic output of tests")]

mod assertions;
mod authority;
mod operator_sessions;
mod bound;
mod breaker;
mod callbacks;
mod check;
mod command_line;
mod conformance;
#[cfg(feature = "faults")]
mod crash;
mod credentials;
mod dialects;
mod http_edge;
mod examples;
mod explain;
mod admin;
mod admin_protection;
mod debug_log;
mod shared_limits;
mod shutdown;
mod shutdown_load;
mod upgrade;
mod logging;
mod error_codes;
mod failover;
mod finders;
mod guides;
mod http;
mod identity;
mod issuers;
mod ledger;
mod subject;
mod listeners;
mod metrics;
mod mistakes;
mod monitoring;
mod notifications;
mod operators;
mod peer_faults;
mod peers;
mod policy_diff;
mod policy_tests;
#[path = "../postgres/server.rs"]
#[expect(dead_code, reason = "unit tests use the rest")]
mod postgres_server;
#[path = "../postgres/proxy.rs"]
#[expect(dead_code, reason = "unit tests use the rest")]
mod postgres_proxy;
mod profiles;
mod pseudo_random;
mod refusals;
mod reload;
mod replicas;
mod release_1;
mod release_1_2;
mod secrets;
mod shipped;
mod store;
mod tables;
mod telco_finder;
mod telco_routing;
mod terms;
mod tidy;
mod traces;
mod tokens;
mod unread_bodies;
mod usage;
mod request_flow;
mod world;
