//! Errors of the folder itself and of files that are not regular, and hints for common mistakes.

use std::{os::unix::net::UnixListener, path::Path, process::Command};

use super::*;

fn folder_error(folder: &Path) -> String {
    let errors = load(folder).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(load_admin_target(folder).unwrap_err(), errors);
    errors[0].to_string()
}

#[test]
fn an_error_of_the_folder_is_reported_once() {
    let folder = PolicyFolder::new();
    let missing = folder.path("none");
    let error = folder_error(&missing);
    assert!(error.starts_with(&format!("{}: there is no such folder", missing.display())));
    assert!(error.contains("--policies DIR"), "{error}");

    let error = folder_error(&folder.path("gateway.yaml"));
    let expected = format!("name its folder, `{}`", folder.0.join("policies").display());
    assert!(error.ends_with(&expected) && error.contains("this is a file"), "{error}");

    let error = folder_error(&folder.0.join("schemas"));
    assert!(error.contains("contains no policy file"), "{error}");
}

#[test]
fn a_file_with_another_extension_is_named() {
    let folder = PolicyFolder::new();
    for file in ["routes", "dialects"] {
        let path = folder.path(&format!("{file}.yaml"));
        let _ = fs::remove_file(&path);
        fs::write(path.with_extension("yml"), "").unwrap();
    }
    let errors = folder.load().unwrap_err();
    for file in ["routes", "dialects"] {
        let expected = format!("rename `{file}.yml` to `{file}.yaml`");
        assert!(errors.iter().any(|error| error.ends_with(&expected)), "{errors:?}");
    }
}

#[test]
fn tests_with_the_extension_yml_are_loaded() {
    let folder = PolicyFolder::new();
    fs::create_dir(folder.path("tests")).unwrap();
    let text = fs::read_to_string(shipped().join("tests/shipped.yaml")).unwrap();
    for name in ["a.yml", "b.yaml", "c.YML"] {
        fs::write(folder.path("tests").join(name), &text).unwrap();
    }
    assert_eq!(load_policy_tests(&folder.load_with_sources()).unwrap().len(), 18);
}

#[test]
fn a_named_pipe_or_socket_in_place_of_a_file_is_an_error() {
    let make_pipe = |path: &Path| {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    for name in ["gateway.yaml", "routes.yaml", "dialects.yaml", "simulated.token"] {
        for is_pipe in [true, false] {
            let folder = PolicyFolder::new();
            let path = folder.path(name);
            let _ = fs::remove_file(&path);
            let _socket;
            if is_pipe {
                make_pipe(&path);
            } else {
                _socket = UnixListener::bind(&path).unwrap();
            }
            let errors = folder.load().unwrap_err();
            let found = errors.iter().any(|error| error.contains("it is not a regular file"));
            assert!(found, "{name}: {errors:?}");
        }
    }
    // A document that no dialect uses is only hashed.
    let folder = PolicyFolder::new();
    make_pipe(&folder.0.join("schemas/unused.yaml"));
    make_pipe(&folder.path("unused.yaml"));
    folder.load().unwrap();
    fs::create_dir(folder.path("tests")).unwrap();
    make_pipe(&folder.path("tests/pipe.yaml"));
    let errors = load_policy_tests(&folder.load_with_sources()).unwrap_err();
    assert!(errors[0].message.contains("it is not a regular file"), "{errors:?}");
}

#[test]
fn number_without_a_unit_is_reported_as_such() {
    let cases = [
        ("idle_timeout: 20s", "idle_timeout: §20", "a duration"),
        ("idle_timeout: 20s", "idle_timeout: §\"20\"", "a duration"),
        ("lame_duck: 5s", "lame_duck: §0", "a duration"),
        ("body_max: 64KiB", "body_max: §65536", "a size"),
    ];
    for (from, to, expected) in cases {
        assert_error("gateway.yaml", from, to, &format!("missing unit; expected {expected}"));
    }
    assert_error("clients.yaml", "rate: 60/m", "rate: §60", "missing unit; expected a rate");
    // Other values are not numbers with units.
    assert_error("gateway.yaml", "directory: ../ledger", "directory: §7", "expected the path");
}

#[test]
fn error_of_a_secret_file_names_the_file_and_the_fault() {
    let faults = [
        ("", "the secret is empty"),
        ("a\nb\n", "it has more than one line"),
        ("a\r\n\r\n", "it has more than one line"),
        ("\u{feff}a\n", "it begins with a byte order mark"),
        ("a b\n", "it contains a space or tab"),
        ("ä", "it contains a character other than visible ASCII"),
    ];
    for (text, expected) in faults {
        let folder = PolicyFolder::new();
        fs::write(folder.path("simulated.token"), text).unwrap();
        let errors = folder.load().unwrap_err();
        let first = &errors[0];
        assert!(first.contains(expected) && first.ends_with("/simulated.token`)"), "{errors:?}");
        assert!(first.starts_with("operators.yaml:"), "{errors:?}");
    }
    let folder = PolicyFolder::new();
    fs::write(folder.path("simulated.token"), [0xff, b'a']).unwrap();
    let errors = folder.load().unwrap_err();
    let expected = "simulated.token`: it is not valid UTF-8";
    assert!(errors[0].contains("failed to read `") && errors[0].ends_with(expected), "{errors:?}");
}

#[test]
fn the_place_of_a_listener_is_found() {
    let folder = PolicyFolder::new();
    let policies = folder.0.join("policies");
    let locate = |text: &str| locate_listener(&policies, text.parse().unwrap());
    let text = fs::read_to_string(folder.path("gateway.yaml")).unwrap();
    for address in ["127.0.0.1:8080", "127.0.0.1:9090", "127.0.0.1:8081"] {
        let line = text.lines().position(|line| line.contains(&format!("address: {address}")));
        let place = format!("{}:{}:", folder.path("gateway.yaml").display(), line.unwrap() + 1);
        assert!(locate(address).unwrap().starts_with(&place), "{address}");
    }
    assert_eq!(locate("127.0.0.1:8082"), None);
}
