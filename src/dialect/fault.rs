//! What is wrong with a client's body: every place of it, by JSON pointer.

use std::fmt;

use super::{
    node::Place,
    schema::{Validator, Violation},
};
use crate::{
    json::{Json, NotJson},
    qod::Kind,
};

/// How many places are named one by one.
const FAULTS_MAX: usize = 16;

/// A place of a body that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// A JSON pointer (RFC 6901); empty for the whole body.
    pub pointer: String,
    /// What was expected there; never what was found.
    pub reason: String,
    /// What kind of fault it is.
    pub kind: Kind,
}

/// A body, or a path, that means nothing in its dialect. It prints as a sentence for its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The first places, sorted by pointer; at least one, at most 16.
    pub faults: Vec<Fault>,
    /// How many places more there are.
    pub more: usize,
}

/// Collects faults while a body is read.
///
/// Three sources tell of them: the codec of what is meant, the schema, and the codec again of the
/// shape. A codec has to notice a wrong shape anyway, but what a schema says of it is better.
#[derive(Default)]
pub(super) struct Faults {
    meaning: Vec<Fault>,
    schema: Vec<Fault>,
    shape: Vec<Fault>,
}

impl Malformed {
    /// The kind that all places share, or that the body is not of the form asked for.
    pub fn kind(&self) -> Kind {
        let mut kinds = self.faults.iter().map(|fault| fault.kind);
        let first = kinds.next().unwrap_or(Kind::InvalidArgument);
        if kinds.all(|kind| kind == first) { first } else { Kind::InvalidArgument }
    }

    pub(super) fn at(pointer: impl Into<String>, reason: impl Into<String>) -> Self {
        let kind = Kind::InvalidArgument;
        let fault = Fault { pointer: pointer.into(), reason: reason.into(), kind };
        Self { faults: vec![fault], more: 0 }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.faults.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            let colon = if fault.pointer.is_empty() { "" } else { ": " };
            write!(f, "{separator}{}{colon}{}", fault.pointer, fault.reason)?;
        }
        if self.more > 0 {
            write!(f, "; and {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for Malformed {}

impl From<NotJson> for Malformed {
    fn from(err: NotJson) -> Self {
        Self::at(err.pointer, err.reason)
    }
}

impl From<Violation> for Fault {
    fn from(violation: Violation) -> Self {
        let Violation { pointer, reason, out_of_range } = violation;
        let kind = match pointer.as_str() {
            _ if !out_of_range => Kind::InvalidArgument,
            "/duration" | "/requestedAdditionalDuration" => Kind::DurationOutOfRange,
            _ => Kind::OutOfRange,
        };
        Self { pointer, reason, kind }
    }
}

impl Faults {
    /// What a schema has against a body.
    pub(super) fn of_schema(validator: &Validator, json: &Json<'_>) -> Self {
        let schema = validator.faults(json).into_iter().map(Fault::from).collect();
        Self { schema, ..Self::default() }
    }

    /// The same, where there may be no schema.
    pub(super) fn of_any_schema(validator: Option<&Validator>, json: &Json<'_>) -> Self {
        validator.map(|validator| Self::of_schema(validator, json)).unwrap_or_default()
    }

    /// Something that the schema cannot see.
    pub(super) fn meaning(&mut self, place: Place<'_>, kind: Kind, reason: impl Into<String>) {
        self.meaning.push(Fault { pointer: place.pointer(), reason: reason.into(), kind });
    }

    /// Something that the schema should have seen.
    pub(super) fn shape(&mut self, place: Place<'_>, reason: impl Into<String>) {
        let kind = Kind::InvalidArgument;
        self.shape.push(Fault { pointer: place.pointer(), reason: reason.into(), kind });
    }

    /// What was read, if nothing was wrong with it.
    pub(super) fn none_or<T>(self, read: Option<T>) -> Result<T, Malformed> {
        let Self { meaning, mut schema, shape } = self;
        let rest = if schema.is_empty() {
            shape
        } else {
            schema.retain(|fault| meaning.iter().all(|known| known.pointer != fault.pointer));
            schema
        };
        let faults = [meaning, rest].concat();
        match read {
            Some(read) if faults.is_empty() => Ok(read),
            None if faults.is_empty() => Err(Malformed::at("", "expected another body")),
            Some(_) | None => Err(sorted(faults)),
        }
    }
}

fn sorted(mut faults: Vec<Fault>) -> Malformed {
    faults.sort_by(|a, b| (&a.pointer, &a.reason).cmp(&(&b.pointer, &b.reason)));
    faults.dedup();
    let more = faults.len().saturating_sub(FAULTS_MAX);
    faults.truncate(FAULTS_MAX);
    Malformed { faults, more }
}
