//! Which API is spoken, by clients and by operators: bodies in and out of the canonical model.
//!
//! A dialect is one release of the API, or an operator's variant of one: a [`Descriptor`], which is
//! data, over a codec, of which there is one a family. What a schema can say of a body stands in
//! `schemas/`; what it cannot say, the codecs check themselves. No body is ever passed on: what
//! leaves here is written anew from the model.

mod address;
mod answer;
mod api;
mod descriptor;
mod event;
mod fault;
mod fit;
mod node;
mod ports;
mod problem;
mod profiles;
mod retrieval;
mod schema;
mod search;
mod sink;
mod sniff;
mod v01;
mod v010;
mod v08;
mod v1;
mod variant;
mod wish;

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};

use bytes::Bytes;
use http::Response;
use serde::Serialize;

pub use self::{
    answer::Unreadable,
    api::{Api, Apis, Call, Speaks, Unrecognised, UnrecognisedReason, WrongMedia, check_media},
    descriptor::{
        Correlator, Descriptor, ErrorShape, Errors, EventShape, Family, Profiles, Serves,
    },
    event::{Notification, RemoteEvent, read as read_event},
    fault::{Fault, Malformed},
    fit::{Fitting, LegacyIpv4, Unfit},
    problem::RemoteProblem,
    retrieval::{RemoteSession, RemoteSessions},
    search::{OperatorFound, Search},
    variant::{Descriptors, Variant, VariantFault},
};
use self::{
    descriptor::Rule,
    fault::Faults,
    node::Node,
    schema::{Direction, Document, Validator},
};
use crate::{
    json::{Bounds, Json},
    qod::{
        Answer, CreateSession, Device, Event, Granted, Operation, Problem, ProfileQuery,
        QosProfile, QosStatus, Session, Sink,
    },
};

/// One way to speak: a descriptor and the schemas of the bodies that clients send.
pub struct Dialect {
    descriptor: &'static Descriptor,
    create_session: Validator,
    extend_session: Option<Validator>,
    retrieve_sessions: Option<Validator>,
    retrieve_profiles: Option<Validator>,
}

// The documents of a folder, each read when it is first asked for, and all that is wrong with them.
struct Documents<'f> {
    folder: &'f Path,
    read: BTreeMap<&'static str, Option<Document>>,
    faults: Vec<SchemaFault>,
}

/// All dialects, by name.
#[derive(Debug)]
pub struct Dialects(BTreeMap<&'static str, Arc<Dialect>>);

/// A document in `schemas/` that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SchemaFault {
    /// Its name within the folder.
    pub file: String,
    /// What is wrong with it, and where; the file is named again.
    pub message: String,
}

/// How a client's body is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strictness {
    /// Members that the dialect does not know, outside the objects where they are always refused:
    /// devices, servers and ports, where dropping one would change what the rest means.
    pub unknown_members: UnknownMembers,
    /// How deep the body may nest.
    pub depth_max: usize,
    /// How many members an object may have.
    pub members_max: usize,
}

/// What becomes of a member that the dialect does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownMembers {
    /// It is left out.
    Drop,
    /// The body is refused.
    Refuse,
}

impl Dialects {
    /// Reads and compiles the documents of the released dialects; every one that cannot be used is
    /// named.
    pub fn load(schemas: &Path) -> Result<Self, Vec<SchemaFault>> {
        Self::load_all(schemas, &Descriptors::released())
    }

    /// The same, of these dialects.
    pub fn load_all(schemas: &Path, of: &Descriptors) -> Result<Self, Vec<SchemaFault>> {
        Self::load_those(schemas, of.each())
    }

    /// The same, of one of these dialects; of none, if none is called so.
    pub fn load_only(
        schemas: &Path,
        of: &Descriptors,
        name: &str,
    ) -> Result<Self, Vec<SchemaFault>> {
        Self::load_those(schemas, of.named(name).into_iter())
    }

