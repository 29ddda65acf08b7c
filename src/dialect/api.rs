//! Maps a request's method and path to an operation and a dialect, and checks its content type.

use std::{fmt, iter, sync::Arc};

use http::{HeaderMap, Method, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{
    ApiKind, CorrelatorFormat, Descriptor, Dialect, Strictness, detect, profiles,
    session::is_valid_session_id, validation::MalformedRequest,
};
use crate::{
    json::{Json, JsonError},
    qod::{CreateRequest, Operation, ProblemKind, SessionId},
};

/// The served APIs, by path.
#[derive(Debug)]
pub struct Apis {
    apis: Vec<Api>,
    // How bodies are parsed to detect their dialect.
    strictness: Strictness,
}

/// A served API.
#[derive(Clone, Debug)]
pub struct Api {
    /// Absolute base path without a trailing slash: `/qod/v0`.
    pub path: String,
    /// The dialects served at this path.
    pub dialects: DialectSelection,
    /// Which API of the release is served.
    pub kind: ApiKind,
}

/// The dialects served at a path.
#[derive(Clone, Debug)]
pub enum DialectSelection {
    /// One fixed dialect.
    Fixed(Arc<Dialect>),
    /// Several dialects; each request is matched to one by its form. The fallback applies if none
    /// matches; it need not be among the candidates.
    Detected {
        /// The dialects. If several match, the fallback takes precedence, then the first.
        candidates: Vec<Arc<Dialect>>,
        /// The default dialect.
        fallback: Arc<Dialect>,
    },
}

/// A request with its dialect and operation. Its body is not validated yet.
#[derive(Debug)]
pub struct ApiRequest {
    dialect: Arc<Dialect>,
    // The body, if the dialect was detected from it.
    body: Option<ParsedBody>,
    // Empty if the path has one fixed dialect.
    candidates: Vec<Arc<Dialect>>,
    operation: Operation,
    api_kind: ApiKind,
    // The session id or profile name in the path, unparsed.
    path_parameter: String,
}

// It has no derived `Debug`, because the body may be confidential.
struct ParsedBody(Result<Json<'static>, JsonError>);

/// A request that matches no served operation.
#[derive(Clone, Debug)]
pub struct UnmatchedRequest {
    /// The dialect of the error response, if the path is below the path of an API.
    pub dialect: Option<Arc<Dialect>>,
    /// Why no operation matches.
    pub reason: UnmatchedReason,
}

/// Why a request matches no served operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnmatchedReason {
    /// The path does not exist.
    #[error("no such path")]
    PathNotFound,
    /// The path exists but does not support the method.
    #[error("method not allowed; this path supports only {allow}")]
    MethodNotAllowed {
        /// The supported methods, for the `Allow` field.
        allow: &'static str,
    },
}

/// A body of an unsupported media type or encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsupportedMediaType {
    /// The content type is missing, repeated or not `application/json`.
    #[error("expected the content type `application/json`")]
    ContentType,
    /// The body has a content encoding.
    #[error("expected a body without content encoding")]
    ContentEncoding,
}

