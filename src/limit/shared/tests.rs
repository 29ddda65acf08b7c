//! Shared limits on a real server.

use std::num::NonZeroU32;

use tokio::task::JoinSet;
use tokio_postgres::types::ToSql;

use super::{
    super::{
        LimitScope, LimiterEntry, Limits, NotAdmitted, Settings,
        leased::tests::{ModelBucket, rate},
    },
    *,
};
use crate::{
    clock::Tick,
    postgres::{self, test_schema::TestSchema},
    qod::ClientId,
};

fn replica_on(schema: &TestSchema) -> SharedLimits {
    shared_limits(schema.database())
}

fn shared_limits(database: Database) -> SharedLimits {
    SharedLimits::new(database, KeyedHash::new([1; 32]), Clock::system(), Metrics::new().unwrap())
}

fn missing_database() -> Database {
    let settings = postgres::Settings::for_test("postgresql://qod@127.0.0.1:1/qod", "qod");
    Database::new(settings, Metrics::new().unwrap(), Clock::system()).unwrap()
}

async fn admitted_of(shared: &SharedLimits, cells: &Arc<LeasedCells>, requests: u32) -> u32 {
    let mut admitted = 0;
    for _ in 0..requests {
        admitted += u32::from(shared.take(cells, LimitFallback::Refuse).await.is_ok());
    }
    admitted
}

