//! The bodies of answers.

use control::peers::messages::{ASKED_MAX, Opened, PeerReply};
use model::ids::OperationId;
use vault::codec::{Decoder, Encoder};
use vault::error::VaultError;
use vault::ids::ManifestDigest;
use vault::transfer::Acknowledged;

use super::Route;
use super::field::{
    ASKED_BYTES, GRANT_BYTES_MIN, read_asked, read_digest, read_grant, read_id, read_signed, write_asked,
    write_grant,
};

/// The most grants that one project owner's peers can have made.
const GRANTS_MAX: u32 = 10_000;
/// The most bytes of the replicas in one head.
const HEAD_ENTRIES_BYTES_MAX: u32 = 60 << 20;
/// The most missing objects that one verification lists.
const MISSING_MAX: u32 = 1 << 20;

/// The body of an answer. Its route is [`Route::of_reply`].
pub fn encode_reply(reply: &PeerReply) -> Vec<u8> {
    let mut encoder = Encoder::new();
    match reply {
        PeerReply::Paired { card } => {
            encoder.bytes(card);
        }
        PeerReply::Grants(grants) => {
            encoder.list(grants, write_grant);
        }
        PeerReply::Head { head, entries } => {
            encoder.bytes(head).bytes(entries);
        }
        PeerReply::Opened(opened) => write_opened(&mut encoder, opened),
        PeerReply::Wanted(missing) => {
            encoder.list(missing, |encoder, is_missing| {
                encoder.bool(*is_missing);
            });
        }
        PeerReply::Acknowledged(acknowledged) => write_acknowledged(&mut encoder, acknowledged),
        PeerReply::Verified(missing) => {
            encoder.list(missing, write_asked);
        }
        PeerReply::Published { receipt, kept_bytes } => {
            encoder.bytes(receipt).u64(*kept_bytes);
        }
    }
    encoder.finish()
}

/// Reads the body of the answer to a request that was posted to `route`.
///
/// # Errors
/// `BadFormat` for anything [`encode_reply`] does not write.
pub fn decode_reply(route: Route, bytes: &[u8]) -> Result<PeerReply, VaultError> {
    let mut decoder = Decoder::new("answer of a peer", bytes);
    let decoder_mut = &mut decoder;
    let reply = match route {
        Route::Pair => PeerReply::Paired { card: read_signed(decoder_mut)? },
        Route::Grants => PeerReply::Grants(decoder_mut.list(GRANTS_MAX, GRANT_BYTES_MIN, read_grant)?),
        Route::Head => PeerReply::Head {
            head: read_signed(decoder_mut)?,
            entries: decoder_mut.bytes(HEAD_ENTRIES_BYTES_MAX)?.to_vec(),
        },
        Route::Open => PeerReply::Opened(read_opened(decoder_mut)?),
        Route::Want => PeerReply::Wanted(decoder_mut.list(ASKED_MAX as u32, 1, Decoder::bool)?),
        Route::Send => PeerReply::Acknowledged(read_acknowledged(decoder_mut)?),
        Route::Verify => PeerReply::Verified(decoder_mut.list(MISSING_MAX, ASKED_BYTES, read_asked)?),
        Route::Publish => {
            PeerReply::Published { receipt: read_signed(decoder_mut)?, kept_bytes: decoder_mut.u64()? }
        }
    };
    decoder.finish()?;
    Ok(reply)
}

const OPENED_NEW: u8 = 1;
const OPENED_RESUME: u8 = 2;
const OPENED_COMPLETE: u8 = 3;

fn write_opened(encoder: &mut Encoder, opened: &Opened) {
    let write_base = |encoder: &mut Encoder, base: &ManifestDigest| {
        encoder.fixed(base.as_bytes());
    };
    match opened {
        Opened::New { operation_id, base } => {
            encoder.u8(OPENED_NEW).fixed(&operation_id.bytes()).option(base.as_ref(), write_base);
        }
        Opened::Resume { operation_id, base } => {
            encoder.u8(OPENED_RESUME).fixed(&operation_id.bytes()).option(base.as_ref(), write_base);
        }
        Opened::Complete { receipt } => {
            encoder.u8(OPENED_COMPLETE).bytes(receipt);
        }
    }
}

fn read_opened(decoder: &mut Decoder<'_>) -> Result<Opened, VaultError> {
    let number = decoder.u8()?;
    if number == OPENED_COMPLETE {
        return Ok(Opened::Complete { receipt: read_signed(decoder)? });
    }
    let operation_id = read_id(decoder, OperationId::from_bytes)?;
    let base = decoder.option(read_digest)?;
    match number {
        OPENED_NEW => Ok(Opened::New { operation_id, base }),
        OPENED_RESUME => Ok(Opened::Resume { operation_id, base }),
        number => Err(decoder.bad(format!("a transfer cannot begin as {number}"))),
    }
}

fn write_acknowledged(encoder: &mut Encoder, acknowledged: &Acknowledged) {
    encoder.u32(acknowledged.stored_count).u64(acknowledged.stored_bytes);
    encoder.u32(acknowledged.duplicate_count).u64(acknowledged.duplicate_bytes);
}

fn read_acknowledged(decoder: &mut Decoder<'_>) -> Result<Acknowledged, VaultError> {
    Ok(Acknowledged {
        stored_count: decoder.u32()?,
        stored_bytes: decoder.u64()?,
        duplicate_count: decoder.u32()?,
        duplicate_bytes: decoder.u64()?,
    })
}
