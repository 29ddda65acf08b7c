use proptest::prelude::*;

use super::{super::tests::disk::Disk, *};

#[derive(Clone, Debug)]
enum FileAction {
    Write(u64, Vec<u8>),
    Length(u64),
    Read(u64, usize),
}

fn any_action() -> impl Strategy<Value = FileAction> {
    prop_oneof![
        (0..20_000_u64, proptest::collection::vec(1_u8.., 1..9000))
            .prop_map(|(a, b)| FileAction::Write(a, b)),
        (0..25_000_u64).prop_map(FileAction::Length),
        (0..20_000_u64, 0..9000_usize).prop_map(|(a, b)| FileAction::Read(a, b)),
    ]
}

proptest! {
    #[test]
    fn buffered_writes_are_visible_and_reach_the_file_when_persisted(
        before in proptest::collection::vec(1_u8.., 0..10_000),
        actions in proptest::collection::vec(any_action(), 1..30),
    ) {
        let disk = Disk::default();
        let file = disk.create_new().unwrap();
        file.write(0, &before).unwrap();
        let buffer = WriteBuffer::new(file).unwrap();
        let mut expected = before.clone();
        for action in actions {
            match action {
                FileAction::Write(at, data) => {
                    let from = usize::try_from(at).unwrap();
                    let length = expected.len().max(from + data.len());
                    expected.resize(length, 0);
                    expected[from..from + data.len()].copy_from_slice(&data);
                    buffer.write(at, &data).unwrap();
                }
                FileAction::Length(length) => {
                    expected.resize(usize::try_from(length).unwrap(), 0);
                    buffer.set_len(length).unwrap();
                }
                FileAction::Read(at, count) => {
                    let from = usize::try_from(at).unwrap();
                    let mut out = vec![7; count];
                    let read = buffer.read(at, &mut out);
                    match expected.get(from..from + count) {
                        Some(bytes) => prop_assert_eq!(&*out, bytes),
                        None => prop_assert!(read.is_err()),
                    }
                }
            }
            prop_assert_eq!(buffer.len().unwrap(), expected.len() as u64);
        }
        disk.replace_current().unwrap();
        prop_assert_eq!(disk.current_content(), before);
        buffer.persist(&disk).unwrap();
        prop_assert_eq!(disk.current_content(), expected.clone());
        buffer.sync_data().unwrap();
        buffer.detach();
        prop_assert!(buffer.write(0, b"x").is_err());
        prop_assert_eq!(disk.current_content(), expected);
    }
}
