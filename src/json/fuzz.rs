//! The rules that hold for any text, for the fuzz targets: the strict parser accepts a subset of what `serde_json`
//! accepts, with the same meaning.

use jsonschema::json::Node;
use serde_json::Value;

use super::{CaseVariants, Json, JsonLimits, fast, parse::parse_completely};

/// Parses arbitrary bytes.
///
/// # Panics
/// If a rule is violated.
pub(crate) fn check_json(text: &[u8]) {
    let limits = JsonLimits::default();
    for case_variants in [CaseVariants::Reject, CaseVariants::Accept] {
        let Ok(text) = std::str::from_utf8(text) else { break };
        if let Some(fast) = fast::parse(text, &limits, case_variants) {
            let complete = parse_completely(text, &limits, case_variants);
            assert_eq!(complete, Ok(fast), "the fast path has another meaning");
        }
    }
    let by_case = Json::parse_case_sensitive(text, &limits);
    if let Ok(strict) = Json::parse(text, &limits) {
        assert_eq!(by_case.as_ref(), Ok(&strict), "the strict text has another meaning");
    }
    match by_case {
        Ok(value) => {
            let reference: Option<Value> = serde_json::from_slice(text).ok();
            assert_eq!(Some((&value).to_value().into_owned()), reference);
            assert!(!value.has_more_values_than(limits.elements_max), "more values than allowed");
        }
        Err(error) => {
            let is_pointer = error.pointer.is_empty() || error.pointer.starts_with('/');
            assert!(is_pointer, "{} is not a pointer", error.pointer);
            assert!(!error.reason.is_empty(), "no reason");
            assert!(!error.reason.contains(char::is_control), "{:?}", error.reason);
        }
    }
}
