use proptest::prelude::*;

use super::*;
use crate::qod::Moment;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    // A client that sends requests continuously gets at most the computed maximum.
    #[test]
    fn rate_admits_at_most_its_computed_maximum(
        count in prop::sample::select(vec![1, 2, 4, 5, 10, 20, 25, 50_u32]),
        burst in 1..=20_u32,
        seconds in 1..=4_u64,
    ) {
        let number = |number| NonZeroU32::new(number).unwrap();
        let rate = Rate::new(number(count), Duration::from_secs(1), number(burst)).unwrap();
        let clock = Clock::fixed(Moment::from_unix_s(1_000_000));
        let pacer = LimiterClock::new(clock.clone());
        let limiter = RateLimiter::direct_with_clock(rate.quota().unwrap(), pacer);
        let mut passed = 0;
        // Each cell is replenished on one of these steps.
        for _ in 0..=seconds * 100 {
            while limiter.check().is_ok() {
                passed += 1;
            }
            clock.advance(Duration::from_millis(10));
        }
        let max = rate.max_in(Duration::from_secs(seconds));
        prop_assert!(passed <= max && max <= passed + 1, "{passed} of {max}");
    }
}
