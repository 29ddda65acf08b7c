//! Tests of limits and replay protection over several replicas.

use super::*;
use crate::{identity::ReplayFallback, limit::LimitScope};

#[test]
fn limits_are_local_by_default() {
    let policy = PolicyFolder::new().load().unwrap();
    assert_eq!(policy.limits.scope, LimitScope::Local);
    assert_eq!(policy.identity.proofs.replay_fallback, ReplayFallback::Refuse);
}

#[test]
fn shared_limits_require_a_shared_store() {
    for fallback in ["", ", unavailable: local_share", ", unavailable: refuse"] {
        let section = format!("limits: {{ scope: §shared{fallback} }}\nadmin:");
        assert_error("gateway.yaml", "admin:", &section, "`shared` requires `store.postgres`");
    }
    let section = "limits: { §unavailable: allow }\nadmin:";
    assert_error("gateway.yaml", "admin:", section, "`unavailable` requires `scope: shared`");
}

#[test]
fn fallback_of_replay_protection_is_read() {
    let folder = PolicyFolder::new();
    folder.change("clients.yaml", "mock_tokens:", "proof_replay_unavailable: allow\nmock_tokens:");
    let policy = folder.load().unwrap();
    assert_eq!(policy.identity.proofs.replay_fallback, ReplayFallback::Allow);
}
