//! How strictly bodies of clients are parsed, as policies configure it.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::json::{CaseVariants, Json, JsonError, JsonLimits};

/// How strictly client request bodies are parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Strictness {
    /// How to treat unknown members. Devices, servers and ports always reject them, because
    /// dropping one would change the meaning of the others.
    pub unknown_members: UnknownMembers,
    /// Maximum nesting depth of a body.
    pub depth_max: usize,
    /// Maximum number of members of an object.
    pub members_max: usize,
    /// How to treat members whose names differ only in case.
    pub case_variants: CaseVariants,
}

/// How to treat a member that the dialect does not define.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnknownMembers {
    /// Ignore the member.
    #[default]
    Drop,
    /// Reject the body.
    #[serde(rename = "refuse")]
    Reject,
}

impl Default for Strictness {
    fn default() -> Self {
        let JsonLimits { depth_max, members_max, .. } = JsonLimits::default();
        let case_variants = CaseVariants::Reject;
        Self { unknown_members: UnknownMembers::Drop, depth_max, members_max, case_variants }
    }
}

impl Strictness {
    /// Parses the JSON of a body.
    pub(super) fn parse(self, body: &[u8]) -> Result<Json<'_>, JsonError> {
        let Self { depth_max, members_max, case_variants, .. } = self;
        let bounds = JsonLimits { depth_max, members_max, ..JsonLimits::default() };
        Json::parse_with(body, &bounds, case_variants)
    }
}
