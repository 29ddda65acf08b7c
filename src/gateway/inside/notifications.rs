//! What clients have not heard yet, for whoever runs the gateway: to look at, to have it told at once,
//! or to give it up.

use std::fmt::Write as _;

use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::{NEXT, PAGE_MAX, answer, say, time_of, without_nulls};
use crate::{
    gateway::Gateway,
    notification::{Waiting, Which},
};

/// Which of them are asked for.
struct Wanted {
    which: Which,
    named: bool,
    after: Option<u64>,
    limit: usize,
}

impl Gateway {
    /// Answers on `/notifications`, with what follows in the path.
    pub(super) fn look_at_notifications(
        &self,
        method: &Method,
        rest: &str,
        query: &str,
        from_a_browser: bool,
    ) -> Option<Response<Vec<u8>>> {
        let wanted = match Wanted::read(query) {
            Ok(wanted) => wanted,
            Err(message) => return Some(say(StatusCode::BAD_REQUEST, &message)),
        };
        Some(match (method, rest) {
            (&Method::GET, "") => self.list_notifications(&wanted),
            (&Method::POST, "/retry" | "/drop") if from_a_browser => {
                say(StatusCode::FORBIDDEN, &"not for browsers")
            }
            (&Method::POST, "/retry" | "/drop") if !wanted.named => {
                say(StatusCode::BAD_REQUEST, &"expected `session=`, `client=` or `all`")
            }
            (&Method::POST, "/retry") => {
                let sessions = self.courier.retry(&wanted.which);
                say(StatusCode::OK, &sessions)
            }
            (&Method::POST, "/drop") => {
                let notices = self.courier.drop_notices(&wanted.which);
                tracing::warn!(notices, "clients will not hear what happened: somebody dropped it");
                say(StatusCode::OK, &notices)
            }
            (_, "" | "/retry" | "/drop") => {
                say(StatusCode::METHOD_NOT_ALLOWED, &"GET to look, POST to retry or drop")
            }
            _ => return None,
        })
    }

    fn list_notifications(&self, wanted: &Wanted) -> Response<Vec<u8>> {
        let page = self.courier.status(&wanted.which, wanted.after, wanted.limit);
        let next = page.last().filter(|_| page.len() == wanted.limit).map(|last| last.number);
        let mut lines = String::new();
        for waiting in &page {
            // Writing into a string cannot fail.
            _ = writeln!(lines, "{}", told_of(waiting));
        }
        let mut response = answer(StatusCode::OK, "application/x-ndjson", lines);
        if let Some(next) = next {
            response.headers_mut().insert(NEXT, next.into());
        }
        response
    }
}

impl Wanted {
    fn read(query: &str) -> Result<Self, String> {
        let mut wanted = Self { which: Which::All, named: false, after: None, limit: PAGE_MAX };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let wrong = || format!("`{name}` cannot be `{value}`");
            let which = match name {
                "after" => {
                    wanted.after = Some(value.parse().map_err(|_| wrong())?);
                    continue;
                }
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
                    wanted.limit = limit.ok_or_else(wrong)?;
                    continue;
                }
                "session" => Which::Session(value.parse().map_err(|_| wrong())?),
                "client" => Which::Client(value.into()),
                "all" => Which::All,
                _ => return Err(format!("`{name}` means nothing here")),
            };
            if wanted.named {
                return Err("expected one of `session=`, `client=` and `all`".to_owned());
            }
            (wanted.which, wanted.named) = (which, true);
        }
        Ok(wanted)
    }
}

fn told_of(waiting: &Waiting) -> Value {
    without_nulls(json!({
        "number": waiting.number,
        "sessionId": waiting.session.to_string(),
        "client": &*waiting.client.0,
        "host": &*waiting.host,
        "qosStatus": waiting.status.name(),
        "queuedAt": time_of(waiting.queued_at),
        "attempts": waiting.attempts,
        "nextAt": waiting.next_at.and_then(time_of),
        "failure": waiting.failure,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_is_read_or_refused() {
        let wanted = Wanted::read("client=app&after=7&limit=10").unwrap();
        assert_eq!(wanted.which, Which::Client("app".into()));
        assert_eq!((wanted.after, wanted.limit, wanted.named), (Some(7), 10, true));
        assert!(!Wanted::read("").unwrap().named);
        for wrong in ["after=x", "limit=0", "limit=1001", "session=1", "all&client=a", "colour=red"]
        {
            assert!(Wanted::read(wrong).is_err(), "{wrong}");
        }
    }
}
