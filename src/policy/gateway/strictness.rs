//! `strictness` in `gateway.yaml`: how bodies of clients are parsed.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    dialect::{Strictness, UnknownMembers},
    json::CaseVariants,
};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StrictnessEntry {
    /// The handling of members that the dialect does not define.
    unknown_members: UnknownMembers,
    /// The handling of members whose names differ only in case, such as `duration` and `Duration`.
    case_variants: CaseVariants,
    /// The maximum nesting depth of a body.
    #[schemars(range(min = 8, max = 100))]
    json_depth_max: Option<usize>,
    /// The maximum number of members of an object.
    #[schemars(range(min = 16, max = 1024))]
    json_members_max: Option<usize>,
}

impl StrictnessEntry {
    pub(super) fn settings(&self) -> Strictness {
        let Strictness { depth_max, members_max, .. } = Strictness::default();
        Strictness {
            unknown_members: self.unknown_members,
            case_variants: self.case_variants,
            depth_max: self.json_depth_max.unwrap_or(depth_max),
            members_max: self.json_members_max.unwrap_or(members_max),
        }
    }
}
