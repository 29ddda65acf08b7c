use super::*;

const TOLD: [Told; 4] = [Told::Requested, Told::Available, Told::Terminated, Told::Expired];

/// All that there can be.
pub(super) fn moves() -> Vec<Move> {
    let with = |make: fn(Told) -> Move| TOLD.map(make);
    let mut all = vec![
        Move::Release,
        Move::Doubt,
        Move::Find,
        Move::Absent,
        Move::BeginExtend,
        Move::BeginDelete,
        Move::End,
        Move::Lapse,
        Move::Deadline,
        Move::Forget,
    ];
    all.extend(with(Move::Confirm).into_iter().chain(with(Move::Observe)));
    all.extend(with(Move::EndExtend));
    all
}

#[test]
fn every_state_is_reached_and_every_state_ends() {
    let mut reached = vec![State::Pending];
    let mut at = 0;
    while let Some(&state) = reached.get(at) {
        for step in moves() {
            if let Some(Next::State(next)) = state.after(step)
                && !reached.contains(&next)
            {
                reached.push(next);
            }
        }
        at += 1;
    }
    reached.sort_unstable();
    assert_eq!(reached, State::ALL);
    // Time alone, and a delete, lead out of everything.
    for state in State::ALL {
        let mut state = state;
        for _ in 0..4 {
            let next = [Move::Lapse, Move::Deadline, Move::BeginDelete]
                .into_iter()
                .find_map(|step| state.after(step));
            match next {
                Some(Next::Free) => break,
                Some(Next::State(next)) => state = next,
                None => panic!("{state:?} ends by nothing"),
            }
        }
        assert!(matches!(state.after(Move::Lapse), Some(Next::Free)), "{state:?}");
    }
}

#[test]
fn what_is_uncertain_is_freed_by_certainty_only() {
    for state in State::ALL {
        for step in moves() {
            if state.after(step) == Some(Next::Free) {
                let certain = match state {
                    State::Pending => step == Move::Release,
                    State::InDoubt => matches!(step, Move::Absent | Move::Forget | Move::Lapse),
                    State::Releasing => matches!(step, Move::End | Move::Lapse),
                    State::Expired => step == Move::Lapse,
                    State::Requested | State::Available | State::Terminated => false,
                };
                assert!(certain, "{state:?} {step:?}");
            }
        }
    }
}
