//! Which path speaks what: a request's method, path and content type, before anything is read.

use std::{fmt::Write, iter, sync::Arc};

use http::{HeaderMap, Method, header};

use super::{
    Correlator, Descriptor, Dialect, Serves, answer::is_operator_session, fault::Malformed,
    profiles, sniff,
};
use crate::qod::{Operation, SessionId};

/// Which path speaks what.
#[derive(Debug)]
pub struct Apis(Vec<Api>);

/// An API that is served.
#[derive(Clone, Debug)]
pub struct Api {
    /// Where, from the root on and without a slash at its end: `/qod/v0`.
    pub path: String,
    /// What is spoken there.
    pub speaks: Speaks,
    /// Which of its APIs it is.
    pub serves: Serves,
}

/// What is spoken at a path.
#[derive(Clone, Debug)]
pub enum Speaks {
    /// One dialect.
    One(Arc<Dialect>),
    /// Several, told apart by what a request looks like. What looks like none is taken for the
    /// fallback, which need not be named among the candidates.
    Sniffed {
        /// The dialects; of two that look alike the fallback counts, or else the first.
        candidates: Vec<Arc<Dialect>>,
        /// What is spoken when in doubt.
        fallback: Arc<Dialect>,
    },
}

/// A request whose dialect and operation are known; nothing else of it is yet.
#[derive(Clone, Debug)]
pub struct Call {
    dialect: Arc<Dialect>,
    // Empty, if the path speaks one dialect.
    candidates: Vec<Arc<Dialect>>,
    operation: Operation,
    serves: Serves,
    // The id or name that stands in the path, as it stands there.
    named: String,
}

/// A request for nothing that is served.
#[derive(Clone, Debug)]
pub struct Unrecognised {
    /// Whose words to say so in, if the path is below an API's.
    pub dialect: Option<Arc<Dialect>>,
    /// What is wrong.
    pub reason: UnrecognisedReason,
}

/// Why a request is for nothing that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnrecognisedReason {
    /// There is nothing at this path.
    #[error("there is nothing at this path")]
    NoSuchPath,
    /// There is, but not by this method.
    #[error("this path takes {allow}")]
    NoSuchMethod {
        /// The methods that it takes, for the `Allow` field.
        allow: &'static str,
    },
}

/// A body that is not of the one type that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongMedia {
    /// It is something else, or it is not told once what it is.
    #[error("expected the content type `application/json`")]
    ContentType,
    /// It is compressed or otherwise encoded.
    #[error("expected a body without content encoding")]
    ContentEncoding,
}

