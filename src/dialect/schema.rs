//! What an API release takes and gives, from its own document: an `OpenAPI` 3.0 file in `schemas/`.
//!
//! A document is read as it is, CAMARA's own included, and judged with JSON Schema 2020-12. IP
//! addresses are the exception: their formats are not checked here, for some releases contradict
//! them in their own examples; the codecs parse every address anyway.

mod convert;
mod words;

use std::{fs, path::Path};

use jsonschema::{Draft, PatternOptions};
use serde_json::Value;

use crate::json::{Json, Tree};

/// A release's document.
#[derive(Clone, Debug)]
pub(super) struct Document {
    file: String,
    content: Value,
}

/// Which way a body goes: properties may be meant for one way only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// To whoever serves the API.
    Request,
    /// From whoever serves the API. Operators' answers are read leniently, so that only our own
    /// are held against the document.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests hold our answers against it"))]
    Response,
}

/// Judges bodies by one schema of a document.
#[derive(Debug)]
pub(super) struct Validator {
    compiled: jsonschema::Validator<Tree>,
    schema: Value,
}

/// A place in a body that is not as its schema says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// Its JSON pointer; of the object, if a property is missing.
    pub(super) pointer: String,
    /// What is expected there; never what stands there.
    pub(super) reason: String,
    /// Is it a number that is too small or too large?
    pub(super) out_of_range: bool,
}

// More are not told of one body.
const VIOLATIONS_MAX: usize = 64;

impl Document {
    /// Reads a file. The error names it, and the line if it is not YAML.
    pub(super) fn read(file: &Path) -> Result<Self, String> {
        let name = file.display().to_string();
        let text = fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
        Self::parse(name, &text)
    }

    fn parse(file: String, text: &str) -> Result<Self, String> {
        let content: Value =
            serde_saphyr::from_str(text).map_err(|error| format!("{file}: {error}"))?;
        let version = content.get("openapi").and_then(Value::as_str);
        if !version.is_some_and(|version| version.starts_with("3.0.")) {
            return Err(format!("{file}: expected an OpenAPI 3.0 document (`openapi: 3.0.3`)"));
        }
        Ok(Self { file, content })
    }

    /// A validator for the schema `#/components/schemas/<component>`.
    pub(super) fn validator(
        &self,
        component: &str,
        direction: Direction,
    ) -> Result<Validator, String> {
        let schema = convert::component(&self.content, component, direction)
            .map_err(|error| format!("{}: {error}", self.file))?;
        let compiled = jsonschema::options_for::<Tree>()
            .with_draft(Draft::Draft202012)
            .with_pattern_options(PatternOptions::regex())
            .should_validate_formats(true)
            .offline()
            .build(&schema)
            .map_err(|error| format!("{}: {}: {error}", self.file, error.instance_path()))?;
        Ok(Validator { compiled, schema })
    }
}

impl Validator {
    /// Every place where the body is not as the schema says, up to 64; none, if it is valid.
    pub(super) fn faults(&self, body: &Json<'_>) -> Vec<Violation> {
        if self.compiled.is_valid(body) {
            return Vec::new();
        }
        let errors = self.compiled.iter_errors(body);
        let mut violations = Vec::new();
        for violation in errors.flat_map(|error| words::violations(&self.schema, &error)) {
            if violations.len() == VIOLATIONS_MAX {
                break;
            }
            if !violations.contains(&violation) {
                violations.push(violation);
            }
        }
        violations
    }
}

#[cfg(test)]
mod tests;
