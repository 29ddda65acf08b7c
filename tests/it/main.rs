//! The gateway as its users meet it: real processes, real sockets, simulated operators.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests may fall over")]
#![expect(clippy::indexing_slicing, clippy::string_slice, reason = "tests may fall over")]
#![expect(clippy::disallowed_methods, reason = "tests have no clock to be given")]
#![expect(clippy::format_push_string, clippy::print_stderr, reason = "for people to read")]

mod assertions;
mod authority;
mod books;
mod bound;
mod breaker;
mod callbacks;
mod check;
mod conformance;
#[cfg(feature = "faults")]
mod crash;
mod credentials;
mod dialects;
mod edge;
mod examples;
mod explain;
mod ending;
mod failover;
mod finders;
mod http;
mod identity;
mod issuers;
mod ledger;
mod legs;
mod listeners;
mod notifications;
mod operators;
mod peers;
mod policy_tests;
mod profiles;
mod refusals;
mod reload;
mod release_1;
mod release_1_2;
mod secrets;
mod shipped;
mod tables;
mod telco_finder;
mod telco_routing;
mod terms;
mod tidy;
mod tokens;
mod way;
mod world;
