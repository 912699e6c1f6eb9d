//! Verification of packs: is what the ledger lists still what was stored? *Quick* looks at presence,
//! length and footer; *deep* reads every byte, recomputes every address and opens what the keys held
//! here can open. It goes pack by pack, in any order, so whoever drives it can stop and go on anywhere,
//! and say when each pack was last read. What to do with a finding is in [`crate::heal`].

use std::ops::Range;

use crate::error::VaultError;
use crate::ids::{Address, DedupId, Kind};
use crate::layout::PackName;
use crate::ledger::SealedPack;
use crate::object::{Expected, Header, Opener, address_of};
use crate::pack::{PackEntry, ReadFooter, read_footer_of};
use crate::progress::{Progress, Step};
use crate::read::RUN_BYTES_MAX;
use crate::store::StoreError;
use crate::vault::{Core, Vault};

/// How far a verification goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VerifyMode {
    /// Presence, length and footer: a few hundred bytes of each pack.
    Quick,
    /// Every byte of every object.
    Deep,
}

/// Holds a verification back, so that it does not take the disk from backups and restores.
pub trait Pace: Send + Sync {
    /// Returns when so many bytes more may be read.
    fn spend(&self, bytes: u64);
}

/// As fast as the disk goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPace;

impl Pace for NoPace {
    fn spend(&self, _bytes: u64) {}
}

/// An object that is not what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadObject {
    /// What it should hold.
    pub kind: Kind,
    /// Its address.
    pub address: Address,
    /// The first check that failed.
    pub why: &'static str,
}

/// What was found in one pack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Objects that the pack lists.
    pub object_count: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// What is wrong with the pack as a whole: it is gone, cut short, or its footer is another.
    pub fault: Option<String>,
    /// Objects in it that are damaged.
    pub bad: Vec<BadObject>,
}

impl Findings {
    /// True when nothing was found.
    pub fn is_sound(&self) -> bool {
        self.fault.is_none() && self.bad.is_empty()
    }
}

impl Vault {
    /// Verifies one pack of this vault.
    ///
    /// # Errors
    /// `Unavailable` when the store does not answer: nothing is concluded from that. `Stopped`.
    pub fn verify_pack(
        &self,
        pack: &SealedPack,
        mode: VerifyMode,
        pace: &dyn Pace,
        progress: &dyn Progress,
    ) -> Result<Findings, VaultError> {
        self.core.verify_pack(pack, mode, pace, progress)
    }
}

impl Core {
    /// As [`Vault::verify_pack`].
    pub(crate) fn verify_pack(
        &self,
        pack: &SealedPack,
        mode: VerifyMode,
        pace: &dyn Pace,
        progress: &dyn Progress,
    ) -> Result<Findings, VaultError> {
        let mut findings = Findings::default();
        let footer = match self.sound_footer(pack)? {
            Ok(footer) => footer,
            Err(fault) => {
                findings.fault = Some(fault);
                return Ok(findings);
            }
        };
        findings.object_count = footer.entries.len() as u64;
        if mode == VerifyMode::Deep {
            let mut reader = DeepReader::new(self, pack, &footer)?;
            for run in runs(&footer.entries) {
                if progress.is_stopped() {
                    return Err(VaultError::Stopped);
                }
                let bytes = run_bytes(&footer.entries[run.clone()]);
                pace.spend(bytes);
                reader.read(&footer.entries, run, &mut findings)?;
                progress.add(Step { logical_bytes: 0, moved_bytes: bytes });
            }
        }
        Ok(findings)
    }

    /// The footer of a pack that is as the ledger remembers it; the inner error says what is not.
    pub(crate) fn sound_footer(&self, pack: &SealedPack) -> Result<Result<ReadFooter, String>, VaultError> {
        let name = self.pack_store_name(PackName::new(pack.number, pack.incarnation));
        let bytes = match self.store.size(&name) {
            Ok(bytes) => bytes,
            Err(StoreError::NotFound { .. }) => return Ok(Err("the store does not hold it".to_owned())),
            Err(error) => return Err(error.while_doing("reading the size of a pack")),
        };
        if bytes != pack.bytes {
            return Ok(Err(format!("it has {bytes} bytes instead of {}", pack.bytes)));
        }
        match read_footer_of(self.store.as_ref(), &name, bytes) {
            Ok((place, _)) if place.digest != pack.footer_digest => {
                Ok(Err("its footer is another one than was sealed".to_owned()))
            }
            Ok((_, footer)) => Ok(Ok(footer)),
            Err(error @ VaultError::BadFormat { .. }) => Ok(Err(error.to_string())),
            Err(error) => Err(error),
        }
    }

