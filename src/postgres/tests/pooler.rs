//! A pooler between the gateway and the server that pools by transaction.

use super::*;
use crate::postgres::{check_schema_version, migrate, test_pooler::Pooler};

const TASKS: i64 = 8;
const STATEMENTS: i64 = 25;

#[tokio::test(flavor = "multi_thread")]
async fn statements_and_migrations_work_through_a_pooler() {
    let Some(server) = test_server::shared() else { return };
    let Some(pooler) = Pooler::start(server.port(), USER) else { return };
    let test = server.create_database();
    let url =
        format!("postgresql://{USER}@127.0.0.1:{}/{}?sslmode=disable", pooler.port, test.name);
    let settings = Settings {
        connections_max: 6,
        prepared_statements: false,
        ..Settings::for_test(&url, "qod")
    };
    let (database, metrics) = database_with(settings);
    assert!(!migrate(&database).await.unwrap().is_empty());
    check_schema_version(&database).await.unwrap();
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let database = database.clone();
        tasks.push(tokio::spawn(async move {
            let add = statement("SELECT $1 + $2");
            for number in 0..STATEMENTS {
                let parameters: [(&(dyn ToSql + Sync), Type); 2] =
                    [(&task, Type::INT8), (&number, Type::INT8)];
                let answer = database.query(&add, &parameters).await.unwrap();
                assert_eq!(answer.rows[0].get::<_, i64>(0), task + number);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let of_pooler = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND usename = '{USER}'",
        test.name
    );
    assert!(server.sql("postgres", &of_pooler).parse::<u32>().unwrap() <= 2);
    assert!(!metrics.text().contains("qod_database_failures_total{"), "{}", metrics.text());
}
