//! Used proofs of several replicas on a real server.

use tokio::task::JoinSet;
use tokio_postgres::types::ToSql;

use super::*;
use crate::{
    clock::Clock,
    identity::{
        proof::{ProofError, VerifiedProof},
        replay::ReplayCache,
    },
    postgres::{Settings, test_schema::TestSchema},
    qod::ClientId,
};

fn replica_on(schema: &TestSchema) -> (ReplayCache, Metrics) {
    replica_with(schema.database())
}

fn replica_with(database: Database) -> (ReplayCache, Metrics) {
    let (cache, metrics) = (ReplayCache::default(), Metrics::new().unwrap());
    cache.share(SharedReplays::new(database, KeyedHash::new([1; 32]), metrics.clone()));
    (cache, metrics)
}

async fn accept(cache: &ReplayCache, client: &str, id: &str) -> Result<(), ProofError> {
    accept_or(cache, client, id, ReplayFallback::Refuse).await
}

async fn accept_or(
    cache: &ReplayCache,
    client: &str,
    id: &str,
    fallback: ReplayFallback,
) -> Result<(), ProofError> {
    let clock = Clock::system();
    let until = clock.now() + Duration::from_mins(1);
    let proof = VerifiedProof { id: id.into(), until };
    cache.accept(&ClientId::from(client), &proof, fallback, &clock).await
}

#[tokio::test]
async fn proof_is_accepted_once_by_all_replicas() {
    let Some(schema) = TestSchema::new() else { return };
    let ((a, metrics), (b, _)) = (replica_on(&schema), replica_on(&schema));
    assert_eq!(accept(&a, "app", "1").await, Ok(()));
    assert_eq!(accept(&b, "app", "1").await, Err(ProofError::Replayed));
    assert_eq!(accept(&b, "app", "2").await, Ok(()));
    assert_eq!(accept(&b, "other", "1").await, Ok(()), "ids are separate for each client");
    // A replay at the same replica needs no call.
    for _ in 0..5 {
        assert_eq!(accept(&a, "app", "1").await, Err(ProofError::Replayed));
    }
    let text = metrics.text();
    assert!(text.contains("qod_shared_proof_checks_total{answer=\"first_use\"} 1"), "{text}");
    assert!(!text.contains("answer=\"replayed\""), "{text}");
    // Nothing readable is stored.
    let rows = format!("SELECT proof, used_by FROM {}.used_proof", schema.schema);
    assert_eq!(schema.sql(&rows).lines().count(), 3);
}

#[tokio::test]
async fn concurrent_uses_at_several_replicas_accept_exactly_one() {
    const PROOFS: usize = 200;
    let Some(schema) = TestSchema::new() else { return };
    let mut tasks = JoinSet::new();
    for _ in 0..3 {
        let cache = Arc::new(replica_on(&schema).0);
        for proof in 0..PROOFS {
            let cache = Arc::clone(&cache);
            tasks.spawn(async move { (proof, accept(&cache, "app", &proof.to_string()).await) });
        }
    }
    let mut accepted = vec![0; PROOFS];
    for (proof, result) in tasks.join_all().await {
        match result {
            Ok(()) => accepted[proof] += 1,
            Err(error) => assert_eq!(error, ProofError::Replayed),
        }
    }
    assert_eq!(accepted, [1; PROOFS]);
}

#[tokio::test]
async fn repeated_statement_is_no_second_use() {
    let Some(schema) = TestSchema::new() else { return };
    let shared =
        SharedReplays::new(schema.database(), KeyedHash::new([1; 32]), Metrics::new().unwrap());
    let check = |proof: u128, used_by: u128, kept| ProofUse {
        proof: Uuid::from_u128(proof),
        used_by: Uuid::from_u128(used_by),
        kept,
        answer: oneshot::channel().0,
    };
    let minute = Duration::from_mins(1);
    let first = [check(1, 11, minute), check(2, 12, minute), check(2, 13, minute)];
    let uses = shared.0.use_proofs(&first).await.unwrap();
    assert_eq!(uses.len(), 2, "one use of each proof");
    let mut repeated = shared.0.use_proofs(&first[..2]).await.unwrap();
    repeated.retain(|use_id| uses.contains(use_id));
    assert!(repeated.contains(&Uuid::from_u128(11)));
    assert!(shared.0.use_proofs(&[check(1, 14, minute)]).await.unwrap().is_empty());
}

#[tokio::test]
async fn expired_proofs_are_removed() {
    let Some(schema) = TestSchema::new() else { return };
    let database = schema.database();
    let shared =
        SharedReplays::new(database.clone(), KeyedHash::new([1; 32]), Metrics::new().unwrap());
    let add = Statement::new(
        "add",
        "INSERT INTO {schema}.used_proof SELECT gen_random_uuid(), gen_random_uuid(), $1 \
         FROM generate_series(1, 1500)",
        &schema.schema,
    );
    let parameters: &[(&(dyn ToSql + Sync), Type)] = &[(&1_i64, Type::INT8)];
    database.query(&add, parameters).await.unwrap();
    let rows = format!("SELECT count(*) FROM {}.used_proof", schema.schema);
    for left in ["477", "2", "3"] {
        let used = shared.use_proof(left.as_bytes(), Duration::from_mins(1)).await;
        assert_eq!(used, SharedUse::First);
        assert_eq!(schema.sql(&rows), left);
    }
}

#[tokio::test]
async fn database_that_is_away_leaves_the_choice_to_the_policies() {
    let settings = Settings::for_test("postgresql://qod@127.0.0.1:1/qod", "qod");
    let database = Database::new(settings, Metrics::new().unwrap(), Clock::system()).unwrap();
    let (cache, metrics) = replica_with(database);
    let clock = Clock::system();
    let started = clock.tick();
    let unavailable = Err(ProofError::ReplayCheckUnavailable);
    assert_eq!(accept(&cache, "app", "1").await, unavailable);
    assert_eq!(accept(&cache, "app", "2").await, unavailable);
    assert_eq!(accept_or(&cache, "app", "3", ReplayFallback::Allow).await, Ok(()));
    let replayed = accept_or(&cache, "app", "3", ReplayFallback::Allow).await;
    assert_eq!(replayed, Err(ProofError::Replayed), "this replica remembers it");
    // Only the first one waits.
    assert!(clock.elapsed(started) < WAIT_MAX * 2, "{:?}", clock.elapsed(started));
    assert!(metrics.text().contains("answer=\"unknown\"} 3"), "{}", metrics.text());
}

#[tokio::test]
async fn database_that_returns_is_used_again() {
    let Some(schema) = TestSchema::new() else { return };
    let (cache, _) = replica_on(&schema);
    let function = |body: &str| {
        let name = &schema.schema;
        let sql = format!(
            "CREATE OR REPLACE FUNCTION {name}.ledger_now() RETURNS bigint LANGUAGE plpgsql AS $$ \
             BEGIN {body} RETURN (extract(epoch FROM clock_timestamp()) * 1000)::bigint; END $$"
        );
        schema.sql(&sql);
    };
    function("RAISE SQLSTATE '53300';");
    assert_eq!(accept(&cache, "app", "1").await, Err(ProofError::ReplayCheckUnavailable));
    function("");
    let clock = Clock::system();
    let started = clock.tick();
    let mut id = 2;
    while accept(&cache, "app", &id.to_string()).await.is_err() {
        id += 1;
        assert!(clock.elapsed(started) < Duration::from_secs(20), "proofs are not accepted again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
