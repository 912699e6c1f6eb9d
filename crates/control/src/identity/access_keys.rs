//! Access keys: key pairs with which programs sign requests, as clients of the origin cloud do.
//!
//! The secret must be known here to check a signature, so it is not hashed but sealed under the KEK: a stolen
//! catalog signs nothing. A rotated KEK still opens it, and at the next start it is sealed again.

use catalog::{NewAccessKey, SealedAccessKey};
use model::identity::{AccessKey, TokenScope};
use model::ids::AccessKeyId;
use model::time::Timestamp;
use tracing::{info, warn};
use vault::keyed_hash::is_hmac_sha256;

use super::check_text;
use crate::access::{Action, Caller};
use crate::error::{Error, Kind, Reason};
use crate::lost_keys::LostKey;
use crate::page::found;
use crate::{Control, Parts};

/// How far the date of a signature may be from now, in seconds.
pub const DATE_SECONDS_MAX: i64 = 15 * 60;
/// What the halves of a key pair are made of: 32 characters that nobody confuses.
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const KEY_CHARACTERS: usize = 20;
const SECRET_CHARACTERS: usize = 40;

/// A key that a request says it is signed with.
pub struct SigningKey {
    id: AccessKeyId,
    sealed: SealedAccessKey,
}

/// What a signature is made over, and the signature.
pub struct SignedText<'a> {
    /// The text.
    pub text: &'a [u8],
    /// The signature.
    pub signature: [u8; 32],
    /// The date that stands in the text.
    pub date: Timestamp,
    /// Whether the request changes anything: such a signature is good once.
    pub is_change: bool,
    /// The project that the request names beside its path, signed or not.
    pub project: Option<&'a str>,
}

impl Control {
    /// Makes an access key of the caller in the project of the token, and gives its secret this once.
    pub async fn create_access_key(
        &self,
        caller: &Caller,
        description: String,
    ) -> Result<(AccessKey, String), Error> {
        let project_id = caller.may(Action::Read)?.clone();
        caller.may_manage_credentials()?;
        self.require_kek()?;
        check_text("description", &description)?;
        let secret = letters(self.entropy_bytes::<SECRET_CHARACTERS>());
        let key = AccessKey {
            id: letters(self.entropy_bytes::<KEY_CHARACTERS>()).parse()?,
            user_id: caller.user().id,
            project_id,
            description,
            created_at: self.now(),
        };
        let kek = &self.parts().kek;
        let sealed_secret = kek.seal_secret(&place(&key.id), secret.as_bytes(), self.entropy());
        let new = NewAccessKey { key, sealed_secret, kek_number: kek.number() };
        self.catalog().create_access_key(&new).await?;
        Ok((new.key, secret))
    }

    /// The caller's access keys in the project of the token.
    pub async fn access_keys(&self, caller: &Caller) -> Result<Vec<AccessKey>, Error> {
        let project = caller.may(Action::Read)?;
        Ok(self.catalog().access_keys(caller.user().id, project).await?)
    }

    /// One of the caller's access keys in the project of the token.
    pub async fn access_key(&self, caller: &Caller, id: &AccessKeyId) -> Result<AccessKey, Error> {
        let project = caller.may(Action::Read)?;
        let known = found(self.catalog().access_key(id).await)?;
        let own = known.filter(|key| key.user_id == caller.user().id && key.project_id == *project);
        own.ok_or_else(no_such_key)
    }

    /// Deletes one of the caller's access keys in the project of the token.
    pub async fn delete_access_key(&self, caller: &Caller, id: &AccessKeyId) -> Result<(), Error> {
        caller.may(Action::Read)?;
        caller.may_manage_credentials()?;
        let key = self.access_key(caller, id).await?;
        Ok(self.catalog().delete_access_key(key.user_id, id).await?)
    }

