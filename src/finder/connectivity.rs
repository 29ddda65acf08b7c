//! Tries a finder before a client needs it, for `check --connect`.

use super::{Finder, query};
use crate::{
    outbound::{Caller, ConnectionCheck},
    qod::PhoneNumber,
};

// No country has the code 999.
const UNASSIGNED_NUMBER: &str = "+999000000000";

impl Finder {
    /// Looks up a number that does not exist. The cache and the backoff are not used.
    pub async fn check_connection(&self, caller: &Caller) -> ConnectionCheck {
        let url = self.settings.endpoint.url();
        let number = UNASSIGNED_NUMBER.parse::<PhoneNumber>().ok();
        let body = number.map(query::LookupSubject::Number);
        let body = body.and_then(|subject| subject.request_body(self.settings.kind));
        let Some(body) = body else {
            return ConnectionCheck { url, result: Err("it cannot look up a number".to_owned()) };
        };
        let response = match self.send(caller, body, caller.clock.tick()).await {
            Ok(response) => response,
            Err((_, reason)) => return ConnectionCheck { url, result: Err(reason) },
        };
        let status = response.status.as_u16();
        let result = match status {
            401 | 403 => {
                Err(format!("the finder rejects the gateway's credentials with status {status}"))
            }
            _ => query::parse_answer(self.settings.kind, &response)
                .map(|_| "the finder answers".to_owned()),
        };
        ConnectionCheck::answered(url, result, &response, caller.clock.now())
    }
}
