//! Token requests and responses of the client credentials and JWT bearer grants (RFC 6749 §4.4,
//! RFC 7523).

use std::time::Duration;

use bytes::Bytes;
use form_urlencoded::Serializer;
use http::{HeaderValue, Method, StatusCode, header};
use serde_json::json;
use uuid::Uuid;

use super::{Reloadable, SigningKey, TokenUnavailable};
use crate::{
    clock::Clock,
    json::{Json, JsonLimits},
    outbound::{Endpoint, PeerRequest, PeerResponse, basic_auth_header, sensitive_header},
    qod::Secret,
    trace::{CallTarget, Peer},
};

/// The gateway as an OAuth2 client of a peer's authorization server.
#[derive(Debug)]
pub struct OAuth2Client {
    /// The token endpoint.
    pub token_endpoint: Endpoint,
    /// The token endpoint's URL as configured: the `aud` of assertions.
    pub token_url: String,
    /// The gateway's client id.
    pub client_id: String,
    /// How the gateway authenticates to the token endpoint.
    pub method: TokenAuthMethod,
    /// The requested scope.
    pub scope: Option<String>,
    /// The requested audience, an extension that some servers require.
    pub audience: Option<String>,
    /// The requested resource (RFC 8707).
    pub resource: Option<String>,
}

/// How the gateway authenticates to the token endpoint.
#[derive(Debug)]
pub enum TokenAuthMethod {
    /// `client_secret_basic`: the secret in `Authorization` (RFC 6749 §2.3.1).
    SecretBasic(Reloadable<Secret>),
    /// `client_secret_post`: the secret in the body.
    SecretPost(Reloadable<Secret>),
    /// `private_key_jwt`: a client assertion signed with the gateway's key (RFC 7523 §2.2).
    PrivateKeyJwt(Assertion),
    /// The JWT bearer grant: an assertion as the authorization grant (RFC 7523 §2.1).
    JwtBearer(Assertion),
}

/// A JWT assertion about the gateway.
#[derive(Debug)]
pub struct Assertion {
    /// The signing key.
    pub key: Reloadable<SigningKey>,
    /// The key's id (`kid`) at the server.
    pub key_id: Option<String>,
    /// The `sub` claim.
    pub subject: String,
}

/// A successful response of a token endpoint.
pub(super) struct TokenResponse {
    /// The `Authorization` value: `Bearer` and the token.
    pub(super) authorization: HeaderValue,
    pub(super) lifetime: Duration,
}

const FORM: &str = "application/x-www-form-urlencoded";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
// Short, because an assertion is used immediately.
const ASSERTION_LIFETIME_S: u64 = 60;
const RESPONSE_BOUNDS: JsonLimits = JsonLimits { depth_max: 8, members_max: 64, elements_max: 256 };
// Used if the response has no `expires_in`, and the upper limit.
const LIFETIME_DEFAULT: Duration = Duration::from_mins(5);
const LIFETIME_MAX: Duration = Duration::from_hours(24);
const RESPONSE_BYTES_MAX: usize = 64 * 1024;
const ERROR_BYTES_MAX: usize = 40;

