//! The part of the tour about notifications: operator events are delivered in the client's dialect.

use http::Method;
use serde_json::{Value, json};

use super::{Tour, TourStep, body_v08, body_v010, heading, set_member, text_at};
use crate::cli::{
    demo::sink::DemoSink,
    terminal::{self, Style, styled},
};

/// A session that is terminated by its network.
struct TerminatedSession<'a> {
    title: &'a str,
    path: &'a str,
    body: Value,
    number: &'a str,
    operator: &'a str,
    /// JSON pointer to the session ID in the response.
    id: &'a str,
    /// Texts that the notification must contain.
    expected: &'a [&'a str],
}

const TOKEN: &str = "c8974e592c2fa383d4a3960714";

impl Tour {
    pub(super) async fn events(&self) -> Result<(), String> {
        heading("Notifications in the dialect of the client");
        let mut sink = DemoSink::listen(self.sink).await?;
        let url = format!("http://{}/events", self.sink);

        let mut first = body_v08("+34600000021", "notificationUri");
        set_member(&mut first, "/notificationUri", json!(url));
        set_member(&mut first, "/notificationAuthToken", json!(TOKEN));
        let from_new_to_old = TerminatedSession {
            title: "A 0.8.0 client at a 0.10 operator; the network terminates the session",
            path: "/camara-0.8.0/qod/v0/sessions",
            body: first,
            number: "+34600000021",
            operator: "telefonica-es",
            id: "/id",
            expected: &["POST /events/notifications?apikey=", "\"SESSION_TERMINATED\""],
        };
        self.terminate(&mut sink, from_new_to_old).await?;

        let mut second = body_v010("+4915100000022");
        let webhook = json!({ "notificationUrl": url, "notificationAuthToken": TOKEN });
        set_member(&mut second, "/webhook", webhook);
        let from_old_to_new = TerminatedSession {
            title: "The reverse: a 0.10.1 client at a 0.8.0 operator",
            path: "/camara-0.10.1/qod/v0/sessions",
            body: second,
            number: "+4915100000022",
            operator: "magenta-de",
            id: "/sessionId",
            expected: &["POST /events ", "\"UNAVAILABLE\"", "\"NETWORK_TERMINATED\""],
        };
        self.terminate(&mut sink, from_old_to_new).await
    }

    async fn terminate(
        &self,
        sink: &mut DemoSink,
        session: TerminatedSession<'_>,
    ) -> Result<(), String> {
        let TerminatedSession { title, path, body, number, operator, id, expected } = session;
        let step = TourStep { title, path, body: Some(body), ..self.create(201) };
        let gateway_id = text_at(&self.step_response(&step).await?, id);
        let operator_id = self.operator_session_id(operator, number).await?;
        let terminate = format!("/simulator/sessions/{operator_id}/terminate");
        self.call_operator(operator, Method::POST, &terminate).await?;
        terminal::print_line(&format!("  {operator} terminates the session; the client receives:"));
        // Dialects with a status for it also notify that the session is available.
        let last = expected.last().copied().unwrap_or_default();
        let received = loop {
            match sink.next_containing(&gateway_id).await {
                Some(received) if received.body.contains(last) => break Some(received),
                Some(_) => {}
                None => break None,
            }
        };
        let Some(received) = received else {
            self.check(false, "the client receives a notification");
            return Ok(());
        };
        terminal::print_line(&styled(Style::Faint, &format!("  * {}", received.line)));
        terminal::print_line(&styled(Style::Faint, &format!("  * {}", received.body)));
        let text = received.line + &received.body;
        let passed = expected.iter().all(|part| text.contains(part));
        self.check(passed, &format!("expected {}", expected.join(" ")));
        Ok(())
    }

    // The operator's ID of the session of a phone number.
    async fn operator_session_id(&self, operator: &str, number: &str) -> Result<String, String> {
        let sessions = self.call_operator(operator, Method::GET, "/simulator/sessions").await?;
        let digits = number.trim_start_matches('+');
        let text = String::from_utf8_lossy(&sessions.body).into_owned();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut of_number =
            lines.filter(|line| text_at(line, "/phoneNumber").trim_start_matches('+') == digits);
        of_number
            .next()
            .map(|line| text_at(&line, "/id"))
            .ok_or_else(|| format!("{operator} has no session for {number}"))
    }
}
