//! Policy reload: loads the policy folder again when a file changes, on SIGHUP, or on request of the admin
//! API. A folder is applied as a whole or not at all: if it has errors, they are logged, and the previous
//! snapshot stays in force.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::task::spawn_blocking;

use super::{Gateway, PolicySnapshot};
use crate::{
    ledger::SessionState,
    outbound::Caller,
    policy::{self, PolicyVersion},
    qod::{Moment, OperatorId},
    route::Table,
};

/// The snapshot in force, and the result of the last reload.
#[derive(Clone, Debug)]
pub struct PolicyStatus {
    /// The version of the snapshot.
    pub version: PolicyVersion,
    /// The time since which the snapshot is in force.
    pub since: Moment,
    /// The errors of the current content of the folder; `None` if it is in force.
    pub rejected: Option<RejectedReload>,
}

/// A reload that was rejected.
#[derive(Clone, Debug)]
pub struct RejectedReload {
    /// The time of the reload.
    pub at: Moment,
    /// The errors, one for each line.
    pub errors: Arc<[String]>,
}

/// The result of a successful reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadOutcome {
    /// The new snapshot is in force.
    Applied,
    /// The folder has the same content as the snapshot in force.
    Unchanged,
}

/// The state of the policy files at the last poll. A reload starts when the files differ from those that
/// were loaded last, and did not change between two polls.
#[derive(Debug, Default)]
pub(super) struct PolicyWatch {
    loaded: Vec<FileState>,
    last_poll: Vec<FileState>,
}

struct WatchedPaths {
    folder: PathBuf,
    schemas: PathBuf,
    tables: Vec<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct FileState {
    // Canonical: deployments replace a folder by changing a symbolic link.
    path: PathBuf,
    bytes: u64,
    modified: Option<SystemTime>,
}

// The number of errors that the admin API shows; the log has all of them.
const ERRORS_MAX: usize = 100;
// The interval of checks whether a request still uses the previous snapshot.
const RELEASE_POLL_INTERVAL: Duration = Duration::from_millis(100);

impl PolicyWatch {
    pub(super) fn new(folder: &Path, policy: &PolicySnapshot) -> Self {
        let files = file_states(&watched_paths(folder, policy));
        Self { loaded: files.clone(), last_poll: files }
    }

    fn is_due(&mut self, now: Vec<FileState>) -> bool {
        let due = now != self.loaded && now == self.last_poll;
        if due {
            self.loaded.clone_from(&now);
        }
        self.last_poll = now;
        due
    }
}

// The table files are those of the snapshot in force: naming another one changes a policy file.
fn watched_paths(folder: &Path, policy: &PolicySnapshot) -> WatchedPaths {
    let tables = policy.routes.files().filter_map(Table::file);
    let tables = tables.map(Path::to_owned).collect();
    WatchedPaths { folder: folder.to_owned(), schemas: policy.schemas.clone(), tables }
}

fn file_states(WatchedPaths { folder, schemas, tables }: &WatchedPaths) -> Vec<FileState> {
    let files = policy::policy_files(folder).chain(policy::schema_documents(schemas));
    let states = files.chain(tables.iter().cloned()).filter_map(|path| {
        let path = fs::canonicalize(path).ok()?;
        let metadata = fs::metadata(&path).ok()?;
        Some(FileState { path, bytes: metadata.len(), modified: metadata.modified().ok() })
    });
    states.collect()
}

impl Gateway {
    /// The snapshot in force, and the result of the last reload.
    pub fn policy_status(&self) -> Arc<PolicyStatus> {
        self.policy_status.load_full()
    }

    /// Polls the policy files and starts a reload if they have changed. Called every second.
    pub(super) fn poll_policy_files(self: &Arc<Self>) {
        let gateway = Arc::clone(self);
        // A reload may take longer than a second.
        self.background_tasks.spawn(async move {
            let Ok(mut watch) = gateway.policy_watch.try_lock() else { return };
            let paths = watched_paths(&gateway.folder, &gateway.snapshot.load());
            let now = spawn_blocking(move || file_states(&paths)).await;
            if now.is_ok_and(|now| watch.is_due(now)) {
                // Errors are logged by `reload_locked`.
                _ = gateway.reload_locked().await;
            }
        });
    }

    /// Loads the policy folder again and applies it from the next request on.
    ///
    /// # Errors
    /// All errors of the folder, one for each line; the previous snapshot stays in force.
    pub async fn reload(&self) -> Result<ReloadOutcome, Arc<[String]>> {
        // One reload at a time.
        let _lock = self.policy_watch.lock().await;
        self.reload_locked().await
    }

    async fn reload_locked(&self) -> Result<ReloadOutcome, Arc<[String]>> {
        let before = self.policy_status.load_full();
        let now = self.clock.now();
        match self.load_and_apply().await {
            Ok(outcome) => {
                let version = self.snapshot.load().fingerprint.version.clone();
                let changed = outcome == ReloadOutcome::Applied;
                let since = if changed { now } else { before.since };
                if changed {
                    tracing::info!(
                        event = "policy_reloaded",
                        %version,
                        previous = %before.version,
                        "policy snapshot replaced"
                    );
                    self.metrics.set_policy_version(before.version.digits(), version.digits());
                    let fingerprint = &self.snapshot.load().fingerprint;
                    self.ledger.announce_policy(fingerprint.shared_version.digits());
                }
                self.metrics.record_policy_reload(if changed { "applied" } else { "unchanged" });
                self.policy_status.store(Arc::new(PolicyStatus { version, since, rejected: None }));
                Ok(outcome)
            }
            Err(mut errors) => {
                for error in &errors {
                    tracing::error!(
                        event = "policy_error_found",
                        error,
                        "policy folder has an error"
                    );
                }
                tracing::error!(
                    event = "policy_reload_rejected",
                    errors = errors.len(),
                    version = %before.version,
                    "failed to reload the policies; keeping the previous snapshot"
                );
                self.metrics.record_policy_reload("rejected");
                errors.truncate(ERRORS_MAX);
                let errors: Arc<[String]> = errors.into();
                let rejected = RejectedReload { at: now, errors: Arc::clone(&errors) };
                let status =
                    PolicyStatus { rejected: Some(rejected), ..PolicyStatus::clone(&before) };
                self.policy_status.store(Arc::new(status));
                Err(errors)
            }
        }
    }

