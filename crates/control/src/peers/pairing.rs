//! Pairing: one region invites, the other accepts, both show the same twenty characters, and nothing
//! works until the inviting operator types them (design §6).
//!
//! Who accepts trusts the invitation's root key; who invites trusts nothing but the person who
//! compares. A name that disagrees with the card is refused on both sides.

use model::ids::RegionName;
use model::rate::ByteRate;
use vault::card::{Card, Pin};
use vault::keys::Secret;
use vault::layout;
use vault::pairing::{Invitation, is_code, pairing_code, secret_hash};

use super::Peer;
use super::messages::{LinkError, PairRequest, PeerAddress, PeerReply, PeerRequest, Refusal};
use crate::access::{Action, Caller};
use crate::error::{Error, Kind, Reason};
use crate::{Control, blocking};

/// How long an invitation waits for its answer, in seconds.
const INVITATION_SECONDS: i64 = 3600;

/// A region that accepted an invitation.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The inviting region.
    pub region: RegionName,
    /// The code to compare with the one that the inviting region shows.
    pub code: String,
}

/// A peer as the operator sees it.
#[derive(Clone, Debug)]
pub struct PeerView {
    /// The peer.
    pub peer: Peer,
    /// How fast this region sends to it, if that is limited.
    pub limit: Option<ByteRate>,
}

impl Control {
    /// Makes a single-use invitation for a region that will call itself `name`. The line is as secret
    /// as a password.
    pub async fn invite(&self, caller: &Caller, name: &RegionName) -> Result<String, Error> {
        caller.must_operate_to_change()?;
        if name == self.region_name() {
            return Err(Error::invalid("region", "a region cannot be paired with itself"));
        }
        let secret = *Secret::generate(self.entropy()).expose();
        let card = self.identity().card();
        let invitation = Invitation {
            name: self.region_name().to_string(),
            url: self.parts().peer_url.clone(),
            root_key: *card.root_key(),
            tls_key_hash: card.fields().tls_key_hash,
            secret,
        };
        let now = self.now();
        let row = catalog::Invitation {
            secret_hash: secret_hash(&secret),
            region: name.clone(),
            expires_at: now.plus_seconds(INVITATION_SECONDS),
        };
        self.catalog().create_invitation(&row, now).await?;
        Ok(invitation.to_line())
    }

    /// Answers an invitation. The peer is trusted here at once, because the line named its root key;
    /// there it stays powerless until its operator types the code.
    pub async fn accept_invitation(&self, caller: &Caller, line: &str) -> Result<Accepted, Error> {
        caller.must_operate_to_change()?;
        let invitation: Invitation = line
            .parse()
            .map_err(|error: vault::error::VaultError| Error::invalid("invitation", error.to_string()))?;
        let name: RegionName = invitation.name.parse()?;
        if name == *self.region_name() {
            return Err(Error::invalid("invitation", "it comes from a region of our own name"));
        }
        let address = PeerAddress {
            name: name.clone(),
            url: invitation.url.clone(),
            tls_key_hash: invitation.tls_key_hash,
        };
        let request = PairRequest {
            secret: invitation.secret,
            name: self.region_name().clone(),
            url: self.parts().peer_url.clone(),
            card: self.identity().card().bytes().to_vec(),
        };
        let reply = self.parts().links.ask(&address, PeerRequest::Pair(request)).await.map_err(unpaired)?;
        let PeerReply::Paired { card } = reply else {
            return Err(Error::internal("to pair", "the peer answered out of turn"));
        };
        let card = Card::decode(&card)?;
        let is_invited = *card.root_key() == invitation.root_key
            && card.fields().tls_key_hash == invitation.tls_key_hash
            && card.fields().name == invitation.name;
        if !is_invited {
            return Err(Error::refused(
                Reason::InvitationRefused,
                "the region that answered is not the one that the invitation names",
            ));
        }
        let code = pairing_code(&invitation.root_key, self.identity().card().root_key(), &invitation.secret);
        let peer = Peer {
            name: name.clone(),
            url: invitation.url,
            card,
            is_confirmed: true,
            pairing_code: String::new(),
            paired_at: self.now(),
        };
        self.keep_peer(peer).await?;
        Ok(Accepted { region: name, code })
    }

