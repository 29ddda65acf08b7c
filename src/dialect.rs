//! API dialects of clients and operators: converts bodies to and from the canonical model.
//!
//! A dialect is one release of the API, or an operator's variant of one. It consists of a
//! [`Descriptor`], which is data; the codecs are the same for all dialects. The OpenAPI documents in
//! `schemas/` define what a schema can express; the codecs check the rest. No body is passed
//! through: every body that is sent is serialized from the model.

mod address;
mod api;
mod descriptor;
mod event;
mod validation;
mod translate;
mod cursor;
mod pointer;
mod ports;
mod problem;
mod profiles;
mod retrieval;
mod schema;
mod search;
mod sink;
mod strictness;
mod detect;
mod device;
mod server;
mod session;
mod times;
mod custom;
mod create_request;

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};

use bytes::Bytes;
use http::Response;
use serde::Serialize;

#[cfg(test)]
pub use self::validation::ValidationError;
pub use self::{
    api::{
        Api, ApiRequest, Apis, DialectSelection, UnmatchedReason, UnmatchedRequest,
        UnsupportedMediaType, check_media_type,
    },
    custom::{CustomDialect, CustomDialectError, Descriptors},
    descriptor::{
        ApiKind, CorrelatorFormat, Descriptor, ErrorCodes, ErrorFormat, ErrorShape, ProfilesApi,
    },
    event::{NotificationRequest, RemoteEvent, read as read_event},
    problem::RemoteProblem,
    retrieval::{RemoteSession, RemoteSessions},
    search::{FinderSearch, FoundOperator},
    session::InvalidOperatorMessage,
    strictness::{Strictness, UnknownMembers},
    times::TimesWithoutOffset,
    translate::{LegacyIpv4, TranslationSettings, Untranslatable},
    validation::MalformedRequest,
};
use self::{
    cursor::BodyCursor,
    descriptor::{EventShape, RequestRule},
    schema::{Direction, OpenApiDocument, SchemaValidator},
    validation::ValidationErrors,
};
use crate::qod::{
    ApiResponse, GrantedSession, Operation, Problem, ProfileQuery, QosProfile, QosStatus, Session,
    SessionEvent, Sink,
};

/// An API dialect: a descriptor and the schemas of the request bodies.
pub struct Dialect {
    descriptor: Arc<Descriptor>,
    create_session: SchemaValidator,
    extend_session: Option<SchemaValidator>,
    retrieve_sessions: Option<SchemaValidator>,
    retrieve_profiles: Option<SchemaValidator>,
}

// The OpenAPI documents of a folder, each read on first use, and the errors found so far.
struct SchemaDocuments<'f> {
    folder: &'f Path,
    loaded: BTreeMap<String, Option<OpenApiDocument>>,
    errors: Vec<SchemaError>,
}

/// All dialects, by name.
#[derive(Debug)]
pub struct Dialects(BTreeMap<String, Arc<Dialect>>);

/// An invalid document in `schemas/`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SchemaError {
    /// File name within the folder.
    pub file: String,
    /// The error and its location; includes the file name.
    pub message: String,
}

impl Dialects {
    /// Reads and compiles the documents of these dialects. Returns one error for each invalid
    /// document.
    pub fn load(schemas: &Path, descriptors: &Descriptors) -> Result<Self, Vec<SchemaError>> {
        Self::load_from(schemas, descriptors.all())
    }

    /// Like [`Dialects::load`], for the descriptor with this name only. Returns an empty set if
    /// no descriptor has this name.
    pub fn load_only(
        schemas: &Path,
        descriptors: &Descriptors,
        name: &str,
    ) -> Result<Self, Vec<SchemaError>> {
        Self::load_from(schemas, descriptors.get(name).into_iter())
    }

