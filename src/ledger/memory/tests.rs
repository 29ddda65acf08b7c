use std::sync::Arc;

use super::{super::store::tests::keeps_the_contract, *};

#[test]
fn it_keeps_the_contract() {
    keeps_the_contract(|| Arc::new(Memory::default()));
}