    fn load_those(
        schemas: &Path,
        descriptors: impl Iterator<Item = &'static Descriptor>,
    ) -> Result<Self, Vec<SchemaFault>> {
        let mut documents =
            Documents { folder: schemas, read: BTreeMap::new(), faults: Vec::new() };
        let dialects = descriptors.filter_map(|descriptor| {
            let dialect = Dialect::compile(descriptor, &mut documents)?;
            Some((descriptor.name, Arc::new(dialect)))
        });
        let dialects = dialects.collect();
        let mut faults = documents.faults;
        faults.dedup();
        if faults.is_empty() { Ok(Self(dialects)) } else { Err(faults) }
    }

    /// The dialect of this name.
    pub fn named(&self, name: &str) -> Option<&Arc<Dialect>> {
        self.0.get(name)
    }

    /// The names of all dialects, in order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }
}

impl Documents<'_> {
    fn validator(&mut self, schema: &'static str, component: &str) -> Option<Validator> {
        let Self { folder, read, faults } = self;
        let file = format!("{schema}.yaml");
        let mut fault = |message| faults.push(SchemaFault { file: file.clone(), message });
        let document = read
            .entry(schema)
            .or_insert_with(|| Document::read(&folder.join(&file)).map_err(&mut fault).ok());
        document.as_ref()?.validator(component, Direction::Request).map_err(fault).ok()
    }
}

impl Dialect {
    fn compile(descriptor: &'static Descriptor, documents: &mut Documents<'_>) -> Option<Self> {
        let mut where_there_is = |operation, schema, component| {
            if !descriptor.has(operation) {
                return Some(None);
            }
            documents.validator(schema, component).map(Some)
        };
        let own = descriptor.schema;
        let extend = where_there_is(Operation::ExtendSession, own, "ExtendSessionDuration");
        let retrieve = where_there_is(Operation::RetrieveSessions, own, "RetrieveSessionsInput");
        let profiles = where_there_is(
            Operation::RetrieveQosProfiles,
            descriptor.profiles.schema.unwrap_or(own),
            "QosProfileDeviceRequest",
        );
        Some(Self {
            descriptor,
            create_session: documents.validator(own, "CreateSession")?,
            extend_session: extend?,
            retrieve_sessions: retrieve?,
            retrieve_profiles: profiles?,
        })
    }

