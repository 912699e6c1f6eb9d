//! The files of a region's KEKs: `kek`, the one in use; `kek-next` while a rotation is under way; and
//! `kek-0007`, an earlier one that the operator has not retired yet. Changing the KEK goes from file to
//! file by steps of which each may be the last: called again, the same steps end it.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use tracing::warn;
use vault::crash_point;
use vault::error::VaultError;
use vault::kek::Kek;
use vault::kek::file::{KekKind, NewKek, Passphrase, PassphraseCost};
use vault::key_store::{KeyStore, Rewrapped, read_ring};
use vault::keys::DomainKeys;
use vault::seams::Entropy;
use vault::store::ObjectStore;

use super::KeyFiles;

/// The KEK in use.
pub(super) const KEK: &str = "kek";
/// The one that a rotation goes to.
const KEK_NEXT: &str = "kek-next";
/// A file that `recover` found in the place of the KEK.
const KEK_SET_ASIDE: &str = "kek-set-aside";

/// How a KEK is to be kept, without secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KekPlan {
    /// In a file, or derived from the passphrase that the key files were given.
    pub kind: KekKind,
    /// What deriving costs.
    pub cost: PassphraseCost,
}

impl Default for KekPlan {
    fn default() -> KekPlan {
        KekPlan { kind: KekKind::File, cost: PassphraseCost::DEFAULT }
    }
}

/// A KEK that was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotated {
    /// The number of the one before, still in its file.
    pub old_number: Option<u32>,
    /// The number of the one in use now.
    pub number: u32,
    /// What was sealed again.
    pub rewrapped: Rewrapped,
}

/// One KEK file, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KekFile {
    /// Its name in the keys folder.
    pub name: String,
    /// Its number, when it can be read.
    pub number: Option<u32>,
    /// `file`, or `passphrase` with its cost.
    pub kind: Option<(KekKind, Option<PassphraseCost>)>,
    /// Why it cannot be used, if it cannot.
    pub trouble: Option<String>,
}

impl KeyFiles {
    /// True when the KEK in use comes from a passphrase.
    pub fn needs_passphrase(&self) -> bool {
        [KEK, KEK_NEXT]
            .iter()
            .any(|name| matches!(Kek::kind_of(&self.path(name)), Ok((KekKind::Passphrase, _))))
    }

    /// The KEK in use, opening also what the others of the region sealed.
    ///
    /// # Errors
    /// `KeyFile` when its file cannot be used; `Corrupt` when it is not the one of this store.
    pub fn open_kek(&self, store: &dyn ObjectStore) -> Result<Kek, VaultError> {
        let mut kek = match self.load_kek(KEK) {
            Ok(kek) => kek,
            // A rotation that ended between two names.
            Err(error) => self.load_kek(KEK_NEXT).map_err(|_| error)?,
        };
        read_ring(store, &mut kek)?;
        for name in self.other_names() {
            let other = self.load_kek(&name).and_then(|mut other| {
                read_ring(store, &mut other)?;
                kek.also_opens(&other)
            });
            if let Err(error) = other {
                warn!(%error, "a KEK file beside the one in use cannot be used");
            }
        }
        Ok(kek)
    }

    /// Makes a new KEK, or goes on with one that was begun: seals every bundle under it, then puts it in
    /// the place of the old one, whose file stays as `kek-NNNN`. The old KEK stays usable to the end.
    ///
    /// # Errors
    /// `KeyFile`, `Unavailable`, `Full`; `Refused` when the plan needs a passphrase that is not there.
    /// Called again, it goes on.
    pub fn rotate_kek(
        &self,
        store: &dyn ObjectStore,
        plan: &KekPlan,
        new_passphrase: Option<&Passphrase>,
        entropy: &dyn Entropy,
    ) -> Result<Rotated, VaultError> {
        let old = self.open_kek(store)?;
        let mut next = self.begin_next(store, &old, plan, new_passphrase, entropy)?;
        next.also_opens(&old)?;
        let keys = KeyStore { store, kek: &next };
        keys.keep_ring()?;
        crash_point!("key.rotate.ring_stored");
        let rewrapped = keys.seal_all_again()?;
        self.require_complete(store, KEK_NEXT, new_passphrase, &next)?;
        self.switch(old.number())?;
        Ok(Rotated { old_number: Some(old.number()), number: next.number(), rewrapped })
    }

