//! `strictness` in `gateway.yaml`: how bodies of clients are parsed.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::{dialect, json::CaseVariants};

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct StrictnessEntry {
    /// The handling of members that the dialect does not define.
    unknown_members: UnknownMembersName,
    /// The handling of members whose names differ only in case, such as `duration` and `Duration`.
    case_variants: CaseVariantsName,
    /// The maximum nesting depth of a body.
    #[schemars(range(min = 8, max = 100))]
    json_depth_max: Option<usize>,
    /// The maximum number of members of an object.
    #[schemars(range(min = 16, max = 1024))]
    json_members_max: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum UnknownMembersName {
    #[default]
    Drop,
    Refuse,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum CaseVariantsName {
    #[default]
    Refuse,
    Accept,
}

impl StrictnessEntry {
    pub(super) fn settings(&self) -> dialect::Strictness {
        let unknown_members = match self.unknown_members {
            UnknownMembersName::Drop => dialect::UnknownMembers::Drop,
            UnknownMembersName::Refuse => dialect::UnknownMembers::Reject,
        };
        let dialect::Strictness { depth_max, members_max, .. } = dialect::Strictness::default();
        dialect::Strictness {
            unknown_members,
            case_variants: match self.case_variants {
                CaseVariantsName::Refuse => CaseVariants::Reject,
                CaseVariantsName::Accept => CaseVariants::Accept,
            },
            depth_max: self.json_depth_max.unwrap_or(depth_max),
            members_max: self.json_members_max.unwrap_or(members_max),
        }
    }
}
