//! A walk through a body that knows, at each step, where it stands.

use super::fault::Faults;
use crate::{
    json::{Json, pointer_token},
    qod::Kind,
};

/// A value, and its place in the body.
#[derive(Clone, Copy)]
pub(super) struct Node<'n> {
    json: &'n Json<'n>,
    pub(super) place: Place<'n>,
}

/// A place in a body. It becomes text only where something is wrong.
#[derive(Clone, Copy)]
pub(super) enum Place<'n> {
    Root,
    Member(&'n Self, &'n str),
    Element(&'n Self, usize),
}

impl Place<'_> {
    /// The JSON pointer.
    pub(super) fn pointer(self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Member(parent, name) => format!("{}/{}", parent.pointer(), pointer_token(name)),
            Self::Element(parent, i) => format!("{}/{i}", parent.pointer()),
        }
    }
}

impl<'n> Node<'n> {
    /// The whole body.
    pub(super) fn root(json: &'n Json<'n>) -> Self {
        Self { json, place: Place::Root }
    }

    /// A member, if it is there.
    pub(super) fn member<'s>(&'s self, name: &'s str) -> Option<Node<'s>> {
        let json = self.json.member(name)?;
        Some(Node { json, place: Place::Member(&self.place, name) })
    }

    /// A member that has to be there.
    pub(super) fn required<'s>(&'s self, name: &'s str, faults: &mut Faults) -> Option<Node<'s>> {
        let member = self.member(name);
        if member.is_none() {
            faults.shape(self.place, format!("expected property is missing: {name}"));
        }
        member
    }

    /// Asks for one member at least of these.
    pub(super) fn any_of(&self, names: &[&str], faults: &mut Faults) {
        if names.iter().all(|name| self.json.member(name).is_none()) {
            let names = names.join(" or ");
            faults.shape(self.place, format!("expected property is missing: {names}"));
        }
    }

    /// The elements of a list; not none of them.
    pub(super) fn elements<'s>(
        &'s self,
        faults: &mut Faults,
    ) -> impl Iterator<Item = Node<'s>> + use<'n, 's> {
        if self.json.elements().is_empty() {
            faults.shape(self.place, "expected a list of at least one element");
        }
        let elements = self.json.elements().iter().enumerate();
        elements.map(|(i, json)| Node { json, place: Place::Element(&self.place, i) })
    }

    /// A string's text.
    pub(super) fn text(&self, faults: &mut Faults) -> Option<&'n str> {
        let text = self.json.as_str();
        if text.is_none() {
            faults.shape(self.place, "expected a string");
        }
        text
    }

    /// `true` or `false`.
    pub(super) fn truth(&self, faults: &mut Faults) -> Option<bool> {
        let truth = self.json.as_bool();
        if truth.is_none() {
            faults.shape(self.place, "expected `true` or `false`");
        }
        truth
    }

    /// What a string's text stands for, if this finds it in there.
    pub(super) fn parsed<T>(
        &self,
        faults: &mut Faults,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let parsed = parse(self.text(faults)?);
        if parsed.is_none() {
            faults.meaning(self.place, Kind::InvalidArgument, expected);
        }
        parsed
    }

    /// A whole number within bounds, which both are allowed.
    pub(super) fn number(
        &self,
        faults: &mut Faults,
        kind: Kind,
        (min, max): (u32, u32),
    ) -> Option<u32> {
        let within = self.json.as_u64().and_then(|number| u32::try_from(number).ok());
        let within = within.filter(|within| (min..=max).contains(within));
        let whole = self.json.as_i64().is_some() || self.json.as_u64().is_some();
        if within.is_none() && whole {
            faults.meaning(self.place, kind, format!("expected a number from {min} to {max}"));
        } else if within.is_none() {
            faults.shape(self.place, format!("expected a whole number from {min} to {max}"));
        }
        within
    }

    /// Refuses every member but these.
    pub(super) fn only(&self, known: &[&str], faults: &mut Faults) {
        for (name, _) in self.json.members() {
            if !known.contains(&&**name) {
                let place = Place::Member(&self.place, name);
                let known = known.join("`, `");
                let expected = format!("expected no property but `{known}`");
                faults.meaning(place, Kind::InvalidArgument, expected);
            }
        }
    }
}
