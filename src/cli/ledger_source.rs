//! Where commands read the ledger: from the running gateway, or else from its store.

use std::path::Path;

use http::Method;

use super::{
    admin::{AdminArgs, AdminClient},
    store,
};
use crate::ledger::{Ledger, OfflineReader};

/// A ledger that can be read.
pub(super) enum LedgerSource {
    /// A gateway is running.
    Running(Box<AdminClient>),
    /// No gateway answers; the ledger is in a database.
    Shared(Box<Ledger>),
    /// No gateway is running; the ledger is in files.
    Stopped(Box<OfflineReader>),
}

impl LedgerSource {
    /// Finds the ledger of a policy folder, or of the gateway that `--admin` names.
    pub(super) async fn find(admin: &AdminArgs, policies: &Path) -> Result<Self, String> {
        let (admin, store) = admin.client(policies)?;
        let Err(error) = admin.request(Method::GET, "/healthz").await else {
            return Ok(Self::Running(Box::new(admin)));
        };
        let Some(store) = store else { return Err(error) };
        let failed = |open: &dyn std::fmt::Display| {
            format!("the gateway is not running ({error}), and its ledger cannot be read: {open}")
        };
        if let Some(ledger) = store::open_ledger(&store).map_err(|open| failed(&open))? {
            return Ok(Self::Shared(Box::new(ledger)));
        }
        match OfflineReader::open(&store) {
            Ok(reader) => Ok(Self::Stopped(Box::new(reader))),
            Err(open) => Err(failed(&open)),
        }
    }
}
