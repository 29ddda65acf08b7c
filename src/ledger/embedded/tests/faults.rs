//! Failing disks: an acknowledged change is never lost, and a lost change is never acknowledged.

use std::collections::{HashMap, HashSet};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;

const SEEDS: u64 = 300;

async fn until(what: &str, ledger: &Ledger, healthy: bool) {
    for _ in 0..1000 {
        if ledger.health().is_ok() == healthy {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("timed out waiting for {what}: {:?}", ledger.health());
}

#[tokio::test]
async fn full_disk_causes_rejections_only() {
    let (disk, clock) = (Disk::default(), Clock::system());
    let ledger = ledger_on(&disk, SyncMode::Durable, &clock);
    let before = session(&ledger, 1).await.unwrap();
    let reserved_before = reserve(&ledger, 2).await.unwrap();
    disk.fill(true);
    assert!(matches!(session(&ledger, 3).await, Err(Error::Unavailable(_))));
    until("the failure to be reported", &ledger, false).await;
    assert!(matches!(reserve(&ledger, 4).await, Err(Error::Unavailable(_))), "rejected at once");
    // Existing sessions can be read as soon as the file is recovered.
    let mut found = ledger.get(&before.session.id).await;
    for _ in 0..200 {
        if found.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        found = ledger.get(&before.session.id).await;
    }
    assert_eq!(found, Ok(before.clone()));
    assert!(ledger.health().is_err());
    disk.fill(false);
    until("the recovery", &ledger, true).await;
    assert!(matches!(reserve(&ledger, 1).await, Err(Error::Conflict { .. })));
    assert!(session(&ledger, 3).await.is_ok(), "a rejected create holds no flow");
    let granted = granted(QosStatus::Available, START, 3600);
    let confirmed = ledger.confirm(reserved_before, "operator-session-2".to_owned(), granted).await;
    assert!(confirmed.is_ok(), "the operator call is still in progress: {confirmed:?}");
    let after = ledger_on(&disk, SyncMode::Durable, &clock);
    assert_eq!(after.get(&before.session.id).await, Ok(before));
}

// After a failed fsync, the operating system may never write pages that it marks as clean. Records
// acknowledged later must not depend on them.
#[tokio::test]
async fn file_is_rewritten_after_a_failed_sync() {
    for seed in 0..10 {
        let (disk, clock) = (Disk::default(), Clock::system());
        let ledger = ledger_on(&disk, SyncMode::Durable, &clock);
        let mut acknowledged = Vec::new();
        // Enough records for many pages, so that the page of the failed change is not written
        // again.
        for digits in 0..60 {
            acknowledged.push(session(&ledger, digits).await.unwrap());
        }
        let changed = acknowledged.remove(0);
        disk.fail_syncs(true);
        let failed = ledger.begin_extend(&changed, 60).await;
        assert!(matches!(failed, Err(Error::Unavailable(_))), "{failed:?}");
        until("the failure to be reported", &ledger, false).await;
        disk.fail_syncs(false);
        until("the recovery", &ledger, true).await;
        for digits in 60..63 {
            acknowledged.push(session(&ledger, digits).await.unwrap());
        }
        drop(ledger);
        disk.restart(seed);
        let after = ledger_on(&disk, SyncMode::Durable, &clock);
        for record in acknowledged {
            assert_eq!(after.get(&record.session.id).await, Ok(record));
        }
        assert!(after.get(&changed.session.id).await.is_ok());
    }
}

/// The acknowledgements that a client received until the power cut.
#[derive(Default)]
struct Acknowledged {
    /// The last acknowledged state of each session.
    sessions: HashMap<SessionId, SessionRecord>,
    /// Sessions whose last change was not acknowledged.
    unsure: HashSet<SessionId>,
    ended: HashSet<SessionId>,
}

// Makes random changes until the power cut.
async fn work(ledger: &Ledger, from: u32, random: &mut StdRng, log: &mut Acknowledged) -> u32 {
    let mut done = 0;
    for digits in from.. {
        let pick = |log: &Acknowledged, random: &mut StdRng| {
            let ids: Vec<SessionId> = log.sessions.keys().copied().collect();
            (!ids.is_empty()).then(|| log.sessions[&ids[random.random_range(0..ids.len())]].clone())
        };
        let known = pick(log, random);
        let changed = match (random.random_range(0..5), known) {
            (0, Some(record)) => {
                let granted = granted(QosStatus::Unavailable, START, 60);
                (record.session.id, ledger.observe(&record, granted, ledger.now()).await)
            }
            (1, Some(record)) => (record.session.id, ledger.begin_extend(&record, 60).await),
            (2, Some(record)) => {
                let id = record.session.id;
                let ended = match ledger.begin_delete(&record).await {
                    Ok(record) => ledger.finish_delete(&record).await,
                    Err(error) => Err(error),
                };
                match ended {
                    Ok(()) => {
                        log.sessions.remove(&id);
                        log.ended.insert(id);
                        done += 1;
                        continue;
                    }
                    Err(error) => (id, Err(error)),
                }
            }
            _ => match reserve(ledger, digits).await {
                Ok(reservation) => {
                    let id = reservation.id();
                    let granted = granted(QosStatus::Available, START, 3600);
                    (
                        id,
                        ledger
                            .confirm(reservation, format!("operator-session-{digits}"), granted)
                            .await,
                    )
                }
                Err(Error::Unavailable(_)) => return done,
                Err(other) => panic!("{other}"),
            },
        };
        match changed {
            (id, Ok(record)) => _ = log.sessions.insert(id, record),
            (id, Err(Error::Unavailable(_))) => {
                log.unsure.insert(id);
                return done;
            }
            // The session was in another state.
            (_, Err(_)) => {}
        }
        done += 1;
    }
    done
}

#[test]
fn power_cut_loses_no_acknowledged_change() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut acknowledged, mut cuts) = (0, 0);
    for seed in 0..SEEDS {
        let mut random = StdRng::seed_from_u64(seed);
        let (disk, clock) = (Disk::default(), Clock::fixed(START));
        let mut log = Acknowledged::default();
        for cut in 0..3_u32 {
            let metrics = Metrics::new().unwrap();
            let storage = EmbeddedStorage::new(disk.next_process());
            if cut == 0 {
                // The cut may also happen while the file is created.
                disk.cut_after(random.random_range(0..80));
            }
            let opened = DurableStore::with_storage(
                storage,
                SyncMode::Durable,
                keys(),
                clock.clone(),
                metrics,
            )
            .open();
            if let Ok(store) = opened {
                let ledger = Ledger::with_store(Arc::new(store), hasher(), clock.clone());
                if cut > 0 {
                    disk.cut_after(random.random_range(0..200));
                }
                acknowledged +=
                    runtime.block_on(work(&ledger, cut * 10_000, &mut random, &mut log));
            }
            cuts += 1;
            disk.restart(random.random());
        }
        let ledger = ledger_on(&disk, SyncMode::Durable, &clock);
        runtime.block_on(async {
            for (id, record) in &log.sessions {
                let found = ledger.get(id).await;
                if !log.unsure.contains(id) {
                    assert_eq!(found.as_ref(), Ok(record), "seed {seed}");
                }
            }
            for id in log.ended.difference(&log.unsure) {
                assert_eq!(ledger.get(id).await, Err(Error::NotFound), "seed {seed}");
            }
        });
    }
    assert!(acknowledged > 3000 && cuts == 3 * SEEDS, "{acknowledged} acknowledged, {cuts} cuts");
}

#[test]
fn relaxed_store_loses_only_changes_younger_than_its_interval() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (disk, clock) = (Disk::default(), Clock::system());
    let ledger = ledger_on(&disk, SyncMode::Relaxed, &clock);
    let (old, young) = runtime.block_on(async {
        let old = session(&ledger, 1).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        (old, session(&ledger, 2).await.unwrap())
    });
    disk.cut_after(0);
    disk.restart(1);
    let after = ledger_on(&disk, SyncMode::Durable, &clock);
    runtime.block_on(async {
        assert_eq!(after.get(&old.session.id).await, Ok(old));
        assert_eq!(after.get(&young.session.id).await, Err(Error::NotFound));
    });
}
