//! A cursor into a JSON body that tracks its JSON pointer, so that errors state their location.

use std::ops::RangeInclusive;

use super::{pointer::JsonPointer, validation::ValidationErrors};
use crate::{json::Json, qod::ProblemKind};

/// A value and its location in the body.
#[derive(Clone, Copy)]
pub(super) struct BodyCursor<'n> {
    json: &'n Json<'n>,
    pub(super) pointer: JsonPointer<'n>,
}

impl<'n> BodyCursor<'n> {
    /// The whole body.
    pub(super) fn root(json: &'n Json<'n>) -> Self {
        Self { json, pointer: JsonPointer::Root }
    }

    /// The member with this name, if present.
    pub(super) fn member<'s>(&'s self, name: &'s str) -> Option<BodyCursor<'s>> {
        let json = self.json.member(name)?;
        Some(BodyCursor { json, pointer: JsonPointer::Member(&self.pointer, name) })
    }

    /// The member with this name; reports an error if it is missing.
    pub(super) fn required<'s>(
        &'s self,
        name: &'s str,
        errors: &mut ValidationErrors,
    ) -> Option<BodyCursor<'s>> {
        let member = self.member(name);
        if member.is_none() {
            errors.add_structural(self.pointer, format!("expected property is missing: {name}"));
        }
        member
    }

    /// Reports an error unless at least one of these members is present.
    pub(super) fn require_any_of(&self, names: &[&str], errors: &mut ValidationErrors) {
        if names.iter().all(|name| self.json.member(name).is_none()) {
            let names = names.join(" or ");
            errors.add_structural(self.pointer, format!("expected property is missing: {names}"));
        }
    }

    /// The elements of a list; reports an error if it is empty or not a list.
    pub(super) fn elements<'s>(
        &'s self,
        errors: &mut ValidationErrors,
    ) -> impl Iterator<Item = BodyCursor<'s>> + use<'n, 's> {
        if self.json.elements().is_empty() {
            errors.add_structural(self.pointer, "expected a list of at least one element");
        }
        let elements = self.json.elements().iter().enumerate();
        elements
            .map(|(i, json)| BodyCursor { json, pointer: JsonPointer::Element(&self.pointer, i) })
    }

    /// The value as a string; reports an error if it is none.
    pub(super) fn string(&self, errors: &mut ValidationErrors) -> Option<&'n str> {
        let text = self.json.as_str();
        if text.is_none() {
            errors.add_structural(self.pointer, "expected a string");
        }
        text
    }

    /// The value as a boolean; reports an error if it is none.
    pub(super) fn boolean(&self, errors: &mut ValidationErrors) -> Option<bool> {
        let truth = self.json.as_bool();
        if truth.is_none() {
            errors.add_structural(self.pointer, "expected `true` or `false`");
        }
        truth
    }

    /// The value as a string, parsed; reports an error if `parse` returns `None`.
    pub(super) fn parse<T>(
        &self,
        errors: &mut ValidationErrors,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let parsed = parse(self.string(errors)?);
        if parsed.is_none() {
            errors.add_semantic(self.pointer, ProblemKind::InvalidArgument, expected);
        }
        parsed
    }

    /// The value as an integer in this range; reports an error otherwise.
    pub(super) fn integer(
        &self,
        errors: &mut ValidationErrors,
        kind: ProblemKind,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        let (min, max) = (range.start(), range.end());
        let number = self.json.as_u64().and_then(|value| u32::try_from(value).ok());
        let number = number.filter(|number| range.contains(number));
        let is_integer = self.json.as_i64().is_some() || self.json.as_u64().is_some();
        if number.is_none() && is_integer {
            errors.add_semantic(
                self.pointer,
                kind,
                format!("expected a number from {min} to {max}"),
            );
        } else if number.is_none() {
            errors.add_structural(
                self.pointer,
                format!("expected a whole number from {min} to {max}"),
            );
        }
        number
    }

    /// Reports an error for every member except these.
    pub(super) fn allow_only(&self, allowed: &[&str], errors: &mut ValidationErrors) {
        for (name, _) in self.json.members() {
            if !allowed.contains(&&**name) && !errors.is_full() {
                let pointer = JsonPointer::Member(&self.pointer, name);
                let allowed = allowed.join("`, `");
                let expected = format!("unexpected property; expected only `{allowed}`");
                errors.add_semantic(pointer, ProblemKind::InvalidArgument, expected);
            }
        }
    }
}