    /// The operator compared the characters and types them: the peer gets its power.
    pub async fn confirm_peer(&self, caller: &Caller, name: &RegionName, typed: &str) -> Result<(), Error> {
        caller.must_operate_to_change()?;
        let missing =
            || Error::not_found(Reason::PeerNotFound, format!("no region {name} answered an invitation"));
        let peer = self
            .catalog()
            .peer(name)
            .await?
            .filter(|peer| !peer.pairing_code.is_empty())
            .ok_or_else(missing)?;
        if !is_code(typed, &peer.pairing_code) {
            return Err(Error::invalid("code", "the code is not the one that the other region shows"));
        }
        self.catalog().confirm_peer(name, self.now()).await?;
        self.peers().reload(self.catalog()).await?;
        self.wakes().scheduler.notify_one();
        self.wakes().replicator.notify_one();
        Ok(())
    }

    /// All peers, confirmed or not.
    pub fn all_peers(&self, caller: &Caller) -> Result<Vec<PeerView>, Error> {
        caller.may_in_region(Action::Watch)?;
        let view = |peer: Peer| PeerView { limit: self.limit_of(&peer.name), peer };
        Ok(self.peers().all().into_iter().map(view).collect())
    }

    /// The far end of [`Control::accept_invitation`]: a region that nobody knows yet shows a secret.
    pub(crate) async fn answer_invitation(
        &self,
        tls_key_hash: [u8; 32],
        request: PairRequest,
    ) -> Result<PeerReply, (Refusal, String)> {
        let refuse = |why: &str| (Refusal::InvitationRefused, why.to_owned());
        let card = Card::decode(&request.card).map_err(|_| refuse("the card is not sound"))?;
        let is_own =
            card.fields().tls_key_hash == tls_key_hash && card.fields().name == request.name.as_str();
        if !is_own {
            return Err(refuse("the card names another region or TLS key"));
        }
        let wanted = self.catalog().take_invitation(secret_hash(&request.secret), self.now()).await;
        let wanted = wanted.map_err(|error| (Refusal::Unavailable, error.to_string()))?;
        match wanted {
            Some(name) if name == request.name => {}
            Some(_) => return Err(refuse("the invitation was made for a region of another name")),
            None => return Err(refuse("the invitation is unknown, used or over")),
        }
        let code = pairing_code(self.identity().card().root_key(), card.root_key(), &request.secret);
        let peer = Peer {
            name: request.name.clone(),
            url: request.url,
            card,
            is_confirmed: false,
            pairing_code: code,
            paired_at: self.now(),
        };
        self.keep_peer(peer).await.map_err(|error| (Refusal::Unavailable, error.to_string()))?;
        Ok(PeerReply::Paired { card: self.identity().card().bytes().to_vec() })
    }

    /// Keeps a peer: its card and our word for its root key in the store, then its row.
    async fn keep_peer(&self, peer: Peer) -> Result<(), Error> {
        let control = self.clone();
        let card = peer.card.clone();
        blocking(move || {
            let parts = control.parts();
            let doing = "keeping a peer's card";
            let pin = Pin::sign(&parts.identity, &card, parts.clock.now_ms());
            let names = [
                (layout::card_name(card.region(), card.fields().serial), card.bytes().to_vec()),
                (layout::pin_name(card.region()), pin),
            ];
            for (name, bytes) in names {
                parts.store.put_if_absent(&name, &bytes).map_err(|error| error.while_doing(doing))?;
            }
            Ok::<(), vault::error::VaultError>(())
        })
        .await??;
        vault::crash_point!("pairing.card_stored");
        self.catalog().put_peer(&peer.row(self.now())).await?;
        self.peers().reload(self.catalog()).await
    }
}

fn unpaired(error: LinkError) -> Error {
    match error {
        LinkError::Unreachable { .. } => {
            let mut told = Error::new(Kind::Unavailable, Reason::Busy, error.to_string());
            told.cause = Some(Box::new(error));
            told
        }
        LinkError::Refused { why, .. } => Error::refused(Reason::InvitationRefused, why).at("invitation"),
    }
}
