//! Policies that change while the gateway serves: read anew when their files change, when a signal or
//! whoever runs the gateway asks for it. A folder is taken whole or not at all: what cannot be followed
//! is told, and the reading before stays in force.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::task::spawn_blocking;

use super::{Gateway, Rules};
use crate::{
    ledger::State,
    outbound::Caller,
    policy::{self, Version},
    qod::{Moment, OperatorId},
    route::Table,
};

/// The reading that is in force, and what became of the last attempt to take another.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Which reading it is.
    pub version: Version,
    /// Since when it is in force.
    pub since: Moment,
    /// Why the folder as it is now is not followed; nothing, if it is.
    pub refused: Option<Refused>,
}

/// A folder that is not followed.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Since when.
    pub at: Moment,
    /// What is wrong with it.
    pub faults: Arc<[String]>,
}

/// What became of a folder that was read anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reread {
    /// It is in force.
    Changed,
    /// It is what was in force before.
    Unchanged,
}

/// What the files were like when they were last looked at. A reading is begun when they are another
/// than those that were read last, and have stayed so from one look to the next.
#[derive(Debug, Default)]
pub(super) struct Watch {
    read: Vec<Seen>,
    seen: Vec<Seen>,
}

struct Watched {
    folder: PathBuf,
    schemas: PathBuf,
    tables: Vec<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    // What a link leads to: whole folders are exchanged by links.
    path: PathBuf,
    bytes: u64,
    changed: Option<SystemTime>,
}

// As many faults as are kept for whoever asks later; the log has all.
const FAULTS_KEPT_MAX: usize = 100;
// So often it is looked whether anybody still works by the reading before.
const LET_GO_EVERY: Duration = Duration::from_millis(100);

impl Watch {
    pub(super) fn of(folder: &Path, rules: &Rules) -> Self {
        let seen = look(&watched(folder, rules));
        Self { read: seen.clone(), seen }
    }

    fn is_due(&mut self, now: Vec<Seen>) -> bool {
        let due = now != self.read && now == self.seen;
        if due {
            self.read.clone_from(&now);
        }
        self.seen = now;
        due
    }
}

// The tables' files by the reading that is in force: another that is named is in another policy file.
fn watched(folder: &Path, rules: &Rules) -> Watched {
    let tables = rules.routes.files().filter_map(Table::file);
    let tables = tables.map(Path::to_owned).collect();
    Watched { folder: folder.to_owned(), schemas: rules.schemas.clone(), tables }
}

fn look(Watched { folder, schemas, tables }: &Watched) -> Vec<Seen> {
    let files = policy::policy_files(folder).chain(policy::documents(schemas));
    let seen = files.chain(tables.iter().cloned()).filter_map(|path| {
        let path = fs::canonicalize(path).ok()?;
        let metadata = fs::metadata(&path).ok()?;
        Some(Seen { path, bytes: metadata.len(), changed: metadata.modified().ok() })
    });
    seen.collect()
}

impl Gateway {
    /// Which reading of the policies is in force?
    pub fn standing(&self) -> Arc<Standing> {
        self.standing.load_full()
    }

    /// Looks at the files, and reads them if they have changed; to be called every second.
    pub(super) fn watch(self: &Arc<Self>) {
        let gateway = Arc::clone(self);
        // A reading may take longer than a second.
        self.late.spawn(async move {
            let Ok(mut watch) = gateway.watch.try_lock() else { return };
            let watched = watched(&gateway.folder, &gateway.rules.load());
            let now = spawn_blocking(move || look(&watched)).await;
            if now.is_ok_and(|now| watch.is_due(now)) {
                // What is wrong has been told in the log.
                _ = gateway.take_anew().await;
            }
        });
    }

    /// Reads the folder anew, and follows it from the next request on.
    ///
    /// # Errors
    /// All that is wrong with it, a fault a line; then all stays as it was.
    pub async fn reread(&self) -> Result<Reread, Arc<[String]>> {
        // What is watched is read by one at a time.
        let _watch = self.watch.lock().await;
        self.take_anew().await
    }

    async fn take_anew(&self) -> Result<Reread, Arc<[String]>> {
        let before = self.standing.load_full();
        let now = self.clock.now();
        match self.follow().await {
            Ok(reread) => {
                let version = self.rules.load().written.version.clone();
                let changed = reread == Reread::Changed;
                let since = if changed { now } else { before.since };
                if changed {
                    tracing::info!(%version, before = %before.version, "the policies have changed");
                    self.metrics.policy_in_force(before.version.digits(), version.digits());
                }
                self.metrics.policy_read(if changed { "changed" } else { "unchanged" });
                self.standing.store(Arc::new(Standing { version, since, refused: None }));
                Ok(reread)
            }
            Err(mut faults) => {
                for fault in &faults {
                    tracing::error!(fault, "the policies cannot be followed");
                }
                tracing::error!(
                    faults = faults.len(),
                    version = %before.version,
                    "the policies stay as they were"
                );
                self.metrics.policy_read("refused");
                faults.truncate(FAULTS_KEPT_MAX);
                let faults: Arc<[String]> = faults.into();
                let refused = Some(Refused { at: now, faults: Arc::clone(&faults) });
                self.standing.store(Arc::new(Standing { refused, ..Standing::clone(&before) }));
                Err(faults)
            }
        }
    }

