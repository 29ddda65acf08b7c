//! For whoever runs the gateway: which reading of the policies is in force, and reading them anew.

use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::{answer, say, time_of};
use crate::{
    gateway::{Gateway, Reread, Standing},
    policy::{About, Question},
    qod::ClientId,
};

impl Gateway {
    /// Answers on `/policies` and below; nothing, if the path is none.
    pub(super) async fn look_at_policies(
        &self,
        method: &Method,
        rest: &str,
        query: &str,
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
            (&Method::GET, "/explain") => self.explain(query),
            (_, "" | "/explain" | "/reload") => {
                say(StatusCode::METHOD_NOT_ALLOWED, &"GET to look, POST to reload")
            }
            _ => return None,
        })
    }
}

impl Gateway {
    fn explain(&self, query: &str) -> Response<Vec<u8>> {
        let (question, in_lines) = match read(query) {
            Ok(read) => read,
            Err(message) => return say(StatusCode::BAD_REQUEST, &message),
        };
        match self.rules.load().explain(&question, self.clock.now()) {
            Ok(told) if in_lines => say(StatusCode::OK, &told.lines().join("\n")),
            Ok(told) => tell(StatusCode::OK, &told.to_json()),
            Err(error) => say(StatusCode::NOT_FOUND, &error),
        }
    }
}

// What is asked, and whether a person does.
fn read(query: &str) -> Result<(Question, bool), String> {
    let (mut client, mut dialect, mut about, mut from) = (None, None, None, None);
    let mut in_lines = false;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "client" => client = Some(ClientId::from(&*value)),
            "dialect" => dialect = Some(value.into_owned()),
            "body" => about = Some(About::Create(value.into_owned().into_bytes())),
            "device" => {
                about = Some(About::device(&value).map_err(|error| error.to_string())?);
            }
            "from" => from = Some(value.parse().map_err(|_| "`from` is no address".to_owned())?),
            "lines" => in_lines = true,
            _ => return Err(format!("`{name}` means nothing here")),
        }
    }
    let missing = |name: &str| format!("expected `{name}`");
    let question = Question {
        client: client.ok_or_else(|| missing("client"))?,
        dialect: dialect.ok_or_else(|| missing("dialect"))?,
        about: about.ok_or_else(|| missing("body` or `device"))?,
        from,
        reads_tables: false,
    };
    Ok((question, in_lines))
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
