//! Servers and their volumes: registered by the region operator only, under the configured source
//! roots, owned by one project. Project members name ids, never paths.

use std::path::Path;

use model::ids::{ProjectId, ResourceId, VolumeId};
use model::server::{Server, Volume, VolumeFormat};

use crate::access::{Action, Caller};
use crate::error::{Error, Reason};
use crate::page::{Page, PageOf, ServerSort, found, found_or, page_of};
use crate::{Control, blocking};

/// The most volumes one server may have.
const VOLUMES_MAX: usize = 64;

/// A server to be registered.
#[derive(Clone, Debug)]
pub struct NewServer {
    /// Its id in an existing cloud, or nothing for a new one.
    pub id: Option<ResourceId>,
    /// The project that owns it.
    pub project_id: ProjectId,
    /// What people call it.
    pub name: String,
    /// Its disks.
    pub volumes: Vec<NewVolume>,
}

/// A volume to be registered.
#[derive(Clone, Debug)]
pub struct NewVolume {
    /// Its id in an existing cloud, or nothing for a new one.
    pub id: Option<VolumeId>,
    /// What people call it.
    pub name: String,
    /// Where its bytes are.
    pub path: String,
    /// How they lie there.
    pub format: VolumeFormat,
    /// Whether the server boots from it.
    pub bootable: bool,
}

impl Control {
    /// Registers a server with its volumes. Each volume is opened once, to learn its size and to refuse
    /// at once what could not be backed up.
    pub async fn register_server(&self, caller: &Caller, new: NewServer) -> Result<Server, Error> {
        caller.must_operate_to_change()?;
        self.add_server(new).await
    }

    async fn add_server(&self, new: NewServer) -> Result<Server, Error> {
        if new.name.is_empty() || new.name.chars().count() > 255 || new.name.chars().any(char::is_control) {
            return Err(Error::invalid("name", "must be 1 to 255 printable characters"));
        }
        if new.volumes.is_empty() || new.volumes.len() > VOLUMES_MAX {
            return Err(Error::invalid("volumes", "must hold 1 to 64 volumes"));
        }
        found(self.catalog().project(&new.project_id).await)?
            .ok_or_else(|| Error::invalid("project_id", "there is no such project"))?;
        let mut volumes = Vec::with_capacity(new.volumes.len());
        for (position, volume) in new.volumes.into_iter().enumerate() {
            volumes.push(self.measure_volume(position, volume).await?);
        }
        let id = match new.id {
            Some(id) => id,
            None => self.new_uuid_text().parse()?,
        };
        let server =
            Server { id, project_id: new.project_id, name: new.name, volumes, created_at: self.now() };
        self.catalog().register_server(&server).await?;
        self.wakes().scheduler.notify_one();
        Ok(server)
    }

    /// Registers what the configuration lists and the catalog does not know yet; for the start of a
    /// region. What is registered stays as it is, so that a start never changes a server.
    ///
    /// # Errors
    /// As for a registration by hand, each naming the server and the field of it that must be mended.
    pub async fn ensure_server(&self, new: NewServer) -> Result<(), Error> {
        let id =
            new.id.clone().ok_or_else(|| Error::invalid("servers.id", "a configured server needs its id"))?;
        if self.catalog().all_servers().await?.iter().any(|server| server.id == id) {
            return Ok(());
        }
        self.add_server(new).await.map(|_| ()).map_err(|mut error| {
            let field = error.field.as_deref().map(|field| format!("{field}: ")).unwrap_or_default();
            error.message = format!("server {id}: {field}{}", error.message);
            error
        })
    }

    /// A project by its name, for the configuration.
    pub async fn project_named(&self, name: &str) -> Result<Option<ProjectId>, Error> {
        Ok(found(self.catalog().project_by_name(name).await)?.map(|project| project.id))
    }

    /// The servers of the caller's project.
    pub async fn servers(&self, caller: &Caller, page: &Page<ServerSort>) -> Result<PageOf<Server>, Error> {
        let project = caller.may(Action::Read)?;
        page_of(page, async |page| self.catalog().servers(project, &page).await).await
    }

    /// One server of the caller's project.
    pub async fn server(&self, caller: &Caller, id: &ResourceId) -> Result<Server, Error> {
        let project = caller.may(Action::Read)?;
        self.server_of(project, id).await
    }

    /// Every server of the region, for those who watch it.
    pub async fn all_servers(&self, caller: &Caller) -> Result<Vec<Server>, Error> {
        caller.may_in_region(Action::Watch)?;
        Ok(self.catalog().all_servers().await?)
    }

    /// Forgets a server that no policy names. Its backups stay.
    pub async fn remove_server(&self, caller: &Caller, id: &ResourceId) -> Result<(), Error> {
        caller.must_operate_to_change()?;
        self.catalog().remove_server(id, self.now()).await?;
        self.wakes().scheduler.notify_one();
        Ok(())
    }

    pub(crate) async fn server_of(&self, project: &ProjectId, id: &ResourceId) -> Result<Server, Error> {
        found_or(self.catalog().server(project, id).await, Reason::ServerNotFound, "server do not exist")
    }

    async fn measure_volume(&self, position: usize, new: NewVolume) -> Result<Volume, Error> {
        let field = format!("volumes[{position}].path");
        let (roots, path, format) = (self.roots(), new.path.clone(), disk_format(new.format));
        let size_bytes =
            blocking(move || roots.open_reader(Path::new(&path), format).map(|reader| reader.size_bytes()))
                .await?
                .map_err(|error| Error::invalid(field, error.to_string()))?;
        let id = match new.id {
            Some(id) => id,
            None => self.new_uuid_text().parse()?,
        };
        Ok(Volume {
            id,
            name: new.name,
            path: new.path,
            format: new.format,
            size_bytes,
            bootable: new.bootable,
        })
    }
}

/// The disk crate's word for a volume format.
pub(crate) fn disk_format(format: VolumeFormat) -> disk::Format {
    match format {
        VolumeFormat::Raw => disk::Format::Raw,
    }
}
