//! Tests of the Telco Finder API section.

use super::{PolicyFolder, assert_error};

const FIRST: &str = "schemas: ../schemas";

#[test]
fn telco_finder_is_served_only_if_configured() {
    assert_eq!(PolicyFolder::new().load().unwrap().telco_finder, None);
    let folder = PolicyFolder::new();
    folder.change("gateway.yaml", FIRST, "telco_finder: { path: /finder/v1, scope: find }");
    let finder = folder.load().unwrap().telco_finder.unwrap();
    assert_eq!((&*finder.path, &*finder.scope), ("/finder/v1", "find"));
}

#[test]
fn invalid_telco_finder_is_reported() {
    let to = "telco_finder: { path: §/qod/v0, scope: find }";
    assert_error("gateway.yaml", FIRST, to, "path already in use by one of `apis`");
    let to = "telco_finder: §{ path: /finder/v1 }";
    assert_error("gateway.yaml", FIRST, to, "");
    let to = "telco_finder: { path: §/finder/, scope: find }";
    assert_error("gateway.yaml", FIRST, to, "expected a path such as `/qod/v0`");
    let to = "telco_finder: { path: /finder, scope: §\"a b\" }";
    assert_error("gateway.yaml", FIRST, to, "expected a scope without spaces");
}
