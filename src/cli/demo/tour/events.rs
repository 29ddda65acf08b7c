//! What happens to a session travels from its operator to its client, each in its own words.

use http::Method;
use serde_json::{Value, json};

use super::{Step, Tour, early, heading, late, put, text_at};
use crate::cli::{
    demo::sink::Sink,
    terminal::{self, Style, styled},
};

/// A session whose network ends it.
struct Ended<'a> {
    says: &'a str,
    path: &'a str,
    body: Value,
    number: &'a str,
    operator: &'a str,
    /// Where the answer has our name for the session.
    id: &'a str,
    /// What the client must hear.
    with: &'a [&'a str],
}

const TOKEN: &str = "c8974e592c2fa383d4a3960714";

impl Tour {
    pub(super) async fn events(&self) -> Result<(), String> {
        heading("What happens to a session, told to the client in its own words");
        let mut sink = Sink::listen(self.sink).await?;
        let url = format!("http://{}/events", self.sink);

        let mut first = early("+34600000021", "notificationUri");
        put(&mut first, "/notificationUri", json!(url));
        put(&mut first, "/notificationAuthToken", json!(TOKEN));
        let from_new_to_old = Ended {
            says: "A 0.8.0 client at a 0.10 operator, whose network ends the session",
            path: "/camara-0.8.0/qod/v0/sessions",
            body: first,
            number: "+34600000021",
            operator: "telefonica-es",
            id: "/id",
            with: &["POST /events/notifications?apikey=", "\"SESSION_TERMINATED\""],
        };
        self.ends(&mut sink, from_new_to_old).await?;

        let mut second = late("+4915100000022");
        let webhook = json!({ "notificationUrl": url, "notificationAuthToken": TOKEN });
        put(&mut second, "/webhook", webhook);
        let from_old_to_new = Ended {
            says: "And back: a 0.10.1 client at a 0.8.0 operator",
            path: "/camara-0.10.1/qod/v0/sessions",
            body: second,
            number: "+4915100000022",
            operator: "magenta-de",
            id: "/sessionId",
            with: &["POST /events ", "\"UNAVAILABLE\"", "\"NETWORK_TERMINATED\""],
        };
        self.ends(&mut sink, from_old_to_new).await
    }

    async fn ends(&self, sink: &mut Sink, ended: Ended<'_>) -> Result<(), String> {
        let Ended { says, path, body, number, operator, id, with } = ended;
        let step = Step { says, path, body: Some(body), ..self.create(201) };
        let ours = text_at(&self.step_answer(&step).await?, id);
        let theirs = self.operators_name_of(operator, number).await?;
        let ends = format!("/books/{theirs}/terminate");
        self.ask_operator(operator, Method::POST, &ends).await?;
        terminal::line(&format!(
            "  The network of {operator} ends it; the client's own server hears:"
        ));
        // That it began is told as well, where the client's dialect has a word for it.
        let last = with.last().copied().unwrap_or_default();
        let heard = loop {
            match sink.next_with(&ours).await {
                Some(heard) if heard.body.contains(last) => break Some(heard),
                Some(_) => {}
                None => break None,
            }
        };
        let Some(heard) = heard else {
            self.judge(false, "the client hears of it");
            return Ok(());
        };
        terminal::line(&styled(Style::Faint, &format!("  * {}", heard.line)));
        terminal::line(&styled(Style::Faint, &format!("  * {}", heard.body)));
        let told = heard.line + &heard.body;
        let good = with.iter().all(|part| told.contains(part));
        self.judge(good, &format!("told with {}", with.join(" ")));
        Ok(())
    }

    // What the operator calls the session of a number.
    async fn operators_name_of(&self, operator: &str, number: &str) -> Result<String, String> {
        let books = self.ask_operator(operator, Method::GET, "/books").await?;
        let digits = number.trim_start_matches('+');
        let text = String::from_utf8_lossy(&books.body).into_owned();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut of_number =
            lines.filter(|line| text_at(line, "/phoneNumber").trim_start_matches('+') == digits);
        of_number
            .next()
            .map(|line| text_at(&line, "/id"))
            .ok_or_else(|| format!("{operator} has no session of {number}"))
    }
}
