use proptest::prelude::*;

use super::*;
use crate::ledger::{
    conflict::{DeviceComparison, compare_devices},
    tests::sample::{any_device, create_request, party, reservation_request},
};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    // Every session that the rule can call the same device is found, and cannot be inserted meanwhile.
    #[test]
    fn same_devices_are_found_and_share_a_lock(one in any_device(), other in any_device()) {
        let hasher = RowHasher::new(KeyHasher::random());
        let claim = |device| {
            let request = reservation_request(create_request(device, "192.0.2.1"));
            Claim::new(&hasher.0, &party("c1"), &request)
        };
        let (one, other) = (claim(one), claim(other));
        prop_assume!(!is_wider_than_block(&one.keys) && !is_wider_than_block(&other.keys));
        let rules = ConflictRules::default();
        let keys = |claim| hasher.claim_keys(SessionId::random(), claim, &rules, None);
        let (ours, theirs) = (keys(&one), keys(&other));
        if compare_devices(&one.keys, &other.keys) == DeviceComparison::Same {
            prop_assert!(ours.find.iter().any(|key| theirs.hold.contains(key)));
            prop_assert!(theirs.find.iter().any(|key| ours.hold.contains(key)));
            let exclude = |a: &RowLock, b: &RowLock| a.key == b.key && !(a.shared && b.shared);
            prop_assert!(ours.locks.iter().any(|a| theirs.locks.iter().any(|b| exclude(a, b))));
        }
    }
}