    fn load_from<'d>(
        schemas: &Path,
        descriptors: impl Iterator<Item = &'d Arc<Descriptor>>,
    ) -> Result<Self, Vec<SchemaError>> {
        let mut documents =
            SchemaDocuments { folder: schemas, loaded: BTreeMap::new(), errors: Vec::new() };
        let dialects = descriptors.filter_map(|descriptor| {
            let dialect = Dialect::compile(descriptor, &mut documents)?;
            Some((descriptor.name.to_string(), Arc::new(dialect)))
        });
        let dialects = dialects.collect();
        let mut errors = documents.errors;
        errors.dedup();
        if errors.is_empty() { Ok(Self(dialects)) } else { Err(errors) }
    }

    /// The dialect with this name.
    pub fn get(&self, name: &str) -> Option<&Arc<Dialect>> {
        self.0.get(name)
    }

    /// The names of all dialects, sorted.
    #[cfg(test)]
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl SchemaDocuments<'_> {
    fn validator(&mut self, schema: &str, component: &str) -> Option<SchemaValidator> {
        let Self { folder, loaded, errors } = self;
        let file = format!("{schema}.yaml");
        let mut report = |message| errors.push(SchemaError { file: file.clone(), message });
        let document = loaded.entry(schema.to_owned()).or_insert_with(|| {
            OpenApiDocument::read(&folder.join(&file)).map_err(&mut report).ok()
        });
        document.as_ref()?.validator(component, Direction::Request).map_err(report).ok()
    }
}

impl Dialect {
    fn compile(descriptor: &Arc<Descriptor>, documents: &mut SchemaDocuments<'_>) -> Option<Self> {
        let mut validator_for = |operation, schema: &str, component| {
            if !descriptor.has(operation) {
                return Some(None);
            }
            documents.validator(schema, component).map(Some)
        };
        let own = &*descriptor.schema;
        let extend = validator_for(Operation::ExtendSession, own, "ExtendSessionDuration");
        let retrieve = validator_for(Operation::RetrieveSessions, own, "RetrieveSessionsInput");
        let profiles = validator_for(
            Operation::RetrieveQosProfiles,
            descriptor.profiles.schema.as_deref().unwrap_or(own),
            "QosProfileDeviceRequest",
        );
        Some(Self {
            descriptor: Arc::clone(descriptor),
            create_session: documents.validator(own, "CreateSession")?,
            extend_session: extend?,
            retrieve_sessions: retrieve?,
            retrieve_profiles: profiles?,
        })
    }

    /// Name used in policies and metrics.
    pub fn name(&self) -> &str {
        &self.descriptor.name
    }

    /// The properties that distinguish it from other dialects.
    pub fn descriptor(&self) -> &Arc<Descriptor> {
        &self.descriptor
    }

    fn rule(&self) -> &RequestRule {
        &self.descriptor.rule
    }

    // Policies cannot allow what the release rejects.
    fn effective_strictness(&self, requested: &Strictness) -> Strictness {
        let own = self.rule().strict.then_some(UnknownMembers::Reject);
        Strictness { unknown_members: own.unwrap_or(requested.unknown_members), ..*requested }
    }

    /// Parses a profile query from a body.
    pub fn parse_retrieve_profiles(
        &self,
        body: &[u8],
        strictness: &Strictness,
    ) -> Result<ProfileQuery, MalformedRequest> {
        let strictness = &self.effective_strictness(strictness);
        let json = strictness.parse(body)?;
        let mut errors = ValidationErrors::default();
        let query = self.has(Operation::RetrieveQosProfiles).then(|| {
            profiles::read_query(&BodyCursor::root(&json), self.rule(), strictness, &mut errors)
        });
        errors.into_result_with_schema(query, self.retrieve_profiles.as_ref(), &json)
    }

    /// Parses a profile query from a URL query string. Returns `None` if no profile can match.
    pub fn parse_list_profiles(
        &self,
        query: &str,
        strictness: &Strictness,
    ) -> Result<Option<ProfileQuery>, MalformedRequest> {
        profiles::read_url_query(query, &self.effective_strictness(strictness))
    }

    /// Whether the dialect can represent this session. Without a session status it cannot represent an
    /// unavailable session.
    pub fn can_represent(&self, session: &Session) -> bool {
        self.descriptor.has_session_status() || session.granted.status != QosStatus::Unavailable
    }

