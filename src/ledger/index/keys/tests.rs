use super::*;

impl KeyTable {
    pub(in crate::ledger::index) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.more.is_empty()
    }
}

#[test]
fn keys_of_one_device_never_have_the_same_hash() {
    let table = KeyTable::default();
    let permanent = 0..u8::try_from(FIRST_ADDRESS_KIND).unwrap();
    let kinds = permanent.chain([PUBLIC_AND_PORT, PUBLIC_AND_PRIVATE, PUBLIC]);
    let numbers: Vec<u64> = kinds
        .map(|kind| {
            let key = IndexKey::new(7, kind, 0x1234);
            assert_eq!(table.hash(&key) & KIND_BITS, key.kind_number());
            key.kind_number()
        })
        .collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(crate::ledger::claim::PermanentKind::Subject as u64, FIRST_ADDRESS_KIND - 1);
}