    async fn load_and_apply(&self) -> Result<ReloadOutcome, Vec<String>> {
        let before = self.snapshot.load_full();
        let (folder, caller) = (self.folder.clone(), self.caller.clone());
        let loaded = spawn_blocking(move || load_snapshot(&folder, &caller, &before)).await;
        let Some(policy) = loaded.map_err(|error| vec![error.to_string()])?? else {
            return Ok(ReloadOutcome::Unchanged);
        };
        let policy = Arc::new(policy);
        if let Err(errors) = self.check_applicable(&policy).await {
            tokio::spawn(drop_when_unused(policy));
            return Err(errors);
        }
        self.dispatcher.set_dialects(&policy.dialects);
        self.telemetry.set(policy.telemetry.clone());
        tokio::spawn(drop_when_unused(self.snapshot.swap(policy)));
        Ok(ReloadOutcome::Applied)
    }

    async fn check_applicable(&self, policy: &PolicySnapshot) -> Result<(), Vec<String>> {
        self.check_operators_in_use(policy).await?;
        // The first request needs the keys of new issuers. An issuer that cannot be reached affects
        // its own tokens only, unless no token could be verified at all.
        policy.identity.warm_up().await;
        if !policy.identity.ready() && self.snapshot.load().identity.ready() {
            return Err(vec!["the keys of no token issuer can be fetched".to_owned()]);
        }
        Ok(())
    }

    // An operator that has sessions must stay configured until they have ended.
    async fn check_operators_in_use(&self, policy: &PolicySnapshot) -> Result<(), Vec<String>> {
        let counts = self.ledger.counts().await.map_err(|error| vec![error.to_string()])?;
        let errors: Vec<String> = counts
            .into_iter()
            .filter(|(operator, state, count)| {
                *count > 0
                    && *state != SessionState::Expired
                    && policy.operators.find(operator).is_none()
            })
            .map(|(operator, state, count)| operator_in_use(&operator, state, count))
            .collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}

// Dropping a table of millions of rows takes long, so a request must not hold the last reference.
async fn drop_when_unused<T: Send + Sync + 'static>(previous: Arc<T>) {
    while Arc::strong_count(&previous) > 1 {
        tokio::time::sleep(RELEASE_POLL_INTERVAL).await;
    }
    drop(spawn_blocking(move || drop(previous)));
}

fn operator_in_use(operator: &OperatorId, state: SessionState, count: u64) -> String {
    format!(
        "operator {operator} cannot be removed: it has {count} sessions in state {}",
        state.name()
    )
}

// `None` if the folder has the content of the snapshot in force.
fn load_snapshot(
    folder: &Path,
    caller: &Caller,
    before: &PolicySnapshot,
) -> Result<Option<PolicySnapshot>, Vec<String>> {
    let to_lines = |faults: Vec<policy::Diagnostic>| {
        faults.iter().map(ToString::to_string).collect::<Vec<String>>()
    };
    let loaded = policy::reload(folder, before.routes.tables()).map_err(to_lines)?;
    if loaded.fingerprint.version == before.fingerprint.version {
        return Ok(None);
    }
    let needs_restart = before.fingerprint.restart_errors(&loaded.fingerprint);
    if !needs_restart.is_empty() {
        return Err(to_lines(needs_restart));
    }
    let policy = PolicySnapshot::new(loaded, caller, Some(before));
    policy.map(Some).map_err(|error| error.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_files_are_loaded_once_they_are_stable_between_two_polls() {
        let seen = |bytes| vec![FileState { path: "a".into(), bytes, modified: None }];
        let mut watch = PolicyWatch { loaded: seen(1), last_poll: seen(1) };
        assert!(!watch.is_due(seen(1)));
        assert!(!watch.is_due(seen(2)), "the file may still be written");
        assert!(!watch.is_due(seen(3)));
        assert!(watch.is_due(seen(3)));
        assert!(!watch.is_due(seen(3)), "the files are loaded already");
        assert!(!watch.is_due(seen(1)));
        assert!(watch.is_due(seen(1)), "a return to earlier content is a change too");
    }

    #[tokio::test]
    async fn previous_snapshot_is_dropped_outside_of_requests() {
        struct DropReporter(Option<tokio::sync::oneshot::Sender<std::thread::ThreadId>>);
        impl Drop for DropReporter {
            fn drop(&mut self) {
                let _ = self.0.take().unwrap().send(std::thread::current().id());
            }
        }
        let (sender, dropped_on) = tokio::sync::oneshot::channel();
        let previous = Arc::new(DropReporter(Some(sender)));
        let request = Arc::clone(&previous);
        let dropping = tokio::spawn(drop_when_unused(previous));
        tokio::task::yield_now().await;
        assert!(!dropping.is_finished(), "a request still uses the snapshot");
        drop(request);
        assert_ne!(dropped_on.await.unwrap(), std::thread::current().id());
    }
}