// A resource below the path of an API.
enum Resource<'p> {
    Sessions,
    Session(&'p str),
    Extension(&'p str),
    Retrieval,
    Profiles,
    Profile(&'p str),
    ProfileRetrieval,
}

impl Apis {
    /// Serves these APIs. The longest matching path takes precedence.
    pub fn new(mut apis: Vec<Api>, strictness: Strictness) -> Self {
        apis.sort_by_key(|api| std::cmp::Reverse(api.path.len()));
        Self { apis, strictness }
    }

    /// Determines the operation and dialect of a request. Paths are matched literally, without
    /// percent-decoding or normalization. The body is parsed only if the dialect depends on it.
    ///
    /// # Errors
    /// If no operation matches.
    pub fn detect(
        &self,
        method: &Method,
        uri_path: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<ApiRequest, UnmatchedRequest> {
        let not_found =
            |dialect| UnmatchedRequest { dialect, reason: UnmatchedReason::PathNotFound };
        let below = |api: &Api| uri_path.strip_prefix(api.path.as_str());
        let mut found = self.apis.iter().filter_map(|api| Some((api, below(api)?)));
        let Some((api, rest)) = found.find(|(_, rest)| rest.starts_with('/')) else {
            return Err(not_found(None));
        };
        let default = api.dialects.default_dialect();
        let resource = Resource::from_path(rest)
            .filter(|resource| api.any_dialect_has(resource.rarest_operation()));
        let Some(resource) = resource else { return Err(not_found(Some(Arc::clone(default)))) };
        let Some(operation) = resource.operation(method) else {
            let reason = UnmatchedReason::MethodNotAllowed { allow: resource.allowed_methods() };
            return Err(UnmatchedRequest { dialect: Some(Arc::clone(default)), reason });
        };
        let named = resource.path_parameter().to_owned();
        let depends_on_body = operation == Operation::CreateSession && api.dialects.is_shared();
        let body = depends_on_body.then(|| self.strictness.parse(body));
        // A body that is not valid JSON is rejected later, in the fallback.
        let json = body.as_ref().and_then(|parsed| parsed.as_ref().ok());
        Ok(ApiRequest {
            dialect: Arc::clone(api.detect_dialect(operation, headers, json)),
            body: body.map(|parsed| ParsedBody(parsed.map(Json::into_owned))),
            candidates: api.dialects.candidates().cloned().collect(),
            operation,
            api_kind: api.kind,
            path_parameter: named,
        })
    }
}

impl Api {
    fn any_dialect_has(&self, operation: Operation) -> bool {
        let mut all = iter::once(self.dialects.default_dialect()).chain(self.dialects.candidates());
        all.any(|dialect| dialect.descriptor().has_in(self.kind, operation))
    }

    fn detect_dialect(
        &self,
        operation: Operation,
        headers: &HeaderMap,
        body: Option<&Json<'_>>,
    ) -> &Arc<Dialect> {
        let capable = || {
            let candidates = self.dialects.candidates();
            candidates.filter(|dialect| dialect.descriptor().has_in(self.kind, operation))
        };
        let detected = match body {
            Some(json) => detect::by_body(capable(), headers, json),
            None => detect::by_proof(capable(), headers),
        };
        detected.or_else(|| capable().next()).unwrap_or_else(|| self.dialects.default_dialect())
    }
}

impl DialectSelection {
    fn is_shared(&self) -> bool {
        matches!(self, Self::Detected { .. })
    }

    fn default_dialect(&self) -> &Arc<Dialect> {
        match self {
            Self::Fixed(dialect) | Self::Detected { fallback: dialect, .. } => dialect,
        }
    }

    // The dialects that `prefer` may select; none if the dialect is fixed.
    fn candidates(&self) -> impl Iterator<Item = &Arc<Dialect>> + Clone {
        let (first, rest) = match self {
            Self::Fixed(_) => (None, [].as_slice()),
            Self::Detected { candidates, fallback } => (Some(fallback), candidates.as_slice()),
        };
        first.into_iter().chain(rest)
    }
}

impl<'p> Resource<'p> {
    fn from_path(rest: &'p str) -> Option<Self> {
        let mut segments = rest.strip_prefix('/')?.split('/');
        let resource = match (segments.next()?, segments.next(), segments.next()) {
            ("sessions", None, None) => Self::Sessions,
            ("sessions", Some(id), None) => Self::Session(id),
            ("sessions", Some(id), Some("extend")) => Self::Extension(id),
            ("retrieve-sessions", None, None) => Self::Retrieval,
            ("qos-profiles", None, None) => Self::Profiles,
            ("qos-profiles", Some(name), None) => Self::Profile(name),
            ("retrieve-qos-profiles", None, None) => Self::ProfileRetrieval,
            _ => return None,
        };
        (segments.next().is_none() && resource.is_valid()).then_some(resource)
    }

    // Session ids need no percent-encoding. An encoded id would be another path to a peer that
    // decodes it.
    fn is_valid(&self) -> bool {
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~.".contains(&byte);
        match self {
            Self::Sessions | Self::Retrieval | Self::Profiles | Self::ProfileRetrieval => true,
            // Invalid names are rejected later, with a specific error.
            Self::Profile(name) => !name.is_empty(),
            Self::Session(id) | Self::Extension(id) => {
                !matches!(*id, "" | "." | "..") && id.bytes().all(unreserved)
            }
        }
    }

    // The operation on this resource that the fewest dialects have.
    fn rarest_operation(&self) -> Operation {
        match self {
            Self::Sessions => Operation::CreateSession,
            Self::Session(_) => Operation::GetSession,
            Self::Extension(_) => Operation::ExtendSession,
            Self::Retrieval => Operation::RetrieveSessions,
            Self::Profiles => Operation::ListQosProfiles,
            Self::Profile(_) => Operation::GetQosProfile,
            Self::ProfileRetrieval => Operation::RetrieveQosProfiles,
        }
    }

    fn operation(&self, method: &Method) -> Option<Operation> {
        match (self, method) {
            (Self::Sessions, &Method::POST) => Some(Operation::CreateSession),
            (Self::Session(_), &Method::GET) => Some(Operation::GetSession),
            (Self::Session(_), &Method::DELETE) => Some(Operation::DeleteSession),
            (Self::Extension(_), &Method::POST) => Some(Operation::ExtendSession),
            (Self::Retrieval, &Method::POST) => Some(Operation::RetrieveSessions),
            (Self::Profiles, &Method::GET) => Some(Operation::ListQosProfiles),
            (Self::Profile(_), &Method::GET) => Some(Operation::GetQosProfile),
            (Self::ProfileRetrieval, &Method::POST) => Some(Operation::RetrieveQosProfiles),
            _ => None,
        }
    }

    fn allowed_methods(&self) -> &'static str {
        match self {
            Self::Sessions | Self::Extension(_) | Self::Retrieval | Self::ProfileRetrieval => {
                "POST"
            }
            Self::Session(_) => "GET, DELETE",
            Self::Profiles | Self::Profile(_) => "GET",
        }
    }

    fn path_parameter(&self) -> &'p str {
        match self {
            Self::Sessions | Self::Retrieval | Self::Profiles | Self::ProfileRetrieval => "",
            Self::Session(name) | Self::Extension(name) | Self::Profile(name) => name,
        }
    }
}

impl ApiRequest {
    /// The dialect of the request.
    pub fn dialect(&self) -> &Arc<Dialect> {
        &self.dialect
    }

    /// The requested operation.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// Parses the body of a create request, in the dialect of the request. A body that was parsed to
    /// detect the dialect is not parsed again.
    ///
    /// # Errors
    /// If it is not valid.
    pub fn parse_create_session(
        &self,
        body: &[u8],
        strictness: &Strictness,
    ) -> Result<CreateRequest, MalformedRequest> {
        match &self.body {
            None => self.dialect.parse_create_session(body, strictness),
            Some(ParsedBody(Ok(json))) => self.dialect.read_create_session(json, strictness),
            Some(ParsedBody(Err(error))) => Err(error.clone().into()),
        }
    }

    /// The session id in the path.
    ///
    /// # Errors
    /// If the path has none, or it is not a UUID.
    pub fn session_id(&self) -> Result<SessionId, MalformedRequest> {
        let kind = if self.dialect.descriptor().invalid_session_id_is_unknown {
            ProblemKind::SessionNotFound
        } else {
            ProblemKind::InvalidArgument
        };
        let reason = "expected a UUID as the session id in the path";
        self.path_parameter.parse().map_err(|_| MalformedRequest::of_kind(kind, reason))
    }

    /// The profile name in the path.
    ///
    /// # Errors
    /// If the path has none, or it is invalid.
    pub fn profile_name(&self) -> Result<&str, MalformedRequest> {
        profiles::read_name(&self.path_parameter)
    }

    /// The header with the client's proof of possession, if any dialect at this path has one. A
    /// client cannot avoid the proof by using another dialect.
    pub fn proof_header(&self) -> Option<&'static str> {
        let mut all = iter::once(&self.dialect).chain(&self.candidates);
        all.find_map(|dialect| dialect.descriptor().proof_header)
    }

    /// Replaces a detected dialect with the given one (the client's, or the session's), if it is a
    /// candidate at this path and has the operation.
    pub fn prefer(&mut self, dialect: &Arc<Dialect>) {
        let is_candidate =
            self.candidates.iter().any(|candidate| candidate.name() == dialect.name());
        if is_candidate && dialect.descriptor().has_in(self.api_kind, self.operation) {
            self.dialect = Arc::clone(dialect);
        }
    }

    /// Checks the media type of the body, if the operation has a body.
    ///
    /// # Errors
    /// If it is not unencoded `application/json`.
    pub fn check_media_type(&self, headers: &HeaderMap) -> Result<(), UnsupportedMediaType> {
        match self.operation {
            Operation::CreateSession
            | Operation::ExtendSession
            | Operation::RetrieveSessions
            | Operation::RetrieveQosProfiles => check_media_type(headers),
            Operation::GetSession
            | Operation::DeleteSession
            | Operation::GetQosProfile
            | Operation::ListQosProfiles => Ok(()),
        }
    }

    /// Checks the format of `x-correlator`, if it is present.
    ///
    /// # Errors
    /// If the release does not allow its value.
    pub fn check_correlator(&self, headers: &HeaderMap) -> Result<(), MalformedRequest> {
        let rule = &self.dialect.descriptor().correlator;
        let mut values = headers.get_all("x-correlator").iter();
        if !rule.enforced || values.all(|value| rule.matches(value.as_bytes())) {
            return Ok(());
        }
        let CorrelatorFormat { punctuation, length_max, .. } = rule;
        let expected = format!(
            "expected an x-correlator of up to {length_max} letters, digits and `{punctuation}`"
        );
        Err(MalformedRequest::at("", expected))
    }
}

