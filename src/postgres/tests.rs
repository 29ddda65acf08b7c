//! Statements against a real server: answers, errors, and servers that fail.

use std::{sync::Arc, time::Duration};

use tokio_postgres::types::{ToSql, Type};

use super::{
    Answer, Database, DatabaseError, DatabaseUrl, Settings, Statement,
    database::SettingsError,
    test_server::{self, Options, Server, USER},
};
use crate::{
    clock::Clock,
    metrics::Metrics,
    qod::Secret,
    reloadable::Reloadable,
    trace::{self, ActiveTrace, Recorder, RequestScope, SpanKind, SpanQueue},
};

mod failing_servers;
mod pooler;
mod tls;

fn database_with(settings: Settings) -> (Database, Metrics) {
    let metrics = Metrics::new().unwrap();
    (Database::new(settings, metrics.clone(), Clock::system()).unwrap(), metrics)
}

fn database_at(url: &str) -> Database {
    database_with(Settings::for_test(url, "qod")).0
}

fn statement(sql: &str) -> Statement {
    Statement::new("test", sql, "qod")
}

async fn query(database: &Database, sql: &str) -> Result<Answer, DatabaseError> {
    database.query(&statement(sql), &[]).await
}

fn message_of(result: Result<Answer, DatabaseError>) -> String {
    match result {
        Err(DatabaseError::Unavailable(message)) => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn statement_of_a_sampled_request_has_a_span() {
    let Some(server) = test_server::shared() else { return };
    let database = database_at(&server.url(USER));
    let queue = Arc::<SpanQueue>::default();
    let recorder = Arc::new(Recorder::new(Arc::clone(&queue), Clock::system()));
    let trace = Some(Box::new(ActiveTrace::of_request(None, Some(recorder))));
    trace::in_scope(RequestScope { correlator: None, trace }, async {
        query(&database, "SELECT 1").await.unwrap();
        query(&database, "SELECT 1/0").await.unwrap_err();
        let [first, failed] = &queue.take(9)[..] else { panic!() };
        assert_eq!((&*first.name, first.kind, first.is_error), ("test", SpanKind::Client, false));
        assert_eq!(first.parent, trace::current_span().map(|span| span.span_id));
        assert!(failed.is_error);
        assert!(failed.attributes.iter().any(|attribute| attribute.key == "error.type"));
    })
    .await;
}

#[tokio::test]
async fn statement_has_parameters_and_rows() {
    let Some(server) = test_server::shared() else { return };
    let (database, metrics) = database_with(Settings::for_test(&server.url(USER), "qod"));
    let sum = statement("SELECT $1 + $2, $3");
    let answer = database
        .query(&sum, &[(&1_i64, Type::INT8), (&2_i64, Type::INT8), (&&b"ab"[..], Type::BYTEA)])
        .await
        .unwrap();
    assert_eq!(answer.rows[0].get::<_, i64>(0), 3);
    assert_eq!(answer.rows[0].get::<_, &[u8]>(1), b"ab");
    assert!(!answer.repeated);
    assert_eq!(database.health(), Ok(()));
    let text = metrics.text();
    for line in [
        "qod_database_statement_duration_seconds_count{statement=\"test\"} 1",
        "qod_database_connection_wait_seconds_count 1",
        "qod_database_connections{state=\"open\"} 1",
        "qod_database_connections{state=\"in_use\"} 0",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

#[tokio::test]
async fn statement_is_prepared_once_and_again_after_a_change_of_its_function() {
    let Some(server) = test_server::shared() else { return };
    let test = server.create_database();
    server.sql(&test.name, "CREATE FUNCTION one() RETURNS TABLE (a int) LANGUAGE sql RETURN 1");
    for prepared_statements in [true, false] {
        let settings = Settings {
            connections_max: 1,
            prepared_statements,
            ..Settings::for_test(&test.url, "qod")
        };
        let (database, metrics) = database_with(settings);
        let one = statement("SELECT * FROM one()");
        for _ in 0..3 {
            database.query(&one, &[]).await.unwrap();
        }
        let prepared = query(&database, "SELECT count(*) FROM pg_prepared_statements").await;
        // This statement itself is the second one.
        let expected = if prepared_statements { 2_i64 } else { 0 };
        assert_eq!(prepared.unwrap().rows[0].get::<_, i64>(0), expected);
        server.sql(
            &test.name,
            "DROP FUNCTION one(); \
             CREATE FUNCTION one() RETURNS TABLE (a int, b int) LANGUAGE sql RETURN (1, 2)",
        );
        let answer = database.query(&one, &[]).await.unwrap();
        assert_eq!(answer.rows[0].len(), 2);
        let failed = "qod_database_failures_total{reason=\"statement_lost\"} 1";
        assert_eq!(metrics.text().contains(failed), prepared_statements, "{}", metrics.text());
        server.sql(
            &test.name,
            "DROP FUNCTION one(); CREATE FUNCTION one() RETURNS TABLE (a int) LANGUAGE sql RETURN 1",
        );
    }
}

#[tokio::test]
async fn connection_has_timeouts_and_generic_plans() {
    let Some(server) = test_server::shared() else { return };
    let database = database_at(&server.url(USER));
    for (name, value) in [
        ("statement_timeout", "2s"),
        ("lock_timeout", "1s"),
        ("idle_in_transaction_session_timeout", "2s"),
        ("plan_cache_mode", "force_generic_plan"),
        ("application_name", "qod-gateway"),
    ] {
        let answer = query(&database, &format!("SHOW {name}")).await.unwrap();
        assert_eq!(answer.rows[0].get::<_, &str>(0), value, "{name}");
    }
}

#[tokio::test]
async fn rejection_has_a_code_and_no_parameters() {
    let Some(server) = test_server::shared() else { return };
    let (database, metrics) = database_with(Settings::for_test(&server.url(USER), "qod"));
    let cast = statement("SELECT $1::text::bigint");
    let error = database.query(&cast, &[(&"tel:1234", Type::TEXT)]).await.unwrap_err();
    let DatabaseError::Rejected { code, message } = &error else { panic!("{error}") };
    assert_eq!(code, "22P02");
    assert!(!message.contains("1234"), "{message}");
    assert_eq!(database.health(), Ok(()), "the database answers");
    let error = query(&database, "SELECT {schema}.missing()").await.unwrap_err();
    assert!(matches!(&error, DatabaseError::Rejected { code, .. } if code == "3F000"), "{error}");
    assert!(database.health().unwrap_err().contains("schema"), "the schema is missing");
    let text = metrics.text();
    assert!(text.contains("qod_database_failures_total{reason=\"rejected\"} 2"), "{text}");
    assert!(
        text.contains("qod_database_connections{state=\"open\"} 1"),
        "it is used again: {text}"
    );
}

#[tokio::test]
async fn transient_rejection_is_repeated() {
    let Some(server) = test_server::shared() else { return };
    let test = server.create_database();
    server.sql(&test.name, "CREATE SEQUENCE attempts; GRANT ALL ON SEQUENCE attempts TO qod");
    // A sequence is not rolled back.
    server.sql(
        &test.name,
        "CREATE FUNCTION third() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN \
         IF nextval('attempts') < 3 THEN RAISE SQLSTATE '40001'; END IF; \
         RETURN 7; END $$",
    );
    let answer = query(&database_at(&test.url), "SELECT third()").await.unwrap();
    assert_eq!(answer.rows[0].get::<_, i64>(0), 7);
    assert!(!answer.repeated, "no earlier attempt was executed");
}

#[tokio::test]
async fn statement_that_is_too_slow_is_repeated_until_the_deadline() {
    let Some(server) = test_server::shared() else { return };
    let mut settings = Settings::for_test(&server.url(USER), "qod");
    settings.statement_timeout = Duration::from_millis(300);
    let (database, metrics) = database_with(settings);
    let clock = Clock::system();
    let started = clock.tick();
    let message = message_of(query(&database, "SELECT pg_sleep(5)").await);
    assert!(message.contains("57014"), "{message}");
    let elapsed = clock.elapsed(started);
    assert!(elapsed < database.deadline() + Duration::from_millis(300), "{elapsed:?}");
    assert!(database.health().is_err());
    assert!(metrics.text().contains("qod_database_failures_total{reason=\"timeout\"} "));
    query(&database, "SELECT 1").await.unwrap();
    assert_eq!(database.health(), Ok(()));
}

#[tokio::test]
async fn exhausted_pool_ends_at_the_deadline() {
    let Some(server) = test_server::shared() else { return };
    let mut settings = Settings::for_test(&server.url(USER), "qod");
    settings.connections_max = 1;
    settings.statement_timeout = Duration::from_millis(500);
    let (database, metrics) = database_with(settings);
    let holder = database.clone();
    let slow = tokio::spawn(async move { query(&holder, "SELECT pg_sleep(5)").await });
    tokio::task::yield_now().await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let database = database.clone();
        waiting.push(tokio::spawn(async move { query(&database, "SELECT pg_sleep(5)").await }));
    }
    for waiting in waiting {
        message_of(waiting.await.unwrap());
    }
    message_of(slow.await.unwrap());
    assert!(metrics.text().contains("reason=\"pool_exhausted\""), "{}", metrics.text());
    query(&database, "SELECT 1").await.unwrap();
}

#[tokio::test]
async fn dropped_statement_does_not_delay_the_next_one() {
    let Some(server) = test_server::shared() else { return };
    let mut settings = Settings::for_test(&server.url(USER), "qod");
    settings.connections_max = 1;
    let (database, _) = database_with(settings);
    query(&database, "SELECT 1").await.unwrap();
    let slow = statement("SELECT pg_sleep(1.5)");
    let dropped = database.query(&slow, &[]);
    assert!(tokio::time::timeout(Duration::from_millis(100), dropped).await.is_err());
    let clock = Clock::system();
    let started = clock.tick();
    query(&database, "SELECT 1").await.unwrap();
    assert!(clock.elapsed(started) < Duration::from_secs(1), "{:?}", clock.elapsed(started));
}

#[tokio::test]
async fn password_is_read_again_from_its_file() {
    let hba = vec![format!("host all {USER} 127.0.0.1/32 scram-sha-256")];
    let options = Options { hba, ..Options::default() };
    let Some(server) = Server::start_new(options) else { return };
    let at = |password: &str| {
        format!("postgresql://{USER}:{password}@127.0.0.1:{}/{USER}?sslmode=disable", server.port())
    };
    let message = message_of(query(&database_at(&at("wrong-password")), "SELECT 1").await);
    assert!(message.contains("password authentication failed"), "{message}");
    assert!(!message.contains("wrong-password"), "{message}");
    let none = message_of(query(&database_at(&server.url(USER)), "SELECT 1").await);
    assert!(none.contains("password"), "{none}");

    let file = server.socket_folder().join("url");
    std::fs::write(&file, at("wrong-password")).unwrap();
    let clock = Clock::fixed(crate::qod::Moment::from_unix_s(1_800_000_000));
    let mut settings = Settings::for_test(&at("wrong-password"), "qod");
    settings.url = Arc::new(Reloadable::from_file(file.clone(), DatabaseUrl::parse).unwrap());
    let database = Database::new(settings, Metrics::new().unwrap(), clock.clone()).unwrap();
    message_of(query(&database, "SELECT 1").await);
    std::fs::write(&file, at(test_server::PASSWORD)).unwrap();
    clock.advance(Duration::from_secs(10));
    query(&database, "SELECT 1").await.unwrap();
}

#[tokio::test]
async fn wrong_database_and_missing_server_are_named() {
    let Some(server) = test_server::shared() else { return };
    let message = message_of(query(&database_at(&server.url("nowhere")), "SELECT 1").await);
    assert!(message.contains("\"nowhere\" does not exist"), "{message}");
    let socket = server.socket_folder().display().to_string().replace('/', "%2F");
    let url = format!("postgresql://{USER}@{socket}:{}/{USER}", server.port());
    query(&database_at(&url), "SELECT 1").await.unwrap();
    let mut settings = Settings::for_test("postgresql://u:p4ss@127.0.0.1:1/d", "qod");
    settings.statement_timeout = Duration::from_millis(300);
    settings.url = Arc::new(Reloadable::fixed(
        DatabaseUrl::parse(&Secret::new("postgresql://u:p4ss@127.0.0.1:1/d?sslmode=disable"))
            .unwrap(),
    ));
    let message = message_of(query(&database_with(settings).0, "SELECT 1").await);
    assert!(message.contains("refused") && !message.contains("p4ss"), "{message}");
}

#[test]
fn settings_that_cannot_be_used_are_errors() {
    let settings = || Settings::for_test("postgresql://u@a/d", "qod");
    let error =
        |settings| Database::new(settings, Metrics::new().unwrap(), Clock::system()).unwrap_err();
    let schema = error(Settings { schema: "q d".into(), ..settings() });
    assert!(matches!(schema, SettingsError::Schema(_)));
    let connections = error(Settings { connections_max: 0, ..settings() });
    assert_eq!(connections, SettingsError::NoConnections);
    let timeout = error(Settings { statement_timeout: Duration::ZERO, ..settings() });
    assert_eq!(timeout, SettingsError::StatementTimeout);
    let database = Database::new(settings(), Metrics::new().unwrap(), Clock::system()).unwrap();
    assert_eq!(database.schema(), "qod");
    assert_eq!(database.health(), Ok(()));
}

#[test]
fn url_faults_are_named_without_the_url() {
    for (url, fault) in [
        ("http://u:p4ss@h/d", "postgresql://"),
        ("host=h password=p4ss", "visible ASCII"),
        ("postgresql://:p4ss@/d", "no host"),
        ("postgresql://h/d", "no user"),
        ("postgresql://u:p4ss@h", "no database"),
        ("postgresql://u:p4ss@h/d?sslmode=prefer", "sslmode"),
        ("postgresql://u:p4ss@h/d?sslmode=disable&sslmode=require", "several"),
        ("postgresql://u:p4ss@h/d?target_session_attrs=read-only", "read-write"),
        ("postgresql://u:p4ss@h/d?sslrootcert=p4ss", "unknown option `sslrootcert`"),
        ("postgresql://u:p4ss@h:x/d", "not valid"),
    ] {
        let error = DatabaseUrl::parse(&Secret::new(url)).unwrap_err();
        assert!(error.contains(fault), "{url}: {error}");
        assert!(!error.contains("p4ss"), "{error}");
    }
    let url = |text| DatabaseUrl::parse(&Secret::new(text)).unwrap();
    assert!(url("postgresql://u@a:1,b:2/d").uses_tls());
    assert!(url("postgresql://u@a,b/d?sslmode=verify-full").uses_tls());
    assert!(!url("postgresql://u@a/d?sslmode=disable").uses_tls());
    assert!(!url("postgresql://u@%2Frun%2Fpostgresql/d").uses_tls());
    let shown = format!("{:?}", Settings::for_test("postgresql://u:p4ss@a/d", "qod"));
    assert!(!shown.contains("p4ss"), "{shown}");
}
