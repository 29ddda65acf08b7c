//! Queries of the ledger that change nothing: by client and device, by operator, and for administration.

use super::{Error, Ledger, Requester, SessionRecord, SessionState, claim::DeviceKeys};
use crate::{
    limit::Admission,
    qod::{Device, OperatorId, RETRIEVED_MAX, SessionId},
};

impl Ledger {
    /// The session to which the operator assigned this id.
    pub async fn find_by_operator_session(
        &self,
        operator: &OperatorId,
        operator_session: &str,
    ) -> Result<Option<SessionId>, Error> {
        self.store.find_by_operator_session(operator, operator_session).await
    }

    /// The records of all clients after this one, oldest first: for administration.
    pub async fn list(
        &self,
        after: Option<SessionId>,
        records_max: usize,
    ) -> Result<Vec<SessionRecord>, Error> {
        let now = self.store.now();
        let records = self.store.list(after, records_max).await?;
        Ok(records.iter().filter_map(|record| record.as_of(now)).collect())
    }

    /// A record of any client: for administration.
    pub async fn get(&self, id: &SessionId) -> Result<SessionRecord, Error> {
        self.read(id).await
    }

    /// The number of records for each operator and state. Includes zero counts of every operator
    /// that has had a record.
    pub async fn counts(&self) -> Result<Vec<(OperatorId, SessionState, u64)>, Error> {
        self.store.counts().await
    }

    /// The client's sessions of a device, at all operators, newest first, at most 100; with a
    /// three-legged token, only those of the same user. The device as translated for the operator
    /// must certainly be this one. Sessions that no longer hold their flow are found by id only.
    pub async fn find_by_device(
        &self,
        admission: &Admission,
        device: &Device,
    ) -> Result<Vec<SessionRecord>, Error> {
        self.find_by_device_for(&Requester::from_admission(admission), device).await
    }

    /// The client's sessions of the user of a three-legged token; see [`Self::find_by_device`].
    pub async fn find_by_user(&self, admission: &Admission) -> Result<Vec<SessionRecord>, Error> {
        let requester = Requester::from_admission(admission);
        let keys = DeviceKeys::new(&self.hasher, None, requester.subject.as_ref());
        self.find_by_keys(&requester, &keys).await
    }

    pub(super) async fn find_by_device_for(
        &self,
        requester: &Requester,
        device: &Device,
    ) -> Result<Vec<SessionRecord>, Error> {
        self.find_by_keys(requester, &DeviceKeys::new(&self.hasher, Some(device), None)).await
    }

    async fn find_by_keys(
        &self,
        requester: &Requester,
        keys: &DeviceKeys,
    ) -> Result<Vec<SessionRecord>, Error> {
        let now = self.store.now();
        let records = self.store.find_by_device(requester, keys, now, RETRIEVED_MAX).await?;
        Ok(records.iter().filter_map(|record| record.as_of(now)).collect())
    }
}