impl fmt::Debug for ParsedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_ok() { "JSON" } else { "not JSON" })
    }
}

/// Checks that a body is unencoded `application/json`.
///
/// # Errors
/// If the content type is another one, missing or repeated, or the body has a content encoding.
pub fn check_media_type(headers: &HeaderMap) -> Result<(), UnsupportedMediaType> {
    let encoded = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    if encoded {
        return Err(UnsupportedMediaType::ContentEncoding);
    }
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (first, second) = (types.next(), types.next());
    let text = first.filter(|_| second.is_none()).and_then(|value| value.to_str().ok());
    text.filter(|text| is_json(text)).map(|_| ()).ok_or(UnsupportedMediaType::ContentType)
}

// `application/json`. It defines no parameters: they are ignored (RFC 8259 §11), also empty ones (RFC 9110 §5.6.6).
// A body in another charset would be misread, though.
fn is_json(content_type: &str) -> bool {
    let mut parts = split_parameters(content_type).map(str::trim_ascii);
    let json = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    json && parts.filter(|part| !part.is_empty()).all(|part| {
        part.split_once('=').is_some_and(|(name, value)| is_harmless_parameter(name, value))
    })
}

fn is_harmless_parameter(name: &str, value: &str) -> bool {
    let is_token = |text: &str| {
        let mut bytes = text.bytes();
        !text.is_empty() && bytes.all(|byte| byte.is_ascii_graphic() && byte != b'"')
    };
    let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    if !is_token(name) || (unquoted.is_none() && !is_token(value)) {
        return false;
    }
    let charset = unquoted.unwrap_or(value);
    let is_utf8 = ["utf-8", "us-ascii"].iter().any(|name| charset.eq_ignore_ascii_case(name));
    is_utf8 || !name.eq_ignore_ascii_case("charset")
}

