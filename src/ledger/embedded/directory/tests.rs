use super::{super::tests::disk::LedgerTempDir, *};

#[test]
fn directory_is_private_and_locked_by_one_process() {
    use std::os::unix::fs::PermissionsExt;

    let folder = LedgerTempDir::new("directory");
    let directory = Directory::new(&folder.0).unwrap();
    assert!(directory.try_lock().unwrap());
    assert!(
        !Directory::new(&folder.0).unwrap().try_lock().unwrap(),
        "the other process has the lock"
    );
    let key = directory.stored_key().unwrap();
    assert_eq!(directory.stored_key().unwrap(), key, "the key is stored");
    let mode = |name: &str| fs::metadata(folder.0.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode(KEY), mode(LOCK)), (0o700, 0o600, 0o600));
    directory.create_new().unwrap();
    directory.replace_current().unwrap();
    fs::remove_file(folder.0.join(KEY)).unwrap();
    assert!(directory.stored_key().is_err(), "a new key would not open the ledger");
}
