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

// Bodies with more values are not searched for all violations of the schema.
const VALUES_MAX: usize = 512;

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
    /// Whether the body has more errors.
    pub has_more: bool,
}

/// Collects validation errors while a body is parsed.
///
/// There are three sources: semantic errors of the codec, schema violations, and structural errors
/// of the codec. If the schema reports violations, the structural errors are discarded, because the
/// schema's messages are more precise.
///
/// Their number is bounded: a body of many errors costs about as much as a valid one.
#[derive(Default)]
pub(super) struct ValidationErrors {
    semantic: Vec<ValidationError>,
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
        Self::new(ProblemKind::InvalidArgument, pointer.into(), reason.into())
    }

    /// An error of this kind in a part of the request other than its body.
    pub(super) fn of_kind(kind: ProblemKind, reason: impl Into<String>) -> Self {
        Self::new(kind, String::new(), reason.into())
    }

    fn new(kind: ProblemKind, pointer: String, reason: String) -> Self {
        Self { errors: vec![ValidationError { pointer, reason, kind }], has_more: false }
    }
}

impl fmt::Display for MalformedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            let colon = if error.pointer.is_empty() { "" } else { ": " };
            write!(f, "{separator}{}{colon}{}", error.pointer, error.reason)?;
        }
        if self.has_more {
            f.write_str("; and more")?;
        }
        Ok(())
    }
}

impl std::error::Error for MalformedRequest {}

impl From<JsonError> for MalformedRequest {
    fn from(err: JsonError) -> Self {
        // A reason is a predicate; without a pointer, its subject is the body.
        let subject = if err.pointer.is_empty() { "the body " } else { "" };
        Self::at(err.pointer, format!("{subject}{}", err.reason))
    }
}

impl From<SchemaViolation> for ValidationError {
    fn from(violation: SchemaViolation) -> Self {
        let SchemaViolation { pointer, reason, out_of_range } = violation;
        // The code of a duration that is out of range is for the range that a profile allows.
        let is_duration = matches!(pointer.as_str(), "/duration" | "/requestedAdditionalDuration");
        let kind = if out_of_range && !is_duration {
            ProblemKind::OutOfRange
        } else {
            ProblemKind::InvalidArgument
        };
        Self { pointer, reason, kind }
    }
}

impl ValidationErrors {
    /// Whether more errors would not be reported. A codec stops searching then.
    pub(super) fn is_full(&self) -> bool {
        self.semantic.len() + self.structural.len() > ERRORS_MAX
    }

    /// Adds a semantic error, which the schema cannot detect.
    pub(super) fn add_semantic(
        &mut self,
        pointer: JsonPointer<'_>,
        kind: ProblemKind,
        reason: impl Into<String>,
    ) {
        if !self.is_full() {
            let (pointer, reason) = (pointer.render(), reason.into());
            self.semantic.push(ValidationError { pointer, reason, kind });
        }
    }

    /// Adds a structural error, which the schema normally detects.
    pub(super) fn add_structural(&mut self, pointer: JsonPointer<'_>, reason: impl Into<String>) {
        if !self.is_full() {
            let (pointer, reason) = (pointer.render(), reason.into());
            let kind = ProblemKind::InvalidArgument;
            self.structural.push(ValidationError { pointer, reason, kind });
        }
    }

    /// Returns the value that was parsed from the body, or the errors if there are any, including the
    /// violations of the schema.
    pub(super) fn into_result_with_schema<T>(
        self,
        parsed: Option<T>,
        validator: Option<&SchemaValidator>,
        json: &Json<'_>,
    ) -> Result<T, MalformedRequest> {
        let found_none = self.semantic.is_empty() && self.structural.is_empty();
        let violated = validator.filter(|validator| !validator.is_valid(json));
        match violated {
            // The validator finds all errors or one. In a large body, all may be thousands; those of
            // the codec suffice.
            Some(_) if json.has_more_values_than(VALUES_MAX) && !found_none => {
                self.into_result(parsed)
            }
            Some(validator) if json.has_more_values_than(VALUES_MAX) => {
                self.with_schema(validator.first_violations(json)).into_result(parsed)
            }
            Some(validator) => self.with_schema(validator.violations(json)).into_result(parsed),
            None => self.into_result(parsed),
        }
    }

    // Replaces the structural errors.
    fn with_schema(self, violations: Vec<SchemaViolation>) -> Self {
        let Self { semantic, .. } = self;
        let violations = violations.into_iter().map(ValidationError::from);
        let known = |violation: &ValidationError| {
            semantic.iter().any(|error| error.pointer == violation.pointer)
        };
        let structural = violations.filter(|violation| !known(violation)).collect();
        Self { semantic, structural }
    }

    /// Returns the parsed value, or the errors if there are any.
    pub(super) fn into_result<T>(self, parsed: Option<T>) -> Result<T, MalformedRequest> {
        let Self { semantic, structural } = self;
        let errors = [semantic, structural].concat();
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
    let has_more = errors.len() > ERRORS_MAX;
    errors.truncate(ERRORS_MAX);
    MalformedRequest { errors, has_more }
}