// What stands at a path below an API's own.
enum Place<'p> {
    Sessions,
    Session(&'p str),
    Extension(&'p str),
    Retrieval,
    Profiles,
    Profile(&'p str),
    ProfileRetrieval,
}

impl Apis {
    /// Serves these APIs. Below two paths of which one begins the other, the longer one counts.
    pub fn new(mut apis: Vec<Api>) -> Self {
        apis.sort_by_key(|api| std::cmp::Reverse(api.path.len()));
        Self(apis)
    }

    /// Finds out what a request is for. A path counts as it is written: no escape is undone, no
    /// segment is skipped, so that what is not written our way is nowhere.
    pub fn recognise(
        &self,
        method: &Method,
        uri_path: &str,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<Call, Unrecognised> {
        let nowhere = |dialect| Unrecognised { dialect, reason: UnrecognisedReason::NoSuchPath };
        let below = |api: &Api| uri_path.strip_prefix(api.path.as_str());
        let mut found = self.0.iter().filter_map(|api| Some((api, below(api)?)));
        let Some((api, rest)) = found.find(|(_, rest)| rest.starts_with('/')) else {
            return Err(nowhere(None));
        };
        let default = api.speaks.default();
        let place = Place::at(rest).filter(|place| api.any_has(place.rarest()));
        let Some(place) = place else { return Err(nowhere(Some(Arc::clone(default)))) };
        let Some(operation) = place.operation(method) else {
            let reason = UnrecognisedReason::NoSuchMethod { allow: place.allow() };
            return Err(Unrecognised { dialect: Some(Arc::clone(default)), reason });
        };
        let named = place.named().to_owned();
        let dialect = Arc::clone(api.dialect_of(operation, headers, body));
        let candidates = api.speaks.candidates().cloned().collect();
        Ok(Call { dialect, candidates, operation, serves: api.serves, named })
    }
}

impl Api {
    fn any_has(&self, operation: Operation) -> bool {
        let mut all = iter::once(self.speaks.default()).chain(self.speaks.candidates());
        all.any(|dialect| dialect.descriptor().has_at(self.serves, operation))
    }

    fn dialect_of(&self, operation: Operation, headers: &HeaderMap, body: &[u8]) -> &Arc<Dialect> {
        let able = || {
            let candidates = self.speaks.candidates();
            candidates.filter(|dialect| dialect.descriptor().has_at(self.serves, operation))
        };
        let sniffed = match operation {
            Operation::CreateSession => sniff::dialect(able(), headers, body),
            Operation::GetSession
            | Operation::DeleteSession
            | Operation::ExtendSession
            | Operation::RetrieveSessions
            | Operation::GetQosProfile
            | Operation::ListQosProfiles
            | Operation::RetrieveQosProfiles => sniff::by_proof(able(), headers),
        };
        sniffed.or_else(|| able().next()).unwrap_or_else(|| self.speaks.default())
    }
}

impl Speaks {
    fn default(&self) -> &Arc<Dialect> {
        match self {
            Self::One(dialect) | Self::Sniffed { fallback: dialect, .. } => dialect,
        }
    }

    // What may be moved to; with one dialect there is nothing to move.
    fn candidates(&self) -> impl Iterator<Item = &Arc<Dialect>> + Clone {
        let (first, rest) = match self {
            Self::One(_) => (None, [].as_slice()),
            Self::Sniffed { candidates, fallback } => (Some(fallback), candidates.as_slice()),
        };
        first.into_iter().chain(rest)
    }
}

impl<'p> Place<'p> {
    fn at(rest: &'p str) -> Option<Self> {
        let mut segments = rest.strip_prefix('/')?.split('/');
        let place = match (segments.next()?, segments.next(), segments.next()) {
            ("sessions", None, None) => Self::Sessions,
            ("sessions", Some(id), None) => Self::Session(id),
            ("sessions", Some(id), Some("extend")) => Self::Extension(id),
            ("retrieve-sessions", None, None) => Self::Retrieval,
            ("qos-profiles", None, None) => Self::Profiles,
            ("qos-profiles", Some(name), None) => Self::Profile(name),
            ("retrieve-qos-profiles", None, None) => Self::ProfileRetrieval,
            _ => return None,
        };
        (segments.next().is_none() && place.is_plain()).then_some(place)
    }

    // An id needs no escapes: what has some is another path, wherever they are undone.
    fn is_plain(&self) -> bool {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~.".contains(&byte);
        match self {
            Self::Sessions | Self::Retrieval | Self::Profiles | Self::ProfileRetrieval => true,
            // What cannot be a name is told so.
            Self::Profile(name) => !name.is_empty(),
            Self::Session(id) | Self::Extension(id) => {
                !matches!(*id, "" | "." | "..") && id.bytes().all(plain)
            }
        }
    }

    // The operation at this place that the fewest dialects have.
    fn rarest(&self) -> Operation {
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

    fn allow(&self) -> &'static str {
        match self {
            Self::Sessions | Self::Extension(_) | Self::Retrieval | Self::ProfileRetrieval => {
                "POST"
            }
            Self::Session(_) => "GET, DELETE",
            Self::Profiles | Self::Profile(_) => "GET",
        }
    }

    fn named(&self) -> &'p str {
        match self {
            Self::Sessions | Self::Retrieval | Self::Profiles | Self::ProfileRetrieval => "",
            Self::Session(name) | Self::Extension(name) | Self::Profile(name) => name,
        }
    }
}

impl Call {
    /// What is spoken.
    pub fn dialect(&self) -> &Arc<Dialect> {
        &self.dialect
    }

    /// What is asked.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// Which session it is about. There is none to create one, or to look for some.
    pub fn session_id(&self) -> Result<SessionId, Malformed> {
        let reason = "expected a UUID as the session's id in the path";
        self.named.parse().map_err(|_| Malformed::at("", reason))
    }

    /// Which profile it is about.
    pub fn profile_name(&self) -> Result<&str, Malformed> {
        profiles::read_name(&self.named)
    }

    /// Was the dialect told by what the request looks like?
    pub fn is_sniffed(&self) -> bool {
        !self.candidates.is_empty()
    }

    /// The header that proves a client's possession of a key, if what may be spoken here has one:
    /// whoever leaves it out is not taken for who speaks another dialect.
    pub fn proof_header(&self) -> Option<&'static str> {
        let mut all = iter::once(&self.dialect).chain(&self.candidates);
        all.find_map(|dialect| dialect.descriptor().proof_header)
    }

    /// Takes the client's dialect, or that of the session in question, instead of a sniffed one:
    /// if its path speaks it, and it has the operation.
    pub fn prefer(&mut self, dialect: &Arc<Dialect>) {
        let known = self.candidates.iter().any(|candidate| candidate.name() == dialect.name());
        if known && dialect.descriptor().has_at(self.serves, self.operation) {
            self.dialect = Arc::clone(dialect);
        }
    }

    /// Is the body, of an operation that has one, of the type that is read?
    pub fn check_media(&self, headers: &HeaderMap) -> Result<(), WrongMedia> {
        match self.operation {
            Operation::CreateSession
            | Operation::ExtendSession
            | Operation::RetrieveSessions
            | Operation::RetrieveQosProfiles => check_media(headers),
            Operation::GetSession
            | Operation::DeleteSession
            | Operation::GetQosProfile
            | Operation::ListQosProfiles => Ok(()),
        }
    }

    /// Is the correlator, if there is one, what the release lets it be?
    pub fn check_correlator(&self, headers: &HeaderMap) -> Result<(), Malformed> {
        let Some(rule) = &self.dialect.descriptor().correlator else { return Ok(()) };
        let mut given = headers.get_all("x-correlator").iter();
        if given.all(|value| rule.admits(value.as_bytes())) {
            return Ok(());
        }
        let Correlator { punctuation, length_max } = rule;
        let expected = format!(
            "expected an x-correlator of up to {length_max} letters, digits and `{punctuation}`"
        );
        Err(Malformed::at("", expected))
    }
}

/// Is a body of the one type that is read?
///
/// # Errors
/// If it is of another, encoded, or it is not told once what it is.
pub fn check_media(headers: &HeaderMap) -> Result<(), WrongMedia> {
    let encoded = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"));
    if encoded {
        return Err(WrongMedia::ContentEncoding);
    }
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let (first, second) = (types.next(), types.next());
    let text = first.filter(|_| second.is_none()).and_then(|value| value.to_str().ok());
    text.filter(|text| is_json(text)).map(|_| ()).ok_or(WrongMedia::ContentType)
}

// `application/json`, and nothing beside it but a character set that is JSON's only one anyway.
fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let json = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    json && parts.all(|parameter| {
        parameter.split_once('=').is_some_and(|(name, value)| {
            let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
            name.eq_ignore_ascii_case("charset") && value.eq_ignore_ascii_case("utf-8")
        })
    })
}

/// Where an operator has an operation, below its base path.
pub(super) fn path_of(
    descriptor: &Descriptor,
    operation: Operation,
    operator_session: Option<&str>,
) -> Option<String> {
    if !descriptor.has(operation) {
        return None;
    }
    let session = || operator_session.filter(|id| is_operator_session(id)).map(escaped);
    match operation {
        Operation::CreateSession => Some("/sessions".to_owned()),
        Operation::GetSession | Operation::DeleteSession => {
            Some(format!("/sessions/{}", session()?))
        }
        Operation::ExtendSession => Some(format!("/sessions/{}/extend", session()?)),
        Operation::RetrieveSessions => Some("/retrieve-sessions".to_owned()),
        // Those are told from the policies.
        Operation::GetQosProfile | Operation::ListQosProfiles | Operation::RetrieveQosProfiles => {
            None
        }
    }
}

/// A text with all but RFC 3986's unreserved characters escaped.
pub(super) fn escaped(id: &str) -> String {
    let mut escaped = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // A string takes whatever is written to it.
            _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}
