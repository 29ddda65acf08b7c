//! What is said to a token endpoint, and what its answer says (RFC 6749 §4.4, RFC 7523).

use std::time::Duration;

use bytes::Bytes;
use form_urlencoded::Serializer;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;
use uuid::Uuid;

use super::{Kept, NoToken, SigningKey};
use crate::{
    clock::Clock,
    json::{Bounds, Json},
    outbound::{Answered, Endpoint, basic, sensitive},
    qod::Secret,
};

/// How a peer's access tokens are got.
#[derive(Debug)]
pub struct OAuth2 {
    /// Where they are asked for.
    pub token_endpoint: Endpoint,
    /// The same as it is written: what our assertions are meant for (`aud`).
    pub token_url: String,
    /// What we are called there.
    pub client_id: String,
    /// How we prove that we are.
    pub method: Method,
    /// What the token is to be good for.
    pub scope: Option<String>,
    /// Whom it is to be shown to, as some servers want to know it.
    pub audience: Option<String>,
    /// The same by RFC 8707.
    pub resource: Option<String>,
}

/// How we prove at the token endpoint who we are.
#[derive(Debug)]
pub enum Method {
    /// The secret in `Authorization` (RFC 6749 §2.3.1).
    SecretBasic(Kept<Secret>),
    /// The secret in the body.
    SecretPost(Kept<Secret>),
    /// An assertion, signed with our key (RFC 7523 §2.2).
    PrivateKeyJwt(Assertion),
    /// An assertion that is itself what the token is granted for (RFC 7523 §2.1).
    JwtBearer(Assertion),
}

/// A JWT that says who we are.
#[derive(Debug)]
pub struct Assertion {
    /// What it is signed with.
    pub key: Kept<SigningKey>,
    /// The name that the server has for the key.
    pub key_id: Option<String>,
    /// Whom it speaks of.
    pub subject: String,
}

/// What is sent to a token endpoint, once.
pub(super) struct Request {
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) body: Bytes,
}

/// What a token endpoint has granted.
pub(super) struct Granted {
    /// `Bearer` and the token.
    pub(super) authorization: HeaderValue,
    pub(super) lasts: Duration,
}

const FORM: &str = "application/x-www-form-urlencoded";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
// It is used at once.
const ASSERTION_LASTS_S: u64 = 60;
const ANSWER_BOUNDS: Bounds = Bounds { depth_max: 8, members_max: 64, elements_max: 256 };
// If the answer does not tell, and at most.
const LASTS_DEFAULT: Duration = Duration::from_mins(5);
const LASTS_MAX: Duration = Duration::from_hours(24);
const ERROR_BYTES_MAX: usize = 40;

impl OAuth2 {
    /// A request for a token, with an assertion that serves once.
    pub(super) async fn request(&self, clock: &Clock) -> Option<Request> {
        let mut headers = vec![
            (header::ACCEPT, HeaderValue::from_static("application/json")),
            (header::CONTENT_TYPE, HeaderValue::from_static(FORM)),
        ];
        let mut fields = Vec::new();
        // Every file is looked at now, for tokens are seldom asked for.
        match &self.method {
            Method::SecretBasic(secret) => {
                let secret = secret.current(clock, Duration::ZERO).await;
                headers.push((header::AUTHORIZATION, basic(&self.client_id, &secret)?));
            }
            Method::SecretPost(secret) => {
                let secret = secret.current(clock, Duration::ZERO).await;
                fields.push(("client_id", Secret::new(&*self.client_id)));
                fields.push(("client_secret", (*secret).clone()));
            }
            Method::PrivateKeyJwt(assertion) => {
                fields.push(("client_id", Secret::new(&*self.client_id)));
                fields.push(("client_assertion_type", Secret::new(ASSERTION_TYPE)));
                fields.push(("client_assertion", self.signed(assertion, clock).await?));
            }
            Method::JwtBearer(assertion) => {
                fields.push(("assertion", self.signed(assertion, clock).await?));
            }
        }
        Some(Request { headers, body: self.form(&fields) })
    }

    fn form(&self, fields: &[(&str, Secret)]) -> Bytes {
        let grant = match &self.method {
            Method::JwtBearer(_) => JWT_BEARER,
            Method::SecretBasic(_) | Method::SecretPost(_) | Method::PrivateKeyJwt(_) => {
                "client_credentials"
            }
        };
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", grant);
        form.extend_pairs(fields.iter().map(|(name, value)| (name, value.reveal())));
        let wishes =
            [("scope", &self.scope), ("audience", &self.audience), ("resource", &self.resource)];
        form.extend_pairs(
            wishes.into_iter().filter_map(|(name, wish)| Some((name, wish.as_ref()?))),
        );
        form.finish().into()
    }

    async fn signed(&self, assertion: &Assertion, clock: &Clock) -> Option<Secret> {
        let Assertion { key, key_id, subject } = assertion;
        let key = key.current(clock, Duration::ZERO).await;
        let now = clock.now().unix_s();
        let claims = json!({
            "iss": self.client_id,
            "sub": subject,
            "aud": self.token_url,
            "iat": now,
            "exp": now + ASSERTION_LASTS_S,
            "jti": Uuid::new_v4().to_string(),
        });
        key.jwt(key_id.as_deref(), &claims).map(Secret::new)
    }
}

/// Reads what a token endpoint answered; or says why that is of no use, for the log.
pub(super) fn read(answer: &Answered) -> Result<Granted, (NoToken, String)> {
    let json = Json::parse(&answer.body, &ANSWER_BOUNDS).unwrap_or_default();
    match answer.status {
        StatusCode::OK => granted(&json).map_err(|what| (NoToken::Failed, what.to_owned())),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            Err((NoToken::Failed, format!("it answered {}", answer.status)))
        }
        status if status.is_client_error() => {
            Err((NoToken::Refused, format!("it answered {status}: {}", error_of(&json))))
        }
        status => Err((NoToken::Failed, format!("it answered {status}"))),
    }
}

fn granted(json: &Json<'_>) -> Result<Granted, &'static str> {
    let text = |name: &str| json.member(name).and_then(Json::as_str);
    if !text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
        return Err("it granted no bearer token");
    }
    let token = Secret::new(text("access_token").ok_or("it granted no token")?);
    let unfit = "the token cannot stand in a header";
    let token = token.line().map_err(|_| unfit)?;
    let authorization = sensitive(&format!("Bearer {}", token.reveal())).ok_or(unfit)?;
    let lasts_s = match json.member("expires_in") {
        None | Some(Json::Null) => Some(LASTS_DEFAULT.as_secs()),
        // Some servers write it as a text.
        Some(Json::String(text)) => text.parse().ok(),
        Some(number) => number.as_u64(),
    };
    match lasts_s {
        Some(0) => Err("the token is over already"),
        Some(seconds) => {
            Ok(Granted { authorization, lasts: Duration::from_secs(seconds).min(LASTS_MAX) })
        }
        None => Err("`expires_in` is no time"),
    }
}

// Its code alone: a description may tell our own words back.
fn error_of<'a>(json: &'a Json<'_>) -> &'a str {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    let code = json.member("error").and_then(Json::as_str);
    let code = code.filter(|code| code.len() <= ERROR_BYTES_MAX && code.bytes().all(plain));
    code.unwrap_or("no error code")
}