    /// The dedup ids of a pack's chunks, as far as this vault made them and can read them.
    pub(crate) fn ids_of(
        &self,
        pack: &SealedPack,
        footer: &ReadFooter,
    ) -> Result<Option<Vec<DedupId>>, VaultError> {
        let name = PackName::new(pack.number, pack.incarnation);
        match footer.dedup_ids(self.keys().as_ref(), &mut Opener::new()?, name) {
            Ok(ids) => Ok(ids),
            Err(
                VaultError::KeyMissing { .. } | VaultError::BadFormat { .. } | VaultError::Corrupt { .. },
            ) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Reads the objects of one pack.
struct DeepReader<'a> {
    core: &'a Core,
    name: String,
    opener: Opener,
    plaintext: Vec<u8>,
    /// Of each entry, where it is a chunk made here.
    ids: Vec<Option<DedupId>>,
}

impl<'a> DeepReader<'a> {
    fn new(core: &'a Core, pack: &SealedPack, footer: &ReadFooter) -> Result<DeepReader<'a>, VaultError> {
        let mut chunk_ids = core.ids_of(pack, footer)?.into_iter().flatten();
        let id = |entry: &PackEntry| if entry.kind == Kind::Chunk { chunk_ids.next() } else { None };
        Ok(DeepReader {
            core,
            name: core.pack_store_name(PackName::new(pack.number, pack.incarnation)),
            opener: Opener::new()?,
            plaintext: Vec::new(),
            ids: footer.entries.iter().map(id).collect(),
        })
    }

    fn read(
        &mut self,
        entries: &[PackEntry],
        run: Range<usize>,
        findings: &mut Findings,
    ) -> Result<(), VaultError> {
        let (first, length) = (entries[run.start].offset, run_bytes(&entries[run.clone()]));
        let bytes = match self.core.store.get_range(&self.name, first, length) {
            Ok(bytes) => bytes,
            // One sector that cannot be read must not hide the rest of the pack.
            Err(StoreError::Unavailable { .. }) if run.len() > 1 => {
                for index in run {
                    self.read(entries, index..index + 1, findings)?;
                }
                return Ok(());
            }
            Err(error) => return self.unreadable(entries, run, error, findings),
        };
        findings.read_bytes += length;
        for index in run {
            let entry = &entries[index];
            let from = (entry.offset - first) as usize;
            let stored = &bytes[from..from + entry.stored_len as usize];
            if let Some(why) = self.fault_of(entry, self.ids[index], stored)? {
                findings.bad.push(BadObject { kind: entry.kind, address: entry.address, why });
            }
        }
        Ok(())
    }

    /// A range that cannot be read is damage while the end of the same pack can be; else the store is down.
    fn unreadable(
        &self,
        entries: &[PackEntry],
        run: Range<usize>,
        error: StoreError,
        findings: &mut Findings,
    ) -> Result<(), VaultError> {
        let is_answering = self.core.store.size(&self.name).is_ok();
        let is_damage = is_answering && matches!(error, StoreError::Unavailable { .. });
        if !is_damage && !matches!(error, StoreError::TooShort { .. } | StoreError::NotFound { .. }) {
            return Err(error.while_doing("reading a pack"));
        }
        let bad = entries[run].iter().map(|entry| BadObject {
            kind: entry.kind,
            address: entry.address,
            why: "its bytes cannot be read",
        });
        findings.bad.extend(bad);
        Ok(())
    }

    fn fault_of(
        &mut self,
        entry: &PackEntry,
        id: Option<DedupId>,
        stored: &[u8],
    ) -> Result<Option<&'static str>, VaultError> {
        if address_of(stored) != entry.address {
            return Ok(Some("the bytes have another address"));
        }
        let keys = self.core.keys();
        let Ok(header) = Header::parse(stored) else { return Ok(Some("it has no lawful header")) };
        if header.kind != entry.kind || header.domain != keys.domain() {
            return Ok(Some("it is of another kind or domain"));
        }
        let expected = Expected {
            level: header.level,
            check: id.map(|id| id.check()),
            ..Expected::object(entry.kind, entry.address)
        };
        match self.opener.open(keys.as_ref(), &expected, stored, &mut self.plaintext) {
            // Its address is right, so it is what was stored; that nobody here can open it is no damage.
            Ok(()) | Err(VaultError::KeyMissing { .. }) => Ok(None),
            Err(VaultError::Corrupt { why, .. }) => Ok(Some(why)),
            Err(error) => Err(error),
        }
    }
}

/// Splits entries into reads of bounded length.
fn runs(entries: &[PackEntry]) -> Vec<Range<usize>> {
    let (mut runs, mut start) = (Vec::new(), 0);
    for index in 0..entries.len() {
        if index > start && entries[index].end() - entries[start].offset > RUN_BYTES_MAX {
            runs.push(start..index);
            start = index;
        }
    }
    if start < entries.len() {
        runs.push(start..entries.len());
    }
    runs
}

/// Bytes from the first of these entries to the end of the last; they do not overlap.
fn run_bytes(entries: &[PackEntry]) -> u64 {
    match (entries.first(), entries.last()) {
        (Some(first), Some(last)) => last.end() - first.offset,
        _ => 0,
    }
}
