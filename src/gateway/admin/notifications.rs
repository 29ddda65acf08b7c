//! The admin API for undelivered notifications: lists them, retries their delivery at once, or drops them.

use std::fmt::Write as _;

use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::{NEXT_PAGE_HEADER, PAGE_MAX, new_response, text_response, time_of, without_nulls};
use crate::{
    gateway::Gateway,
    notification::{OutboxSelector, PendingNotification},
};

/// A query for notifications.
struct NotificationQuery {
    selection: OutboxSelector,
    is_explicit: bool,
    after: Option<u64>,
    limit: usize,
}

impl Gateway {
    /// Handles `/notifications`; `rest` is the path after it.
    pub(super) async fn handle_notifications(
        &self,
        method: &Method,
        rest: &str,
        query: &str,
    ) -> Option<Response<Vec<u8>>> {
        let filter = match NotificationQuery::parse(query) {
            Ok(filter) => filter,
            Err(message) => return Some(text_response(StatusCode::BAD_REQUEST, &message)),
        };
        Some(match (method, rest) {
            (&Method::GET, "") => self.list_notifications(&filter).await,
            (&Method::POST, "/retry" | "/drop") if !filter.is_explicit => {
                text_response(StatusCode::BAD_REQUEST, &"expected `session=`, `client=` or `all`")
            }
            (&Method::POST, "/retry") => match self.dispatcher.retry_all(&filter.selection).await {
                Ok(sessions) => text_response(StatusCode::OK, &sessions),
                Err(error) => text_response(StatusCode::SERVICE_UNAVAILABLE, &error),
            },
            (&Method::POST, "/drop") => {
                let count = match self.dispatcher.drop_all(&filter.selection).await {
                    Ok(count) => count,
                    Err(error) => {
                        return Some(text_response(StatusCode::SERVICE_UNAVAILABLE, &error));
                    }
                };
                tracing::warn!(
                    event = "notifications_dropped_by_admin",
                    count,
                    "notifications dropped by an administrator"
                );
                text_response(StatusCode::OK, &count)
            }
            (_, "" | "/retry" | "/drop") => text_response(
                StatusCode::METHOD_NOT_ALLOWED,
                &"expected GET, or POST for retry and drop",
            ),
            _ => return None,
        })
    }

    async fn list_notifications(&self, filter: &NotificationQuery) -> Response<Vec<u8>> {
        let page = self.dispatcher.list(&filter.selection, filter.after, filter.limit).await;
        let page = match page {
            Ok(page) => page,
            Err(error) => return text_response(StatusCode::SERVICE_UNAVAILABLE, &error),
        };
        let next = page.last().filter(|_| page.len() == filter.limit).map(|last| last.number);
        let mut lines = String::new();
        for notification in &page {
            // Writing into a string cannot fail.
            _ = writeln!(lines, "{}", notification_to_json(notification));
        }
        let mut response = new_response(StatusCode::OK, "application/x-ndjson", lines);
        if let Some(next) = next {
            response.headers_mut().insert(NEXT_PAGE_HEADER, next.into());
        }
        response
    }
}

impl NotificationQuery {
    fn parse(query: &str) -> Result<Self, String> {
        let mut filter = Self {
            selection: OutboxSelector::All,
            is_explicit: false,
            after: None,
            limit: PAGE_MAX,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let invalid = || format!("invalid value `{value}` for `{name}`");
            let which = match name {
                "after" => {
                    filter.after = Some(value.parse().map_err(|_| invalid())?);
                    continue;
                }
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
                    filter.limit = limit.ok_or_else(invalid)?;
                    continue;
                }
                "session" => OutboxSelector::Session(value.parse().map_err(|_| invalid())?),
                "client" => OutboxSelector::Client(value.into()),
                "all" => OutboxSelector::All,
                _ => return Err(format!("unknown parameter `{name}`")),
            };
            if filter.is_explicit {
                return Err("expected one of `session=`, `client=` and `all`".to_owned());
            }
            (filter.selection, filter.is_explicit) = (which, true);
        }
        Ok(filter)
    }
}

/// A queued notification, as the admin API shows it.
pub fn notification_to_json(notification: &PendingNotification) -> Value {
    without_nulls(json!({
        "number": notification.number,
        "sessionId": notification.session.to_string(),
        "client": &*notification.client.0,
        "host": &*notification.host,
        "qosStatus": notification.status.name(),
        "queuedAt": time_of(notification.queued_at),
        "attempts": notification.attempts,
        "nextAt": notification.next_at.and_then(time_of),
        "failure": notification.failure,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_query_is_rejected() {
        let filter = NotificationQuery::parse("client=app&after=7&limit=10").unwrap();
        assert_eq!(filter.selection, OutboxSelector::Client("app".into()));
        assert_eq!((filter.after, filter.limit, filter.is_explicit), (Some(7), 10, true));
        assert!(!NotificationQuery::parse("").unwrap().is_explicit);
        for invalid in
            ["after=x", "limit=0", "limit=1001", "session=1", "all&client=a", "colour=red"]
        {
            assert!(NotificationQuery::parse(invalid).is_err(), "{invalid}");
        }
    }
}
