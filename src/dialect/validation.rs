//! Validation errors of a client's request: every invalid value of a body, by JSON pointer.

use std::fmt;

use super::{
    pointer::JsonPointer,
    schema::{SchemaValidator, SchemaViolation},
};
use crate::{
    json::{Json, JsonError},
    qod::ProblemKind,
};

/// Maximum number of errors listed in a message.
const ERRORS_MAX: usize = 16;

/// An invalid value in a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidationError {
    /// JSON pointer (RFC 6901); empty for the whole body.
    pub pointer: String,
    /// What is expected; never contains the value, which may be confidential.
    pub reason: String,
    /// The kind of problem to report.
    pub kind: ProblemKind,
}

/// A body or path that is invalid in its dialect. `Display` is the message to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MalformedRequest {
    /// The first errors, sorted by pointer: 1 to 16.
    pub errors: Vec<ValidationError>,
    /// The number of errors omitted.
    pub omitted: usize,
}

/// Collects validation errors while a body is parsed.
///
/// There are three sources: semantic errors of the codec, schema violations, and structural errors
/// of the codec. If the schema reports violations, the structural errors are discarded, because the
/// schema's messages are more precise.
#[derive(Default)]
pub(super) struct ValidationErrors {
    semantic: Vec<ValidationError>,
    schema: Vec<ValidationError>,
    structural: Vec<ValidationError>,
}

impl MalformedRequest {
    /// The kind that all errors share, otherwise `InvalidArgument`.
    pub fn kind(&self) -> ProblemKind {
        let mut kinds = self.errors.iter().map(|error| error.kind);
        let first = kinds.next().unwrap_or(ProblemKind::InvalidArgument);
        if kinds.all(|kind| kind == first) { first } else { ProblemKind::InvalidArgument }
    }

    pub(super) fn at(pointer: impl Into<String>, reason: impl Into<String>) -> Self {
        let kind = ProblemKind::InvalidArgument;
        let error = ValidationError { pointer: pointer.into(), reason: reason.into(), kind };
        Self { errors: vec![error], omitted: 0 }
    }
}

impl fmt::Display for MalformedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            let colon = if error.pointer.is_empty() { "" } else { ": " };
            write!(f, "{separator}{}{colon}{}", error.pointer, error.reason)?;
        }
        if self.omitted > 0 {
            write!(f, "; and {} more", self.omitted)?;
        }
        Ok(())
    }
}

impl std::error::Error for MalformedRequest {}

impl From<JsonError> for MalformedRequest {
    fn from(err: JsonError) -> Self {
        Self::at(err.pointer, err.reason)
    }
}

impl From<SchemaViolation> for ValidationError {
    fn from(violation: SchemaViolation) -> Self {
        let SchemaViolation { pointer, reason, out_of_range } = violation;
        let kind = match pointer.as_str() {
            _ if !out_of_range => ProblemKind::InvalidArgument,
            "/duration" | "/requestedAdditionalDuration" => ProblemKind::DurationOutOfRange,
            _ => ProblemKind::OutOfRange,
        };
        Self { pointer, reason, kind }
    }
}

impl ValidationErrors {
    /// Collects the schema violations of a body.
    pub(super) fn from_schema(validator: &SchemaValidator, json: &Json<'_>) -> Self {
        let schema = validator.violations(json).into_iter().map(ValidationError::from).collect();
        Self { schema, ..Self::default() }
    }

    /// Like [`ValidationErrors::from_schema`], for an optional schema.
    pub(super) fn from_optional_schema(
        validator: Option<&SchemaValidator>,
        json: &Json<'_>,
    ) -> Self {
        validator.map(|validator| Self::from_schema(validator, json)).unwrap_or_default()
    }

    /// Adds a semantic error, which the schema cannot detect.
    pub(super) fn add_semantic(
        &mut self,
        pointer: JsonPointer<'_>,
        kind: ProblemKind,
        reason: impl Into<String>,
    ) {
        self.semantic.push(ValidationError {
            pointer: pointer.render(),
            reason: reason.into(),
            kind,
        });
    }

    /// Adds a structural error, which the schema normally detects.
    pub(super) fn add_structural(&mut self, pointer: JsonPointer<'_>, reason: impl Into<String>) {
        let kind = ProblemKind::InvalidArgument;
        self.structural.push(ValidationError {
            pointer: pointer.render(),
            reason: reason.into(),
            kind,
        });
    }

    /// Returns the parsed value, or the errors if there are any.
    pub(super) fn into_result<T>(self, parsed: Option<T>) -> Result<T, MalformedRequest> {
        let Self { semantic, mut schema, structural } = self;
        let rest = if schema.is_empty() {
            structural
        } else {
            schema.retain(|violation| {
                semantic.iter().all(|error| error.pointer != violation.pointer)
            });
            schema
        };
        let errors = [semantic, rest].concat();
        match parsed {
            Some(parsed) if errors.is_empty() => Ok(parsed),
            None if errors.is_empty() => Err(MalformedRequest::at("", "expected a valid body")),
            Some(_) | None => Err(sorted(errors)),
        }
    }
}

fn sorted(mut errors: Vec<ValidationError>) -> MalformedRequest {
    errors.sort_by(|a, b| (&a.pointer, &a.reason).cmp(&(&b.pointer, &b.reason)));
    errors.dedup();
    let omitted = errors.len().saturating_sub(ERRORS_MAX);
    errors.truncate(ERRORS_MAX);
    MalformedRequest { errors, omitted }
}
