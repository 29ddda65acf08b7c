//! Validates bodies against the `OpenAPI` 3.0 document of an API release, a file in `schemas/`.
//!
//! Documents are used unmodified, including CAMARA's own, and converted to JSON Schema 2020-12. The
//! formats of IP addresses are not validated here, because some releases violate them in their own
//! examples; the codecs parse every address.

mod convert;
mod words;

use std::path::Path;

use jsonschema::{Draft, PatternOptions};
use serde_json::Value;

use crate::{
    json::{Json, JsonTree},
    reloadable::read_regular,
};

// The largest released document has 80 KiB.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// The `OpenAPI` document of a release.
#[derive(Clone, Debug)]
pub(super) struct OpenApiDocument {
    file: String,
    content: Value,
}

/// Direction of a body. `readOnly` and `writeOnly` properties apply to one direction only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From client to server.
    Request,
    /// From server to client. Operators' responses are parsed leniently; only the gateway's own are
    /// validated, in tests.
    #[cfg(test)]
    Response,
}

/// Validates bodies against one schema of a document.
#[derive(Debug)]
pub(super) struct SchemaValidator {
    compiled: jsonschema::Validator<JsonTree>,
    schema: Value,
}

/// A schema violation in a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SchemaViolation {
    /// JSON pointer of the value; of the object if a property is missing.
    pub(super) pointer: String,
    /// What is expected; never contains the value, which may be confidential.
    pub(super) reason: String,
    /// Whether the value is a number outside its bounds.
    pub(super) out_of_range: bool,
}

// Maximum number of violations reported per body.
const VIOLATIONS_MAX: usize = 64;

impl OpenApiDocument {
    /// Reads a file. The error contains the file name, and the line if the file is not YAML.
    pub(super) fn read(file: &Path) -> Result<Self, String> {
        let name = file.display().to_string();
        let bytes =
            read_regular(file, FILE_BYTES_MAX).map_err(|error| format!("{name}: {error}"))?;
        let text = String::from_utf8(bytes).map_err(|_| format!("{name}: not valid UTF-8"))?;
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

    /// Compiles the schema `#/components/schemas/<component>`.
    pub(super) fn validator(
        &self,
        component: &str,
        direction: Direction,
    ) -> Result<SchemaValidator, String> {
        let schema = convert::component(&self.content, component, direction)
            .map_err(|error| format!("{}: {error}", self.file))?;
        let compiled = jsonschema::options_for::<JsonTree>()
            .with_draft(Draft::Draft202012)
            .with_pattern_options(PatternOptions::regex())
            .should_validate_formats(true)
            .offline()
            .build(&schema)
            .map_err(|error| format!("{}: {}: {error}", self.file, error.instance_path()))?;
        Ok(SchemaValidator { compiled, schema })
    }
}

impl SchemaValidator {
    /// Whether the body has no violation.
    pub(super) fn is_valid(&self, body: &Json<'_>) -> bool {
        self.compiled.is_valid(body)
    }

    /// Returns up to 64 violations; none if the body is valid. The body is searched completely.
    pub(super) fn violations(&self, body: &Json<'_>) -> Vec<SchemaViolation> {
        self.describe(self.compiled.iter_errors(body))
    }

    /// Returns the violations of the first schema that the body violates; none if it is valid.
    pub(super) fn first_violations(&self, body: &Json<'_>) -> Vec<SchemaViolation> {
        self.describe(self.compiled.validate(body).err().into_iter())
    }

    fn describe<'e>(
        &self,
        errors: impl Iterator<Item = jsonschema::ValidationError<'e>>,
    ) -> Vec<SchemaViolation> {
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
