//! Detects the dialect of a request if its path serves several. Detection is heuristic; the body is
//! validated later.

use std::sync::Arc;

use http::HeaderMap;

use super::{
    Descriptor, Dialect,
    descriptor::{MemberNames, ServerForm},
    server::SERVER_LIST_FIELD,
};
use crate::json::Json;

/// Returns the candidate that matches a create request; the first if several match.
pub(super) fn by_body<'d>(
    candidates: impl Iterator<Item = &'d Arc<Dialect>> + Clone,
    headers: &HeaderMap,
    body: &Json<'_>,
) -> Option<&'d Arc<Dialect>> {
    let mut members = body.members().iter().map(|(name, _)| &**name);
    let Some(names) = members.clone().find_map(MemberNames::identified_by) else {
        return by_proof(candidates, headers);
    };
    let matching = candidates.filter(move |candidate| candidate.rule().names == names);
    let has_list =
        body.member(names.server).is_some_and(|server| server.member(SERVER_LIST_FIELD).is_some());
    let with_list = matching.clone().find(|candidate| {
        has_list && matches!(candidate.rule().servers, ServerForm::SubnetsOrList(_))
    });
    let is_sink =
        |name: &&str| matching.clone().any(|candidate| candidate.rule().sink.field == *name);
    let sink = members.find(is_sink).or(names.usual_sink);
    let with_sink = matching.clone().find(|candidate| {
        let Descriptor { rule, proof_header, .. } = &**candidate.descriptor();
        Some(rule.sink.field) == sink && proof_header.is_none()
    });
    let first = matching.clone().next();
    by_proof(matching, headers).or(with_list).or(with_sink).or(first)
}

/// Returns the candidate whose proof-of-possession header is present in the request.
pub(super) fn by_proof<'d>(
    mut candidates: impl Iterator<Item = &'d Arc<Dialect>>,
    headers: &HeaderMap,
) -> Option<&'d Arc<Dialect>> {
    candidates.find(|candidate| {
        candidate.descriptor().proof_header.is_some_and(|header| headers.contains_key(header))
    })
}
