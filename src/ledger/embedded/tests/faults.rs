//! Disks that fail: nothing that was acknowledged is lost, and nothing is acknowledged that is.

use std::collections::{HashMap, HashSet};

use rand::{Rng, SeedableRng, rngs::StdRng};

use super::*;

const SEEDS: u64 = 300;

async fn until(what: &str, ledger: &Ledger, well: bool) {
    for _ in 0..1000 {
        if ledger.health().is_ok() == well {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain for {what}: {:?}", ledger.health());
}

#[tokio::test]
async fn a_full_disk_costs_refusals_and_nothing_else() {
    let (disk, clock) = (Disk::default(), Clock::system());
    let ledger = ledger_on(&disk, Sync::Durable, &clock);
    let before = session(&ledger, 1).await.unwrap();
    let asked_before = reserve(&ledger, 2).await.unwrap();
    disk.fill(true);
    assert!(matches!(session(&ledger, 3).await, Err(Error::Unavailable(_))));
    until("the trouble to be known", &ledger, false).await;
    assert!(matches!(reserve(&ledger, 4).await, Err(Error::Unavailable(_))), "at once");
    // What is known can still be looked up, as soon as it has been read again.
    let mut found = ledger.look(&before.session.id).await;
    for _ in 0..200 {
        if found.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        found = ledger.look(&before.session.id).await;
    }
    assert_eq!(found, Ok(before.clone()));
    assert!(ledger.health().is_err());
    disk.fill(false);
    until("the disk to be well", &ledger, true).await;
    assert!(matches!(reserve(&ledger, 1).await, Err(Error::Taken { .. })));
    assert!(session(&ledger, 3).await.is_ok(), "what was refused holds nothing");
    let told = granted(QosStatus::Available, START, 3600);
    let confirmed = ledger.confirm(asked_before, "their 2".to_owned(), told).await;
    assert!(confirmed.is_ok(), "who was being asked is still being asked: {confirmed:?}");
    let after = ledger_on(&disk, Sync::Durable, &clock);
    assert_eq!(after.look(&before.session.id).await, Ok(before));
}

// What the system takes for written after a sync that failed may never be written. Records that are
// acknowledged later must not stand on that.
#[tokio::test]
async fn after_a_sync_that_failed_all_is_written_anew() {
    for seed in 0..10 {
        let (disk, clock) = (Disk::default(), Clock::system());
        let ledger = ledger_on(&disk, Sync::Durable, &clock);
        let mut acknowledged = Vec::new();
        // Enough for many pages, so that the one of the change that fails is not written again.
        for digits in 0..60 {
            acknowledged.push(session(&ledger, digits).await.unwrap());
        }
        let changed = acknowledged.remove(0);
        disk.fail_syncs(true);
        let failed = ledger.begin_extend(&changed, 60).await;
        assert!(matches!(failed, Err(Error::Unavailable(_))), "{failed:?}");
        until("the trouble to be known", &ledger, false).await;
        disk.fail_syncs(false);
        until("the disk to be well", &ledger, true).await;
        for digits in 60..63 {
            acknowledged.push(session(&ledger, digits).await.unwrap());
        }
        drop(ledger);
        disk.restart(seed);
        let after = ledger_on(&disk, Sync::Durable, &clock);
        for record in acknowledged {
            assert_eq!(after.look(&record.session.id).await, Ok(record));
        }
        assert!(after.look(&changed.session.id).await.is_ok());
    }
}

/// What a client was told, step by step, until the power went.
#[derive(Default)]
struct Told {
    /// Sessions, as they were acknowledged last.
    sessions: HashMap<SessionId, Record>,
    /// Those of which the last change was not acknowledged.
    unsure: HashSet<SessionId>,
    ended: HashSet<SessionId>,
}

// Does what comes to its mind until the power is gone.
async fn work(ledger: &Ledger, from: u32, random: &mut StdRng, told: &mut Told) -> u32 {
    let mut done = 0;
    for digits in from.. {
        let pick = |told: &Told, random: &mut StdRng| {
            let ids: Vec<SessionId> = told.sessions.keys().copied().collect();
            (!ids.is_empty())
                .then(|| told.sessions[&ids[random.random_range(0..ids.len())]].clone())
        };
        let known = pick(told, random);
        let changed = match (random.random_range(0..5), known) {
            (0, Some(record)) => {
                let granted = granted(QosStatus::Unavailable, START, 60);
                (record.session.id, ledger.observe(&record, granted, ledger.now()).await)
            }
            (1, Some(record)) => (record.session.id, ledger.begin_extend(&record, 60).await),
            (2, Some(record)) => {
                let id = record.session.id;
                let ended = match ledger.begin_delete(&record).await {
                    Ok(record) => ledger.end(&record).await,
                    Err(error) => Err(error),
                };
                match ended {
                    Ok(()) => {
                        told.sessions.remove(&id);
                        told.ended.insert(id);
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
                    (id, ledger.confirm(reservation, format!("their {digits}"), granted).await)
                }
                Err(Error::Unavailable(_)) => return done,
                Err(other) => panic!("{other}"),
            },
        };
        match changed {
            (id, Ok(record)) => _ = told.sessions.insert(id, record),
            (id, Err(Error::Unavailable(_))) => {
                told.unsure.insert(id);
                return done;
            }
            // It was not in a state for that.
            (_, Err(_)) => {}
        }
        done += 1;
    }
    done
}

#[test]
fn a_power_cut_at_any_moment_loses_nothing_that_was_acknowledged() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (mut acknowledged, mut cuts) = (0, 0);
    for seed in 0..SEEDS {
        let mut random = StdRng::seed_from_u64(seed);
        let (disk, clock) = (Disk::default(), Clock::fixed(START));
        let mut told = Told::default();
        for cut in 0..3_u32 {
            let metrics = Metrics::new().unwrap();
            let place = Box::new(disk.next_process());
            if cut == 0 {
                // Also while the file is being made.
                disk.cut_after(random.random_range(0..80));
            }
            let opened =
                Embedded::over(place, Sync::Durable, Seals::of(seal()), clock.clone(), metrics)
                    .begun();
            if let Ok(store) = opened {
                let ledger = Ledger::over(Arc::new(store), hasher(), clock.clone());
                if cut > 0 {
                    disk.cut_after(random.random_range(0..200));
                }
                acknowledged +=
                    runtime.block_on(work(&ledger, cut * 10_000, &mut random, &mut told));
            }
            cuts += 1;
            disk.restart(random.random());
        }
        let ledger = ledger_on(&disk, Sync::Durable, &clock);
        runtime.block_on(async {
            for (id, record) in &told.sessions {
                let found = ledger.look(id).await;
                if !told.unsure.contains(id) {
                    assert_eq!(found.as_ref(), Ok(record), "seed {seed}");
                }
            }
            for id in told.ended.difference(&told.unsure) {
                assert_eq!(ledger.look(id).await, Err(Error::NotFound), "seed {seed}");
            }
        });
    }
    assert!(acknowledged > 3000 && cuts == 3 * SEEDS, "{acknowledged} acknowledged, {cuts} cuts");
}

#[test]
fn a_relaxed_store_loses_what_is_younger_than_its_interval_and_nothing_else() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (disk, clock) = (Disk::default(), Clock::system());
    let ledger = ledger_on(&disk, Sync::Relaxed, &clock);
    let (old, young) = runtime.block_on(async {
        let old = session(&ledger, 1).await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        (old, session(&ledger, 2).await.unwrap())
    });
    disk.cut_after(0);
    disk.restart(1);
    let after = ledger_on(&disk, Sync::Durable, &clock);
    runtime.block_on(async {
        assert_eq!(after.look(&old.session.id).await, Ok(old));
        assert_eq!(after.look(&young.session.id).await, Err(Error::NotFound));
    });
}
