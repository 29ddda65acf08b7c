//! What a proof of possession comes to, whichever way it is put: the proof that held, or why it
//! did not.

use crate::qod::Moment;

/// A proof that held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Its own name (`jti`). One that came before is no proof: that is for the caller to remember.
    pub id: Box<str>,
    /// When it needs to be remembered no longer.
    pub until: Moment,
}

/// Why a request is not proved to come from the key's holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NotProved {
    /// There is none, or there are several.
    #[error("expected one proof")]
    Missing,
    /// It is no signed JWT of its kind, or of another algorithm.
    #[error("not a JWT of its kind, signed as asked for")]
    Form,
    /// The key that it brings is none to verify with, or more than the public half.
    #[error("its key is not a public key that is taken")]
    Key,
    /// The token is bound to another key.
    #[error("its key is not the one that the token is bound to")]
    OtherKey,
    /// It is not signed with the key.
    #[error("the signature does not hold")]
    Signature,
    /// A claim is missing or of another type.
    #[error("a claim is missing or wrong")]
    Claims,
    /// It is too old, too young, or good for too long.
    #[error("it is not of this time")]
    Time,
    /// It does not cover what it must, or covers what is not there.
    #[error("it does not cover what it must")]
    Parts,
    /// The request is not the one that was signed.
    #[error("it is for another request")]
    Changed,
    /// It came before.
    #[error("it was shown before")]
    Replayed,
    /// So many are remembered that this one could not be.
    #[error("too many came at once")]
    Full,
}

/// How possession of a key is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Means {
    /// By RFC 9449, with the key that the token is bound to.
    Dpop,
    /// As by T-Mobile's DevEdge, with a key that the gateway knows.
    Pop,
}

impl NotProved {
    /// What its sender is told of it, after "the proof of possession".
    pub(super) const fn told(self) -> &'static str {
        match self {
            Self::Missing => "is missing, or not one",
            Self::Time => "is not of this time",
            Self::Changed => "is for another request or another token",
            Self::Parts => "does not cover all that it must",
            Self::Replayed => "was shown before",
            Self::Full => "cannot be taken at the moment",
            Self::Form | Self::Key | Self::OtherKey | Self::Signature | Self::Claims => {
                "is not valid"
            }
        }
    }

    /// Its name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Form => "form",
            Self::Key => "key",
            Self::OtherKey => "other_key",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::Time => "time",
            Self::Parts => "parts",
            Self::Changed => "changed",
            Self::Replayed => "replayed",
            Self::Full => "full",
        }
    }
}

impl Means {
    /// Its name in logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dpop => "dpop",
            Self::Pop => "pop",
        }
    }
}
