//! The insertion of a session: the database returns the sessions that it must be compared with, this
//! process compares them, and the database inserts it if no other session has come in between.

use std::sync::Arc;

use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::{
    PostgresStore,
    lookup::{self, ClaimKeys},
    row::{self, get},
};
use crate::{
    clock::Tick,
    ledger::{
        Claim, ConflictRules, Error, OnUnknown, SessionRecord, SessionState,
        claim::DeviceKeys,
        daily_quota,
        idempotency::REPLAY_TTL,
        index::{
            AMBIGUOUS_EXAMINED_FORWARD_MAX, AMBIGUOUS_EXAMINED_REFUSE_MAX, DEVICE_SESSIONS_MAX,
            Index,
        },
        record::RecordSummary,
        sealed_rows,
        store::{InsertOutcome, InsertRequest, InsertedRecord},
    },
    qod::{ClientId, Flow, GrantedSession, Moment, Session, SessionId},
};

// The number of sessions that a new one is compared with. Only a network may have more, which contains many
// networks of devices.
const COMPARED_MAX: usize = 4 * DEVICE_SESSIONS_MAX;
// How often sessions of the same device may come in between.
const ATTEMPTS_MAX: usize = 16;
const EXPIRED_HOLDS_MAX: usize = 1024;

/// What the database decided about a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Inserted,
    Compare,
    Replayed,
    KeyReused,
    InProgress,
    DailyQuota,
    Quota,
    TooBroad,
    Outdated,
    /// The rest of the quota of concurrent sessions is locked by other transactions.
    QuotaLocked,
}

/// A session of the database that has a key in common with a new one.
#[derive(Debug)]
struct Candidate {
    id: SessionId,
    holds_until: Moment,
    claim: Claim,
}

/// The part of a claim that the conflict rule needs, as it is sealed.
type SealedClaim = (ClientId, DeviceKeys, Flow);

/// The result of one attempt of an insertion.
enum Attempt {
    /// Now.
    Inserted { device_ambiguous: bool },
    /// By an earlier attempt, or the request is a replay.
    Known(InsertOutcome),
    /// The insertion must be tried again.
    Again,
}

/// The state of one insertion.
struct Insertion {
    request: InsertRequest,
    claim: Claim,
    keys: ClaimKeys,
    compared: Vec<Candidate>,
    change: i64,
    holds_expired: bool,
    /// Whether to wait for other transactions that may use up the quota.
    wait_for_quota: bool,
    /// The first time of the request, by both clocks.
    asked: (Moment, Tick),
}

impl PostgresStore {
    pub(super) async fn reserve(
        &self,
        request: InsertRequest,
        now: Moment,
    ) -> Result<InsertOutcome, Error> {
        self.ensure_operator(&request.record.operator).await?;
        let claim = request.record.claim();
        let reply = request.fingerprint.as_ref().map(|fingerprint| fingerprint.key);
        let id = request.record.session.id;
        let keys = self.rows.claim_keys(id, &claim, &request.rules, reply);
        let change = rand::random();
        let asked = (request.record.requested_at(), request.started);
        let mut insertion = Insertion {
            request,
            claim,
            keys,
            compared: Vec::new(),
            change,
            holds_expired: false,
            wait_for_quota: false,
            asked,
        };
        // The time that the request has waited so far does not reduce the operator's time to answer.
        insertion.request.delay(self.clock.now().since(now));
        for _ in 0..ATTEMPTS_MAX {
            match self.try_insert(&mut insertion).await? {
                Attempt::Inserted { device_ambiguous } => {
                    let InsertRequest { record, started, .. } = insertion.request;
                    let inserted = InsertedRecord { record, started, device_ambiguous };
                    return Ok(InsertOutcome::New(inserted));
                }
                Attempt::Known(outcome) => return Ok(outcome),
                Attempt::Again => {}
            }
        }
        Err(Error::Unavailable("too many concurrent creates for one device".to_owned()))
    }