    async fn follow(&self) -> Result<Reread, Vec<String>> {
        let before = self.rules.load_full();
        let (folder, caller) = (self.folder.clone(), self.caller.clone());
        let reading = spawn_blocking(move || read(&folder, &caller, &before)).await;
        let Some(rules) = reading.map_err(|ended| vec![ended.to_string()])?? else {
            return Ok(Reread::Unchanged);
        };
        let rules = Arc::new(rules);
        if let Err(faults) = self.can_follow(&rules).await {
            tokio::spawn(let_go(rules));
            return Err(faults);
        }
        self.courier.speak(&rules.dialects);
        tokio::spawn(let_go(self.rules.swap(rules)));
        Ok(Reread::Changed)
    }

    async fn can_follow(&self, rules: &Rules) -> Result<(), Vec<String>> {
        self.keeps_what_is_held(rules).await?;
        // The first request needs the keys of issuers that are new.
        rules.identity.warm_up().await;
        if !rules.identity.ready() && self.rules.load().identity.ready() {
            return Err(vec!["no keys of a token issuer can be had".to_owned()]);
        }
        Ok(())
    }

    // Who has sessions must be there to end them.
    async fn keeps_what_is_held(&self, rules: &Rules) -> Result<(), Vec<String>> {
        let counts = self.ledger.counts().await.map_err(|error| vec![error.to_string()])?;
        let faults: Vec<String> = counts
            .into_iter()
            .filter(|(operator, state, count)| {
                *count > 0 && *state != State::Expired && rules.operators.find(operator).is_none()
            })
            .map(|(operator, state, count)| left_out(&operator, state, count))
            .collect();
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }
}

// A table of millions takes its time to go: no request may be the last to let go of it.
async fn let_go<T: Send + Sync + 'static>(before: Arc<T>) {
    while Arc::strong_count(&before) > 1 {
        tokio::time::sleep(LET_GO_EVERY).await;
    }
    drop(spawn_blocking(move || drop(before)));
}

fn left_out(operator: &OperatorId, state: State, count: u64) -> String {
    format!(
        "operator {operator} cannot be left out: it has {count} sessions that are {}",
        state.name()
    )
}

// Nothing, if it is what is in force.
fn read(folder: &Path, caller: &Caller, before: &Rules) -> Result<Option<Rules>, Vec<String>> {
    let told = |faults: Vec<policy::Fault>| {
        faults.iter().map(ToString::to_string).collect::<Vec<String>>()
    };
    let policy = policy::load_after(folder, before.routes.tables()).map_err(told)?;
    if policy.written.version == before.written.version {
        return Ok(None);
    }
    let not_followed = before.written.not_followed(&policy.written);
    if !not_followed.is_empty() {
        return Err(told(not_followed));
    }
    let rules = Rules::new(policy, caller, Some(before));
    rules.map(Some).map_err(|fault| fault.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_when_they_have_changed_and_then_stayed_for_a_look() {
        let seen = |bytes| vec![Seen { path: "a".into(), bytes, changed: None }];
        let mut watch = Watch { read: seen(1), seen: seen(1) };
        assert!(!watch.is_due(seen(1)));
        assert!(!watch.is_due(seen(2)), "it may still be written to");
        assert!(!watch.is_due(seen(3)));
        assert!(watch.is_due(seen(3)));
        assert!(!watch.is_due(seen(3)), "once is enough");
        assert!(!watch.is_due(seen(1)));
        assert!(watch.is_due(seen(1)), "also if it is as it once was");
    }

    #[tokio::test]
    async fn what_was_in_force_before_goes_where_no_request_waits_for_it() {
        struct Told(Option<tokio::sync::oneshot::Sender<std::thread::ThreadId>>);
        impl Drop for Told {
            fn drop(&mut self) {
                let _ = self.0.take().unwrap().send(std::thread::current().id());
            }
        }
        let (tell, told) = tokio::sync::oneshot::channel();
        let before = Arc::new(Told(Some(tell)));
        let request = Arc::clone(&before);
        let gone = tokio::spawn(let_go(before));
        tokio::task::yield_now().await;
        assert!(!gone.is_finished(), "a request still works by it");
        drop(request);
        assert_ne!(told.await.unwrap(), std::thread::current().id());
    }
}