    /// The key of a signature, before the body that it covers is read.
    ///
    /// # Errors
    /// `Unauthenticated` when nobody has the key or the date is too far off; `Unavailable` without the KEK.
    pub async fn signing_key(&self, id: &str, date: Timestamp) -> Result<SigningKey, Error> {
        let now = self.now();
        if date.plus_seconds(DATE_SECONDS_MAX) < now || date > now.plus_seconds(DATE_SECONDS_MAX) {
            return Err(wrong_signature("x-sdk-date is more than 15 minutes off"));
        }
        if self.has_identity_elsewhere() {
            return Err(unknown_signature());
        }
        self.require_kek()?;
        let id: AccessKeyId = id.parse().map_err(|_| unknown_signature())?;
        let sealed = self.catalog().sealed_access_key(&id).await?.ok_or_else(unknown_signature)?;
        Ok(SigningKey { id, sealed })
    }

    /// Finds out who signed. A signature that changes something is good once: a unique row decides.
    pub async fn accept_signature(&self, key: SigningKey, signed: &SignedText<'_>) -> Result<Caller, Error> {
        let SigningKey { id, sealed } = key;
        let secret = match self.parts().kek.open_secret(&place(&id), &sealed.sealed_secret) {
            Ok(secret) => secret,
            Err(failure) => {
                warn!(access_key.id = %id, %failure, "the secret of an access key cannot be opened");
                return Err(unknown_signature());
            }
        };
        if !is_hmac_sha256(&secret, signed.text, &signed.signature) {
            return Err(unknown_signature());
        }
        let (issued_at, expires_at) = (signed.date, signed.date.plus_seconds(DATE_SECONDS_MAX));
        let scope = TokenScope { issued_at, expires_at, ..sealed.scope };
        let own = scope.project.as_ref().map(|project| project.id.as_str());
        if signed.project.is_some() && signed.project != own {
            let message = "X-Project-Id names another project than that of the access key";
            return Err(Error::new(Kind::Forbidden, Reason::WrongProject, message));
        }
        if signed.is_change {
            // The row outlives the last moment at which the date is accepted.
            self.catalog().use_signature(signed.signature, expires_at.plus_seconds(1)).await?;
        }
        Ok(Caller::new(scope, self.troubles().clone()))
    }

    fn require_kek(&self) -> Result<(), Error> {
        match self.troubles().lacks(LostKey::Kek) {
            true => Err(self.troubles().refusal()),
            false => Ok(()),
        }
    }
}

/// Seals the secrets again that an earlier KEK sealed. The KEK changes only while nobody serves the region,
/// so that the start is the moment. Each row is changed by itself; a start that dies goes on at the next.
pub(crate) async fn seal_access_keys_again(parts: &Parts) -> Result<(), Error> {
    let (catalog, kek) = (&parts.catalog, &parts.kek);
    let mut after = String::new();
    let mut sealed_count = 0u32;
    loop {
        let keys = catalog.access_keys_of_other_keks(kek.number(), &after).await?;
        let Some((last, _)) = keys.last() else { break };
        after = last.to_string();
        for (id, was_sealed) in &keys {
            match kek.open_secret(&place(id), was_sealed) {
                Ok(secret) => {
                    let sealed = kek.seal_secret(&place(id), &secret, parts.entropy.as_ref());
                    catalog.seal_access_key_again(id, was_sealed, &sealed, kek.number()).await?;
                    sealed_count += 1;
                }
                Err(failure) => {
                    warn!(access_key.id = %id, %failure, "an access key is dead; its user has to make another one");
                }
            }
        }
    }
    if sealed_count > 0 {
        info!(sealed_count, "sealed the secrets of access keys under the KEK in use");
    }
    Ok(())
}

/// What a secret is sealed for, so that rows of the catalog cannot be exchanged.
fn place(id: &AccessKeyId) -> String {
    format!("access key {id}")
}

fn letters<const N: usize>(bytes: [u8; N]) -> String {
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
}

fn no_such_key() -> Error {
    Error::not_found(Reason::NotFound, "there is no such access key")
}

/// A signature that says by itself what is wrong with it.
fn wrong_signature(message: &str) -> Error {
    Error::new(Kind::Unauthenticated, Reason::NotLoggedIn, message)
}

/// The one answer to every signature that could be somebody's and is not.
fn unknown_signature() -> Error {
    wrong_signature("the access key or the signature is wrong")
}
