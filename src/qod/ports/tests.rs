use super::*;

fn set(ranges: &[(u16, u16)], ports: &[u16]) -> PortSet {
    let ranges = ranges.iter().map(|&(from, to)| PortRange { from, to }).collect();
    PortSet::of(Some(&PortsSpec { ranges, ports: ports.to_vec() }))
}

#[track_caller]
fn check(a: &PortSet, b: &PortSet, meet: bool) {
    assert_eq!(a.meets(b), meet);
    assert_eq!(b.meets(a), meet, "meeting is mutual");
}

#[test]
fn no_ports_named_means_every_port() {
    check(&PortSet::of(None), &PortSet::of(None), true);
    check(&PortSet::of(None), &set(&[], &[0]), true);
    check(&PortSet::of(None), &set(&[], &[65535]), true);
}

#[test]
fn ranges_meet_at_their_edges() {
    check(&set(&[(5010, 5020)], &[]), &set(&[(5020, 5030)], &[]), true);
    check(&set(&[(5010, 5020)], &[]), &set(&[(5021, 5030)], &[]), false);
    check(&set(&[(1, 2), (8, 9)], &[]), &set(&[(3, 7)], &[10]), false);
    check(&set(&[(1, 2), (8, 9)], &[]), &set(&[(3, 7)], &[9]), true);
}

#[test]
fn touching_intervals_become_one() {
    assert_eq!(set(&[(5, 6), (1, 2)], &[3, 4]).ranges(), &[PortRange { from: 1, to: 6 }]);
    assert_eq!(set(&[(0, 65535)], &[65535, 0]), PortSet::all());
}

#[test]
fn a_part_is_within_the_whole() {
    assert!(set(&[], &[5060]).within(&PortSet::all()));
    assert!(set(&[(2, 3)], &[9]).within(&set(&[(1, 4)], &[9])));
    assert!(!PortSet::all().within(&set(&[], &[5060])));
}
