//! Receipts: a replica counts only with its destination's signed receipt, checked against everything
//! that this side knows. Replica ids are a pure function, so both sides compute the same.

use model::ids::{CheckpointId, CheckpointItemId, ProjectId};
use model::replication::ReplicationRecord;
use vault::codec::Encoder;
use vault::ids::{ManifestDigest, RegionId, ReplicaId};
use vault::receipt::Receipt;

use super::Peer;
use crate::Control;
use crate::region::signers_of;

/// What a checked receipt names.
pub(crate) struct Received {
    pub(crate) item_id: CheckpointItemId,
    pub(crate) checkpoint_id: CheckpointId,
    pub(crate) head_counter: u64,
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

impl Control {
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
        Ok(Received { item_id, checkpoint_id, head_counter: receipt.head_counter })
    }
}
