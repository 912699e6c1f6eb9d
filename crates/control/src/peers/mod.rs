//! Other regions: which there are, how they are paired, what they granted us and we them, and what
//! they hold of ours. A destination is always a name in this table, never an address from a caller.

pub mod far_end;
mod grants;
mod heads;
mod limits;
pub mod messages;
mod pairing;
mod receipts;

use std::sync::{PoisonError, RwLock};

use catalog::Catalog;
use model::ids::RegionName;
use model::time::Timestamp;
use tracing::warn;
use vault::card::Card;
use vault::error::VaultError;

pub use grants::NewGrant;
pub(crate) use heads::Turns;
pub(crate) use limits::SendLimits;
pub use pairing::{Accepted, PeerView};
pub use receipts::ShownReceipt;
pub(crate) use receipts::{replica_checkpoint_id, replica_id};

use crate::Control;
use crate::error::Error;
use crate::peers::messages::{LinkError, PeerAddress, PeerReply, PeerRequest};

/// Another region, as its card and our operator describe it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its name.
    pub name: RegionName,
    /// Where its peer listener is.
    pub url: String,
    /// Its newest root-signed card.
    pub card: Card,
    /// Whether the operator compared the characters; powerless before.
    pub is_confirmed: bool,
    /// The characters to compare, at the side that invited.
    pub(crate) pairing_code: String,
    /// When it was first known.
    pub paired_at: Timestamp,
}

impl Peer {
    pub(crate) fn address(&self) -> PeerAddress {
        PeerAddress {
            name: self.name.clone(),
            url: self.url.clone(),
            tls_key_hash: self.card.fields().tls_key_hash,
        }
    }

    /// Why the peer may not act at this moment, if its card says so.
    pub(crate) fn expiry_at(&self, now: Timestamp) -> Option<String> {
        if self.card.is_valid_at(now.millis()) {
            return None;
        }
        let until = Timestamp::from_millis(self.card.fields().valid_to_ms);
        Some(format!(
            "the card of region {} is not valid now (it ends {until}); its operator must renew it",
            self.name
        ))
    }

    pub(crate) fn row(&self, now: Timestamp) -> catalog::Peer {
        catalog::Peer {
            name: self.name.clone(),
            region_id: self.card.region().0,
            url: self.url.clone(),
            card: self.card.bytes().to_vec(),
            tls_key_hash: self.card.fields().tls_key_hash,
            is_confirmed: self.is_confirmed,
            pairing_code: self.pairing_code.clone(),
            paired_at: self.paired_at,
            updated_at: now,
        }
    }
}

impl TryFrom<catalog::Peer> for Peer {
    type Error = VaultError;

    fn try_from(row: catalog::Peer) -> Result<Peer, VaultError> {
        Ok(Peer {
            name: row.name,
            url: row.url,
            card: Card::decode(&row.card)?,
            is_confirmed: row.is_confirmed,
            pairing_code: row.pairing_code,
            paired_at: row.paired_at,
        })
    }
}

/// The peers of this region, as read from the catalog when they last changed.
pub(crate) struct PeerTable {
    peers: RwLock<Vec<Peer>>,
}

impl PeerTable {
    /// Reads the table.
    pub(crate) async fn load(catalog: &Catalog) -> Result<PeerTable, Error> {
        Ok(PeerTable { peers: RwLock::new(read_peers(catalog).await?) })
    }

    /// Reads the table again, after a change here or in another process.
    pub(crate) async fn reload(&self, catalog: &Catalog) -> Result<(), Error> {
        let peers = read_peers(catalog).await?;
        *self.peers.write().unwrap_or_else(PoisonError::into_inner) = peers;
        Ok(())
    }

    pub(crate) fn all(&self) -> Vec<Peer> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Names of the peers that we may replicate to.
    pub(crate) fn names(&self) -> Vec<RegionName> {
        self.all().into_iter().filter(|peer| peer.is_confirmed).map(|peer| peer.name).collect()
    }

    pub(crate) fn is_known(&self, name: &RegionName) -> bool {
        self.confirmed(name).is_some()
    }

    pub(crate) fn confirmed(&self, name: &RegionName) -> Option<Peer> {
        self.all().into_iter().find(|peer| peer.is_confirmed && peer.name == *name)
    }

    /// The confirmed peer that showed this key in TLS.
    pub(crate) fn by_tls_key(&self, tls_key_hash: [u8; 32]) -> Option<Peer> {
        self.all()
            .into_iter()
            .find(|peer| peer.is_confirmed && peer.card.fields().tls_key_hash == tls_key_hash)
    }

    pub(crate) fn cards(&self) -> Vec<Card> {
        self.all().into_iter().map(|peer| peer.card).collect()
    }
}

async fn read_peers(catalog: &Catalog) -> Result<Vec<Peer>, Error> {
    let rows = catalog.peers().await?;
    rows.into_iter().map(|row| Peer::try_from(row).map_err(Error::from)).collect()
}

impl Control {
    /// Asks a peer one thing.
    pub(crate) async fn ask(&self, peer: &Peer, request: PeerRequest) -> Result<PeerReply, LinkError> {
        let asked = self.parts().links.ask(&peer.address(), request).await;
        self.note_whether_answered(&peer.name, &asked).await;
        asked
    }

    /// Lets go on what waited for a peer that says something again; a no is something.
    pub(crate) async fn note_whether_answered(
        &self,
        region: &RegionName,
        asked: &Result<PeerReply, LinkError>,
    ) {
        if matches!(asked, Err(LinkError::Unreachable { .. })) {
            return;
        }
        if let Err(error) = self.note_answer(region).await {
            warn!(%region, %error, "what waited for the region goes on at its own time");
        }
    }
}
