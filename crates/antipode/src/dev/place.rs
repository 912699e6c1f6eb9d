//! Where things of a pair of regions lie under one folder, and `dev.json`, which tells clients about them.
//!
//! ```text
//! DIR/dev.json                         all that a client needs
//! DIR/REGION/antipode.toml             configuration; data, keys and recovery kit beside it
//! DIR/REGION/secrets/NAME-password     generated passwords, readable by the owner only
//! DIR/REGION/serve.log                 what the region's process says
//! DIR/disks/REGION/SERVER/VOLUME.raw   the disks of the servers, outside the region's folder
//! ```

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::process::{ServeFiles, create_private_file};
use super::region::Volume;
use crate::config::LOCK_FILE;

/// The folder of one pair of regions.
#[derive(Clone, Debug)]
pub struct Place {
    folder: PathBuf,
}

impl Place {
    /// The place at a folder, which need not exist. A relative path counts from the working folder.
    pub fn new(folder: &Path) -> Result<Place, Failure> {
        std::fs::create_dir_all(folder).map_err(Failure::io("making the folder", folder))?;
        let folder = folder.canonicalize().map_err(Failure::io("looking at the folder", folder))?;
        Ok(Place { folder })
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file that tells clients what is here.
    pub fn description(&self) -> PathBuf {
        self.folder.join("dev.json")
    }

    /// Everything of a region but its servers' disks: erase it, and the region is gone, keys included.
    pub fn region(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Where the disks of a region's servers lie.
    pub fn disks(&self, region: &str) -> PathBuf {
        self.folder.join("disks").join(region)
    }

    /// What a region's process is started with.
    pub fn serve_files(&self, region: &str, binary: &Path) -> ServeFiles {
        let folder = self.region(region);
        ServeFiles {
            binary: binary.to_owned(),
            config: folder.join("antipode.toml"),
            log: folder.join("serve.log"),
            lock: folder.join("data").join(LOCK_FILE),
        }
    }
}

/// `dev.json`
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Description {
    /// The regions, in the order they were given.
    pub regions: Vec<RegionDescription>,
    /// The servers of all regions.
    pub servers: Vec<ServerDescription>,
}

/// One region of `dev.json`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct RegionDescription {
    /// Its name.
    pub name: String,
    /// The root of its API.
    pub api_url: String,
    /// The identity service; ends in `/identity/v3`.
    pub identity_url: String,
    /// The web console.
    pub console_url: String,
    /// The listener for other regions.
    pub peer_url: String,
    /// The demo project.
    pub project_id: String,
    /// Its name: that of the region.
    pub project_name: String,
    /// The identity domain of users and projects.
    pub domain_name: String,
    /// A member of the demo project.
    pub username: String,
    /// That user's password.
    pub password: String,
    /// The operator of the region and admin of the demo project.
    pub admin_username: String,
    /// The operator's password.
    pub admin_password: String,
}

/// One server of `dev.json`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ServerDescription {
    /// The region that protects it.
    pub region: String,
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its disks.
    pub volumes: Vec<Volume>,
}

impl Description {
    /// Writes `dev.json`, which holds passwords and is therefore readable by its owner only.
    pub fn write(&self, place: &Place) -> Result<(), Failure> {
        let path = place.description();
        let unfinished = path.with_extension("unfinished");
        let line = self.line();
        let write = || {
            let mut file = create_private_file(&unfinished)?;
            writeln!(file, "{line}")?;
            file.sync_all()?;
            std::fs::rename(&unfinished, &path)
        };
        write().map_err(Failure::io("writing", &path))
    }

    /// The one line that `antipode dev` prints.
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers can be written as JSON")
    }
}