impl OAuth2Client {
    /// Builds a token request. An assertion is new for each request. Requesting a token twice is harmless.
    pub(super) async fn request(&self, clock: &Clock) -> Option<PeerRequest<'static>> {
        let mut headers = vec![
            (header::ACCEPT, HeaderValue::from_static("application/json")),
            (header::CONTENT_TYPE, HeaderValue::from_static(FORM)),
        ];
        let mut fields = Vec::new();
        // Check every file for changes now, because token requests are rare.
        match &self.method {
            TokenAuthMethod::SecretBasic(secret) => {
                let secret = secret.current(clock, Duration::ZERO).await;
                headers.push((header::AUTHORIZATION, basic_auth_header(&self.client_id, &secret)?));
            }
            TokenAuthMethod::SecretPost(secret) => {
                let secret = secret.current(clock, Duration::ZERO).await;
                fields.push(("client_id", Secret::new(&*self.client_id)));
                fields.push(("client_secret", (*secret).clone()));
            }
            TokenAuthMethod::PrivateKeyJwt(assertion) => {
                fields.push(("client_id", Secret::new(&*self.client_id)));
                fields.push(("client_assertion_type", Secret::new(ASSERTION_TYPE)));
                fields.push(("client_assertion", self.sign_assertion(assertion, clock).await?));
            }
            TokenAuthMethod::JwtBearer(assertion) => {
                fields.push(("assertion", self.sign_assertion(assertion, clock).await?));
            }
        }
        Some(PeerRequest {
            target: CallTarget::of(Peer::TokenEndpoint),
            method: Method::POST,
            path: "",
            headers,
            body: self.form(&fields),
            response_bytes_max: RESPONSE_BYTES_MAX,
            is_repeatable: true,
        })
    }

    fn form(&self, fields: &[(&str, Secret)]) -> Bytes {
        let grant = match &self.method {
            TokenAuthMethod::JwtBearer(_) => JWT_BEARER,
            TokenAuthMethod::SecretBasic(_)
            | TokenAuthMethod::SecretPost(_)
            | TokenAuthMethod::PrivateKeyJwt(_) => "client_credentials",
        };
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", grant);
        form.extend_pairs(fields.iter().map(|(name, value)| (name, value.reveal())));
        let optional =
            [("scope", &self.scope), ("audience", &self.audience), ("resource", &self.resource)];
        form.extend_pairs(
            optional.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))),
        );
        form.finish().into()
    }

    async fn sign_assertion(&self, assertion: &Assertion, clock: &Clock) -> Option<Secret> {
        let Assertion { key, key_id, subject } = assertion;
        let key = key.current(clock, Duration::ZERO).await;
        let now = clock.now().unix_s();
        let claims = json!({
            "iss": self.client_id,
            "sub": subject,
            "aud": self.token_url,
            "iat": now,
            "exp": now + ASSERTION_LIFETIME_S,
            "jti": Uuid::new_v4().to_string(),
        });
        key.sign_jwt(key_id.as_deref(), &claims).map(Secret::new)
    }
}

/// Parses the response of a token endpoint. The error text is for the log.
pub(super) fn parse_response(
    answer: &PeerResponse,
) -> Result<TokenResponse, (TokenUnavailable, String)> {
    let json = Json::parse_case_sensitive(&answer.body, &RESPONSE_BOUNDS).unwrap_or_default();
    match answer.status {
        StatusCode::OK => {
            parse_granted(&json).map_err(|error| (TokenUnavailable::Failed, error.to_owned()))
        }
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            Err((TokenUnavailable::Failed, format!("unexpected status {}", answer.status)))
        }
        status if status.is_client_error() => {
            Err((TokenUnavailable::Rejected, format!("status {status}: {}", error_code(&json))))
        }
        status => Err((TokenUnavailable::Failed, format!("unexpected status {status}"))),
    }
}

fn parse_granted(json: &Json<'_>) -> Result<TokenResponse, &'static str> {
    let text = |name: &str| json.member(name).and_then(Json::as_str);
    if !text("token_type").is_some_and(|kind| kind.eq_ignore_ascii_case("bearer")) {
        return Err("expected `token_type` Bearer");
    }
    let token = Secret::new(text("access_token").ok_or("expected `access_token`")?);
    let invalid = "the access token is not a valid header value";
    let token = token.single_line().map_err(|_| invalid)?;
    let authorization = sensitive_header(&format!("Bearer {}", token.reveal())).ok_or(invalid)?;
    let lifetime_s = match json.member("expires_in") {
        None | Some(Json::Null) => Some(LIFETIME_DEFAULT.as_secs()),
        // Some servers send a string.
        Some(Json::String(text)) => text.parse().ok(),
        Some(number) => number.as_u64(),
    };
    match lifetime_s {
        Some(0) => Err("the access token has already expired"),
        Some(seconds) => Ok(TokenResponse {
            authorization,
            lifetime: Duration::from_secs(seconds).min(LIFETIME_MAX),
        }),
        None => Err("expected `expires_in` as a number of seconds"),
    }
}

// The error code only: a description may repeat the gateway's secrets.
fn error_code<'a>(json: &'a Json<'_>) -> &'a str {
    let is_code_byte = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    let code = json.member("error").and_then(Json::as_str);
    let code = code.filter(|code| code.len() <= ERROR_BYTES_MAX && code.bytes().all(is_code_byte));
    code.unwrap_or("no error code")
}
