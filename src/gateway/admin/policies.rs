//! The admin API for policies: shows the snapshot in force, reloads the folder, and explains requests.

use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::{new_response, text_response, time_of};
use crate::{
    gateway::{Gateway, PolicyStatus, ReloadOutcome},
    policy::{ExplainRequest, ExplainSubject},
    qod::ClientId,
};

impl Gateway {
    /// Handles `/policies`; `rest` is the path after it. `None` if the path is unknown.
    pub(super) async fn handle_policies(
        &self,
        method: &Method,
        rest: &str,
        query: &str,
    ) -> Option<Response<Vec<u8>>> {
        Some(match (method, rest) {
            (&Method::GET, "") => json_response(StatusCode::OK, &self.policy_status_to_json()),
            (&Method::POST, "/reload") => match self.reload().await {
                Ok(outcome) => {
                    let mut status = self.policy_status_to_json();
                    if let Value::Object(members) = &mut status {
                        members.insert(
                            "changed".to_owned(),
                            (outcome == ReloadOutcome::Applied).into(),
                        );
                    }
                    json_response(StatusCode::OK, &status)
                }
                Err(errors) => text_response(StatusCode::UNPROCESSABLE_ENTITY, &errors.join("\n")),
            },
            (&Method::GET, "/explain") => self.explain(query),
            (_, "" | "/explain" | "/reload") => {
                text_response(StatusCode::METHOD_NOT_ALLOWED, &"expected GET, or POST for reload")
            }
            _ => return None,
        })
    }
}

impl Gateway {
    fn policy_status_to_json(&self) -> Value {
        let PolicyStatus { version, since, rejected } = &*self.policy_status();
        let folder = self.folder.canonicalize().unwrap_or_else(|_| self.folder.clone());
        let mut json = json!({
            "version": version.digits(), "since": time_of(*since), "folder": folder,
        });
        if let (Value::Object(members), Some(rejected)) = (&mut json, rejected) {
            let rejected = json!({ "since": time_of(rejected.at), "errors": *rejected.errors });
            members.insert("rejected".to_owned(), rejected);
        }
        json
    }

    fn explain(&self, query: &str) -> Response<Vec<u8>> {
        let (question, as_lines) = match parse_explain_query(query) {
            Ok(parsed) => parsed,
            Err(message) => return text_response(StatusCode::BAD_REQUEST, &message),
        };
        match self.snapshot.load().explain(&question, self.clock.now()) {
            Ok(explanation) if as_lines => {
                text_response(StatusCode::OK, &explanation.lines().join("\n"))
            }
            Ok(explanation) => json_response(StatusCode::OK, &explanation.to_json()),
            Err(error) => text_response(StatusCode::NOT_FOUND, &error),
        }
    }
}

// The explain request, and whether its answer is text lines (`lines`) instead of JSON.
fn parse_explain_query(query: &str) -> Result<(ExplainRequest, bool), String> {
    let (mut client, mut dialect, mut about, mut source) = (None, None, None, None);
    let mut as_lines = false;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "client" => client = Some(ClientId::from(&*value)),
            "dialect" => dialect = Some(value.into_owned()),
            "body" => about = Some(ExplainSubject::Create(value.into_owned().into_bytes())),
            "device" => {
                about = Some(ExplainSubject::device(&value)?);
            }
            "source_address" => {
                let address = value.parse();
                source = Some(
                    address.map_err(|_| "expected an IP address in `source_address`".to_owned())?,
                );
            }
            "lines" => as_lines = true,
            _ => return Err(format!("unknown parameter `{name}`")),
        }
    }
    let missing = |name: &str| format!("expected `{name}`");
    let question = ExplainRequest {
        client: client.ok_or_else(|| missing("client"))?,
        dialect: dialect.ok_or_else(|| missing("dialect"))?,
        subject: about.ok_or_else(|| missing("body` or `device"))?,
        source_address: source,
        reads_tables: false,
    };
    Ok((question, as_lines))
}

impl PolicyStatus {
    /// The reason why the current content of the folder is not in force; `None` if it is.
    pub fn rejection_message(&self) -> Option<String> {
        let rejected = self.rejected.as_ref()?;
        let since = time_of(rejected.at).unwrap_or_default();
        Some(format!(
            "the policy folder has been invalid since {since}; version {} stays in force\n{}\n",
            self.version,
            rejected.errors.join("\n")
        ))
    }
}

fn json_response(status: StatusCode, json: &Value) -> Response<Vec<u8>> {
    new_response(status, "application/json", format!("{json}\n"))
}
