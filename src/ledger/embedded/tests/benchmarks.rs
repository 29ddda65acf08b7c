//! Measures the cost of the store. Run the tests alone, optimized: `cargo test --release --lib --
//! --ignored --nocapture --test-threads 1 _cost`.

#![expect(clippy::print_stdout, reason = "prints measurements")]

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::ledger::ReserveOutcome;

const RUN_TIME: Duration = Duration::from_secs(3);

fn folder(name: &str) -> LedgerTempDir {
    // On the disk of the project; a temporary directory may be in memory.
    LedgerTempDir(Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join(name))
}

fn open_for(folder: &LedgerTempDir, sync: SyncMode) -> Ledger {
    let config = StoreConfig::Embedded(EmbeddedSettings { sync, ..settings(folder) });
    Ledger::open(&config, OpenMode::FailIfLocked, Clock::system(), Metrics::new().unwrap()).unwrap()
}

async fn create_session(ledger: &Ledger, number: u32) -> SessionRecord {
    let wanted = ReservationRequest {
        sessions_max: u32::MAX,
        ..reservation_request(create_request(phone(number), "192.0.2.1"))
    };
    let reserved = ledger.reserve_for(party("c1"), wanted).await.unwrap();
    let ReserveOutcome::New(reservation) = reserved else { panic!("{reserved:?}") };
    let granted = granted(QosStatus::Available, ledger.now(), 36_000);
    ledger.confirm(reservation, format!("operator-session-{number}"), granted).await.unwrap()
}

/// Prints the sessions reserved and confirmed per second, by number of clients.
#[test]
#[ignore = "prints a measurement"]
fn session_cost() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let clock = Clock::system();
    for sync in [Some(SyncMode::Durable), Some(SyncMode::Relaxed), None] {
        for clients in [1, 16, 64, 256] {
            let folder = folder("costs-session");
            let _ = fs::remove_dir_all(&folder.0);
            let ledger = match sync {
                Some(sync) => open_for(&folder, sync),
                None => Ledger::in_memory(clock.clone()),
            };
            let next = Arc::new(AtomicU32::new(0));
            let began = clock.tick();
            let mut times: Vec<Duration> = runtime.block_on(async {
                let tasks: Vec<_> = (0..clients)
                    .map(|_| {
                        let (ledger, clock) = (ledger.clone(), clock.clone());
                        let next = Arc::clone(&next);
                        tokio::spawn(async move {
                            let mut times = Vec::new();
                            while clock.elapsed(began) < RUN_TIME {
                                let since = clock.tick();
                                create_session(&ledger, next.fetch_add(1, Ordering::Relaxed)).await;
                                times.push(clock.elapsed(since));
                            }
                            times
                        })
                    })
                    .collect();
                let mut all = Vec::new();
                for task in tasks {
                    all.extend(task.await.unwrap());
                }
                all
            });
            let milliseconds = clock.elapsed(began).as_millis();
            times.sort_unstable();
            let at = |share: usize| times[times.len() * share / 1000].as_micros();
            let name = sync.map_or_else(|| "Memory".to_owned(), |sync| format!("{sync:?}"));
            println!(
                "{name}, {clients} clients: {} sessions/s; p50 {} µs, p99 {} µs",
                times.len() as u128 * 1000 / milliseconds,
                at(500),
                at(990)
            );
            runtime.block_on(ledger.close());
        }
    }
}

/// Prints the time from start to the first answer, by number of sessions.
#[test]
#[ignore = "prints a measurement"]
fn start_cost() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let clock = Clock::system();
    for sessions in [10_000_u32, 100_000, 1_000_000] {
        let folder = folder("costs-start");
        let _ = fs::remove_dir_all(&folder.0);
        let ledger = open_for(&folder, SyncMode::Relaxed);
        let next = Arc::new(AtomicU32::new(0));
        runtime.block_on(async {
            let tasks: Vec<_> = (0..512)
                .map(|_| {
                    let (ledger, next) = (ledger.clone(), Arc::clone(&next));
                    tokio::spawn(async move {
                        loop {
                            let number = next.fetch_add(1, Ordering::Relaxed);
                            if number >= sessions {
                                return;
                            }
                            create_session(&ledger, number).await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            ledger.close().await;
        });
        drop(ledger);
        let bytes = fs::metadata(folder.0.join("ledger.redb")).unwrap().len();
        let before = resident_bytes();
        let began = clock.tick();
        let ledger = open_for(&folder, SyncMode::Durable);
        let opened = clock.elapsed(began);
        let resident = resident_bytes().saturating_sub(before);
        runtime.block_on(async {
            let rival = reservation_request(create_request(phone(1), "192.0.2.1"));
            let answer = ledger.reserve_for(party("c2"), rival).await;
            assert!(matches!(answer, Err(Error::Conflict { .. })), "{answer:?}");
            ledger.close().await;
        });
        println!(
            "{sessions} sessions: {:.2} s; {} B of disk and {} B of memory each",
            opened.as_secs_f64(),
            bytes / u64::from(sessions),
            resident / u64::from(sessions)
        );
    }
}

fn resident_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    text.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Prints the size of usage records, and the time of a start with them.
#[test]
#[ignore = "prints a measurement"]
fn usage_cost() {
    const SESSIONS: u32 = 50_000;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let clock = Clock::system();
    let folder = folder("costs-usage");
    let _ = fs::remove_dir_all(&folder.0);
    let ledger = open_for(&folder, SyncMode::Relaxed);
    let next = Arc::new(AtomicU32::new(0));
    runtime.block_on(async {
        let tasks = (0..64).map(|_| {
            let (ledger, next) = (ledger.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= SESSIONS {
                        return;
                    }
                    let record = create_session(&ledger, number).await;
                    let deleting = ledger.begin_delete(&record).await.unwrap();
                    ledger.finish_delete(&deleting).await.unwrap();
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
        ledger.close().await;
    });
    drop(ledger);
    let bytes = fs::metadata(folder.0.join("ledger.redb")).unwrap().len();
    let began = clock.tick();
    let ledger = open_for(&folder, SyncMode::Durable);
    let opened = clock.elapsed(began);
    runtime.block_on(ledger.close());
    println!(
        "{SESSIONS} usage records: {} B each, start in {:.2} s",
        bytes / u64::from(SESSIONS),
        opened.as_secs_f64()
    );
}
