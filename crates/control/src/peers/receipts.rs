//! Receipts: a replica counts only with its destination's signed receipt, checked against everything
//! that this side knows. Replica ids are a pure function, so both sides compute the same.

use model::grant::Level;
use model::ids::{CheckpointId, CheckpointItemId, ProjectId, ReplicationRecordId};
use model::replication::ReplicationRecord;
use vault::card::{CARD_BYTES_MAX, Card};
use vault::codec::Encoder;
use vault::ids::{ManifestDigest, RegionId, ReplicaId};
use vault::layout;
use vault::receipt::Receipt;
use vault::receipt_file::{CheckedReceipt, ReceiptFile};

use super::Peer;
use super::heads::model_level_of;
use crate::access::Caller;
use crate::error::{Error, Reason};
use crate::region::signers_of;
use crate::{Control, blocking};

/// What a checked receipt names.
pub(crate) struct Received {
    pub(crate) item_id: CheckpointItemId,
    pub(crate) checkpoint_id: CheckpointId,
    pub(crate) head_counter: u64,
    pub(crate) level: Level,
}

/// The id of a replica: (origin region, item, destination project, generation), hashed.
pub(crate) fn replica_id(
    origin: RegionId,
    item: CheckpointItemId,
    destination_project: &ProjectId,
    generation: u32,
) -> CheckpointItemId {
    let mut encoder = Encoder::new();
    encoder.fixed(&origin.0).fixed(&item.bytes()).string(destination_project.as_str()).u32(generation);
    CheckpointItemId::from_entropy(derived("antipode v1 replica id", encoder.as_slice()))
}

/// The id of the checkpoint that holds the replicas of one source checkpoint.
pub(crate) fn replica_checkpoint_id(
    origin: RegionId,
    checkpoint: CheckpointId,
    destination_project: &ProjectId,
) -> CheckpointId {
    let mut encoder = Encoder::new();
    encoder.fixed(&origin.0).fixed(&checkpoint.bytes()).string(destination_project.as_str());
    CheckpointId::from_entropy(derived("antipode v1 replica checkpoint id", encoder.as_slice()))
}

fn derived(label: &str, bytes: &[u8]) -> [u8; 16] {
    let digest = vault::keys::derive(label, bytes);
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    id
}

/// A receipt as it is shown, with the card of the region that signed it.
#[derive(Clone, Debug)]
pub struct ShownReceipt {
    /// The record that it ended.
    pub record: ReplicationRecord,
    /// The signed receipt and the card.
    pub file: ReceiptFile,
    /// What the two say.
    pub checked: CheckedReceipt,
}

impl Control {
    /// The destination's receipt of a record, with what is needed to check it elsewhere.
    pub async fn show_receipt(
        &self,
        caller: &Caller,
        id: ReplicationRecordId,
    ) -> Result<ShownReceipt, Error> {
        let record = self.record(caller, id).await?;
        let Some(receipt) = record.receipt.clone() else {
            let state = record.state.word();
            let message = format!("the destination has given no receipt; the replication is {state}");
            return Err(Error::not_found(Reason::NotFound, message));
        };
        let control = self.clone();
        let (file, checked) = blocking(move || control.with_its_card(receipt)).await??;
        Ok(ShownReceipt { record, file, checked })
    }

    /// Finds the card under which a receipt was signed: a region gets new ones, and its old ones stay in the
    /// store for what they signed. The receipt was checked against the pairing before it was stored.
    fn with_its_card(&self, receipt: Vec<u8>) -> Result<(ReceiptFile, CheckedReceipt), Error> {
        let doing = "looking for the card of a receipt";
        let store = &self.parts().store;
        let names = store.list(layout::CARDS_PREFIX).map_err(|error| error.while_doing(doing))?;
        let mut file = ReceiptFile { card: Vec::new(), receipt };
        for name in names {
            file.card = store.get(&name, CARD_BYTES_MAX).map_err(|error| error.while_doing(doing))?;
            let Ok(card) = Card::decode(&file.card) else { continue };
            if let Ok(checked) = file.check(&card.root_key().0) {
                return Ok((file, checked));
            }
        }
        Err(Error::internal(doing, "the store has no card that names its key"))
    }

    /// Checks a receipt for a record. The error is a sentence for a person.
    pub(crate) fn check_receipt(
        &self,
        record: &ReplicationRecord,
        peer: &Peer,
        manifest: ManifestDigest,
        bytes: &[u8],
    ) -> Result<Received, String> {
        let signers = signers_of(self.identity(), std::slice::from_ref(&peer.card));
        let receipt =
            Receipt::decode(bytes, &signers).map_err(|error| format!("the receipt is not sound: {error}"))?;
        let origin = self.identity().region();
        let project = &record.destination.project_id;
        let item_id = replica_id(origin, record.item_id, project, record.generation);
        let agrees = receipt.source_region == origin
            && receipt.destination_region == peer.card.region()
            && receipt.manifest == manifest
            && receipt.replica == ReplicaId(item_id.bytes())
            && receipt.generation == record.generation
            && receipt.destination_project == project.as_str();
        if !agrees {
            return Err(format!("the receipt of region {} is for something else", peer.name));
        }
        let checkpoint_id = replica_checkpoint_id(origin, record.checkpoint_id, project);
        let level = model_level_of(receipt.level);
        Ok(Received { item_id, checkpoint_id, head_counter: receipt.head_counter, level })
    }
}
