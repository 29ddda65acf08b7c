//! Where others ask who serves a device.

use super::{Folder, assert_fault};

const FIRST: &str = "schemas: ../schemas";

#[test]
fn a_finder_is_served_only_where_the_policies_say_so() {
    assert_eq!(Folder::new().load().unwrap().telco_finder, None);
    let folder = Folder::new();
    folder.change("gateway.yaml", FIRST, "telco_finder: { path: /finder/v1, scope: find }");
    let finder = folder.load().unwrap().telco_finder.unwrap();
    assert_eq!((&*finder.path, &*finder.scope), ("/finder/v1", "find"));
}

#[test]
fn what_is_no_finder_is_told() {
    let to = "telco_finder: { path: §/qod/v0, scope: find }";
    assert_fault("gateway.yaml", FIRST, to, "the path is taken by one of `apis`");
    let to = "telco_finder: §{ path: /finder/v1 }";
    assert_fault("gateway.yaml", FIRST, to, "");
    let to = "telco_finder: { path: §/finder/, scope: find }";
    assert_fault("gateway.yaml", FIRST, to, "expected a path such as `/qod/v0`");
    let to = "telco_finder: { path: /finder, scope: §\"a b\" }";
    assert_fault("gateway.yaml", FIRST, to, "expected a scope without spaces");
}