    async fn try_insert(&self, insertion: &mut Insertion) -> Result<Attempt, Error> {
        let sent = self.clock.tick();
        let rows = self.call_reserve(insertion).await?;
        let first = rows.first().ok_or_else(|| Error::Unavailable("no answer".to_owned()))?;
        let at = row::moment(first, 1)?;
        self.clock.observe(at, sent);
        let request = &insertion.request;
        match Verdict::from_column(get(first, 0)?)? {
            Verdict::Inserted if get::<Option<&[u8]>>(first, 4)?.is_some() => {
                // By an earlier attempt, perhaps with earlier times.
                let record = self.open_record(get(first, 2)?, get(first, 4)?)?;
                let (asked_at, asked) = insertion.asked;
                let started = asked + record.requested_at().since(asked_at);
                let (record, device_ambiguous) = (Box::new(record), false);
                let inserted = InsertedRecord { record, started, device_ambiguous };
                Ok(Attempt::Known(InsertOutcome::New(inserted)))
            }
            Verdict::Inserted => {
                let ambiguous = self.candidates(&rows, insertion)?;
                insertion.compared.extend(ambiguous);
                let device_ambiguous = judge(insertion, at).unwrap_or(true);
                Ok(Attempt::Inserted { device_ambiguous })
            }
            Verdict::Compare => {
                let candidates = self.candidates(&rows, insertion)?;
                let (live, expired): (Vec<_>, Vec<_>) =
                    candidates.into_iter().partition(|candidate| candidate.holds_until > at);
                if !expired.is_empty() {
                    let ids = expired.iter().map(|candidate| candidate.id.0).collect();
                    self.expire_holds(Some(ids), expired.len()).await?;
                }
                if !live.is_empty() {
                    insertion.compared.extend(live);
                    judge(insertion, at)?;
                    if insertion.compared.len() > COMPARED_MAX {
                        let max = u32::try_from(DEVICE_SESSIONS_MAX).unwrap_or(u32::MAX);
                        return Err(Error::DeviceSessionsExceeded { max });
                    }
                }
                Ok(Attempt::Again)
            }
            Verdict::Replayed => self.open_replay(first, request).map(Attempt::Known),
            Verdict::KeyReused => Err(Error::IdempotencyKeyReused),
            Verdict::InProgress => Err(Error::RequestInProgress),
            Verdict::DailyQuota => Err(daily_quota::exceeded(
                request.creates_per_day.unwrap_or_default(),
                request.record.requested_at(),
            )),
            Verdict::Quota => {
                if std::mem::replace(&mut insertion.holds_expired, true) {
                    return Err(Error::QuotaExceeded { max: insertion.request.sessions_max });
                }
                // Holds that have expired may still be counted.
                self.expire_holds(None, EXPIRED_HOLDS_MAX).await?;
                Ok(Attempt::Again)
            }
            Verdict::QuotaLocked => {
                insertion.wait_for_quota = true;
                Ok(Attempt::Again)
            }
            Verdict::TooBroad => Err(Error::DeviceTooBroad),
            Verdict::Outdated => {
                let late_by = at.since(request.record.requested_at());
                insertion.request.delay(late_by);
                Ok(Attempt::Again)
            }
        }
    }

    fn open_replay(&self, row: &Row, request: &InsertRequest) -> Result<InsertOutcome, Error> {
        let (session, expires_at): (Uuid, i64) = (get(row, 2)?, get(row, 3)?);
        let key = request.fingerprint.as_ref().map_or(0, |print| u128::from_be_bytes(print.key.0));
        let granted: GrantedSession = self.open_row(row::REPLIES, key, get(row, 4)?)?;
        let wanted = Arc::clone(&request.record.session.wanted);
        let session = Box::new(Session { id: SessionId(session), wanted, granted });
        let requested_at = row::from_milliseconds(expires_at) - REPLAY_TTL;
        Ok(InsertOutcome::Replayed { session, requested_at })
    }

