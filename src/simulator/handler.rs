//! The token endpoint of the simulated operator, and its verification of tokens and proofs of
//! possession.

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

/// The client to which the token endpoint issues tokens.
#[derive(Clone, Debug)]
pub struct TokenEndpointSettings {
    /// Its `client_id`.
    pub client_id: String,
    /// Its secret, sent in `Authorization` or in the body.
    pub secret: Secret,
    /// The lifetime of a token, in seconds.
    pub lifetime_s: u32,
}

/// Issues and verifies access tokens, and verifies proofs of possession.
pub(super) struct TokenHandler {
    settings: Option<TokenEndpointSettings>,
    proof_key: Option<ProofKey>,
    state: Mutex<TokenHandlerState>,
}

#[derive(Default)]
struct TokenHandlerState {
    issued: u64,
    tokens: HashMap<String, Moment>,
    proofs: HashMap<Box<str>, Moment>,
}

// The maximum of stored tokens and of stored proofs; more are rejected.
const STATE_ENTRIES_MAX: usize = 100_000;

impl TokenHandler {
    pub(super) fn new(
        settings: Option<TokenEndpointSettings>,
        proof_key: Option<ProofKey>,
    ) -> Self {
        Self { settings, proof_key, state: Mutex::default() }
    }

    /// Handles a request to the token endpoint. `None` if the request is for another path.
    pub(super) fn handle(
        &self,
        request: &Request<Bytes>,
        proof_header: Option<&'static str>,
        now: Moment,
    ) -> Option<Response<Bytes>> {
        let settings = self.settings.as_ref()?;
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/token") => {
                Some(self.issue_token(settings, request, proof_header, now))
            }
            (&Method::GET, "/tokens") => {
                let issued = self.with_state(now, |state| state.issued);
                Some(json_response(StatusCode::OK, &json!({ "issued": issued })))
            }
            (&Method::POST, "/tokens/revoke") => {
                self.with_state(now, |state| state.tokens.clear());
                Some(json_response(StatusCode::OK, &json!({})))
            }
            _ => None,
        }
    }

    fn issue_token(
        &self,
        settings: &TokenEndpointSettings,
        request: &Request<Bytes>,
        proof_header: Option<&'static str>,
        now: Moment,
    ) -> Response<Bytes> {
        let error = |status, code| json_response(status, &json!({ "error": code }));
        let form: HashMap<_, _> = form_urlencoded::parse(request.body()).into_owned().collect();
        if form.get("grant_type").map(String::as_str) != Some("client_credentials") {
            return error(StatusCode::BAD_REQUEST, "unsupported_grant_type");
        }
        let in_body = form.get("client_id").cloned().zip(form.get("client_secret").cloned());
        let credentials = basic_credentials(request.headers()).or(in_body);
        let known = credentials.is_some_and(|(id, secret)| {
            id == settings.client_id && secret == settings.secret.reveal()
        });
        if !known {
            return error(StatusCode::UNAUTHORIZED, "invalid_client");
        }
        if proof_header.is_some_and(|name| self.verify_proof(request, name, now).is_err()) {
            return error(StatusCode::UNAUTHORIZED, "invalid_request");
        }
        let token = Uuid::new_v4().simple().to_string();
        let expires_at = now + Duration::from_secs(settings.lifetime_s.into());
        let stored = self.with_state(now, |state| {
            let fits = state.tokens.len() < STATE_ENTRIES_MAX;
            if fits {
                state.issued += 1;
                state.tokens.insert(token.clone(), expires_at);
            }
            fits
        });
        if !stored {
            return error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable");
        }
        let issued = json!({
            "access_token": token, "token_type": "Bearer", "expires_in": settings.lifetime_s,
        });
        json_response(StatusCode::OK, &issued)
    }

    /// Returns whether a bearer token is valid. Without a token endpoint, any token is.
    pub(super) fn accepts_token(&self, token: &str, now: Moment) -> bool {
        self.settings.is_none() || self.with_state(now, |state| state.tokens.contains_key(token))
    }

    /// Verifies the proof of possession in the header field `name`. The error text states why it is not
    /// valid.
    pub(super) fn verify_proof(
        &self,
        request: &Request<Bytes>,
        name: &str,
        now: Moment,
    ) -> Result<(), String> {
        let proof = request.headers().get(name).ok_or("a proof of possession is required")?;
        let Some(key) = &self.proof_key else { return Ok(()) };
        let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
        let (method, headers, body) = (request.method(), request.headers(), request.body());
        let signed = pop::PopRequest { method, target, headers, body };
        let proof = proof.to_str().map_err(|error| error.to_string())?;
        let proof = pop::verify(proof, key, &signed, now).map_err(|error| error.to_string())?;
        let new = self.with_state(now, |state| {
            state.proofs.len() < STATE_ENTRIES_MAX
                && state.proofs.insert(proof.id, proof.until).is_none()
        });
        if new { Ok(()) } else { Err("the proof of possession was used before".to_owned()) }
    }

    fn with_state<T>(&self, now: Moment, act: impl FnOnce(&mut TokenHandlerState) -> T) -> T {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tokens.retain(|_, expires_at| *expires_at > now);
        state.proofs.retain(|_, expires_at| *expires_at > now);
        act(&mut state)
    }
}

fn basic_credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    let decoded = |text: &str| {
        let mut pairs = form_urlencoded::parse(text.as_bytes());
        pairs.next().map(|(name, _)| name.into_owned())
    };
    Some((decoded(id)?, decoded(secret)?))
}

fn json_response(status: StatusCode, body: &serde_json::Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
