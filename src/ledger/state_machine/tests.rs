mod check;

use super::*;

const REPORTS: [OperatorReport; 4] = [
    OperatorReport::Requested,
    OperatorReport::Available,
    OperatorReport::Terminated,
    OperatorReport::Expired,
];

/// All transitions.
fn all_transitions() -> Vec<Transition> {
    let with = |make: fn(OperatorReport) -> Transition| REPORTS.map(make);
    let mut all = vec![
        Transition::Release,
        Transition::MarkInDoubt,
        Transition::MarkFound,
        Transition::MarkAbsent,
        Transition::ObserveAbsent,
        Transition::BeginExtend,
        Transition::BeginDelete,
        Transition::FinishDelete,
        Transition::Expire,
        Transition::Deadline,
        Transition::Forget,
    ];
    all.extend(with(Transition::Confirm).into_iter().chain(with(Transition::Observe)));
    all.extend(with(Transition::FinishExtend));
    all
}

#[test]
fn every_state_is_reachable_and_can_end() {
    let mut reached = vec![SessionState::Pending];
    let mut at = 0;
    while let Some(&state) = reached.get(at) {
        for transition in all_transitions() {
            if let Some(TransitionResult::State(next)) = state.apply(transition)
                && !reached.contains(&next)
            {
                reached.push(next);
            }
        }
        at += 1;
    }
    reached.sort_unstable();
    assert_eq!(reached, SessionState::ALL);
    // Timeouts and deletes lead out of every state.
    for state in SessionState::ALL {
        let mut state = state;
        for _ in 0..4 {
            let next = [Transition::Expire, Transition::Deadline, Transition::BeginDelete]
                .into_iter()
                .find_map(|transition| state.apply(transition));
            match next {
                Some(TransitionResult::Removed) => break,
                Some(TransitionResult::State(next)) => state = next,
                None => panic!("{state:?} has no transition that ends it"),
            }
        }
        assert!(
            matches!(state.apply(Transition::Expire), Some(TransitionResult::Removed)),
            "{state:?}"
        );
    }
}

#[test]
fn uncertain_session_is_removed_only_by_certain_transitions() {
    for state in SessionState::ALL {
        for transition in all_transitions() {
            if state.apply(transition) == Some(TransitionResult::Removed) {
                let certain = match state {
                    SessionState::Pending => transition == Transition::Release,
                    SessionState::InDoubt => {
                        matches!(
                            transition,
                            Transition::MarkAbsent | Transition::Forget | Transition::Expire
                        )
                    }
                    SessionState::Releasing => {
                        matches!(transition, Transition::FinishDelete | Transition::Expire)
                    }
                    SessionState::Expired => transition == Transition::Expire,
                    SessionState::Requested
                    | SessionState::Available
                    | SessionState::Terminated => false,
                };
                assert!(certain, "{state:?} {transition:?}");
            }
        }
    }
}
