//! A token taken apart: three parts, and a header that is read strictly before anything else is.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{Algorithm, Reason};
use crate::json::{Bounds, Json};

const HEADER_BOUNDS: Bounds = Bounds { depth_max: 4, members_max: 16, elements_max: 32 };
const KID_BYTES_MAX: usize = 256;
const ACCESS: &str = "at+jwt";

/// Members that change what a signature means (RFC 7515 §4.1.11, RFC 7797), bring a key along
/// (§4.1.2 to §4.1.6) or announce another token inside (§4.1.10). None is understood, and none is
/// ignored: a key out of a token proves nothing, and nothing is ever fetched on a token's word.
const REFUSED_MEMBERS: [&str; 6] = ["crit", "b64", "jku", "x5u", "x5c", "cty"];

/// What a JWT is for, which its header tells.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// To be shown: an access token, or DevEdge's proof.
    Token,
    /// To prove the possession of the key that it brings along (RFC 9449 §4.2).
    Dpop,
}

/// A JWS in compact form, not verified.
pub(super) struct Jws<'t> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<Box<str>>,
    /// Does its `typ` say that it is an access token?
    pub(super) says_access: bool,
    payload: &'t str,
    signed: &'t str,
    signature: &'t str,
}

impl<'t> Jws<'t> {
    /// Takes a token apart.
    pub(super) fn parse(token: &'t str) -> Result<Self, Reason> {
        Self::parse_as(Use::Token, token, |_| Ok(())).map(|(jws, ())| jws)
    }

    /// Takes a proof of RFC 9449 apart, and has its key read.
    pub(super) fn parse_dpop<T>(
        proof: &'t str,
        read_key: impl FnOnce(&Json<'_>) -> Option<T>,
    ) -> Result<(Self, T), Reason> {
        Self::parse_as(Use::Dpop, proof, |header| {
            header.member("jwk").and_then(read_key).ok_or(Reason::Key)
        })
    }

    fn parse_as<T>(
        purpose: Use,
        token: &'t str,
        read: impl FnOnce(&Json<'_>) -> Result<T, Reason>,
    ) -> Result<(Self, T), Reason> {
        let (signed, signature) = token.rsplit_once('.').ok_or(Reason::Form)?;
        let (header, payload) = signed.split_once('.').ok_or(Reason::Form)?;
        if header.len() > purpose.header_bytes_max() || payload.contains('.') {
            return Err(Reason::Form);
        }
        let header = decode(header)?;
        let header = Json::parse(&header, &HEADER_BOUNDS).map_err(|_| Reason::Form)?;
        if !matches!(header, Json::Object(_)) {
            return Err(Reason::Form);
        }
        let brings_key = purpose == Use::Token && header.member("jwk").is_some();
        if brings_key || REFUSED_MEMBERS.iter().any(|name| header.member(name).is_some()) {
            return Err(Reason::Critical);
        }
        let typ = purpose.check_type(header.member("typ"))?;
        let algorithm = header
            .member("alg")
            .and_then(Json::as_str)
            .and_then(|name| name.parse().ok())
            .ok_or(Reason::Algorithm)?;
        let kid = match header.member("kid").map(Json::as_str) {
            None => None,
            Some(Some(kid)) if kid.len() <= KID_BYTES_MAX => Some(kid.into()),
            Some(_) => return Err(Reason::Key),
        };
        let read = read(&header)?;
        let says_access = typ == Some(ACCESS);
        Ok((Self { algorithm, kid, says_access, payload, signed, signature }, read))
    }

    /// The payload, decoded.
    pub(super) fn payload(&self) -> Result<Vec<u8>, Reason> {
        decode(self.payload)
    }

    /// What the signature is over.
    pub(super) fn signed(&self) -> &'t [u8] {
        self.signed.as_bytes()
    }

    /// The signature, still in base64url.
    pub(super) fn signature(&self) -> &'t str {
        self.signature
    }
}

/// The payload of what looks like a JWT, whatever its header says; nothing, if it is none.
pub(super) fn payload_of(token: &str) -> Option<Vec<u8>> {
    let (signed, _) = token.rsplit_once('.')?;
    let (header, payload) = signed.split_once('.')?;
    let is_object = decode(header).is_ok_and(|header| header.trim_ascii_start().starts_with(b"{"));
    if payload.contains('.') || !is_object {
        return None;
    }
    Some(decode(payload).unwrap_or_default())
}

impl Use {
    // A key of RSA is long.
    const fn header_bytes_max(self) -> usize {
        match self {
            Self::Token => 1024,
            Self::Dpop => 4096,
        }
    }

    /// Of a token: no `typ`, `JWT`, or the access token's own (RFC 9068 §2.1). An ID token, a logout
    /// token or a proof of possession that says what it is, is none; and a proof has to say so. Gives
    /// the type in its own spelling.
    fn check_type(self, typ: Option<&Json<'_>>) -> Result<Option<&'static str>, Reason> {
        let Some(typ) = typ else {
            return if self == Self::Token { Ok(None) } else { Err(Reason::Type) };
        };
        let typ = typ.as_str().ok_or(Reason::Type)?;
        let short = match typ.split_once('/') {
            Some((application, short)) if application.eq_ignore_ascii_case("application") => short,
            Some(_) => return Err(Reason::Type),
            None => typ,
        };
        let types: &[&'static str] = match self {
            Self::Token => &["JWT", ACCESS],
            Self::Dpop => &["dpop+jwt"],
        };
        let known = types.iter().find(|known| short.eq_ignore_ascii_case(known));
        known.map(|known| Some(*known)).ok_or(Reason::Type)
    }
}

fn decode(part: &str) -> Result<Vec<u8>, Reason> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Reason::Form)
}
