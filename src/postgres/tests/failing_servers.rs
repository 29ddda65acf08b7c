//! Servers that stop, freeze, are read-only or are replaced by a standby.

use super::*;

/// The URL of two servers: the first host that accepts writes is used.
fn url_of(first: u16, second: u16) -> String {
    format!("postgresql://{USER}@127.0.0.1:{first},127.0.0.1:{second}/{USER}?sslmode=disable")
}

#[tokio::test(flavor = "multi_thread")]
async fn restart_in_the_middle_is_not_noticed() {
    let Some(server) = Server::start_new(Options::default()) else { return };
    let (database, metrics) = database_with(Settings::for_test(&server.url(USER), "qod"));
    query(&database, "SELECT 1").await.unwrap();
    // Idle connections are dead after the restart.
    server.stop(true);
    let pending = database.clone();
    let pending = tokio::spawn(async move { query(&pending, "SELECT 1").await });
    server.start();
    pending.await.unwrap().unwrap();
    // A statement that runs when the server stops may have been executed.
    let running = database.clone();
    let running = tokio::spawn(async move { query(&running, "SELECT pg_sleep(0.5)").await });
    let active = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%sleep(0.5)%' \
                  AND application_name = 'qod-gateway'";
    while server.sql("postgres", active) == "0" {
        tokio::task::yield_now().await;
    }
    server.stop(true);
    server.start();
    assert!(running.await.unwrap().unwrap().repeated);
    assert!(metrics.text().contains("reason=\"connection_lost\""), "{}", metrics.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn promoted_standby_is_used_after_the_primary_has_frozen() {
    let Some(primary) = Server::start_new(Options::default()) else { return };
    let standby = primary.synchronous_standby();
    let (database, _) = {
        let url = url_of(standby.port(), primary.port());
        let mut settings = Settings::for_test(&url, "qod");
        settings.statement_timeout = Duration::from_secs(4);
        database_with(settings)
    };
    // The first host is read-only.
    query(&database, "CREATE TABLE t (id bigint)").await.unwrap();
    let replicas = "SELECT count(*) FROM pg_stat_replication";
    assert_eq!(primary.sql("postgres", replicas), "1");
    primary.freeze();
    standby.promote();
    let answer = query(&database, "INSERT INTO t VALUES (1) RETURNING id").await.unwrap();
    assert!(answer.repeated, "the first attempt has no answer");
    assert_eq!(standby.sql(USER, "SELECT count(*) FROM t"), "1");
    primary.kill9();
}

#[tokio::test(flavor = "multi_thread")]
async fn commit_without_the_standby_is_unknown_and_not_cancelled() {
    let Some(primary) = Server::start_new(Options::default()) else { return };
    let standby = primary.synchronous_standby();
    let mut settings = Settings::for_test(&primary.url(USER), "qod");
    settings.statement_timeout = Duration::from_millis(500);
    let (database, _) = database_with(settings);
    query(&database, "CREATE TABLE t (id bigint PRIMARY KEY)").await.unwrap();
    standby.freeze_replication();
    let insert = "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING";
    message_of(query(&database, insert).await);
    assert_eq!(primary.sql(USER, "SELECT count(*) FROM t"), "0", "no commit was made visible");
    assert!(!primary.log().contains("synchronous replication"), "{}", primary.log());
    standby.thaw();
    query(&database, insert).await.unwrap();
    assert_eq!(primary.sql(USER, "SELECT count(*) FROM t"), "1");
}

#[tokio::test]
async fn read_only_server_is_refused_in_words() {
    let Some(server) = test_server::shared() else { return };
    let test = server.create_database();
    let mut settings = Settings::for_test(&test.url, "qod");
    settings.statement_timeout = Duration::from_millis(500);
    let (database, metrics) = database_with(settings);
    query(&database, "CREATE TABLE t (id bigint)").await.unwrap();
    let set = format!("ALTER DATABASE {} SET default_transaction_read_only = on", test.name);
    server.sql("postgres", &set);
    // The connection is as old as its settings.
    query(&database, "INSERT INTO t VALUES (1)").await.unwrap();
    query(&database, "SET default_transaction_read_only = on").await.unwrap();
    let message = message_of(query(&database, "INSERT INTO t VALUES (1)").await);
    assert!(message.contains("the server is read-only"), "{message}");
    assert!(metrics.text().contains("reason=\"read_only\"} 1"), "{}", metrics.text());
    server.sql("postgres", &set.replace("= on", "= off"));
    query(&database, "INSERT INTO t VALUES (1)").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_fail_early_during_an_outage_and_resume_after_it() {
    let Some(server) = Server::start_new(Options::default()) else { return };
    let mut settings = Settings::for_test(&server.url(USER), "qod");
    settings.connections_max = 1;
    settings.statement_timeout = Duration::from_millis(500);
    let clock = Clock::system();
    let (database, metrics) = database_with(settings);
    query(&database, "SELECT 1").await.unwrap();
    server.stop(true);
    // Two statements need the only connection for longer than the deadline.
    let started = clock.tick();
    while clock.elapsed(started) <= database.deadline() {
        message_of(query(&database, "SELECT 1").await);
    }
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let database = database.clone();
        waiting.push(tokio::spawn(async move { query(&database, "SELECT 1").await }));
    }
    let mut messages = Vec::new();
    for waiting in waiting {
        messages.push(message_of(waiting.await.unwrap()));
    }
    assert!(messages.iter().all(|message| message.contains("refused")), "{messages:#?}");
    assert!(metrics.text().contains("reason=\"pool_exhausted\""), "{}", metrics.text());
    server.start();
    while query(&database, "SELECT 1").await.is_err() {}
    assert_eq!(database.health(), Ok(()));
}

#[tokio::test]
async fn host_behind_many_that_do_not_answer_is_reached() {
    let Some(server) = test_server::shared() else { return };
    // They accept connections, and send nothing.
    let silent: Vec<std::net::TcpListener> =
        (0..6).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports = silent.iter().map(|host| host.local_addr().unwrap().port()).chain([server.port()]);
    let hosts = ports.map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",");
    let url = format!("postgresql://{USER}@{hosts}/{USER}?sslmode=disable");
    let mut settings = Settings::for_test(&url, "qod");
    settings.statement_timeout = Duration::from_millis(500);
    let (database, _) = database_with(settings);
    // One statement has the time for four hosts.
    let first = message_of(query(&database, "SELECT 1").await);
    assert!(first.contains("no answer in time"), "{first}");
    query(&database, "SELECT 1").await.unwrap();
}
