use super::*;

fn set(ranges: &[(u16, u16)], ports: &[u16]) -> PortSet {
    let ranges = ranges.iter().map(|&(from, to)| PortRange { from, to }).collect();
    PortSet::from_optional_spec(Some(&PortsSpec { ranges, ports: ports.to_vec() }))
}

#[track_caller]
fn check(a: &PortSet, b: &PortSet, overlap: bool) {
    assert_eq!(a.overlaps(b), overlap);
    assert_eq!(b.overlaps(a), overlap, "overlap is symmetric");
}

#[test]
fn absent_list_means_all_ports() {
    check(&PortSet::from_optional_spec(None), &PortSet::from_optional_spec(None), true);
    check(&PortSet::from_optional_spec(None), &set(&[], &[0]), true);
    check(&PortSet::from_optional_spec(None), &set(&[], &[65535]), true);
}

#[test]
fn ranges_overlap_at_their_ends() {
    check(&set(&[(5010, 5020)], &[]), &set(&[(5020, 5030)], &[]), true);
    check(&set(&[(5010, 5020)], &[]), &set(&[(5021, 5030)], &[]), false);
    check(&set(&[(1, 2), (8, 9)], &[]), &set(&[(3, 7)], &[10]), false);
    check(&set(&[(1, 2), (8, 9)], &[]), &set(&[(3, 7)], &[9]), true);
}

#[test]
fn touching_ranges_are_merged() {
    assert_eq!(set(&[(5, 6), (1, 2)], &[3, 4]).ranges(), &[PortRange { from: 1, to: 6 }]);
    assert_eq!(set(&[(0, 65535)], &[65535, 0]), PortSet::all());
}

#[test]
fn subset_is_recognized() {
    assert!(set(&[], &[5060]).is_subset(&PortSet::all()));
    assert!(set(&[(2, 3)], &[9]).is_subset(&set(&[(1, 4)], &[9])));
    assert!(!PortSet::all().is_subset(&set(&[], &[5060])));
}
