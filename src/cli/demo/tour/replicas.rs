//! The steps of the tour that show two replicas on one database.

use http::Method;

use super::{SecondReplica, Tour, TourStep, body_v010, heading, text_at};
use crate::cli::terminal;

const PATH: &str = "/camara-0.10.1/qod/v0/sessions";

impl Tour {
    pub(super) async fn replicas(&self, second: SecondReplica) -> Result<(), String> {
        heading("Two replicas, one ledger in PostgreSQL");
        let create = |title, phone_number, replica, status, expected| TourStep {
            title,
            path: PATH,
            body: Some(body_v010(phone_number)),
            replica,
            expected,
            ..self.create(status)
        };
        let first = create("Create at the first replica", "+34600000041", 0, 201, &["sessionId"]);
        let session = text_at(&self.step_response(&first).await?, "/sessionId");
        let available: &[&str] = &["\"qosStatus\":\"AVAILABLE\""];
        let get = |title, path, replica| TourStep {
            title,
            method: Method::GET,
            path,
            replica,
            expected: available,
            ..self.create(200)
        };
        let path = format!("{PATH}/{session}");
        self.step(&get("Get at the second replica", &path, 1)).await?;
        let conflict: &[&str] = &["\"CONFLICT\""];
        let title = "Create for the same device at the second replica";
        self.step(&create(title, "+34600000041", 1, 409, conflict)).await?;
        let other = create("Create at the second replica", "+34600000042", 1, 201, &["sessionId"]);
        let session = text_at(&self.step_response(&other).await?, "/sessionId");
        second.kill();
        terminal::print_line("");
        terminal::print_line("  The second replica is killed.");
        let path = format!("{PATH}/{session}");
        self.step(&get("Get its session at the first replica", &path, 0)).await
    }
}
