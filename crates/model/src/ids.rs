//! Ids as types, so that a policy id can never stand where an item id belongs.
//!
//! Ids that we mint are UUIDs. Ids that come from another service (projects, servers, volumes) are
//! short opaque texts, because the ids of an existing cloud must stay valid here.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// A text that is not an id of the wanted kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not a valid id: {text:?}")]
pub struct BadId {
    /// What the id should have named.
    pub what: &'static str,
    /// The refused text, cut to 80 characters.
    pub text: String,
}

impl BadId {
    fn new(what: &'static str, text: &str) -> BadId {
        BadId { what, text: text.chars().take(80).collect() }
    }
}

macro_rules! uuid_ids {
    ($($(#[$doc:meta])* $name:ident = $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl $name {
            /// An id from 16 bytes of entropy, with the version and variant bits of a random UUID.
            pub fn from_entropy(bytes: [u8; 16]) -> $name {
                $name(uuid::Builder::from_random_bytes(bytes).into_uuid())
            }

            /// An id from the 16 bytes that a stored format carries.
            pub fn from_bytes(bytes: [u8; 16]) -> $name {
                $name(Uuid::from_bytes(bytes))
            }

            /// The 16 bytes of the id, as stored formats carry it.
            pub fn bytes(self) -> [u8; 16] {
                self.0.into_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.hyphenated(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0.hyphenated(), f)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            /// Accepts exactly the hyphenated form, in either letter case.
            fn from_str(text: &str) -> Result<$name, BadId> {
                if text.len() != 36 {
                    return Err(BadId::new($what, text));
                }
                Uuid::try_parse(text).map($name).map_err(|_| BadId::new($what, text))
            }
        }
    )*};
}

uuid_ids! {
    /// A policy.
    PolicyId = "policy id";
    /// A scheduled operation inside a policy.
    ScheduledOperationId = "scheduled operation id";
    /// The trigger of a scheduled operation.
    TriggerId = "trigger id";
    /// A checkpoint: one run over all its resources.
    CheckpointId = "checkpoint id";
    /// A checkpoint item: one resource inside a checkpoint.
    CheckpointItemId = "checkpoint item id";
    /// The backup of one volume inside a checkpoint item.
    VolumeBackupId = "volume backup id";
    /// A replication record.
    ReplicationRecordId = "replication record id";
    /// A restore.
    RestoreId = "restore id";
    /// An acceptance grant.
    GrantId = "grant id";
    /// A user of the embedded identity service.
    UserId = "user id";
    /// An application credential.
    ApplicationCredentialId = "application credential id";
    /// A unit of leased work.
    JobId = "job id";
    /// A line of the operation log.
    OperationLogId = "operation log id";
    /// An operation that writes to a vault: a backup or an incoming transfer.
    OperationId = "operation id";
}

macro_rules! text_ids {
    ($($(#[$doc:meta])* $name:ident = $what:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            /// 1 to 64 letters, digits, `_` and `-` (`csbs-v1-api.md` §2).
            fn from_str(text: &str) -> Result<$name, BadId> {
                let fits = (1..=64).contains(&text.len());
                let is_plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
                if fits && is_plain { Ok($name(text.to_owned())) } else { Err(BadId::new($what, text)) }
            }
        }
    )*};
}

text_ids! {
    /// A project: the owner of everything a caller may see.
    ProjectId = "project id";
    /// A resource: a protected server.
    ResourceId = "resource id";
    /// A volume: one disk of a server.
    VolumeId = "volume id";
    /// The public half of an access key.
    AccessKeyId = "access key id";
}

/// The name of a region, such as `cn-north-1`: 1 to 64 letters, digits, `.`, `_` and `-`, never
/// starting with a dot, because the name also names folders.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionName(String);

impl RegionName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RegionName {
    type Err = BadId;

    fn from_str(text: &str) -> Result<RegionName, BadId> {
        let fits = (1..=64).contains(&text.len()) && !text.starts_with('.');
        let is_plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if fits && is_plain { Ok(RegionName(text.to_owned())) } else { Err(BadId::new("region name", text)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_id_is_the_hyphenated_form_only() {
        let id = PolicyId::from_entropy([7; 16]);
        assert_eq!(id.to_string().parse::<PolicyId>().unwrap(), id);
        let hyphenless = id.0.simple().to_string();
        for bad in ["", "x", hyphenless.as_str(), "{07070707-0707-4707-8707-070707070707}"] {
            assert!(bad.parse::<PolicyId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn text_ids_refuse_what_could_be_a_path() {
        for bad in ["", "a/b", "..", "a b", &"x".repeat(65), "ä"] {
            assert!(bad.parse::<ResourceId>().is_err(), "{bad}");
        }
        assert!("4f1d2c7a9b0e4d6f8a1b2c3d4e5f6071".parse::<ProjectId>().is_ok());
        assert!(".hidden".parse::<RegionName>().is_err());
    }
}
