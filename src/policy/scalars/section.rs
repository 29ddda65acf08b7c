//! A section of a policy file that is deserialized separately.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};

/// A section of a file that is deserialized separately, so that an error in it does not hide errors in
/// other sections. The shape of all sections has been validated before.
#[derive(Clone, Debug)]
pub(in crate::policy) struct Section<T>(Result<T, String>);

impl<T> Section<T> {
    /// Returns the value, or the deserialization error.
    pub(in crate::policy) fn into_result(self) -> Result<T, String> {
        self.0
    }
}

impl<T: Default> Default for Section<T> {
    fn default() -> Self {
        Self(Ok(T::default()))
    }
}

impl<'de, T: serde::de::DeserializeOwned> Deserialize<'de> for Section<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        Ok(Self(serde_json::from_value(value).map_err(|error| error.to_string())))
    }
}

impl<T: JsonSchema> JsonSchema for Section<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