    /// Renders a success response. Up to 0.10 a response has times even while a session is only
    /// requested; the caller supplies provisional ones. From 0.11 on they are omitted.
    pub fn render_response(&self, answer: &ApiResponse) -> Response<Bytes> {
        let (status, body) = match answer {
            ApiResponse::Created(session) => {
                (self.descriptor.created_status, self.write_session(session))
            }
            ApiResponse::Found(session) | ApiResponse::Extended(session) => {
                (200, self.write_session(session))
            }
            ApiResponse::Retrieved(sessions) => {
                (200, retrieval::list(sessions.iter().map(|session| self.write_session(session))))
            }
            ApiResponse::Deleted => return respond(204, Bytes::new()),
            ApiResponse::Profile(profile) => (200, self.write_profile(profile)),
            ApiResponse::Profiles(profiles) => {
                (200, retrieval::list(profiles.iter().map(|profile| self.write_profile(profile))))
            }
        };
        respond(status, body)
    }

    fn write_session(&self, session: &Session) -> Bytes {
        session::write(session, &self.descriptor)
    }

    fn write_profile(&self, profile: &QosProfile) -> Bytes {
        profiles::write(profile, &self.descriptor.profiles)
    }

    /// Renders an error response. The caller adds the `Allow` field.
    pub fn render_problem(&self, problem: &Problem) -> Response<Bytes> {
        problem::render(problem, &self.descriptor.errors)
    }

    /// Whether the dialect has this operation.
    pub fn has(&self, operation: Operation) -> bool {
        self.descriptor.has(operation)
    }

    /// The path of an operation, relative to the operator's base path. Returns `None` if the
    /// dialect has no such operation or the operator's session id is not valid in a path.
    pub fn operation_path(
        &self,
        operation: Operation,
        operator_session: Option<&str>,
    ) -> Option<String> {
        api::operation_path(&self.descriptor, operation, operator_session)
    }

    /// Parses a session from an operator's response. Returns the operator's session id and the
    /// session's state.
    pub fn read_session(
        &self,
        body: &[u8],
        times: TimesWithoutOffset,
    ) -> Result<(String, GrantedSession), InvalidOperatorMessage> {
        session::read(body, &self.descriptor, times)
    }

    /// Parses a list of up to 100 sessions from an operator's response. Skips invalid entries.
    pub fn read_sessions(
        &self,
        body: &[u8],
        times: TimesWithoutOffset,
    ) -> Result<RemoteSessions, InvalidOperatorMessage> {
        retrieval::read(body, &self.descriptor, times)
    }

    /// Renders the notification of an event. Returns `None` if the dialect cannot represent the
    /// event.
    pub fn notification_request(
        &self,
        event: &SessionEvent,
        sink: &Sink,
    ) -> Option<NotificationRequest> {
        event::write(event, sink, &self.descriptor)
    }

    /// Classifies an operator's error response by its status and code, never by its message.
    /// An operator that rejects the *gateway's* credentials also yields `Unauthenticated` or
    /// `PermissionDenied`; the caller must not report this as a client error.
    pub fn read_problem(&self, status: u16, body: &[u8]) -> RemoteProblem {
        problem::read(status, body, &self.descriptor.errors)
    }
}

impl fmt::Debug for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dialect").field(&self.name()).finish()
    }
}

fn respond(status: u16, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() =
        http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    if !response.body().is_empty() {
        let json = http::HeaderValue::from_static("application/json");
        response.headers_mut().insert(http::header::CONTENT_TYPE, json);
    }
    response
}

// Nearly all bodies are shorter.
const BODY_BYTES_EXPECTED: usize = 1024;

// Serialization cannot fail: all serialized structs have string keys.
fn json_body(body: &impl Serialize) -> Bytes {
    let mut text = Vec::with_capacity(BODY_BYTES_EXPECTED);
    serde_json::to_writer(&mut text, body).map(|()| text).unwrap_or_default().into()
}

#[cfg(test)]
pub(crate) mod tests;
