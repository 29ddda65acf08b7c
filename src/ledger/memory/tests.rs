use std::sync::Arc;

use super::{
    super::store::tests::{Kind, keeps_the_contract},
    *,
};

#[test]
fn it_keeps_the_contract() {
    let kind = Kind {
        make: &|clock| Arc::new(Memory::new(Hand::new(clock.clone()))),
        restart: None,
        histories: 256,
    };
    keeps_the_contract(&kind);
}
