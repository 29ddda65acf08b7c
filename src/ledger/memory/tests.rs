use std::sync::Arc;

use super::{
    super::store::tests::{StoreKind, assert_store_contract},
    *,
};

#[test]
fn memory_store_fulfils_contract() {
    let kind = StoreKind {
        make: &|clock| Arc::new(MemoryStore::new(LedgerClock::new(clock.clone()))),
        restart: None,
        shared: false,
        histories: 256,
    };
    assert_store_contract(&kind);
}
