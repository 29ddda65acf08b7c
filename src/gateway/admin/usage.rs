//! The admin API for usage records: lists them in pages.

use std::fmt::Write as _;

use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::{NEXT_PAGE_HEADER, PAGE_MAX, new_response, text_response, time_of};
use crate::{
    gateway::Gateway,
    ledger::{UsageCursor, UsagePeriod, UsageRecord},
    qod::{Moment, StatusInfo},
};

/// A query for usage records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UsageQuery {
    /// Only records after this one.
    pub after: Option<UsageCursor>,
    /// Only records that were made in this period.
    pub period: UsagePeriod,
    /// The number of records to read.
    pub limit: Option<usize>,
}

impl Gateway {
    /// Handles `/usage`; `rest` is the path after it.
    pub(super) async fn handle_usage(
        &self,
        method: &Method,
        rest: &str,
        query: &str,
    ) -> Option<Response<Vec<u8>>> {
        if !rest.is_empty() {
            return None;
        }
        if method != Method::GET {
            return Some(text_response(StatusCode::METHOD_NOT_ALLOWED, &"expected GET"));
        }
        Some(match UsageQuery::parse(query) {
            Ok(query) => self.list_usage(&query).await,
            Err(message) => text_response(StatusCode::BAD_REQUEST, &message),
        })
    }

    async fn list_usage(&self, query: &UsageQuery) -> Response<Vec<u8>> {
        let limit = query.limit.unwrap_or(PAGE_MAX);
        let page = match self.ledger.usage(query.after, query.period, limit).await {
            Ok(page) => page,
            Err(error) => return text_response(StatusCode::SERVICE_UNAVAILABLE, &error),
        };
        let mut lines = String::new();
        for (cursor, usage) in &page.records {
            // Writing into a string cannot fail.
            _ = writeln!(lines, "{}", usage_to_json(*cursor, usage));
        }
        let mut response = new_response(StatusCode::OK, "application/x-ndjson", lines);
        if let Some(next) = page.next.and_then(|next| next.to_string().parse().ok()) {
            response.headers_mut().insert(NEXT_PAGE_HEADER, next);
        }
        response
    }
}

impl UsageQuery {
    fn parse(query: &str) -> Result<Self, String> {
        let mut filter = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let invalid = || format!("invalid value `{value}` for `{name}`");
            match name {
                "after" => filter.after = Some(value.parse().map_err(|_| invalid())?),
                "from" => filter.period.from = Some(parse_time(value).ok_or_else(invalid)?),
                "to" => filter.period.to = Some(parse_time(value).ok_or_else(invalid)?),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
                    filter.limit = Some(limit.ok_or_else(invalid)?);
                }
                _ => return Err(format!("unknown parameter `{name}`")),
            }
        }
        Ok(filter)
    }

    /// The query of the admin API.
    pub fn to_query_string(self) -> String {
        let time = |name, at: Option<Moment>| Some(format!("{name}={}", time_of(at?)?));
        let parts = [
            self.after.map(|after| format!("after={after}")),
            time("from", self.period.from),
            time("to", self.period.to),
            self.limit.map(|limit| format!("limit={limit}")),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join("&")
    }
}

/// A time in RFC 3339 notation.
pub fn parse_time(text: &str) -> Option<Moment> {
    let milliseconds = text.parse::<jiff::Timestamp>().ok()?.as_millisecond();
    u64::try_from(milliseconds).ok().map(Moment::from_unix_ms)
}

/// A usage record as JSON. Every member is present in each record.
pub fn usage_to_json(cursor: UsageCursor, usage: &UsageRecord) -> Value {
    json!({
        "cursor": cursor.to_string(),
        "sessionId": usage.session.to_string(),
        "operatorSession": usage.operator_session,
        "client": &*usage.client.0,
        "operator": &*usage.operator.0,
        "clientDialect": &*usage.client_dialect,
        "operatorDialect": &*usage.operator_dialect,
        "clientProfile": usage.client_profile,
        "operatorProfile": usage.operator_profile,
        "requestedSeconds": usage.requested_s,
        "grantedSeconds": usage.granted_s,
        "usedSeconds": usage.used_s,
        "uncertainSeconds": usage.uncertain_s,
        "requestedAt": time_of(usage.requested_at),
        "startedAt": usage.started_at.and_then(time_of),
        "endedAt": time_of(usage.ended_at),
        "recordedAt": time_of(usage.recorded_at),
        "ending": usage.ending.name(),
        "statusInfo": usage.status_info.map(StatusInfo::name),
        "inDoubt": usage.in_doubt,
        "correlator": &*usage.correlator,
        "device": format!("{:016x}", usage.device),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_query_is_rejected() {
        let text = "after=7&from=2026-11-01T00:00:00Z&to=2026-12-01T00:00:00Z&limit=10";
        let query = UsageQuery::parse(text).unwrap();
        assert_eq!(
            (query.after.map(|at| at.to_string()), query.limit),
            (Some("7".into()), Some(10))
        );
        assert_eq!(query.period.from, Some(Moment::from_unix_s(1_793_491_200)));
        assert_eq!(query.to_query_string(), text);
        for invalid in ["after=x", "from=yesterday", "to=2026", "limit=0", "limit=1001", "all"] {
            assert!(UsageQuery::parse(invalid).is_err(), "{invalid}");
        }
    }
}
