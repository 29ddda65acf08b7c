//! For whoever runs the gateway: which reading of the policies is in force, and reading them anew.

use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::{answer, say, time_of};
use crate::gateway::{Gateway, Reread, Standing};

impl Gateway {
    /// Answers on `/policies` and below; nothing, if the path is none.
    pub(super) async fn look_at_policies(
        &self,
        method: &Method,
        rest: &str,
        from_a_browser: bool,
    ) -> Option<Response<Vec<u8>>> {
        Some(match (method, rest) {
            (&Method::GET, "") => tell(StatusCode::OK, &told_of(&self.standing())),
            (&Method::POST, "/reload") if from_a_browser => {
                say(StatusCode::FORBIDDEN, &"not for browsers")
            }
            (&Method::POST, "/reload") => match self.reread().await {
                Ok(reread) => {
                    let mut told = told_of(&self.standing());
                    if let Value::Object(members) = &mut told {
                        members.insert("changed".to_owned(), (reread == Reread::Changed).into());
                    }
                    tell(StatusCode::OK, &told)
                }
                Err(faults) => say(StatusCode::UNPROCESSABLE_ENTITY, &faults.join("\n")),
            },
            (_, "" | "/reload") => {
                say(StatusCode::METHOD_NOT_ALLOWED, &"GET to look, POST to reload")
            }
            _ => return None,
        })
    }
}

impl Standing {
    /// Why the folder as it is now is not followed, for a person; nothing, if it is.
    pub fn not_followed(&self) -> Option<String> {
        let refused = self.refused.as_ref()?;
        let since = time_of(refused.at).unwrap_or_default();
        Some(format!(
            "the policies cannot be followed as they are since {since}; {} stays in force\n{}\n",
            self.version,
            refused.faults.join("\n")
        ))
    }
}

fn told_of(standing: &Standing) -> Value {
    let Standing { version, since, refused } = standing;
    let mut told = json!({ "version": version.digits(), "since": time_of(*since) });
    if let (Value::Object(members), Some(refused)) = (&mut told, refused) {
        let refused = json!({ "since": time_of(refused.at), "faults": *refused.faults });
        members.insert("refused".to_owned(), refused);
    }
    told
}

fn tell(status: StatusCode, told: &Value) -> Response<Vec<u8>> {
    answer(status, "application/json", format!("{told}\n"))
}