    /// Removes a KEK that is no longer in use: the bundles that it sealed, then its file.
    ///
    /// # Errors
    /// `Refused` when it is in use, unknown, or a rotation is under way; else as [`KeyFiles::open_kek`].
    /// Returns how many bundles went.
    pub fn retire_kek(&self, store: &dyn ObjectStore, number: u32) -> Result<u64, VaultError> {
        if self.path(KEK_NEXT).exists() {
            return Err(VaultError::refused("a rotation is under way; end it first: antipode key rotate"));
        }
        let mut kek = self.load_kek(KEK)?;
        read_ring(store, &mut kek)?;
        if kek.number() == number {
            return Err(VaultError::refused(format!("KEK {number} is in use; rotate first")));
        }
        if !kek.opens().any(|known| known == number) {
            return Err(VaultError::refused(format!("there is no KEK {number}")));
        }
        let keys = KeyStore { store, kek: &kek };
        keys.require_all_under_this_kek()?;
        let mut count = 0;
        for domain in keys.domains()?.into_keys() {
            count += keys.remove_older(domain)?;
        }
        match fs::remove_file(self.path(&kept_name(number))) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(self.failed(&kept_name(number), &cause));
            }
            _ => {}
        }
        self.sync()?;
        crash_point!("key.retire.file_gone");
        Ok(count)
    }

    /// Makes a new KEK for keys that were found by other means, when the old one is lost. What lies in
    /// its place is set aside.
    ///
    /// # Errors
    /// As [`KeyFiles::rotate_kek`]. Called again, it goes on.
    pub fn recover_kek(
        &self,
        store: &dyn ObjectStore,
        found: &[DomainKeys],
        plan: &KekPlan,
        entropy: &dyn Entropy,
    ) -> Result<Rotated, VaultError> {
        let nobody = Kek::new(&vault::keys::Secret::new([0; 32]));
        let mut next = self.begin_next(store, &nobody, plan, self.passphrase.as_ref(), entropy)?;
        // A ring that is there is from the run before this one.
        if !read_ring(store, &mut next)? {
            // What lies in the place of the KEK may open some domains, after a recovery that did not find all.
            if let Ok(mut kek) = self.load_kek(KEK)
                && kek.number() < next.number()
                && read_ring(store, &mut kek).is_ok()
                && (KeyStore { store, kek: &kek }).is_of_this_store()?
            {
                next.also_opens(&kek)?;
            }
            KeyStore { store, kek: &next }.keep_ring()?;
        }
        let keys = KeyStore { store, kek: &next };
        let mut rewrapped = Rewrapped::default();
        for domain in keys.domains()?.into_keys() {
            rewrapped.domain_count += 1;
            match (keys.seal_again(domain), found.iter().find(|found| found.domain() == domain)) {
                (Ok(is_sealed), _) => rewrapped.sealed_count += u64::from(is_sealed),
                (Err(error), _) if error.is_passing() => return Err(error),
                (Err(_), Some(found)) => {
                    keys.keep(found)?;
                    crash_point!("key.recover.bundle_stored");
                    rewrapped.sealed_count += 1;
                }
                // Told to the operator by whoever looked for the keys.
                (Err(_), None) => {}
            }
        }
        if self.path(KEK).exists() {
            let aside = (0u32..).map(|count| format!("{KEK_SET_ASIDE}-{count}"));
            let aside = aside.into_iter().find(|name| !self.path(name).exists());
            let aside = aside.expect("there are fewer files than numbers");
            fs::rename(self.path(KEK), self.path(&aside)).map_err(|cause| self.failed(KEK, &cause))?;
        }
        self.take_place()?;
        Ok(Rotated { old_number: None, number: next.number(), rewrapped })
    }

    /// The KEK files that there are, for people.
    pub fn kek_files(&self) -> Vec<KekFile> {
        let mut names = vec![KEK.to_owned()];
        names.extend(self.other_names());
        let file = |name: String| {
            let (number, trouble) = match self.load_kek(&name) {
                Ok(kek) => (Some(kek.number()), None),
                Err(error) => (None, Some(error.to_string())),
            };
            KekFile { number, kind: Kek::kind_of(&self.path(&name)).ok(), trouble, name }
        };
        names.into_iter().map(file).collect()
    }

    fn load_kek(&self, name: &str) -> Result<Kek, VaultError> {
        Kek::load_with(&self.path(name), self.passphrase.as_ref())
    }

    /// `kek-next` and the earlier ones, as far as they exist.
    fn other_names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| name == KEK_NEXT || is_kept_name(name)).collect();
        names.sort();
        names
    }

    fn begin_next(
        &self,
        store: &dyn ObjectStore,
        old: &Kek,
        plan: &KekPlan,
        passphrase: Option<&Passphrase>,
        entropy: &dyn Entropy,
    ) -> Result<Kek, VaultError> {
        let path = self.path(KEK_NEXT);
        if path.exists() {
            return Kek::load_with(&path, passphrase);
        }
        let highest = KeyStore { store, kek: old }.highest_kek_number()?.unwrap_or(0).max(old.number());
        let new = match (plan.kind, passphrase) {
            (KekKind::File, _) => NewKek::File,
            (KekKind::Passphrase, Some(passphrase)) => NewKek::Passphrase { passphrase, cost: plan.cost },
            (KekKind::Passphrase, None) => {
                return Err(VaultError::refused("a KEK from a passphrase needs the passphrase"));
            }
        };
        let next = Kek::create_new(&path, highest + 1, &new, entropy)?;
        crash_point!("key.rotate.next_made");
        Ok(next)
    }

    /// Nothing but the new file and the store: what will be there when the old KEK is gone.
    fn require_complete(
        &self,
        store: &dyn ObjectStore,
        name: &str,
        passphrase: Option<&Passphrase>,
        wanted: &Kek,
    ) -> Result<(), VaultError> {
        let mut alone = Kek::load_with(&self.path(name), passphrase)?;
        read_ring(store, &mut alone)?;
        KeyStore { store, kek: &alone }.require_all_under_this_kek()?;
        match alone.opens().eq(wanted.opens()) {
            true => Ok(()),
            false => Err(VaultError::refused("the ring of the new KEK does not hold all earlier ones")),
        }
    }

    fn switch(&self, old_number: u32) -> Result<(), VaultError> {
        let kept = kept_name(old_number);
        match fs::hard_link(self.path(KEK), self.path(&kept)) {
            Err(cause) if !matches!(cause.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => {
                return Err(self.failed(&kept, &cause));
            }
            _ => {}
        }
        self.sync()?;
        crash_point!("key.rotate.old_kept");
        self.take_place()
    }

    fn take_place(&self) -> Result<(), VaultError> {
        let renamed = fs::rename(self.path(KEK_NEXT), self.path(KEK));
        renamed.map_err(|cause| self.failed(KEK_NEXT, &cause))?;
        self.sync()?;
        crash_point!("key.rotate.switched");
        Ok(())
    }

    fn sync(&self) -> Result<(), VaultError> {
        let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
        synced.map_err(|cause| self.failed("", &cause))
    }

    fn failed(&self, name: &str, cause: &io::Error) -> VaultError {
        let path: &Path = &self.path(name);
        VaultError::KeyFile { path: path.display().to_string(), why: cause.to_string() }
    }
}

fn kept_name(number: u32) -> String {
    format!("{KEK}-{number:04}")
}

fn is_kept_name(name: &str) -> bool {
    let number = name.strip_prefix("kek-").and_then(|digits| digits.parse().ok());
    number.is_some_and(|number| kept_name(number) == name)
}

#[cfg(test)]
mod tests;