    /// Its name, as policies and metrics have it.
    pub fn name(&self) -> &'static str {
        self.descriptor.name
    }

    /// The releases that it is one of.
    pub fn family(&self) -> Family {
        self.descriptor.family
    }

    /// What tells it from the others of its family.
    pub fn descriptor(&self) -> &'static Descriptor {
        self.descriptor
    }

    fn rule(&self) -> &'static Rule {
        &self.descriptor.rule
    }

    // What the release refuses the policies cannot let pass.
    fn strictness(&self, asked: &Strictness) -> Strictness {
        let own = self.rule().strict.then_some(UnknownMembers::Refuse);
        Strictness { unknown_members: own.unwrap_or(asked.unknown_members), ..*asked }
    }

    /// Reads what a client wants. A duration that may be missing, and is, is the longest that the
    /// release knows.
    pub fn parse_create_session(
        &self,
        body: &[u8],
        strictness: &Strictness,
    ) -> Result<CreateSession, Malformed> {
        let strictness = &self.strictness(strictness);
        let json = Json::parse(body, &strictness.bounds())?;
        let mut faults = Faults::of_schema(&self.create_session, &json);
        let root = Node::root(&json);
        let wanted = match self.family() {
            Family::V01 => v01::read_wanted(&root, self.rule(), strictness, &mut faults),
            Family::V08 => v08::read_wanted(&root, self.rule(), strictness, &mut faults),
            Family::V010 => v010::read_wanted(&root, self.rule(), strictness, &mut faults),
            Family::V011 | Family::V1 => {
                v1::read_wanted(&root, self.rule(), strictness, &mut faults)
            }
        };
        faults.none_or(wanted)
    }

    /// Reads by how many seconds a client wants a session extended.
    pub fn parse_extend_session(
        &self,
        body: &[u8],
        strictness: &Strictness,
    ) -> Result<u32, Malformed> {
        let strictness = &self.strictness(strictness);
        let json = Json::parse(body, &strictness.bounds())?;
        let mut faults = Faults::of_any_schema(self.extend_session.as_ref(), &json);
        let additional_s = self.has(Operation::ExtendSession).then(|| {
            wish::read_extension(&Node::root(&json), self.rule(), strictness, &mut faults)
        });
        faults.none_or(additional_s.flatten())
    }

    /// Reads of which device a client wants to be told the sessions; of none, if it leaves that to
    /// its token.
    pub fn parse_retrieve_sessions(
        &self,
        body: &[u8],
        strictness: &Strictness,
    ) -> Result<Option<Device>, Malformed> {
        let strictness = &self.strictness(strictness);
        let json = Json::parse(body, &strictness.bounds())?;
        let mut faults = Faults::of_any_schema(self.retrieve_sessions.as_ref(), &json);
        let device = self
            .has(Operation::RetrieveSessions)
            .then(|| v1::read_retrieval(&Node::root(&json), self.rule(), strictness, &mut faults));
        faults.none_or(device)
    }

    /// Reads which profiles a client asks for in a body.
    pub fn parse_retrieve_profiles(
        &self,
        body: &[u8],
        strictness: &Strictness,
    ) -> Result<ProfileQuery, Malformed> {
        let strictness = &self.strictness(strictness);
        let json = Json::parse(body, &strictness.bounds())?;
        let mut faults = Faults::of_any_schema(self.retrieve_profiles.as_ref(), &json);
        let query = self.has(Operation::RetrieveQosProfiles).then(|| {
            profiles::read_search(&Node::root(&json), self.rule(), strictness, &mut faults)
        });
        faults.none_or(query)
    }

    /// Reads which profiles a client asks for in its URL.
    pub fn parse_list_profiles(
        &self,
        query: &str,
        strictness: &Strictness,
    ) -> Result<ProfileQuery, Malformed> {
        profiles::read_url_query(query, &self.strictness(strictness))
    }

    /// Can a client be told that this is the session that it has asked for? Up to 0.8 there is no
    /// word for one that the network cannot grant.
    pub fn has_words_for(&self, session: &Session) -> bool {
        match self.family() {
            Family::V01 | Family::V08 => session.granted.status != QosStatus::Unavailable,
            Family::V010 | Family::V011 | Family::V1 => true,
        }
    }

    /// What a client is told of its session. Up to 0.10 an answer has times even while a session is
    /// only requested: whoever holds the session has put provisional ones into it. From 0.11 on
    /// they are left out.
    pub fn render_answer(&self, answer: &Answer) -> Response<Bytes> {
        let (status, body) = match answer {
            Answer::Created(session) => {
                (self.descriptor.created_status, self.write_session(session))
            }
            Answer::Found(session) | Answer::Extended(session) => {
                (200, self.write_session(session))
            }
            Answer::Retrieved(sessions) => {
                (200, retrieval::list(sessions.iter().map(|session| self.write_session(session))))
            }
            Answer::Deleted => return respond(204, Bytes::new()),
            Answer::Profile(profile) => (200, self.write_profile(profile)),
            Answer::Profiles(profiles) => {
                (200, retrieval::list(profiles.iter().map(|profile| self.write_profile(profile))))
            }
        };
        respond(status, body)
    }

    fn write_session(&self, session: &Session) -> Bytes {
        match self.family() {
            Family::V01 => v01::write_session(session),
            Family::V08 => v08::write_session(session, self.rule()),
            Family::V010 => v010::write_session(session, self.rule()),
            Family::V011 | Family::V1 => v1::write_session(session, self.descriptor),
        }
    }

    fn write_profile(&self, profile: &QosProfile) -> Bytes {
        profiles::write(profile, &self.descriptor.profiles)
    }

    /// What a client is told when the answer is no. An `Allow` field is for the caller to add.
    pub fn render_problem(&self, problem: &Problem) -> Response<Bytes> {
        problem::render(problem, &self.descriptor.errors)
    }

    /// What to ask of an operator that speaks this dialect: never more than is wanted, in no other
    /// words than it has, and nothing of the client's own sink.
    pub fn fit(&self, wanted: &CreateSession, fitting: &Fitting) -> Result<CreateSession, Unfit> {
        fit::fit(self.rule(), wanted, fitting)
    }

    /// What of a device an operator that speaks this dialect can be told.
    pub fn fit_device(&self, device: &Device, fitting: &Fitting) -> Result<Device, Unfit> {
        fit::fit_device(self.rule(), device, None, fitting).map(|(device, _)| device)
    }

    /// The body that asks an operator for a session that [`Dialect::fit`] has made. The sink is the
    /// gateway's own.
    pub fn create_session_request(&self, fitted: &CreateSession, sink: Option<&Sink>) -> Bytes {
        match self.family() {
            Family::V01 => v01::write_wanted(fitted, sink),
            Family::V08 => v08::write_wanted(fitted, sink, self.rule()),
            Family::V010 => v010::write_wanted(fitted, sink, self.rule()),
            Family::V011 | Family::V1 => v1::write_wanted(fitted, sink, self.rule()),
        }
    }

    /// The body that asks an operator to extend a session; nothing, if its dialect cannot.
    pub fn extend_session_request(&self, additional_s: u32) -> Option<Bytes> {
        self.has(Operation::ExtendSession).then(|| wish::write_extension(additional_s))
    }

    /// The body that asks an operator for its sessions of a device, as
    /// [`Dialect::fit_device`] has made it; nothing, if its dialect cannot.
    pub fn retrieve_sessions_request(&self, device: &Device) -> Option<Bytes> {
        self.has(Operation::RetrieveSessions).then(|| v1::write_retrieval(device, self.rule()))
    }

    /// Has it this operation?
    pub fn has(&self, operation: Operation) -> bool {
        self.descriptor.has(operation)
    }

    /// Where an operator has this operation, below its base path; nothing, if its dialect has no
    /// such operation or the operator's id for the session is none that may stand in a path.
    pub fn path_of(&self, operation: Operation, operator_session: Option<&str>) -> Option<String> {
        api::path_of(self.descriptor, operation, operator_session)
    }

    /// What an operator tells of a session: its own id, and how the session stands.
    pub fn read_session(&self, body: &[u8]) -> Result<(String, Granted), Unreadable> {
        match self.family() {
            Family::V01 => v01::read_session(body),
            Family::V08 => v08::read_session(body),
            Family::V010 => v010::read_session(body),
            Family::V011 | Family::V1 => v1::read_session(body),
        }
    }

    /// What sessions an operator tells of, up to 100. One that cannot be read hides no other.
    pub fn read_sessions(&self, body: &[u8]) -> Result<RemoteSessions, Unreadable> {
        retrieval::read(body, |listed| {
            self.has(Operation::RetrieveSessions).then(|| v1::read_listed(listed, self.rule()))?
        })
    }

    /// What a client is told of an event, and how; nothing, if its dialect has no word for it.
    pub fn notification(&self, event: &Event, sink: &Sink) -> Option<Notification> {
        event::write(event, sink, self.descriptor)
    }

    /// What kind of no an operator's answer is, by its status and code, never by its sentences.
    /// An operator that refuses *our* credentials reads as `Unauthenticated` or `PermissionDenied`
    /// too: that this is not the client's fault is for the caller to know.
    pub fn read_problem(&self, status: u16, body: &[u8]) -> RemoteProblem {
        problem::read(status, body, &self.descriptor.errors)
    }
}

impl fmt::Debug for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dialect").field(&self.name()).finish()
    }
}

impl Default for Strictness {
    fn default() -> Self {
        let Bounds { depth_max, members_max, .. } = Bounds::default();
        Self { unknown_members: UnknownMembers::Drop, depth_max, members_max }
    }
}

impl Strictness {
    fn bounds(self) -> Bounds {
        let Self { depth_max, members_max, .. } = self;
        Bounds { depth_max, members_max, ..Bounds::default() }
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

// The structs that are written here have names for members, so that this cannot fail.
fn written(body: &impl Serialize) -> Bytes {
    serde_json::to_vec(body).unwrap_or_default().into()
}

#[cfg(test)]
mod tests;
