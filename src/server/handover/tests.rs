use super::*;

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("qod-handover-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn unusable_socket_path_is_rejected() {
    let folder = folder("path");
    let file = folder.join("file");
    std::fs::write(&file, "content").unwrap();
    for (path, reason) in [
        (folder.join("x".repeat(108)), "107 bytes"),
        (folder.join("absent").join("socket"), "folder does not exist"),
        (file.join("socket"), "folder does not exist"),
        (file.clone(), "not a socket"),
    ] {
        let error = check_socket_path(&path).unwrap_err();
        assert!(error.contains(reason) && error.contains("upgrade socket"), "{error}");
        assert!(UpgradeSocket::bind(&path).is_err());
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "content");
    assert_eq!(check_socket_path(&folder.join("socket")), Ok(()));
    assert_eq!(check_socket_path(Path::new("socket")), Ok(()));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn socket_replaces_a_stale_one_and_is_private() {
    let folder = folder("stale");
    let path = folder.join("socket");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a process that was killed leaves its socket");
    let socket = UpgradeSocket::bind(&path).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    drop(socket);
    assert!(!path.exists());
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn connection_without_listeners_is_not_a_hand_over() {
    let (one, other) = BlockingStream::pair().unwrap();
    drop(other);
    assert!(receive_listeners(one).is_none());
    let (one, mut other) = BlockingStream::pair().unwrap();
    io::Write::write_all(&mut other, b"127.0.0.1:80").unwrap();
    assert!(receive_listeners(one).is_none());
}
