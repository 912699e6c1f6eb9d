//! The bodies of requests.

use control::peers::messages::{
    ASKED_MAX, BATCH_BYTES_MAX, HeadRequest, OpenRequest, PairRequest, PeerRequest,
};
use model::ids::{CheckpointId, CheckpointItemId, GrantId, ReplicationRecordId};
use vault::codec::{Decoder, Encoder};
use vault::error::VaultError;
use vault::ids::Incarnation;

use super::Route;
use super::field::{
    ASKED_BYTES, read_asked, read_digest, read_id, read_name, read_signed, read_text, read_transfer,
    write_asked, write_transfer,
};

/// The longest manifest, in bytes.
const MANIFEST_BYTES_MAX: u32 = 36 << 20;
/// The most bases offered for one item.
const BASES_MAX: u32 = 1024;
/// The most wraps that travel with one item: two for each epoch a domain can have.
const WRAPS_MAX: u32 = 8192;
/// The longest wrap, in bytes.
const WRAP_BYTES_MAX: u32 = 4096;
/// What precedes the batch of a `Send`: the transfer and its attempt.
const TRANSFER_BYTES: usize = 24;

/// The body of a request. Its route is [`Route::of_request`].
pub fn encode_request(request: &PeerRequest) -> Vec<u8> {
    let mut encoder = Encoder::new();
    match request {
        PeerRequest::Pair(pair) => write_pair(&mut encoder, pair),
        PeerRequest::Grants => {}
        PeerRequest::Head(head) => write_head(&mut encoder, head),
        PeerRequest::Open(open) => write_open(&mut encoder, open),
        PeerRequest::Want { transfer, asked } => {
            write_transfer(&mut encoder, *transfer);
            encoder.list(asked, write_asked);
        }
        PeerRequest::Send { transfer, batch } => {
            encoder = Encoder::with_capacity(TRANSFER_BYTES + batch.len());
            write_transfer(&mut encoder, *transfer);
            encoder.fixed(batch);
        }
        PeerRequest::Verify { transfer } | PeerRequest::Publish { transfer } => {
            write_transfer(&mut encoder, *transfer);
        }
    }
    encoder.finish()
}

/// Reads the body of a request posted to `route`.
///
/// # Errors
/// `BadFormat` for anything [`encode_request`] does not write.
pub fn decode_request(route: Route, bytes: &[u8]) -> Result<PeerRequest, VaultError> {
    let mut decoder = Decoder::new("request of a peer", bytes);
    let decoder_mut = &mut decoder;
    let request = match route {
        Route::Pair => PeerRequest::Pair(read_pair(decoder_mut)?),
        Route::Grants => PeerRequest::Grants,
        Route::Head => PeerRequest::Head(read_head(decoder_mut)?),
        Route::Open => PeerRequest::Open(Box::new(read_open(decoder_mut)?)),
        Route::Want => PeerRequest::Want {
            transfer: read_transfer(decoder_mut)?,
            asked: decoder_mut.list(ASKED_MAX as u32, ASKED_BYTES, read_asked)?,
        },
        Route::Send => {
            let transfer = read_transfer(decoder_mut)?;
            if decoder_mut.remaining() > BATCH_BYTES_MAX {
                return Err(decoder_mut.bad(format!("a batch of {} bytes", decoder_mut.remaining())));
            }
            PeerRequest::Send { transfer, batch: decoder_mut.take(decoder_mut.remaining())?.to_vec() }
        }
        Route::Verify => PeerRequest::Verify { transfer: read_transfer(decoder_mut)? },
        Route::Publish => PeerRequest::Publish { transfer: read_transfer(decoder_mut)? },
    };
    decoder.finish()?;
    Ok(request)
}

fn write_pair(encoder: &mut Encoder, pair: &PairRequest) {
    encoder.fixed(&pair.secret).string(pair.name.as_str()).string(&pair.url).bytes(&pair.card);
}

fn read_pair(decoder: &mut Decoder<'_>) -> Result<PairRequest, VaultError> {
    Ok(PairRequest {
        secret: decoder.fixed()?,
        name: read_name(decoder)?,
        url: read_text(decoder)?,
        card: read_signed(decoder)?,
    })
}

fn write_head(encoder: &mut Encoder, head: &HeadRequest) {
    encoder.option(head.seen_incarnation.as_ref(), |encoder, incarnation| {
        encoder.fixed(incarnation.as_bytes());
    });
    encoder.u64(head.seen_counter);
}

fn read_head(decoder: &mut Decoder<'_>) -> Result<HeadRequest, VaultError> {
    Ok(HeadRequest {
        seen_incarnation: decoder.option(|decoder| decoder.fixed().map(Incarnation))?,
        seen_counter: decoder.u64()?,
    })
}

fn write_open(encoder: &mut Encoder, open: &OpenRequest) {
    encoder.fixed(&open.record_id.bytes()).u64(open.attempt).u32(open.generation);
    encoder.fixed(&open.grant_id.bytes());
    encoder.string(open.source_project_id.as_str()).string(open.destination_project_id.as_str());
    encoder.fixed(&open.source_checkpoint_id.bytes()).fixed(&open.source_item_id.bytes());
    encoder.bytes(&open.manifest);
    encoder.list(&open.bases, |encoder, base| {
        encoder.fixed(base.as_bytes());
    });
    encoder.list(&open.wraps, |encoder, wrap| {
        encoder.bytes(wrap);
    });
    encoder.bytes(&open.card);
    for text in [&open.replica_name, &open.replica_description] {
        encoder.option(text.as_deref(), |encoder, text| {
            encoder.string(text);
        });
    }
    encoder.bool(open.by_scheduler);
    encoder.option(open.keep_days.as_ref(), |encoder, days| {
        encoder.u32(*days);
    });
}

fn read_open(decoder: &mut Decoder<'_>) -> Result<OpenRequest, VaultError> {
    Ok(OpenRequest {
        record_id: read_id(decoder, ReplicationRecordId::from_bytes)?,
        attempt: decoder.u64()?,
        generation: decoder.u32()?,
        grant_id: read_id(decoder, GrantId::from_bytes)?,
        source_project_id: read_name(decoder)?,
        destination_project_id: read_name(decoder)?,
        source_checkpoint_id: read_id(decoder, CheckpointId::from_bytes)?,
        source_item_id: read_id(decoder, CheckpointItemId::from_bytes)?,
        manifest: decoder.bytes(MANIFEST_BYTES_MAX)?.to_vec(),
        bases: decoder.list(BASES_MAX, 32, read_digest)?,
        wraps: decoder.list(WRAPS_MAX, 4, |decoder| decoder.bytes(WRAP_BYTES_MAX).map(<[u8]>::to_vec))?,
        card: read_signed(decoder)?,
        replica_name: decoder.option(read_text)?,
        replica_description: decoder.option(read_text)?,
        by_scheduler: decoder.bool()?,
        keep_days: decoder.option(Decoder::u32)?,
    })
}
