//! Tests of reloads: which objects of the previous snapshot are reused.

use std::fs;

use super::{
    fuzz::{PROOF_KEY, PolicyFolderCopy, caller},
    *,
};

// Each operator, and whether its object was reused.
fn reused(before: &PolicySnapshot, after: &PolicySnapshot) -> Vec<(String, bool)> {
    let mut ids: Vec<&OperatorId> = after.fingerprint.operators().collect();
    ids.sort();
    let same = |id: &OperatorId| {
        let (one, other) = (before.operators.find(id).unwrap(), after.operators.find(id).unwrap());
        Arc::ptr_eq(one, other)
    };
    ids.into_iter().map(|id| (id.to_string(), same(id))).collect()
}

#[test]
fn unchanged_sections_reuse_their_objects() {
    let (folder, caller) = (PolicyFolderCopy::new("same"), caller());
    let first = folder.rules(&caller, None);
    folder.change("operators.yaml", "timeout: 5s", "timeout: 6s");
    let second = folder.rules(&caller, Some(&first));
    assert_ne!(first.fingerprint.version, second.fingerprint.version);
    assert!(Arc::ptr_eq(&first.dialects, &second.dialects));
    assert!(Arc::ptr_eq(&first.identity, &second.identity));
    let (same, others): (Vec<_>, Vec<_>) =
        reused(&first, &second).into_iter().partition(|(_, reused)| *reused);
    assert_eq!((same.len(), others.len()), (2, 1), "{same:?} {others:?}");

    // The operator's name of a profile is a setting of the operator, although it is in another file.
    folder.change("profiles.yaml", "telefonica-es: QOS_E", "telefonica-es: QOS_OTHER");
    let third = folder.rules(&caller, Some(&second));
    let changed: Vec<_> =
        reused(&second, &third).into_iter().filter(|(_, reused)| !reused).collect();
    assert_eq!(changed, [("telefonica-es".to_owned(), false)]);

    folder.change("clients.yaml", "token_cache_max: 100000", "token_cache_max: 7");
    let fourth = folder.rules(&caller, Some(&third));
    assert!(!Arc::ptr_eq(&third.identity, &fourth.identity));
    assert!(reused(&third, &fourth).iter().all(|(_, reused)| *reused));
    // The same bytes have the same version.
    assert_eq!(folder.rules(&caller, None).fingerprint.version, fourth.fingerprint.version);

    // The terms of a client are not part of its identity; its proof key is.
    folder.change("clients.yaml", "sessions_max: 20", "sessions_max: 21");
    let fifth = folder.rules(&caller, Some(&fourth));
    assert!(Arc::ptr_eq(&fourth.identity, &fifth.identity));
    fs::write(folder.0.join("client.pem"), PROOF_KEY).unwrap();
    let key = "sessions_max: 21\n    proof_key_file: client.pem";
    folder.change("clients.yaml", "sessions_max: 21", key);
    let sixth = folder.rules(&caller, Some(&fifth));
    assert!(!Arc::ptr_eq(&fifth.identity, &sixth.identity));
}

#[test]
fn settings_that_need_a_restart_are_reported_with_their_position() {
    let (folder, caller) = (PolicyFolderCopy::new("fixed"), caller());
    let first = folder.rules(&caller, None);
    assert_eq!(first.fingerprint.restart_errors(&folder.rules(&caller, None).fingerprint), []);
    let path = folder.0.join("gateway.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let line = text.lines().position(|line| line == "drain:").unwrap() + 1;
    folder.change("gateway.yaml", "grace: 30s", "grace: 31s");
    let faults = first.fingerprint.restart_errors(&folder.rules(&caller, None).fingerprint);
    let positions: Vec<_> = faults.iter().map(|fault| (fault.line, fault.column)).collect();
    assert_eq!(positions, [(u64::try_from(line).unwrap(), 1)], "{faults:?}");
}

#[test]
fn unchanged_finder_is_reused() {
    let (folder, caller) = (PolicyFolderCopy::new("finders"), caller());
    let finders = "finders:
  - { name: a, kind: network_id, url: \"https://a.example\" }
  - { name: b, kind: telco_finder, url: \"https://b.example\" }
";
    folder.change("routes.yaml", "routes:\n", &format!("{finders}routes:\n"));
    let reused = |before: &PolicySnapshot, after: &PolicySnapshot| {
        ["a", "b"].map(|name| {
            let finder =
                |rules: &PolicySnapshot| Arc::clone(rules.finders.get(&name.into()).unwrap());
            Arc::ptr_eq(&finder(before), &finder(after))
        })
    };
    let first = folder.rules(&caller, None);
    folder.change("routes.yaml", "{ number_prefix: \"+1\",", "{ number_prefix: \"+12\",");
    folder.change("operators.yaml", "timeout: 5s", "timeout: 6s");
    let second = folder.rules(&caller, Some(&first));
    assert_eq!(reused(&first, &second), [true, true]);
    folder.change("routes.yaml", "https://b.example", "https://c.example");
    let third = folder.rules(&caller, Some(&second));
    assert_eq!(reused(&second, &third), [true, false]);
}
