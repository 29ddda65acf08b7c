//! The operator's own token endpoint, and what it looks at in a proof of possession.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use serde_json::json;
use uuid::Uuid;

use crate::{
    identity::pop::{self, ProofKey},
    qod::{Moment, Secret},
};

/// The one client that tokens are granted to.
#[derive(Clone, Debug)]
pub struct Granting {
    /// Its name.
    pub client_id: String,
    /// Its secret, shown in `Authorization` or in the body.
    pub secret: Secret,
    /// How long a token is good for.
    pub lasts_s: u32,
}

/// What it has granted, and what it has seen.
pub(super) struct Desk {
    granting: Option<Granting>,
    proof_key: Option<ProofKey>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    granted: u64,
    tokens: HashMap<String, Moment>,
    proofs: HashMap<Box<str>, Moment>,
}

// Of what is remembered; more is refused.
const SEEN_MAX: usize = 100_000;

impl Desk {
    pub(super) fn new(granting: Option<Granting>, proof_key: Option<ProofKey>) -> Self {
        Self { granting, proof_key, seen: Mutex::default() }
    }

    /// Answers what is asked about tokens.
    pub(super) fn answer(
        &self,
        request: &Request<Bytes>,
        proof_header: Option<&'static str>,
        now: Moment,
    ) -> Option<Response<Bytes>> {
        let granting = self.granting.as_ref()?;
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/token") => Some(self.grant(granting, request, proof_header, now)),
            (&Method::GET, "/tokens") => {
                let granted = self.on_seen(now, |seen| seen.granted);
                Some(told(StatusCode::OK, &json!({ "granted": granted })))
            }
            (&Method::POST, "/tokens/revoke") => {
                self.on_seen(now, |seen| seen.tokens.clear());
                Some(told(StatusCode::OK, &json!({})))
            }
            _ => None,
        }
    }

    fn grant(
        &self,
        granting: &Granting,
        request: &Request<Bytes>,
        proof_header: Option<&'static str>,
        now: Moment,
    ) -> Response<Bytes> {
        let no = |status, code| told(status, &json!({ "error": code }));
        let form: HashMap<_, _> = form_urlencoded::parse(request.body()).into_owned().collect();
        if form.get("grant_type").map(String::as_str) != Some("client_credentials") {
            return no(StatusCode::BAD_REQUEST, "unsupported_grant_type");
        }
        let in_body = form.get("client_id").cloned().zip(form.get("client_secret").cloned());
        let shown = in_header(request.headers()).or(in_body);
        let known = shown.is_some_and(|(id, secret)| {
            id == granting.client_id && secret == granting.secret.reveal()
        });
        if !known {
            return no(StatusCode::UNAUTHORIZED, "invalid_client");
        }
        if proof_header.is_some_and(|name| self.check_proof(request, name, now).is_err()) {
            return no(StatusCode::UNAUTHORIZED, "invalid_request");
        }
        let token = Uuid::new_v4().simple().to_string();
        let until = now + Duration::from_secs(granting.lasts_s.into());
        let room = self.on_seen(now, |seen| {
            let fits = seen.tokens.len() < SEEN_MAX;
            if fits {
                seen.granted += 1;
                seen.tokens.insert(token.clone(), until);
            }
            fits
        });
        if !room {
            return no(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
        }
        let granted = json!({
            "access_token": token, "token_type": "Bearer", "expires_in": granting.lasts_s,
        });
        told(StatusCode::OK, &granted)
    }

    /// Is a bearer token one that was granted, if any are?
    pub(super) fn takes(&self, token: &str, now: Moment) -> bool {
        self.granting.is_none() || self.on_seen(now, |seen| seen.tokens.contains_key(token))
    }

    /// Judges the proof that a request shows in this field; tells what is wrong with it.
    pub(super) fn check_proof(
        &self,
        request: &Request<Bytes>,
        name: &str,
        now: Moment,
    ) -> Result<(), String> {
        let proof = request.headers().get(name).ok_or("expected a proof of possession")?;
        let Some(key) = &self.proof_key else { return Ok(()) };
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let (method, headers, body) = (request.method(), request.headers(), request.body());
        let asked = pop::Request { method, target, headers, body };
        let proof = proof.to_str().map_err(|error| error.to_string())?;
        let proof = pop::verify(proof, key, &asked, now).map_err(|no| no.to_string())?;
        let new = self.on_seen(now, |seen| {
            seen.proofs.len() < SEEN_MAX && seen.proofs.insert(proof.id, proof.until).is_none()
        });
        if new { Ok(()) } else { Err("this proof has been seen before".to_owned()) }
    }

    fn on_seen<T>(&self, now: Moment, act: impl FnOnce(&mut Seen) -> T) -> T {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.tokens.retain(|_, until| *until > now);
        seen.proofs.retain(|_, until| *until > now);
        act(&mut seen)
    }
}

fn in_header(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    let decoded = |text: &str| {
        let mut pairs = form_urlencoded::parse(text.as_bytes());
        pairs.next().map(|(name, _)| name.into_owned())
    };
    Some((decoded(id)?, decoded(secret)?))
}

fn told(status: StatusCode, body: &serde_json::Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