/// The number of checks with this source of the answer.
fn answered_by(metrics: &Metrics, answer: &str) -> u32 {
    let name = format!("qod_shared_limit_checks_total{{answer=\"{answer}\"}} ");
    let text = metrics.text();
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn replicas_use_one_bucket() {
    let Some(schema) = TestSchema::new() else { return };
    let (a, b) = (replica_on(&schema), replica_on(&schema));
    let limit = Rate::new(NonZeroU32::MIN, Duration::from_hours(1), NonZeroU32::new(8).unwrap());
    let limit = limit.unwrap();
    let (at_a, at_b) = (a.cells("client", "app", limit), b.cells("client", "app", limit));
    assert_eq!(admitted_of(&a, &at_a, 5).await, 5);
    // The cells that `a` has leased and not used are not there for `b`.
    let rest = admitted_of(&b, &at_b, 5).await;
    assert!((1..=3).contains(&rest), "{rest}");
    let denial = b.take(&at_b, LimitFallback::Allow).await.unwrap_err();
    let Denial::Exceeded(wait) = denial else { panic!("{denial:?}") };
    assert!(wait > Duration::from_mins(50) && wait <= Duration::from_hours(1), "{wait:?}");
    // Another limit with the same name has a bucket of its own.
    let other = b.cells("operator", "app", limit);
    assert_eq!(b.take(&other, LimitFallback::Refuse).await, Ok(()));
}

#[tokio::test]
async fn concurrent_replicas_admit_at_most_the_limit() {
    const REPLICAS: usize = 4;
    const TASKS: usize = 8;
    let Some(schema) = TestSchema::new() else { return };
    let limit = rate(200, 100);
    let clock = Clock::system();
    let started = clock.tick();
    let mut tasks = JoinSet::new();
    for _ in 0..REPLICAS {
        let replica = replica_on(&schema);
        let cells = replica.cells("client", "app", limit);
        for _ in 0..TASKS {
            let (replica, cells, clock) = (replica.clone(), Arc::clone(&cells), clock.clone());
            tasks.spawn(async move {
                let mut admitted = Vec::new();
                while clock.elapsed(started) < Duration::from_secs(2) {
                    match replica.take(&cells, LimitFallback::Refuse).await {
                        Ok(()) => admitted.push(clock.tick()),
                        Err(Denial::Exceeded(wait)) => {
                            tokio::time::sleep(wait.min(Duration::from_millis(20))).await;
                        }
                        Err(Denial::Unavailable) => tokio::task::yield_now().await,
                    }
                }
                admitted
            });
        }
    }
    let mut admitted: Vec<Tick> = tasks.join_all().await.concat();
    admitted.sort_unstable();
    // Each window that starts with an admission: at most the burst, and what the rate replenishes. An
    // admission may be recorded late, but not early.
    let late = Duration::from_millis(100);
    for (index, first) in admitted.iter().enumerate().step_by(10) {
        for (count, last) in (1_u64..).zip(admitted.iter().skip(index)).step_by(10) {
            let max = limit.max_in(last.since(*first) + late);
            assert!(count <= max, "{count} in {:?}, {max} allowed", last.since(*first));
        }
    }
    let total = u64::try_from(admitted.len()).unwrap();
    let (max, elapsed) = (limit.max_in(clock.elapsed(started)), clock.elapsed(started));
    assert!(total <= max, "{total} in {elapsed:?}, {max} allowed");
    // Slow machines lose leases.
    assert!(total > max / 5, "{total} in {elapsed:?}, {max} allowed");
}

#[tokio::test]
async fn most_requests_at_a_steady_rate_need_no_call() {
    let Some(schema) = TestSchema::new() else { return };
    let metrics = Metrics::new().unwrap();
    let (database, clock) = (schema.database(), Clock::system());
    let shared = SharedLimits::new(database, KeyedHash::new([1; 32]), clock, metrics.clone());
    let cells = shared.cells("client", "app", rate(1000, 1000));
    for _ in 0..400 {
        assert_eq!(shared.take(&cells, LimitFallback::Refuse).await, Ok(()));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let count = |answer: &str| answered_by(&metrics, answer);
    let text = metrics.text();
    assert_eq!(count("lease") + count("database"), 400, "{text}");
    assert!(count("database") < 80, "{text}");
}

#[tokio::test]
async fn database_that_is_away_leaves_the_choice_to_the_policies() {
    let shared = shared_limits(missing_database());
    shared.0.replicas.store(2, Ordering::Relaxed);
    let cells = |name| shared.cells("client", name, rate(1, 20));
    let clock = Clock::system();
    let started = clock.tick();
    let (a, b, c) = (cells("a"), cells("b"), cells("c"));
    assert_eq!(shared.take(&a, LimitFallback::Refuse).await, Err(Denial::Unavailable));
    let mut admitted = 0;
    for _ in 0..20 {
        admitted += u32::from(shared.take(&b, LimitFallback::LocalShare).await.is_ok());
        assert_eq!(shared.take(&c, LimitFallback::Allow).await, Ok(()));
    }
    assert_eq!(admitted, 10, "half of the limit");
    let Err(Denial::Exceeded(wait)) = shared.take(&b, LimitFallback::LocalShare).await else {
        panic!("the share is used");
    };
    assert!(wait <= Duration::from_secs(2), "{wait:?}");
    // Only the first one waits.
    assert!(clock.elapsed(started) < WAIT_MAX * 15, "{:?}", clock.elapsed(started));
}

#[tokio::test]
async fn slow_database_delays_a_request_for_a_bounded_time() {
    let Some(schema) = TestSchema::new() else { return };
    let shared = replica_on(&schema);
    let cells = shared.cells("client", "app", rate(10, 20));
    schema.delay(0.4);
    let clock = Clock::system();
    let started = clock.tick();
    assert_eq!(shared.take(&cells, LimitFallback::Refuse).await, Err(Denial::Unavailable));
    let first = clock.elapsed(started);
    assert!(first >= WAIT_MAX && first < WAIT_MAX * 10, "{first:?}");
    for _ in 0..100 {
        assert_eq!(shared.take(&cells, LimitFallback::Allow).await, Ok(()));
    }
    // Only the first one waits.
    assert!(clock.elapsed(started) < WAIT_MAX * 20, "{:?}", clock.elapsed(started));
    schema.delay(0.0);
    while shared.take(&cells, LimitFallback::Refuse).await.is_err() {
        assert!(clock.elapsed(started) < Duration::from_secs(20), "the limit is not used again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn replicas_that_are_alive_are_counted() {
    let Some(schema) = TestSchema::new() else { return };
    for lease in ["now() + interval '1 minute'", "now() + interval '1 minute'", "now()"] {
        schema.sql(&format!(
            "INSERT INTO {{schema}}.replica (id, host, version, policy_version, started_at, seen_at, lease_until) \
             VALUES (gen_random_uuid(), '', '', '', 0, 0, (extract(epoch FROM {lease}) * 1000)::bigint)"
        ));
    }
    let shared = replica_on(&schema);
    let cells = shared.cells("client", "app", rate(10, 20));
    assert_eq!(shared.take(&cells, LimitFallback::Refuse).await, Ok(()));
    assert_eq!(shared.0.replicas.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn full_buckets_are_removed() {
    let Some(schema) = TestSchema::new() else { return };
    let shared = replica_on(&schema);
    let second = Duration::from_secs(1);
    let slow = Rate::new(NonZeroU32::MIN, second * 3600, NonZeroU32::MIN).unwrap();
    for (name, rate) in [("fast", rate(1000, 1000)), ("slow", slow)] {
        let cells = shared.cells("client", name, rate);
        assert_eq!(shared.take(&cells, LimitFallback::Refuse).await, Ok(()));
    }
    let rows = || schema.sql("SELECT count(*) FROM {schema}.limit_bucket");
    assert_eq!(rows(), "2");
    let clock = Clock::system();
    let started = clock.tick();
    while rows() != "1" {
        shared.0.prune().await;
        assert!(clock.elapsed(started) < Duration::from_secs(20));
    }
    assert_eq!(shared.0.pruned_to.load(Ordering::Relaxed) == i64::MIN, rows() == "0");
    // The next call starts again.
    shared.0.prune().await;
    shared.0.prune().await;
    assert_eq!(rows(), "1");
}

/// The SQL function and the model of the simulation are equal.
#[tokio::test]
async fn bucket_behaves_like_the_model() {
    let Some(schema) = TestSchema::new() else { return };
    schema.sql(
        "CREATE TABLE {schema}.test_clock (now bigint); INSERT INTO {schema}.test_clock VALUES (0); \
         GRANT ALL ON {schema}.test_clock TO public; \
         CREATE OR REPLACE FUNCTION {schema}.ledger_now() RETURNS bigint LANGUAGE sql VOLATILE \
         RETURN (SELECT now FROM {schema}.test_clock)",
    );
    let shared = replica_on(&schema);
    let set_clock =
        Statement::new("set_clock", "UPDATE {schema}.test_clock SET now = $1", &schema.schema);
    let cells = [rate(100, 20), rate(1000, 50), rate(1, 3), rate(10, 10)];
    let cells: Vec<_> = (1..).zip(cells).map(|(key, rate)| LeasedCells::new(key, rate)).collect();
    let mut models: Vec<_> = cells.iter().map(|_| ModelBucket::default()).collect();
    let mut now: i64 = 1_800_000_000_000;
    let mut random: u64 = 42;
    let mut next = |below: u64| {
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((random >> 33) % below).unwrap()
    };
    let (mut granted, mut denied) = (0, 0);
    for _ in 0..1500 {
        now += if next(20) == 0 { next(3000) - 500 } else { next(40) };
        let parameters: &[(&(dyn ToSql + Sync), Type)] = &[(&now, Type::INT8)];
        shared.0.database.query(&set_clock, parameters).await.unwrap();
        let mut requests: Vec<_> =
            cells.iter().map(|cells| cells.request(Tick::default())).collect();
        for request in &mut requests {
            request.wanted = 1 + i32::try_from(next(8)).unwrap();
        }
        let answers = shared.0.lease_cells(&requests).await.unwrap();
        for (number, (request, model)) in (1..).zip(requests.iter().zip(&mut models)) {
            let expected = model.lease(*request, now);
            assert_eq!(answers.get(&number), Some(&expected), "{request:?} at {now}: {model:?}");
            granted += expected.granted;
            denied += u32::from(expected.granted == 0);
        }
    }
    assert!(granted > 1000 && denied > 300, "{granted} {denied}");
}

#[tokio::test]
async fn limits_are_shared_if_the_policies_want_it() {
    let Some(schema) = TestSchema::new() else { return };
    let client = ClientId::from("app");
    let limits = |scope, previous: Option<&Limits>| {
        let settings = Settings {
            clients: [(client.clone(), rate(1, 3))].into(),
            device: Some(rate(1, 3)),
            device_keys_max: 64,
            scope,
            ..Settings::default()
        };
        Limits::new(settings, Clock::system(), Metrics::new().unwrap(), previous)
    };
    let entry = |limits: &Limits| -> LimiterEntry { limits.clients.get(&client).unwrap().clone() };
    let shared = LimitScope::Shared(LimitFallback::Refuse);
    let (mut a, mut b) = (limits(shared, None), limits(shared, None));
    a.share(replica_on(&schema));
    b.share(replica_on(&schema));
    let mut admitted = 0;
    for _ in 0..3 {
        admitted += u32::from(a.check("client", &entry(&a)).await.is_ok());
        admitted += u32::from(b.check("client", &entry(&b)).await.is_ok());
    }
    assert!(admitted <= 3, "{admitted}");
    let refused = a.check("client", &entry(&a)).await;
    let Err(NotAdmitted::Exceeded(exceeded)) = refused else { panic!("{refused:?}") };
    assert_eq!((exceeded.pace.quota, exceeded.pace.remaining), (3, 0));
    assert_eq!(exceeded.pace.window, Duration::from_secs(3));
    assert_eq!(exceeded.pace.retry_after, Duration::from_secs(1));
    // A reload keeps the connection and the leases.
    let reloaded = limits(shared, Some(&b));
    assert!(reloaded.check("client", &entry(&reloaded)).await.is_err());
    reloaded.shrink();
    let local = limits(LimitScope::Local, Some(&b));
    assert_eq!(local.check("client", &entry(&local)).await, Ok(()));
    // Without a database, the limits are those of the process.
    let alone = limits(shared, None);
    assert_eq!(alone.check("client", &entry(&alone)).await, Ok(()));
}

/// `cargo test --release --lib -- --ignored --nocapture --test-threads 1 cost_of_a_shared_limit`
#[tokio::test]
#[ignore = "prints a measurement"]
#[expect(clippy::print_stdout, reason = "prints measurements")]
async fn cost_of_a_shared_limit() {
    let Some(schema) = TestSchema::new() else { return };
    let (client, clock) = (ClientId::from("app"), Clock::system());
    for scope in [LimitScope::Local, LimitScope::Shared(LimitFallback::Refuse)] {
        let clients = [(client.clone(), rate(1_000_000, 1_000_000))].into();
        let settings = Settings { clients, scope, ..Settings::default() };
        let mut limits = Limits::new(settings, Clock::system(), Metrics::new().unwrap(), None);
        limits.share(replica_on(&schema));
        let entry = limits.clients.get(&client).unwrap();
        let mut best = Duration::MAX;
        for _ in 0..20 {
            // From here on there is a lease.
            for _ in 0..1000 {
                assert_eq!(limits.check("client", entry).await, Ok(()));
            }
            let started = clock.tick();
            for _ in 0..1000 {
                assert_eq!(limits.check("client", entry).await, Ok(()));
            }
            best = best.min(clock.elapsed(started) / 1000);
        }
        println!("{scope:?}: {} ns a check", best.as_nanos());
    }
    let shared = replica_on(&schema);
    let request = LeasedCells::new(1, rate(1_000_000, 1_000_000)).request(Tick::default());
    let started = clock.tick();
    for _ in 0..1000 {
        shared.0.lease_cells(&[request]).await.unwrap();
    }
    println!("{} us a call", clock.elapsed(started).as_micros() / 1000);
    for count in [100, 1000, 10_000] {
        let metrics = Metrics::new().unwrap();
        let database = schema.database();
        let shared =
            SharedLimits::new(database, KeyedHash::new([1; 32]), clock.clone(), metrics.clone());
        let cells = shared.cells("client", &count.to_string(), rate(count, count));
        // Four fifths of the limit.
        let mut ticks = tokio::time::interval(Duration::from_millis(25));
        for _ in 0..120 {
            ticks.tick().await;
            for _ in 0..count / 50 {
                assert_eq!(shared.take(&cells, LimitFallback::Refuse).await, Ok(()));
            }
        }
        let (lease, waited) = (answered_by(&metrics, "lease"), answered_by(&metrics, "database"));
        let share = f64::from(waited) / f64::from(lease + waited) * 100.0;
        println!("{count} a second: {share:.1} % of the requests wait for a call");
    }
}
