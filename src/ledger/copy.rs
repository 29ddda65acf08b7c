//! Copies the ledger of a stopped gateway into an empty shared one, and verifies the copy.

use futures_util::{StreamExt, stream};
use sha2::{Digest, Sha256};

use super::{
    Error, OfflineReader, OpenError, SessionRecord, SessionState, StoreConfig,
    postgres::{Opening, PostgresSettings, PostgresStore},
    sealed_rows::{self, SealedReader},
    store::Store,
    usage::UsagePeriod,
};
use crate::{clock::Clock, metrics::Metrics, qod::SessionId};

const PAGE: usize = 512;
// The number of concurrent statements.
const STATEMENTS_MAX: usize = 8;

/// What was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyReport {
    /// The number of sessions.
    pub sessions: usize,
    /// The number of queued notifications.
    pub notifications: usize,
    /// The number of idempotency records.
    pub replies: usize,
    /// The number of usage records.
    pub usage_records: usize,
    /// SHA-256 over all sessions, in the order of their ids: the same in both ledgers.
    pub sessions_digest: [u8; 32],
}

/// Why a ledger was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// One of the ledgers cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A row cannot be read or written.
    #[error("failed to copy: {0}; run the command again with an empty schema")]
    Failed(#[from] Error),
    /// The sessions of both ledgers differ.
    #[error("the copy is not complete: {from} sessions were read, and {to} differ or are missing")]
    Incomplete {
        /// The number of sessions that were read.
        from: usize,
        /// The number of sessions that differ.
        to: usize,
    },
}

/// Copies a ledger. Sessions whose create was in progress are in doubt in the copy.
///
/// # Errors
/// If a ledger cannot be opened, the shared one is not empty, or the copy differs.
pub fn copy(
    from: &StoreConfig,
    to: &PostgresSettings,
    clock: &Clock,
    metrics: &Metrics,
) -> Result<CopyReport, CopyError> {
    let source = OfflineReader::open(from)?;
    let (store, _) = to.open(Opening::Import(source.hash_secret()?), clock, metrics)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| OpenError::Database(to.location(), error.to_string()))?;
    runtime.block_on(copy_rows(source.reader(), &store))
}

async fn copy_rows(source: &SealedReader, store: &PostgresStore) -> Result<CopyReport, CopyError> {
    let now = store.now();
    store.register().await?;
    let mut report = CopyReport::default();
    let mut digest = Sha256::new();
    let mut after = None;
    loop {
        let page = read_page(source, after)?;
        let Some(last) = page.last() else { break };
        after = Some(last.session.id);
        report.sessions += page.len();
        for record in &page {
            digest.update(sealed_rows::to_bytes(record)?);
        }
        let imports = page.iter().map(|record| store.import_record(record, now));
        let mut imports = stream::iter(imports).buffer_unordered(STATEMENTS_MAX);
        while let Some(imported) = imports.next().await {
            imported?;
        }
    }
    report.sessions_digest = digest.finalize().into();
    let (mut replies, mut days) = (Vec::new(), Vec::new());
    source.for_each_reply(|key, reply| replies.push((key, reply.clone()))).map_err(Error::from)?;
    source.for_each_daily_count(|count| days.push(count)).map_err(Error::from)?;
    report.replies = replies.len();
    for (key, reply) in &replies {
        store.import_reply(*key, reply).await?;
    }
    for count in &days {
        store.import_daily_count(count).await?;
    }
    report.notifications = copy_notifications(source, store).await?;
    report.usage_records = copy_usage(source, store).await?;
    store.finish_import().await?;
    verify(source, store, report.sessions).await?;
    Ok(report)
}

async fn copy_notifications(source: &SealedReader, store: &PostgresStore) -> Result<usize, Error> {
    let (mut count, mut after) = (0, None);
    loop {
        let page = source.outbox_entries(after, PAGE)?;
        let Some(last) = page.last() else { return Ok(count) };
        after = Some(last.number);
        for entry in page {
            if let Some(notification) = source.notification(entry.number)? {
                store.import_notification(entry.number, &notification).await?;
                count += 1;
            }
        }
    }
}

async fn copy_usage(source: &SealedReader, store: &PostgresStore) -> Result<usize, Error> {
    let (mut count, mut after) = (0, None);
    loop {
        let page = source.usage(after, UsagePeriod::default(), PAGE)?;
        let imports = page.records.iter().map(|(at, usage)| store.import_usage(*at, usage));
        let mut imports = stream::iter(imports).buffer_unordered(STATEMENTS_MAX);
        while let Some(imported) = imports.next().await {
            imported?;
        }
        count += page.records.len();
        if page.next.is_none() {
            return Ok(count);
        }
        after = page.next;
    }
}

// Reads the copy again, and compares each session.
async fn verify(
    source: &SealedReader,
    store: &PostgresStore,
    sessions: usize,
) -> Result<(), CopyError> {
    let (mut after, mut different) = (None, 0);
    loop {
        let expected = read_page(source, after)?;
        let copied = store.list(after, PAGE).await?;
        let Some(last) = expected.last() else {
            different += copied.len();
            break;
        };
        after = Some(last.session.id);
        different += expected.iter().zip(&copied).filter(|(one, other)| one != other).count();
        different += expected.len().abs_diff(copied.len());
    }
    if different == 0 {
        return Ok(());
    }
    Err(CopyError::Incomplete { from: sessions, to: different })
}

fn read_page(source: &SealedReader, after: Option<SessionId>) -> Result<Vec<SessionRecord>, Error> {
    let settled = |record: SessionRecord| {
        if record.state() == SessionState::Pending { record.in_doubt() } else { Ok(record) }
    };
    source.records(after, PAGE)?.into_iter().map(settled).collect()
}
