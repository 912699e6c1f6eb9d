//! The peer link in bytes: one route a request, bodies in the notation of the vault's codec.
//!
//! A body carries no kind of its own, the route says it; whoever reads one knows beforehand how long
//! it may be ([`Route::request_bytes_max`], [`Route::reply_bytes_max`]). Bytes from a peer are never
//! trusted: decoding refuses truncations, leftovers, forged counts and values outside their range,
//! and takes no more memory than the bytes it was given could fill.

mod field;
mod reply;
mod request;
#[cfg(test)]
mod tests;

use control::peers::messages::{ASKED_MAX, BATCH_BYTES_MAX, PeerReply, PeerRequest, Refusal};
use vault::codec::{Decoder, Encoder};
use vault::error::VaultError;

pub use reply::{decode_reply, encode_reply};
pub use request::{decode_request, encode_request};

/// Where each request is posted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// Accept an invitation.
    Pair,
    /// Grants made to the asking region.
    Grants,
    /// The signed head.
    Head,
    /// Begin to transfer an item.
    Open,
    /// Ask which objects are missing.
    Want,
    /// Bring objects.
    Send,
    /// Have the tree walked.
    Verify,
    /// Have the replica published.
    Publish,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

impl Route {
    /// All routes.
    pub const ALL: [Route; 8] = [
        Route::Pair,
        Route::Grants,
        Route::Head,
        Route::Open,
        Route::Want,
        Route::Send,
        Route::Verify,
        Route::Publish,
    ];

    /// The path of its URL.
    pub fn path(self) -> &'static str {
        match self {
            Route::Pair => "/peer/v1/pair",
            Route::Grants => "/peer/v1/grants",
            Route::Head => "/peer/v1/head",
            Route::Open => "/peer/v1/open",
            Route::Want => "/peer/v1/want",
            Route::Send => "/peer/v1/send",
            Route::Verify => "/peer/v1/verify",
            Route::Publish => "/peer/v1/publish",
        }
    }

    /// The route with exactly this path.
    pub fn from_path(path: &str) -> Option<Route> {
        Route::ALL.into_iter().find(|route| route.path() == path)
    }

    /// The route of a request.
    pub fn of_request(request: &PeerRequest) -> Route {
        match request {
            PeerRequest::Pair(_) => Route::Pair,
            PeerRequest::Grants => Route::Grants,
            PeerRequest::Head(_) => Route::Head,
            PeerRequest::Open(_) => Route::Open,
            PeerRequest::Want { .. } => Route::Want,
            PeerRequest::Send { .. } => Route::Send,
            PeerRequest::Verify { .. } => Route::Verify,
            PeerRequest::Publish { .. } => Route::Publish,
        }
    }

    /// The route whose requests are answered so.
    pub fn of_reply(reply: &PeerReply) -> Route {
        match reply {
            PeerReply::Paired { .. } => Route::Pair,
            PeerReply::Grants(_) => Route::Grants,
            PeerReply::Head { .. } => Route::Head,
            PeerReply::Opened(_) => Route::Open,
            PeerReply::Wanted(_) => Route::Want,
            PeerReply::Acknowledged(_) => Route::Send,
            PeerReply::Verified(_) => Route::Verify,
            PeerReply::Published { .. } => Route::Publish,
        }
    }

    /// The longest body of a request, in bytes. The longest manifest with the most
    /// wraps that the format allows fits.
    pub fn request_bytes_max(self) -> u64 {
        match self {
            Route::Pair => 264 * KIB,
            Route::Grants | Route::Head | Route::Verify | Route::Publish => KIB,
            Route::Open => 46 * MIB,
            Route::Want => ASKED_MAX as u64 * field::ASKED_BYTES as u64 + KIB,
            Route::Send => BATCH_BYTES_MAX as u64 + KIB,
        }
    }

    /// The longest body of an answer, in bytes.
    pub fn reply_bytes_max(self) -> u64 {
        match self {
            Route::Pair | Route::Open | Route::Want | Route::Publish => 264 * KIB,
            Route::Send => KIB,
            Route::Grants => 4 * MIB,
            Route::Head | Route::Verify => 64 * MIB,
        }
    }
}

/// The longest sentence of a refusal that travels, in bytes; more is cut off.
const WHY_BYTES_MAX: usize = 1000;
/// The longest body of a refusal, in bytes.
pub const REFUSAL_BYTES_MAX: u64 = KIB;

/// The body of a refusal.
pub fn encode_refusal(refusal: Refusal, why: &str) -> Vec<u8> {
    let end = why.floor_char_boundary(WHY_BYTES_MAX);
    let mut encoder = Encoder::new();
    encoder.u8(refusal_number(refusal)).string(&why[..end]);
    encoder.finish()
}

/// Reads the body of a refusal.
///
/// # Errors
/// `BadFormat` for anything [`encode_refusal`] does not write.
pub fn decode_refusal(bytes: &[u8]) -> Result<(Refusal, String), VaultError> {
    let mut decoder = Decoder::new("refusal of a peer", bytes);
    let number = decoder.u8()?;
    let Some(refusal) = REFUSALS.into_iter().find(|refusal| refusal_number(*refusal) == number) else {
        return Err(decoder.bad(format!("kind {number} is unknown")));
    };
    let why = decoder.string(WHY_BYTES_MAX as u32)?;
    decoder.finish()?;
    Ok((refusal, why))
}

const REFUSALS: [Refusal; 12] = [
    Refusal::NotPaired,
    Refusal::NoGrant,
    Refusal::WrongDomain,
    Refusal::WrongWrap,
    Refusal::Fork,
    Refusal::Full,
    Refusal::Overtaken,
    Refusal::NotOpen,
    Refusal::Unavailable,
    Refusal::InvitationRefused,
    Refusal::Malformed,
    Refusal::Gone,
];

/// The number on the wire: never used for another meaning.
fn refusal_number(refusal: Refusal) -> u8 {
    match refusal {
        Refusal::NotPaired => 1,
        Refusal::NoGrant => 2,
        Refusal::WrongDomain => 3,
        Refusal::WrongWrap => 4,
        Refusal::Fork => 5,
        Refusal::Full => 6,
        Refusal::Overtaken => 7,
        Refusal::NotOpen => 8,
        Refusal::Unavailable => 9,
        Refusal::InvitationRefused => 10,
        Refusal::Malformed => 11,
        Refusal::Gone => 12,
    }
}
