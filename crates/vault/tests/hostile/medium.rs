//! A store whose contents a test changes and heals. Beside what a store holds it keeps what lies
//! elsewhere and may be damaged too: key files, the recovery kit, and what a peer sent.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use vault::key_file::create_key_file;
use vault::keys::Secret;
use vault::store::{ObjectStore, StoreError, StoreWriter};

use crate::world::whole::Whole;

pub(crate) type Bytes = Arc<Vec<u8>>;

/// Prefixes of what does not lie in the store.
pub(crate) const KEY_FILES: &str = "key-files/";
pub(crate) const PAPER: &str = "paper/";
pub(crate) const RECEIVED: &str = "received/";

pub(crate) struct Medium {
    sound: BTreeMap<String, Bytes>,
    present: Mutex<BTreeMap<String, Bytes>>,
}

impl Medium {
    pub(crate) fn of(whole: &Whole) -> Medium {
        let mut sound = whole.region.store.objects();
        let mut add = |name: String, bytes: Vec<u8>| sound.insert(name, Arc::new(bytes));
        add(format!("{PAPER}kit"), whole.kit.render("here").as_bytes().to_vec());
        for (label, secret) in [("kek", &whole.kek_secret), ("older-kek", &Secret::new([7; 32]))] {
            add(format!("{KEY_FILES}{label}"), key_file("kek", secret));
        }
        for (number, receipt) in whole.receipts.iter().enumerate() {
            add(format!("{RECEIVED}{number}.receipt"), receipt.clone());
        }
        for (number, (head, entries)) in whole.heads.iter().enumerate() {
            add(format!("{RECEIVED}{number}.head"), head.clone());
            add(format!("{RECEIVED}{number}.entries"), entries.clone());
        }
        Medium { present: Mutex::new(sound.clone()), sound }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.sound.keys().cloned().collect()
    }

    /// What a name holds when sound.
    pub(crate) fn bytes(&self, name: &str) -> Option<Bytes> {
        self.sound.get(name).cloned()
    }

    pub(crate) fn set(&self, name: &str, bytes: Option<Vec<u8>>) {
        let mut present = self.present.lock().unwrap();
        match bytes {
            Some(bytes) => present.insert(name.to_owned(), Arc::new(bytes)),
            None => present.remove(name),
        };
    }

    pub(crate) fn heal(&self) {
        *self.present.lock().unwrap() = self.sound.clone();
    }

    fn object(&self, name: &str) -> Result<Bytes, StoreError> {
        let found = self.present.lock().unwrap().get(name).cloned();
        found.ok_or_else(|| StoreError::NotFound { name: name.to_owned() })
    }
}

/// A key file as bytes.
fn key_file(label: &str, secret: &Secret) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    create_key_file(&path, label, secret.expose()).unwrap();
    std::fs::read(path).unwrap()
}

impl ObjectStore for Medium {
    fn begin(&self, _name: &str) -> Result<Box<dyn StoreWriter>, StoreError> {
        Err(StoreError::Broken)
    }

    fn get(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
        let bytes = self.object(name)?;
        match bytes.len() as u64 > bytes_max {
            true => Err(StoreError::TooLong { name: name.to_owned(), bytes_max }),
            false => Ok(bytes.to_vec()),
        }
    }

    fn get_range(&self, name: &str, offset: u64, length: u64) -> Result<Vec<u8>, StoreError> {
        let bytes = self.object(name)?;
        let end = offset.checked_add(length).filter(|&end| end <= bytes.len() as u64);
        let end = end.ok_or_else(|| StoreError::TooShort { name: name.to_owned() })?;
        Ok(bytes[offset as usize..end as usize].to_vec())
    }

    fn size(&self, name: &str) -> Result<u64, StoreError> {
        Ok(self.object(name)?.len() as u64)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let present = self.present.lock().unwrap();
        Ok(present.keys().filter(|name| name.starts_with(prefix)).cloned().collect())
    }

    fn delete(&self, _name: &str) -> Result<(), StoreError> {
        Err(StoreError::Broken)
    }
}
