//! `antipode restore …`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Context;
use super::error::{CliError, Outcome};
use super::item;
use super::names::server_id;
use super::output::{Column, cell};
use super::session::Surface;
use super::wait::Progress;

const COLUMNS: [Column; 7] = [
    ("ID", "id"),
    ("ITEM", "parameters.checkpoint_item_id"),
    ("TO SERVER", "parameters.targets.server_id"),
    ("STATUS", "status"),
    ("DONE", "done_bytes"),
    ("SIZE", "total_bytes"),
    ("WHY", "reason"),
];

/// What can be done with restores.
#[derive(Debug, Subcommand)]
pub enum RestoreCommand {
    /// Write an item's disks onto disks of a server
    Start(StartRestore),
    /// Show the restores of the project, newest first
    List,
    /// Show one restore
    Show {
        /// The restore's id
        id: String,
    },
}

/// A restore to be ordered.
#[derive(Debug, Args)]
pub struct StartRestore {
    /// The item: id, beginning of the id, name, or server@time
    item: String,
    /// The server that receives the data; the backed-up server itself if left out
    #[arg(long, value_name = "SERVER")]
    server: Option<String>,
    /// Which disk goes where: a backed-up disk by name, volume id or backup id, and a disk of the server
    /// by name or id. If left out, disks go to those of the same id
    #[arg(long = "volume", value_name = "SOURCE=DESTINATION")]
    volumes: Vec<String>,
    /// Start the server afterwards
    #[arg(long)]
    power_on: bool,
    /// Yes, overwrite these disks
    #[arg(long)]
    yes: bool,
}

impl RestoreCommand {
    pub(super) async fn run(self, context: &Context) -> Outcome<()> {
        match self {
            RestoreCommand::Start(start) => start.run(context).await,
            RestoreCommand::List => {
                let rows = context.session.list(Surface::Own, "/restores", "restores").await?;
                context.output.list(&rows, &COLUMNS);
                Ok(())
            }
            RestoreCommand::Show { id } => {
                context.output.one(&read(context, &id).await?, &COLUMNS);
                Ok(())
            }
        }
    }
}

impl StartRestore {
    async fn run(self, context: &Context) -> Outcome<()> {
        let item = item::read(context, &self.item).await?;
        let server_id = match &self.server {
            Some(server) => server_id(context, server).await?,
            None => cell(&item, "resource_id"),
        };
        let answer = context.session.get(Surface::Own, &format!("/servers/{server_id}")).await?;
        let volumes = self.mapping(&item, &answer["server"])?;
        if !self.yes {
            return Err(CliError::usage(format!(
                "overwriting {} disks of {server_id} needs --yes",
                volumes.len()
            )));
        }
        let body = json!({ "restore": {
            "checkpoint_id": item["checkpoint_id"],
            "provider_id": model::policy::PROVIDER_ID,
            "parameters": {
                "checkpoint_item_id": item["id"],
                "power_on": self.power_on,
                "targets": { "server_id": server_id, "volumes": volumes },
            },
        } });
        let answer = context.session.post(Surface::Csbs, "/restores", &body).await?;
        let id = cell(&answer, "restore.id");
        if context.patience.is_wanted {
            let ask = async || Ok(progress(&read(context, &id).await?));
            context.patience.follow("restore", ask).await?;
        }
        let restore = read(context, &id).await?;
        context.output.one(&restore, &COLUMNS);
        if restore["status"] == "fail" { Err(CliError::failed(cell(&restore, "reason"))) } else { Ok(()) }
    }

    fn mapping(&self, item: &Value, server: &Value) -> Outcome<Vec<Value>> {
        let backups = rows(&item["extend_info"]["volume_backups"]);
        let disks = rows(&server["volumes"]);
        if self.volumes.is_empty() {
            let pair = |backup: &Value| json!({ "backup_id": backup["id"], "volume_id": backup["source_volume_id"] });
            return Ok(backups.iter().map(pair).collect());
        }
        let pairs = self.volumes.iter().map(|text| {
            let bad = || CliError::usage(format!("{text} is not SOURCE=DESTINATION"));
            let (source, destination) = text.split_once('=').ok_or_else(bad)?;
            let backup = find(backups, source, &["id", "source_volume_id", "source_volume_name"])?;
            let disk = find(disks, destination, &["id", "name"])?;
            Ok(json!({ "backup_id": backup["id"], "volume_id": disk["id"] }))
        });
        pairs.collect()
    }
}

fn rows(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The one row that has `text` under one of `keys`.
fn find<'a>(rows: &'a [Value], text: &str, keys: &[&str]) -> Outcome<&'a Value> {
    let found: Vec<&Value> = rows.iter().filter(|row| keys.iter().any(|key| row[*key] == text)).collect();
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(CliError::usage(format!("there is no disk {text}"))),
        _ => Err(CliError::usage(format!("several disks are called {text}; name one by id"))),
    }
}

async fn read(context: &Context, id: &str) -> Outcome<Value> {
    let mut answer = context.session.get(Surface::Own, &format!("/restores/{id}")).await?;
    Ok(answer["restore"].take())
}

fn progress(restore: &Value) -> Progress {
    Progress {
        message: cell(restore, "status"),
        done_bytes: restore["done_bytes"].as_u64().unwrap_or(0),
        total_bytes: restore["total_bytes"].as_u64().unwrap_or(0),
        is_over: restore["status"] != "in_progress",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(volumes: &[&str]) -> StartRestore {
        StartRestore {
            item: "i".into(),
            server: None,
            volumes: volumes.iter().map(|text| (*text).to_owned()).collect(),
            power_on: false,
            yes: true,
        }
    }

    #[test]
    fn disks_go_home_unless_told_otherwise() {
        let item = json!({ "extend_info": { "volume_backups": [
            { "id": "b1", "source_volume_id": "v1", "source_volume_name": "root" },
            { "id": "b2", "source_volume_id": "v2", "source_volume_name": "data" },
        ] } });
        let server =
            json!({ "volumes": [{ "id": "w1", "name": "new-root" }, { "id": "w2", "name": "new-data" }] });
        let home = start(&[]).mapping(&item, &server).unwrap();
        assert_eq!(home[1], json!({ "backup_id": "b2", "volume_id": "v2" }));
        let moved = start(&["root=new-root", "b2=w2"]).mapping(&item, &server).unwrap();
        assert_eq!(
            moved,
            [
                json!({ "backup_id": "b1", "volume_id": "w1" }),
                json!({ "backup_id": "b2", "volume_id": "w2" }),
            ]
        );
        for bad in ["root", "root=nowhere", "nothing=w1"] {
            assert!(start(&[bad]).mapping(&item, &server).is_err(), "{bad}");
        }
    }
}