    async fn call_reserve(&self, insertion: &Insertion) -> Result<Vec<Row>, Error> {
        let Insertion { request, claim, keys, compared, change, wait_for_quota, .. } = insertion;
        let InsertRequest { record, rules, sessions_max, creates_per_day, fingerprint, .. } =
            request;
        let id = record.session.id.0;
        let summary = record.summary(record.requested_at());
        let (operator, client) =
            (self.rows.operator(&claim.operator), self.rows.client(&claim.client));
        let (state, requested_at) =
            (record.state() as i16, row::milliseconds(record.requested_at()));
        let (holds_until, due) =
            (summary.holds_until.map(row::milliseconds), row::milliseconds(summary.due));
        let (locks, shared): (Vec<i64>, Vec<bool>) =
            keys.locks.iter().map(|lock| (lock.key, lock.shared)).unzip();
        let (find_max, ambiguous_max) =
            (row::count(DEVICE_SESSIONS_MAX + 1), row::count(ambiguous_max(rules)));
        let refuse = rules.unknown == OnUnknown::Refuse;
        let compared: Vec<Uuid> = compared.iter().map(|candidate| candidate.id.0).collect();
        let too_broad = claim.keys.is_too_broad(rules) || lookup::is_wider_than_block(&claim.keys);
        let (sessions_max, creates_per_day) =
            (i64::from(*sessions_max), creates_per_day.map(i64::from));
        let reply = fingerprint.as_ref().map(|print| Uuid::from_bytes(print.key.0));
        let digest = fingerprint.as_ref().map(|print| print.digest.to_vec());
        let reply_expires_at =
            fingerprint.as_ref().map(|_| row::milliseconds(record.requested_at() + REPLAY_TTL));
        let sealed_claim = self.seal_claim(record.session.id, claim)?;
        let sealed = sealed_rows::seal_record(&self.seals.current, record)?;
        let answer = self
            .query(
                &self.statements.reserve,
                &[
                    (&id, Type::UUID),
                    (change, Type::INT8),
                    (&state, Type::INT2),
                    (&operator, Type::INT8),
                    (&client, Type::INT8),
                    (&requested_at, Type::INT8),
                    (&holds_until, Type::INT8),
                    (&due, Type::INT8),
                    (&locks, Type::INT8_ARRAY),
                    (&shared, Type::BOOL_ARRAY),
                    (&keys.hold, Type::INT8_ARRAY),
                    (&keys.find, Type::INT8_ARRAY),
                    (&find_max, Type::INT4),
                    (&keys.public, Type::INT8),
                    (&keys.kinds, Type::INT2),
                    (&keys.kinds_key, Type::INT8),
                    (&ambiguous_max, Type::INT4),
                    (&refuse, Type::BOOL),
                    (&compared, Type::UUID_ARRAY),
                    (&too_broad, Type::BOOL),
                    (&sessions_max, Type::INT8),
                    (wait_for_quota, Type::BOOL),
                    (&creates_per_day, Type::INT8),
                    (&reply, Type::UUID),
                    (&digest, Type::BYTEA),
                    (&reply_expires_at, Type::INT8),
                    (&sealed_claim, Type::BYTEA),
                    (&sealed, Type::BYTEA),
                ],
            )
            .await?;
        Ok(answer.rows)
    }

    pub(super) fn seal_claim(&self, id: SessionId, claim: &Claim) -> Result<Vec<u8>, Error> {
        let Claim { client, keys, flow, operator: _ } = claim;
        self.seal_row(row::CLAIMS, id.0.as_u128(), &(client, keys, flow))
    }

    // The candidates among the rows of an answer. A session may have several common keys.
    fn candidates(&self, rows: &[Row], insertion: &Insertion) -> Result<Vec<Candidate>, Error> {
        let mut candidates: Vec<Candidate> = Vec::new();
        for row in rows {
            let (id, holds_until): (Uuid, Option<i64>) = (get(row, 2)?, get(row, 3)?);
            let (Some(holds_until), false) =
                (holds_until, candidates.iter().any(|known| known.id.0 == id))
            else {
                continue;
            };
            let (client, keys, flow): SealedClaim =
                self.open_row(row::CLAIMS, id.as_u128(), get(row, 4)?)?;
            let operator = insertion.claim.operator.clone();
            let claim = Claim { operator, client, keys, flow };
            let holds_until = row::from_milliseconds(holds_until);
            candidates.push(Candidate { id: SessionId(id), holds_until, claim });
        }
        Ok(candidates)
    }
}

// Compares the new session with all candidates, as the other stores do. Returns whether a session was
// found whose device may be the same.
fn judge(insertion: &Insertion, now: Moment) -> Result<bool, Error> {
    if insertion.compared.is_empty() {
        return Ok(false);
    }
    let mut index = Index::default();
    for Candidate { id, holds_until, claim } in &insertion.compared {
        let summary = RecordSummary {
            id: *id,
            generation: 0,
            state: SessionState::Available,
            holds_until: Some(*holds_until),
            due: *holds_until,
        };
        index.restore(summary, claim.clone(), None);
    }
    let record: &SessionRecord = &insertion.request.record;
    let (claim, rules) = (insertion.claim.clone(), &insertion.request.rules);
    // The database has checked the quota.
    index.insert(record.summary(now), claim, rules, u32::MAX, now)
}

const fn ambiguous_max(rules: &ConflictRules) -> usize {
    match rules.unknown {
        OnUnknown::Forward => AMBIGUOUS_EXAMINED_FORWARD_MAX,
        OnUnknown::Refuse => AMBIGUOUS_EXAMINED_REFUSE_MAX + 1,
    }
}

impl Verdict {
    fn from_column(column: i16) -> Result<Self, Error> {
        Ok(match column {
            0 => Self::Inserted,
            1 => Self::Compare,
            2 => Self::Replayed,
            3 => Self::KeyReused,
            4 => Self::InProgress,
            5 => Self::DailyQuota,
            6 => Self::Quota,
            7 => Self::TooBroad,
            8 => Self::Outdated,
            9 => Self::QuotaLocked,
            other => return Err(Error::Unavailable(format!("unexpected outcome {other}"))),
        })
    }
}
