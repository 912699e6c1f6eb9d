//! `antipode server …`

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::Context;
use super::error::{CliError, Outcome};
use super::names::server_id;
use super::output::Column;
use super::session::Surface;

const COLUMNS: [Column; 4] =
    [("ID", "id"), ("NAME", "name"), ("PROJECT", "project_id"), ("VOLUMES", "volumes")];
const VOLUME_COLUMNS: [Column; 6] = [
    ("ID", "id"),
    ("NAME", "name"),
    ("SIZE", "size_bytes"),
    ("FORMAT", "format"),
    ("BOOTABLE", "bootable"),
    ("PATH", "path"),
];

/// What can be done with servers.
#[derive(Debug, Subcommand)]
pub enum ServerCommand {
    /// Register a server and its disks (operator)
    Add(AddServer),
    /// Show the servers of the project, or with --all those of the region (operator)
    List {
        /// Those of the whole region
        #[arg(long)]
        all: bool,
    },
    /// Show one server and its disks
    Show {
        /// The server's name, or its id or the beginning of it
        server: String,
    },
    /// Forget a server that no policy names; its backups stay (operator)
    Remove {
        /// The server's id
        id: String,
    },
}

/// A server to be registered.
#[derive(Debug, Args)]
pub struct AddServer {
    /// The server's name
    name: String,
    /// The project that owns it, by id; the token's project if left out
    #[arg(long, value_name = "PROJECT_ID")]
    owner: Option<String>,
    /// Its id in an existing cloud
    #[arg(long)]
    id: Option<String>,
    /// A disk: NAME=PATH or NAME=PATH:FORMAT. The first is the one the server boots from
    #[arg(long = "volume", value_name = "NAME=PATH[:FORMAT]", required = true)]
    volumes: Vec<String>,
    /// The id of a disk in an existing cloud, in the order of --volume
    #[arg(long = "volume-id", value_name = "ID")]
    volume_ids: Vec<String>,
    /// The server boots from none of these disks
    #[arg(long)]
    no_boot: bool,
}

impl ServerCommand {
    pub(super) async fn run(self, context: &Context) -> Outcome<()> {
        let session = &context.session;
        match self {
            ServerCommand::Add(add) => {
                let body = add.body(context)?;
                let answer = session.post(Surface::Own, "/servers", &body).await?;
                show(context, &answer["server"]);
            }
            ServerCommand::List { all } => {
                let path = if all { "/servers?all=true" } else { "/servers" };
                context.output.list(&session.list(Surface::Own, path, "servers").await?, &COLUMNS);
            }
            ServerCommand::Show { server } => {
                let id = server_id(context, &server).await?;
                let answer = session.get(Surface::Own, &format!("/servers/{id}")).await?;
                show(context, &answer["server"]);
            }
            ServerCommand::Remove { id } => {
                session.send(Method::DELETE, Surface::Own, &format!("/servers/{id}"), None).await?;
                context.output.done("removed");
            }
        }
        Ok(())
    }
}

fn show(context: &Context, server: &Value) {
    context.output.one(server, &COLUMNS);
    if context.output.format == super::Format::Table {
        let volumes = server["volumes"].as_array().map(Vec::as_slice).unwrap_or_default();
        context.output.list(volumes, &VOLUME_COLUMNS);
    }
}

impl AddServer {
    fn body(&self, context: &Context) -> Outcome<Value> {
        if self.volume_ids.len() > self.volumes.len() {
            return Err(CliError::usage("more --volume-id than --volume"));
        }
        let owner = match &self.owner {
            Some(owner) => owner,
            None => context.session.project_id()?,
        };
        let volumes = self.volumes.iter().enumerate().map(|(position, text)| self.volume(position, text));
        let volumes = volumes.collect::<Outcome<Vec<Value>>>()?;
        let server = json!({ "name": self.name, "id": self.id, "project_id": owner, "volumes": volumes });
        Ok(json!({ "server": server }))
    }

    fn volume(&self, position: usize, text: &str) -> Outcome<Value> {
        let (name, path, format) = split_volume(text)?;
        Ok(json!({
            "name": name,
            "path": path,
            "format": format,
            "id": self.volume_ids.get(position),
            "bootable": position == 0 && !self.no_boot,
        }))
    }
}

/// `NAME=PATH[:FORMAT]`; the format of a path without one is raw.
fn split_volume(text: &str) -> Outcome<(&str, &str, &str)> {
    let bad = || CliError::usage(format!("{text} is not NAME=PATH or NAME=PATH:FORMAT"));
    let (name, place) = text.split_once('=').ok_or_else(bad)?;
    let (path, format) = match place.rsplit_once(':') {
        Some((path, format)) if !format.contains('/') => (path, format),
        _ => (place, "raw"),
    };
    if name.is_empty() || path.is_empty() { Err(bad()) } else { Ok((name, path, format)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_a_name_a_path_and_a_format() {
        assert_eq!(split_volume("root=/srv/a.img").unwrap(), ("root", "/srv/a.img", "raw"));
        assert_eq!(split_volume("root=/srv/a:b.img:raw").unwrap(), ("root", "/srv/a:b.img", "raw"));
        assert_eq!(split_volume("d=/dev/disk:1/x").unwrap(), ("d", "/dev/disk:1/x", "raw"));
        for bad in ["", "root", "=x", "root="] {
            assert!(split_volume(bad).is_err(), "{bad}");
        }
    }
}
