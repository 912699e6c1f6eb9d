//! Peers and how they became known: invitations, pairing, and the newest signed head of each.

use model::ids::RegionName;
use model::rate::ByteRate;
use model::time::Timestamp;

use crate::engine::Catalog;
use crate::error::{CatalogError, Conflict};
use crate::value::{Row, values};

/// An invitation to pair, by the digest of its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invitation {
    /// The digest of the secret.
    pub secret_hash: [u8; 32],
    /// The name that the invited region must bear.
    pub region: RegionName,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Another region as seen from this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name, as operators of this region know it.
    pub name: RegionName,
    /// The id derived from its root key; never changes.
    pub region_id: [u8; 16],
    /// Where its peer listener is.
    pub url: String,
    /// Its newest card, signed by its root key.
    pub card: Vec<u8>,
    /// The digest of the key it shows in TLS.
    pub tls_key_hash: [u8; 32],
    /// Whether the operator compared the characters and said yes; powerless before.
    pub is_confirmed: bool,
    /// The characters that the operator must type before it has any power; empty when it accepted our
    /// trust by our answering its invitation.
    pub pairing_code: String,
    /// When it was first known.
    pub paired_at: Timestamp,
    /// When this was last changed.
    pub updated_at: Timestamp,
}

/// The newest head of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerHead {
    /// Its counter.
    pub counter: u64,
    /// The signed bytes.
    pub head: Vec<u8>,
    /// When it came in.
    pub received_at: Timestamp,
}

/// How fast a peer may be sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerLimit {
    /// The peer.
    pub region: RegionName,
    /// For all transfers to it together.
    pub rate: ByteRate,
}

macro_rules! peer_columns {
    () => {
        "name, region_id, url, card, tls_key_hash, is_confirmed, pairing_code, paired_at, updated_at"
    };
}

impl Catalog {
    /// Stores an invitation.
    pub async fn create_invitation(
        &self,
        invitation: &Invitation,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("creating an invitation").await?;
        tx.execute("DELETE FROM invitations WHERE expires_at <= $1", values![now]).await?;
        let inserted = tx
            .execute(
                "INSERT INTO invitations (secret_hash, region, created_at, expires_at) \
                 VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
                values![invitation.secret_hash, &invitation.region, now, invitation.expires_at],
            )
            .await?;
        if inserted == 0 {
            return Err(Conflict::IdTaken { what: "invitation", id: "by its digest".to_owned() }.into());
        }
        tx.commit().await
    }

