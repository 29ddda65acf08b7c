//! The location of a value in a JSON body, rendered only when an error is reported.

use crate::json::pointer_token;

/// A JSON pointer (RFC 6901), as a chain of borrowed steps. It is rendered only in errors.
#[derive(Clone, Copy)]
pub(super) enum JsonPointer<'n> {
    Root,
    Member(&'n Self, &'n str),
    Element(&'n Self, usize),
}

impl JsonPointer<'_> {
    /// Renders the pointer as text.
    pub(super) fn render(self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Member(parent, name) => format!("{}/{}", parent.render(), pointer_token(name)),
            Self::Element(parent, i) => format!("{}/{i}", parent.render()),
        }
    }
}