// Splits at each `;` outside of a quoted string.
fn split_parameters(content_type: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    content_type.split(move |character| {
        let is_escaped = std::mem::take(&mut escaped);
        match character {
            '"' if !is_escaped => quoted = !quoted,
            '\\' if quoted && !is_escaped => escaped = true,
            ';' => return !quoted,
            _ => {}
        }
        false
    })
}

/// The path of an operation, relative to the operator's base path.
pub(super) fn operation_path(
    descriptor: &Descriptor,
    operation: Operation,
    operator_session: Option<&str>,
) -> Option<String> {
    if !descriptor.has(operation) {
        return None;
    }
    let session = || operator_session.filter(|id| is_valid_session_id(id)).map(percent_encode);
    match operation {
        Operation::CreateSession => Some("/sessions".to_owned()),
        Operation::GetSession | Operation::DeleteSession => {
            Some(format!("/sessions/{}", session()?))
        }
        Operation::ExtendSession => Some(format!("/sessions/{}/extend", session()?)),
        Operation::RetrieveSessions => Some("/retrieve-sessions".to_owned()),
        // Profiles come from the policies, not from operators.
        Operation::GetQosProfile | Operation::ListQosProfiles | Operation::RetrieveQosProfiles => {
            None
        }
    }
}

// All bytes except the unreserved characters of RFC 3986.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Percent-encodes all bytes except the unreserved characters of RFC 3986.
pub(super) fn percent_encode(id: &str) -> String {
    utf8_percent_encode(id, ESCAPED).to_string()
}