    /// Uses up an invitation and answers the name it was made for; nothing when it is unknown, used
    /// or over. Exactly one caller ever gets an answer.
    pub async fn take_invitation(
        &self,
        secret_hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Option<RegionName>, CatalogError> {
        let mut tx = self.write("taking an invitation").await?;
        let row = tx
            .first(
                "DELETE FROM invitations WHERE secret_hash = $1 AND expires_at > $2 RETURNING region",
                values![secret_hash, now],
            )
            .await?;
        let region = row.map(|row| row.id("region")).transpose()?;
        tx.commit().await?;
        Ok(region)
    }

    /// Stores a peer, or its newer URL, card or TLS key. `NameTaken` when another region bears the
    /// name; `IdTaken` when the region or the TLS key is known under another name. A confirmation
    /// once given stays.
    pub async fn put_peer(&self, peer: &Peer) -> Result<(), CatalogError> {
        let mut tx = self.write("storing a peer").await?;
        let other = tx
            .first(
                "SELECT name FROM peers WHERE (region_id = $1 OR tls_key_hash = $2) AND name <> $3",
                values![peer.region_id, peer.tls_key_hash, &peer.name],
            )
            .await?;
        if let Some(other) = other {
            return Err(Conflict::IdTaken { what: "peer", id: other.text("name")? }.into());
        }
        let touched = tx
            .execute(
                concat!(
                    "INSERT INTO peers (",
                    peer_columns!(),
                    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (name) DO UPDATE SET \
                     url = excluded.url, card = excluded.card, tls_key_hash = excluded.tls_key_hash, \
                     is_confirmed = CASE WHEN peers.is_confirmed = 1 THEN 1 ELSE excluded.is_confirmed END, \
                     pairing_code = excluded.pairing_code, updated_at = excluded.updated_at WHERE peers.region_id = excluded.region_id"
                ),
                values![
                    &peer.name,
                    peer.region_id,
                    &peer.url,
                    peer.card.as_slice(),
                    peer.tls_key_hash,
                    peer.is_confirmed,
                    &peer.pairing_code,
                    peer.paired_at,
                    peer.updated_at
                ],
            )
            .await?;
        if touched == 0 {
            return Err(Conflict::NameTaken { what: "peer", name: peer.name.to_string() }.into());
        }
        tx.commit().await
    }

    /// Gives a peer its power, after the operator compared the characters.
    pub async fn confirm_peer(&self, name: &RegionName, now: Timestamp) -> Result<(), CatalogError> {
        let mut tx = self.write("confirming a peer").await?;
        let touched = tx
            .execute("UPDATE peers SET is_confirmed = 1, updated_at = $1 WHERE name = $2", values![now, name])
            .await?;
        if touched == 0 {
            return Err(CatalogError::not_found("peer", name));
        }
        tx.commit().await
    }

    /// Forgets a peer and what it granted. Its replicas here stay.
    pub async fn remove_peer(&self, name: &RegionName) -> Result<(), CatalogError> {
        let mut tx = self.write("removing a peer").await?;
        let gone = tx.execute("DELETE FROM peers WHERE name = $1", values![name]).await?;
        if gone == 0 {
            return Err(CatalogError::not_found("peer", name));
        }
        tx.execute("DELETE FROM remote_grants WHERE destination_region = $1", values![name]).await?;
        tx.execute("DELETE FROM peer_heads WHERE region = $1", values![name]).await?;
        tx.execute("DELETE FROM peer_limits WHERE region = $1", values![name]).await?;
        tx.commit().await
    }

    /// The peer of a name.
    pub async fn peer(&self, name: &RegionName) -> Result<Option<Peer>, CatalogError> {
        let mut tx = self.read("reading a peer").await?;
        let row = tx
            .first(concat!("SELECT ", peer_columns!(), " FROM peers WHERE name = $1"), values![name])
            .await?;
        row.as_ref().map(peer_of_row).transpose()
    }

    /// The peer that shows this key in TLS.
    pub async fn peer_by_tls_key(&self, tls_key_hash: [u8; 32]) -> Result<Option<Peer>, CatalogError> {
        let mut tx = self.read("reading a peer").await?;
        let row = tx
            .first(
                concat!("SELECT ", peer_columns!(), " FROM peers WHERE tls_key_hash = $1"),
                values![tls_key_hash],
            )
            .await?;
        row.as_ref().map(peer_of_row).transpose()
    }

    /// All peers, by name.
    pub async fn peers(&self) -> Result<Vec<Peer>, CatalogError> {
        let mut tx = self.read("listing peers").await?;
        let rows =
            tx.all(concat!("SELECT ", peer_columns!(), " FROM peers ORDER BY name"), values![]).await?;
        rows.iter().map(peer_of_row).collect()
    }

    /// Limits how fast a peer may be sent to, or takes the limit away.
    pub async fn put_peer_limit(
        &self,
        name: &RegionName,
        limit: Option<ByteRate>,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("limiting a peer").await?;
        let known =
            tx.execute("UPDATE peers SET updated_at = updated_at WHERE name = $1", values![name]).await?;
        if known == 0 {
            return Err(CatalogError::not_found("peer", name));
        }
        match limit {
            None => {
                tx.execute("DELETE FROM peer_limits WHERE region = $1", values![name]).await?;
            }
            Some(rate) => {
                tx.execute(
                    "INSERT INTO peer_limits (region, bytes_per_second, updated_at) VALUES ($1, $2, $3) \
                     ON CONFLICT (region) DO UPDATE SET bytes_per_second = excluded.bytes_per_second, \
                     updated_at = excluded.updated_at",
                    values![name, rate.bytes_per_second(), now],
                )
                .await?;
            }
        }
        tx.commit().await
    }

    /// The limits there are, by region.
    pub async fn peer_limits(&self) -> Result<Vec<PeerLimit>, CatalogError> {
        let mut tx = self.read("reading the limits of peers").await?;
        let rows =
            tx.all("SELECT region, bytes_per_second FROM peer_limits ORDER BY region", values![]).await?;
        rows.iter().map(limit_of_row).collect()
    }

    /// Stores a newer head of a peer; `OlderHead` when its counter does not grow.
    pub async fn put_peer_head(&self, region: &RegionName, head: &PeerHead) -> Result<(), CatalogError> {
        let mut tx = self.write("storing a head").await?;
        let touched = tx
            .execute(
                "INSERT INTO peer_heads (region, counter, head, received_at) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (region) DO UPDATE SET counter = excluded.counter, head = excluded.head, \
                 received_at = excluded.received_at WHERE peer_heads.counter < excluded.counter",
                values![region, head.counter, head.head.as_slice(), head.received_at],
            )
            .await?;
        if touched == 0 {
            return Err(Conflict::OlderHead.into());
        }
        tx.commit().await
    }

    /// The newest head of a peer, if one ever came.
    pub async fn peer_head(&self, region: &RegionName) -> Result<Option<PeerHead>, CatalogError> {
        let mut tx = self.read("reading a head").await?;
        let row = tx
            .first("SELECT counter, head, received_at FROM peer_heads WHERE region = $1", values![region])
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(PeerHead {
            counter: row.count("counter")?,
            head: row.blob("head")?,
            received_at: row.time("received_at")?,
        }))
    }
}

fn limit_of_row(row: &Row) -> Result<PeerLimit, CatalogError> {
    let rate = ByteRate::new(row.count("bytes_per_second")?);
    Ok(PeerLimit { region: row.id("region")?, rate: rate.map_err(|_| row.corrupt("bytes_per_second"))? })
}

fn peer_of_row(row: &Row) -> Result<Peer, CatalogError> {
    Ok(Peer {
        name: row.id("name")?,
        region_id: row.bytes("region_id")?,
        url: row.text("url")?,
        card: row.blob("card")?,
        tls_key_hash: row.bytes("tls_key_hash")?,
        is_confirmed: row.flag("is_confirmed")?,
        pairing_code: row.text("pairing_code")?,
        paired_at: row.time("paired_at")?,
        updated_at: row.time("updated_at")?,
    })
}
