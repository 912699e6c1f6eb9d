//! Starting without a key. Nothing is half done: what a region cannot do without it is refused, with the
//! sentence that says so and the next step; everything else goes on.

use std::fmt;
use std::sync::Arc;

use crate::access::Action;
use crate::error::{Error, Kind, Reason};

/// A key that a region works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LostKey {
    /// The KEK: it opens the keys of every domain.
    Kek,
    /// The working keys: they sign, and open what peers wrapped for this region.
    Working,
    /// The public half of the recovery key: new keys are wrapped for it.
    Recovery,
    /// The TLS key: by it peers know this region.
    Tls,
}

/// A key that cannot be used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyTrouble {
    /// The key.
    pub key: LostKey,
    /// What is wrong with it, for the operator: names the file.
    pub why: String,
}

/// The keys that a region runs without.
#[derive(Clone, Debug, Default)]
pub struct KeyTroubles(Arc<Vec<KeyTrouble>>);

impl LostKey {
    /// What it is called.
    pub fn word(self) -> &'static str {
        match self {
            LostKey::Kek => "the KEK",
            LostKey::Working => "the working keys",
            LostKey::Recovery => "the recovery key's public half",
            LostKey::Tls => "the TLS key",
        }
    }

    /// What is refused without it.
    pub fn stops(self) -> &'static str {
        match self {
            LostKey::Kek => "backups, replication and restores of this region's own backups",
            LostKey::Working => "backups, replication and changes that have to be signed",
            LostKey::Recovery => "backups and replication, whose keys would not be on the kit",
            LostKey::Tls => "everything between regions",
        }
    }

    /// What goes on without it.
    pub fn goes_on(self) -> &'static str {
        match self {
            LostKey::Kek => "lists, and restores of replicas from other regions",
            LostKey::Working | LostKey::Recovery => "lists and restores",
            LostKey::Tls => "backups, restores and lists; replication waits",
        }
    }

    /// What the operator does next.
    pub fn next_step(self) -> &'static str {
        match self {
            LostKey::Kek => {
                "put keys/kek back (or name its passphrase file) and start again; if it is lost: antipode key \
                 recover SHEET, with the recovery kit"
            }
            LostKey::Working => "put keys/working back and start again; without it this region signs no more",
            LostKey::Recovery => {
                "put keys/recovery-public back and start again, or: antipode key recover SHEET"
            }
            LostKey::Tls => {
                "put keys/tls back and start again; if it is lost, pair this region again as a new one"
            }
        }
    }

    fn stops_writing(self) -> bool {
        self != LostKey::Tls
    }
}

impl fmt::Display for KeyTrouble {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key;
        write!(
            formatter,
            "{} cannot be used ({}); stopped: {}; going on: {}; next: {}",
            key.word(),
            self.why,
            key.stops(),
            key.goes_on(),
            key.next_step()
        )
    }
}

impl KeyTroubles {
    /// The troubles that were found at the start.
    pub fn new(troubles: Vec<KeyTrouble>) -> KeyTroubles {
        KeyTroubles(Arc::new(troubles))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &KeyTrouble> {
        self.0.iter()
    }

    /// Whether this key is missing.
    pub fn lacks(&self, key: LostKey) -> bool {
        self.iter().any(|trouble| trouble.key == key)
    }

    /// Whether anything is written: into the store, or signed.
    pub fn may_write(&self) -> bool {
        !self.iter().any(|trouble| trouble.key.stops_writing())
    }

    /// Whether anything at all can be restored.
    pub fn may_restore(&self) -> bool {
        !(self.lacks(LostKey::Kek) && self.lacks(LostKey::Working))
    }

    /// Refuses what cannot be done without the missing keys. Outsiders are not told file names.
    pub(crate) fn allow(&self, action: Action) -> Result<(), Error> {
        use Action::{
            ChangeGrants, ChangeIdentity, ChangePolicies, ChangeRegion, Operate, Order, Read, ReadIdentity,
            Replicate, Restore, Watch,
        };
        let is_allowed = match action {
            Read | Watch | Operate | ReadIdentity | ChangeIdentity => true,
            Restore => self.may_restore(),
            Order | Replicate | ChangePolicies | ChangeGrants | ChangeRegion => self.may_write(),
        };
        if is_allowed {
            return Ok(());
        }
        Err(self.refusal())
    }

    /// The refusal of what needs a missing key.
    pub(crate) fn refusal(&self) -> Error {
        let lost: Vec<&str> = self.iter().map(|trouble| trouble.key.word()).collect();
        let message = format!("the region runs without {}; its operator has to act", lost.join(" and "));
        Error::new(Kind::Unavailable, Reason::WritesBlocked, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without(keys: &[LostKey]) -> KeyTroubles {
        let trouble = |key: &LostKey| KeyTrouble { key: *key, why: "keys/x: it is missing".to_owned() };
        KeyTroubles::new(keys.iter().map(trouble).collect())
    }

    #[test]
    fn every_combination_allows_what_its_keys_allow() {
        use Action::*;
        let all = [LostKey::Kek, LostKey::Working, LostKey::Recovery, LostKey::Tls];
        for mask in 0usize..16 {
            let lost: Vec<LostKey> = (0..4).filter(|bit| mask >> bit & 1 == 1).map(|bit| all[bit]).collect();
            let troubles = without(&lost);
            let writes = !lost.iter().any(|key| *key != LostKey::Tls);
            let restores = !(lost.contains(&LostKey::Kek) && lost.contains(&LostKey::Working));
            assert!(troubles.allow(Read).is_ok());
            assert_eq!(troubles.allow(Restore).is_ok(), restores, "{lost:?}");
            for action in [Order, Replicate, ChangePolicies, ChangeGrants, ChangeRegion] {
                assert_eq!(troubles.allow(action).is_ok(), writes, "{lost:?} {action:?}");
            }
        }
    }

    #[test]
    fn a_trouble_says_what_stops_what_goes_on_and_what_to_do() {
        for key in [LostKey::Kek, LostKey::Working, LostKey::Recovery, LostKey::Tls] {
            let told = KeyTrouble { key, why: "keys/x: it is missing".to_owned() }.to_string();
            for part in ["it is missing", "stopped: ", "going on: ", "next: put keys/"] {
                assert!(told.contains(part), "{told}");
            }
        }
        let refusal = without(&[LostKey::Kek]).refusal().to_string();
        assert!(refusal.contains("the KEK") && !refusal.contains("keys/x"), "{refusal}");
    }
}
